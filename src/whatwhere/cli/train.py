"""The command `whatwhere train`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli import app
from whatwhere.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from whatwhere.train import Listener, Run


@app.command()
def train(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="Labelled pictures.", show_default=False)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="classify, multilabel or detect; read off the labels if left out."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Family and size, such as yolo-s; see docs/train.md.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for everything, such as 10m; the default is 10m.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data, in place of a budget.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="timm name of the network's body.")] = None,
    size: Annotated[
        int | None, typer.Option(min=32, help="Longer side of the model's input in pixels.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=0, help="Pictures at once; 0 for as many as memory takes.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Weights to start from: a run, a .safetensors file, a name."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal runs.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/<task>-<number> if left out.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run; nothing else is needed.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Format of the data, if not to be recognised.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures, if not beside the labels.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, one for each GPU.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of config.json."),
    ] = None,
    listed: Annotated[
        str | None, typer.Option("--list", help="Only list: models or settings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Train a model on labelled pictures and export it."""
    if listed is not None:
        _list(listed, as_json)
        return 0
    began = time.monotonic()
    if (data is None) == (resume is None):
        raise UsageError("give either the data to train on, or --resume with the folder of a run")
    if resume is not None:
        given = {
            "--task": task,
            "--model": model,
            "--budget": budget,
            "--epochs": epochs,
            "--backbone": backbone,
            "--size": size,
            "--batch": batch,
            "--start": start,
            "--devices": devices,
            "--seed": seed or None,
            "--out": out,
            "--format": format,
            "--images": images,
            "--device": None if device == "auto" else device,
            "--set": settings or None,
        }
        if extra := [name for name, value in given.items() if value is not None]:
            raise UsageError(
                f"{', '.join(extra)} cannot be given with --resume: a run goes on with the"
                " settings that it began with"
            )
    pairs = [setting_pair(text) for text in settings or []]
    named = {"start": start, "devices": devices}
    pairs += [(name, str(value)) for name, value in named.items() if value is not None]
    train_api = train_package()
    with training_listener() as listener:
        if resume is not None:
            run = train_api.resume_run(resume, listener)
        else:
            from whatwhere.data import read

            assert data is not None
            dataset = read(data, format, images=images)
            for finding in dataset.findings if train_api.first_process() else ():
                if finding.severity != "info":
                    listener.note(f"{finding.where}: {finding.message}")
            run = train_api.train(
                dataset,
                task,
                model=model,
                budget=budget,
                epochs=epochs,
                backbone=backbone,
                size=size,
                batch=batch,
                seed=seed,
                out=out,
                device=device,
                settings=dict(pairs),
                listener=listener,
                started=began,
            )
    if not train_api.first_process():
        return 0
    if as_json:
        typer.echo(json.dumps(run.to_dict(), ensure_ascii=False))
    else:
        _print(run)
    return 0


def _list(what: str, as_json: bool) -> None:
    """Every model or setting with its meaning."""
    train_api = train_package()
    tables = {"models": train_api.models_table, "settings": train_api.settings_table}
    if what not in tables:
        raise UsageError(f"--list takes models or settings, not {what!r}")
    rows = tables[what]()
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)


def train_package() -> Any:
    """The package `whatwhere.train`.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import whatwhere.train as package
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "whatwhere":
            raise
        raise MissingExtraError("train", "Training a model") from error
    return package


def setting_pair(text: str) -> tuple[str, str]:
    """Name and value of a setting that was given as name=value."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set takes name=value, not {text!r}: such as --set rate=0.001")
    return name, value


class _Lines:
    """Notes as lines on standard error, for logs."""

    def note(self, text: str) -> None:
        typer.echo(text, err=True)

    def steps(self, done: int, total: int, about: str) -> None:
        """A log gets a line an epoch, which `note` writes."""


@contextmanager
def training_listener() -> Iterator[Listener]:
    """Shows what happens: a bar in a terminal, lines in a log."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TextColumn("{task.fields[about]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("training", total=None, about="")

        class Bar:
            def note(self, text: str) -> None:
                console.print(text, highlight=False, markup=False)

            def steps(self, done: int, total: int, about: str) -> None:
                progress.update(bar, completed=done, total=total, about=about)

        yield Bar()


def _print(run: Run) -> None:
    shown = {
        name: value
        for name, value in run.metrics.items()
        if name in ("AP", "AP50", "AP75", "accuracy", "top5", "mAP", "f1")
    }
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
    typer.echo(f"{numbers} on the validation pictures, after {run.seconds:.0f} s")
    typer.echo(f"model   {run.model}")
    typer.echo(f"report  {run.folder / 'report.html'}")
    typer.echo(f"next    whatwhere evaluate {run.folder}")
