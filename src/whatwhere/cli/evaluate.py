"""The command `whatwhere evaluate`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli import app
from whatwhere.cli._labelled import (
    choose_split,
    held_out,
    newest_run,
    progress_bar,
    say,
    trained_on,
)
from whatwhere.cli._options import (
    Backend,
    Batch,
    Format,
    Groups,
    Images,
    Json,
    PredictionsFormat,
    ScoredTask,
    Split,
)
from whatwhere.cli._tiles import (
    Boxing,
    MergeBy,
    MergeOption,
    SuppressIou,
    SuppressOption,
    Tile,
    TileOverlap,
)
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from whatwhere.evaluation import Result
    from whatwhere.evaluation.details import Details

RUNS = Path("runs")


@app.command()
def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Shipped model, model file or run folder; the newest run if left out.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="Labelled pictures; the data that the run was trained on if left out.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="The same as DATA; for --predictions also a COCO file.",
            show_default=False,
        ),
    ] = None,
    split: Split = None,
    format: Format = None,
    images: Images = None,
    task: ScoredTask = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask a running server; MODEL is then its model. The API key stands in the"
            " environment variable WHATWHERE_API_KEY.",
            show_default=False,
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Score saved predictions: lines of 'predict --json', COCO results, CSV, or a"
            " file or folder of YOLO's or VOC's text.",
            show_default=False,
        ),
    ] = None,
    predictions_format: PredictionsFormat = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Also write a report, one HTML file, with the same as JSON beside it.",
            show_default=False,
        ),
    ] = None,
    relabel: Annotated[
        Path | None,
        typer.Option(
            help="Also write a list of likely label errors: .json, tasks of Label Studio"
            " (tasks.json), or .xml of CVAT.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Only the standard numbers: no intervals, no further numbers."
        ),
    ] = False,
    samples: Annotated[
        int, typer.Option(min=0, help="How often pictures are drawn anew for the intervals.")
    ] = 1000,
    groups: Groups = "auto",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Rules for further numbers of boxes: coco, voc, kitti, lvis or open_images;"
            " by default those of the data's format.",
            show_default=False,
        ),
    ] = None,
    without_leaks: Annotated[
        bool,
        typer.Option(
            "--without-leaks", help="Leave out pictures that the model was trained on, or nearly."
        ),
    ] = False,
    tile: Tile = None,
    tile_overlap: TileOverlap = None,
    merge: MergeOption = None,
    merge_metric: MergeBy = None,
    suppress: SuppressOption = None,
    suppress_iou: SuppressIou = None,
    batch: Batch = None,
    backend: Backend = "auto",
    as_json: Json = False,
) -> int:
    """Score a model, or saved predictions, on labelled pictures.

    Exit status 1 if a picture could not be read; its labels count as missed.
    """
    if data is not None and source is not None:
        raise UsageError(f"the data is named twice, {source} and --data {data}: name it once")
    if predictions is None and predictions_format is not None:
        raise UsageError("--predictions-format says what --predictions are: name them, too")
    if quick and (groups != "auto" or protocol):
        raise UsageError("--quick leaves out what --groups and --protocol are for: leave it out")
    place = data or source
    boxing = Boxing(tile, tile_overlap, merge, merge_metric, suppress, suppress_iou)
    if server is not None and predictions is not None:
        raise UsageError("--server and --predictions are two sources of answers: name one")
    if server is not None:
        result = _served(
            server, model, place, format, images, split, task, backend, batch, without_leaks, boxing
        )
        run = None
    elif predictions is not None:
        if place is None and model is not None:
            place = Path(model)
            model = None
        if model is not None:
            raise UsageError("--predictions are scored without a model: leave the model out")
        if place is None:
            raise UsageError("--predictions need the labelled pictures: add  --data PATH")
        if without_leaks:
            raise UsageError(
                "saved predictions do not say what their model was trained on: leave"
                " --without-leaks out, or give the model"
            )
        if boxing.asked:
            raise UsageError(
                "saved predictions are as they are: leave --tile, --merge and --suppress out"
            )
        form = predictions_format
        result = _saved(predictions, form, place, format, images, split, task, quick)
        run = None
    else:
        result, run = _evaluate(
            model, place, format, images, split, task, batch, backend, without_leaks, boxing
        )
    if not quick:
        result = result.with_details(samples=samples, groups=groups, protocol=protocol)
    if report is not None:
        from whatwhere.outputs.report import write_report

        curves = None if run is None else run / "metrics.csv"
        write_report(result, report, training=curves if curves and curves.is_file() else None)
        say(f"report: {report}")
    if relabel is not None:
        from whatwhere.outputs.relabel import write_relabel

        count = write_relabel(result, relabel)
        say(f"relabel: {relabel}, {count} likely label errors, the surest first")
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        _print(result)
        if result.labels is not None:
            typer.echo()
            _print(result.labels)
    return 1 if result.unreadable else 0


def _evaluate(
    model: str | None,
    place: Path | None,
    format: str | None,
    images: Path | None,
    split: str | None,
    task: Any,
    batch: int | None,
    backend: str,
    without_leaks: bool,
    boxing: Boxing,
) -> tuple[Result, Path | None]:
    """The result, and the run's folder if it was one."""
    from whatwhere.data import read
    from whatwhere.evaluation import evaluate
    from whatwhere.runtime import load

    if model is None:
        newest = newest_run(RUNS)
        if newest is None:
            raise UsageError(
                f"there is no finished run in {RUNS.absolute()}: name a model, such as"
                "  whatwhere evaluate model.onnx pictures/"
            )
        model = str(newest)
        say(f"model: {model} (the newest run)")
    run = Path(model) if Path(model).is_dir() else None
    if place is None:
        place, trained_format, trained_images = trained_on(run, model)
        format, images = format or trained_format, images or trained_images
        say(f"data: {place} (what the run was trained on)")
    dataset = read(place, format, images=images)
    if split is None and run is not None and not {"test", "val"} & dataset.splits.keys():
        dataset = held_out(dataset, run)
    part = choose_split(dataset, split)
    # Loaded here only where it is changed.
    used = boxing.apply(load(model, backend=backend)) if boxing.asked else model
    with progress_bar(len(dataset) if part is None else dataset.splits[part]) as progress:
        result = evaluate(
            used,
            dataset,
            split=part,
            task=task,
            batch=batch,
            backend=backend,
            without_leaks=without_leaks,
            progress=progress,
        )
    return result, run


