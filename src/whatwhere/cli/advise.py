"""The command `whatwhere advise`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli import app
from whatwhere.cli._options import Format, Images, Json
from whatwhere.cli.train import setting_pair, train_package, training_listener
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from whatwhere.data import Dataset
    from whatwhere.evaluation.advice import Advice, Trials


@app.command()
def advise(
    data: Annotated[Path, typer.Argument(help="Labelled pictures.", show_default=False)],
    need: Annotated[
        str | None,
        typer.Option(help="What is wanted of a picture: what, count or where; open if left out."),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Also train both ways on these boxes, and compare.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(help="With --train: time for both together, such as 10m; the default is 2m."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --train: folder for the two runs.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --train: any setting, for both."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --train: equal seeds, equal runs.")] = 0,
    seconds_per_label: Annotated[
        float, typer.Option(help="Work for naming one class of a picture.")
    ] = 3.0,
    seconds_per_box: Annotated[float, typer.Option(help="Work for one box with its class.")] = 10.0,
    latency: Annotated[
        bool,
        typer.Option("--latency/--no-latency", help="Time the package's models on this machine."),
    ] = True,
    format: Format = None,
    images: Images = None,
    as_json: Json = False,
) -> int:
    """Say what to train: one class a picture, several classes, or boxes; and why.

    Read off the labels: how many objects and classes a picture has, how large they are, what
    labelling costs. No picture is opened without --train.
    """
    from whatwhere.data import read
    from whatwhere.evaluation.advisor import advise as advise_on

    given = {"--budget": budget, "--out": out, "--set": settings or None, "--seed": seed or None}
    if not train and (unused := [name for name, value in given.items() if value is not None]):
        raise UsageError(f"{', '.join(unused)} is for training: add  --train, or leave it out")
    dataset = read(data, format, images=images)
    trials = _trials(dataset, budget, out, settings or [], seed) if train else None
    advice = advise_on(
        dataset,
        need=need,  # type: ignore[arg-type]
        seconds_per_label=seconds_per_label,
        seconds_per_box=seconds_per_box,
        trials=trials,
        measure=latency,
    )
    if as_json:
        made = {"data": str(data), "images": len(dataset), **advice.to_dict()}
        typer.echo(json.dumps(made, ensure_ascii=False))
    else:
        _print(advice, dataset, data)
    return 0


def _trials(
    dataset: Dataset, budget: str | None, out: Path | None, settings: list[str], seed: int
) -> Trials:
    package: Any = train_package()
    pairs = dict(setting_pair(text) for text in settings)
    time = {} if budget is None else {"budget": budget}
    with training_listener() as listener:
        found: Trials = package.try_both(
            dataset, settings=pairs, seed=seed, out=out, listener=listener, **time
        )
    return found


def _print(advice: Advice, dataset: Dataset, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(f"{path}: {len(dataset)} pictures, {dataset.task}"), soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("answers")
    for head in ("labelling", "a picture", "latency"):
        table.add_column(head, justify="right")
    for task, way in advice.ways.items():
        least = "≥ " if way.labelling.at_least else ""
        table.add_row(
            Text(f"{'->' if task == advice.task else '  '} {task}"),
            Text(way.answers),
            f"{least}{way.labelling.hours:,.2f} h",
            f"{least}{way.labelling.seconds:,.1f} s",
            "–" if way.latency is None else f"{way.latency.ms:.1f} ms",
        )
    console.print(table)
    for task, way in advice.ways.items():
        console.print(Text(f"{task}: {'serves' if way.serves else 'does not serve'}; {way.why}"))
    if advice.trials is not None:
        _print_trials(advice.trials, console)
    console.print()
    console.print(Text(advice.sentence))
    for reason in advice.reasons[1:]:
        console.print(Text(f"- {reason}"))
    if advice.otherwise:
        console.print(Text(f"otherwise: {advice.otherwise}"))
    for assumption in advice.assumptions:
        console.print(Text(f"assumed: {assumption}"), style="dim")
    typer.echo(f"next    whatwhere train {path} --task {advice.task}")
    for warning in advice.warnings:
        typer.echo(f"note: {warning}", err=True)


def _print_trials(trials: Trials, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for head in ("trained", "mAP of what", "its own", "a picture", "training"):
        table.add_column(head, justify="right" if head != "trained" else "left")
    for one in trials.trials:
        name = "AP" if one.task == "detect" else "f1"
        own = one.metrics.get(name)
        table.add_row(
            f"{one.task} ({one.folder})",
            "–" if one.what is None else f"{one.what:.3f}",
            f"{name} –" if own is None else f"{name} {own:.3f}",
            f"{one.ms:.1f} ms",
            f"{one.seconds:.0f} s",
        )
    console.print()
    console.print(table)
    for note in trials.notes:
        typer.echo(f"note: {note}", err=True)
