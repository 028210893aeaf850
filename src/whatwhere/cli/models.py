"""The commands `whatwhere models` and `whatwhere models show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli import app
from whatwhere.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whatwhere.runtime.hub import HubModel
    from whatwhere.runtime.shipped import ShippedModel
    from whatwhere.specs import AnswerSpec, ModelSpec

models = typer.Typer(name="models", rich_markup_mode=None, invoke_without_command=True)
app.add_typer(models)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SHOWN = 12


@models.callback()
def list_models(context: typer.Context, as_json: _Json = False) -> None:
    """List the models by name; with --json one object a line.

    First those that come with whatwhere, then stronger ones of other libraries, which
    `whatwhere models get` fetches. Exit status 1 if one of the former cannot be used.
    """
    if context.invoked_subcommand:
        return
    from whatwhere.runtime.hub import HUB
    from whatwhere.runtime.shipped import SHIPPED

    rows = [_row(model) for model in SHIPPED.values()]
    others = [_hub_row(model) for model in HUB.values()]
    if as_json:
        for row in rows + others:
            typer.echo(json.dumps(row, ensure_ascii=False))
    else:
        _print_table(rows)
        _print_others(others)
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


def _row(model: ShippedModel) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": model.name,
        "summary": model.summary,
        "tasks": [],
        "classes": [],
        "license": None,
        "bytes": None,
        "weights": list(model.sources),
        "parts": list(model.parts),
        "problem": None,
        "here": True,
    }
    try:
        row["tasks"] = [spec.task for spec in model.specs]
        row["classes"] = [len(spec.names) for spec in model.specs]
        row["license"] = model.license
        row["bytes"] = model.size()
    except ModelError as error:
        row["problem"] = str(error)
    return row


def _hub_row(model: HubModel) -> dict[str, Any]:
    """The same keys as of a shipped model, and what only these have."""
    return {
        "name": model.name,
        "summary": model.summary,
        "tasks": ["detect"],
        "classes": [model.classes],
        "license": model.license,
        "bytes": model.file.stat().st_size if model.here else None,
        "weights": [model.source],
        "parts": [],
        "problem": None,
        "here": model.here,
        "page": model.page,
        "published_AP": model.published,
    }


def _print_others(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    # A name is there to be typed: it is never cut.
    longest = max(len(row["name"]) for row in rows)
    table.add_column("of other libraries", no_wrap=True, min_width=longest)
    for column in ("answers", "COCO AP", "licence", "here"):
        table.add_column(column)
    for row in rows:
        score = row["published_AP"]
        table.add_row(
            row["name"],
            row["summary"],
            "see its card" if score is None else f"{score:.3f}",
            row["license"],
            f"{row['bytes'] / 1e6:.1f} MB" if row["here"] else "no",
        )
    console = Console()
    console.print()
    console.print(table)
    typer.echo("COCO AP as published; fetch one with  whatwhere models get NAME")


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "answers", "classes", "licence", "size"):
        table.add_column(column, justify="right" if column == "size" else "left")
    for row in rows:
        table.add_row(
            row["name"],
            row["summary"],
            " + ".join(f"{count:,}" for count in row["classes"]),
            row["license"] or "",
            f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "-",
        )
    Console().print(table)
    for row in rows:
        if row["problem"]:
            typer.echo(f"{row['name']} cannot be used: {row['problem']}", err=True)


@models.command()
def show(
    model: Annotated[str, typer.Argument(help="Model by name, model file or run folder.")],
    as_json: _Json = False,
) -> None:
    """Print what a model says about itself, and the card of one known by name."""
    from whatwhere.runtime import find_file, hub, read_spec
    from whatwhere.runtime.shipped import SHIPPED

    card: str | None
    if model in SHIPPED:
        name, specs, card = model, SHIPPED[model].specs, SHIPPED[model].card
    elif (other := hub.find(model)) is not None:
        # The card can be read before anything is fetched.
        specs = (read_spec(other.file),) if other.here else ()
        name, card = other.name, other.card
    else:
        specs, card = (read_spec(find_file(model)),), None
        name = specs[0].name
    if as_json:
        found = [spec.model_dump(mode="json") for spec in specs]
        typer.echo(json.dumps({"name": name, "specs": found, "card": card}, ensure_ascii=False))
        return
    for spec in specs:
        lines = dict(_describe(spec))
        width = max(map(len, lines))
        for key, value in lines.items():
            typer.echo(f"{key:<{width}}  {value}")
        typer.echo()
    if card is not None:
        typer.echo(card)


def _describe(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    """The filled fields of a spec, as lines to read."""
    fit, post = spec.preprocess, spec.postprocess
    height, width = fit.size
    yield "name", f"{spec.name} (version {spec.version})"
    yield "task", spec.task
    yield "classes", _names(spec.names)
    if spec.label_names:
        yield "whole-picture classes", f"{spec.label_task}: {_names(spec.label_names)}"
    crop = f", central {fit.crop:g}" if fit.fit == "crop" else ""
    yield "input", f"{height} x {width} px, {fit.fit}{crop}, {fit.resample}"
    if spec.task == "detect":
        yield "thresholds", f"score {post.score_threshold:g}, NMS IoU {post.nms_iou:g}"
    elif spec.task == "multilabel":
        yield "threshold", f"score {post.score_threshold:g}"
    yield from _answers(spec.answers, "")
    yield from _answers(spec.label_answers, "whole-picture ")
    if spec.calibration is not None:
        seen = spec.calibration.data
        yield "calibrated on", f"{seen.images:,} pictures of {seen.description or seen.digest}"
    for key in ("architecture", "source", "license", "date"):
        if getattr(spec, key):
            yield key, getattr(spec, key)
    if spec.data is not None:
        about = f"{spec.data.description}: " if spec.data.description else ""
        yield "trained on", f"{about}{spec.data.images:,} pictures, {spec.data.labels:,} labels"
    if "published" in spec.reference:
        yield "published scores", str(spec.reference["published"])
    if spec.metrics:
        yield "scores", ", ".join(f"{name} {value:.4g}" for name, value in spec.metrics.items())


def _answers(answers: AnswerSpec, head: str) -> Iterator[tuple[str, str]]:
    """How scores of a head are read, as far as that is not the usual way."""
    if answers.thresholds:
        own = ", ".join(f"{name} {value:.4g}" for name, value in answers.thresholds.items())
        yield f"{head}thresholds of classes", own
    if answers.temperature != 1:
        yield f"{head}temperature", f"{answers.temperature:.4g}"
    if answers.maps:
        yield f"{head}calibrated classes", f"{len(answers.maps):,}"
    if answers.abstain is not None:
        yield f"{head}not sure below", f"{answers.abstain:.4g}"
    if answers.conformal is not None:
        rule = answers.conformal
        yield f"{head}sets of classes", f"{rule.kind}, right in {rule.coverage:.4g} of pictures"


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    more = ", ... (all with --json)" if len(names) > _SHOWN else ""
    return f"{len(names):,}: {shown}{more}"