def _served(
    server: str,
    model: str | None,
    place: Path | None,
    format: str | None,
    images: Path | None,
    split: str | None,
    task: Any,
    backend: str,
    batch: int | None,
    without_leaks: bool,
    boxing: Boxing,
) -> Result:
    from whatwhere.client import Client
    from whatwhere.data import read
    from whatwhere.evaluation import evaluate

    if place is None and model is not None:
        place = Path(model)
        model = None
    if place is None:
        raise UsageError("--server needs the labelled pictures: add  --data PATH")
    if boxing.asked or backend != "auto" or batch is not None:
        raise UsageError(
            "the server decides how its model runs: leave --tile, --merge, --suppress, --backend"
            " and --batch out"
        )
    dataset = read(place, format, images=images)
    part = choose_split(dataset, split)
    with (
        Client(server, model=model) as client,
        progress_bar(len(dataset) if part is None else dataset.splits[part]) as progress,
    ):
        return evaluate(
            client,
            dataset,
            split=part,
            task=task,
            without_leaks=without_leaks,
            progress=progress,
        )


def _saved(
    file: Path,
    form: str | None,
    place: Path,
    format: str | None,
    images: Path | None,
    split: str | None,
    task: Any,
    quick: bool,
) -> Result:
    from whatwhere.data import read
    from whatwhere.evaluation import evaluate_predictions

    if not file.exists():
        raise UsageError(f"{file} does not exist: check the path of --predictions")
    dataset = read(place, format, images=images)
    # Saved predictions are of whatever was predicted; only an explicit split narrows them.
    part = None if split is None else choose_split(dataset, split)
    result = evaluate_predictions(file, dataset, split=part, task=task, form=form)
    if quick:
        return result
    from whatwhere.evaluation.leaks import split_notes

    return replace(result, notes=(*result.notes, *split_notes(dataset, part)))


def _print(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    where = f", split {result.split}" if result.split else ""
    who = result.model or "saved predictions"
    title = f"{who} on {result.source}{where}: {result.images} pictures, {result.task}"
    console.print(Text(title), soft_wrap=True)
    for start in range(0, len(result), 6):
        names = list(result)[start : start + 6]
        head = Table(box=None, pad_edge=False)
        for name in names:
            head.add_column(name, justify="right", min_width=6)
        head.add_row(*(_number(result[name]) for name in names))
        if result.details is not None and result.details.samples:
            ends = [result.details.intervals[name] for name in names]
            head.add_row(*(_number(one.low) for one in ends), style="dim")
            head.add_row(*(_number(one.high) for one in ends), style="dim")
        console.print(head)
    if result.details is not None:
        _print_details(result.details, console)
    values = Table(box=None, pad_edge=False)
    keys = list(next(iter(result.per_class.values()), {}))
    values.add_column("class", overflow="fold")
    for key in keys:
        values.add_column(key, justify="right")
    for name, row in result.per_class.items():
        values.add_row(Text(name), *(_number(row[key]) for key in keys))
    console.print()
    console.print(values)
    for note in (*result.notes, *(result.details.notes if result.details else ())):
        say(f"note: {note}")


def _print_details(details: Details, console: Console) -> None:
    """How sure the numbers are, and the further ones, in as many columns as there is room."""
    from rich.text import Text

    if details.samples:
        drawn = "pictures" if details.groups == "none" else f"pictures of equal {details.groups}"
        console.print(
            Text(
                f"below each number its {details.level:.0%} interval, from {details.samples} draws"
                f" of {drawn}"
            ),
            style="dim",
            soft_wrap=True,
        )
    shown = [f"{name} {_number(value)}" for name, value in details.numbers.items()]
    if shown:
        console.print()
        console.print(Text("further: " + ", ".join(shown)))


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
