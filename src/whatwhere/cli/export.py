"""The command `whatwhere export`."""

from __future__ import annotations

import json
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatwhere.cli import app
from whatwhere.cli._labelled import held_out, say, trained_on
from whatwhere.cli._options import Format, Images
from whatwhere.errors import DataError, GateError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from whatwhere.data import Dataset
    from whatwhere.exporting import Exported


class _To(StrEnum):
    ONNX = "onnx"
    OPENVINO = "openvino"
    KSERVE = "kserve"
    TRITON = "triton"


class _Ranges(StrEnum):
    AUTO = "auto"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="Folder of a training run, model file, or shipped model.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; beside the model if left out.", show_default=False),
    ] = None,
    half: Annotated[
        bool, typer.Option("--fp16", help="Store weights in half precision: half the size.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in 8 bits; needs --calibrate.")
    ] = False,
    to: Annotated[
        _To,
        typer.Option(help="What kind of file; for kserve and triton a folder of what they want."),
    ] = _To.ONNX,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="For kserve: where the model file will lie.", show_default=False
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Pictures, labelled or not, whose values give the ranges of 8 bits.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Pictures, labelled or not, on which export and original are compared; by default"
            " others of --calibrate, or those that the run did not train on.",
            show_default=False,
        ),
    ] = None,
    max_loss: Annotated[
        float,
        typer.Option(min=0, max=1, help="Loss of AP, accuracy or mAP that is allowed."),
    ] = 0.01,
    ranges: Annotated[
        _Ranges, typer.Option(help="How ranges follow from values; auto takes the least error.")
    ] = _Ranges.AUTO,
    pictures: Annotated[
        int, typer.Option(min=1, help="How many pictures give the ranges, at most.")
    ] = 128,
    seed: Annotated[int, typer.Option(help="Which of them are drawn.")] = 0,
    format: Format = None,
    images: Images = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    end_to_end: Annotated[
        bool | None,
        typer.Option(
            "--end-to-end/--nms",
            help="Of a run: final boxes, or boxes for non-maximum suppression; as trained if left"
            " out.",
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(help="Of a run: best by the validation, or last: those after the last epoch."),
    ] = "best",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Write a model in another form, after comparing it with the original on your pictures.

    Exit status 1 if more is lost than --max-loss allows; nothing is written then.
    """
    if half and int8:
        raise UsageError("--fp16 and --int8 are two precisions: ask for one")
    if to in (_To.KSERVE, _To.TRITON):
        if half or int8 or calibrate or check or end_to_end is not None or weights != "best":
            raise UsageError(
                f"--to {to.value} takes a finished model as it is: make its file first, then give"
                " that file"
            )
        return _for_server(to, model, out, name, storage, as_json)
    if storage is not None:
        raise UsageError("--storage is for --to kserve")
    run = Path(model) if Path(model).is_dir() else None
    changed = half or int8 or to is not _To.ONNX
    of_run = end_to_end is not None or weights != "best"
    if run is None and of_run:
        raise UsageError(
            f"--weights and --end-to-end are for the folder of a training run, which {model} is not"
        )
    if run is None and not changed:
        from whatwhere.runtime import find_file
        from whatwhere.runtime.shipped import SHIPPED

        if model not in SHIPPED:
            find_file(model)  # says what may be given
        raise UsageError(
            f"say what to make of {model}: --fp16, --int8 or --to openvino (of the folder of a"
            " training run the model file is written again)"
        )
    if not changed:
        assert run is not None
        made = _from_run(run, out, name, end_to_end, weights)
        _print_run(made, as_json)
        return 0
    with tempfile.TemporaryDirectory(prefix="whatwhere-") as folder:
        source, about = model, None
        # A run's own file may have been made smaller; half precision starts from its weights.
        if run is not None and (of_run or half or not (run / "model.onnx").is_file()):
            about = _from_run(run, Path(folder) / "model.onnx", name, end_to_end, weights)
            source = str(about.model)
            out = out or _beside(run, half, int8, to)
        elif run is not None:
            _check_run(run)
        from whatwhere.exporting import export as make

        try:
            exported = make(
                source,
                out,
                to="onnx" if to is _To.ONNX else "openvino",
                precision="float16" if half else "int8" if int8 else "float32",
                calibrate=_pictures(calibrate, format, images),
                check=_checked(check, calibrate, run, format, images),
                max_loss=max_loss,
                ranges=ranges.value,
                pictures=pictures,
                seed=seed,
                name=name,
                say=say,
            )
        except GateError as error:
            _print(error.exported, about, as_json)  # type: ignore[arg-type]
            raise
    _print(exported, about, as_json)
    return 0


def _for_server(
    to: _To, model: str, out: Path | None, name: str | None, storage: str | None, as_json: bool
) -> int:
    from whatwhere.exporting import export_for

    server: Any = to.value
    made = export_for(server, model, out, name=name, storage=storage)
    if as_json:
        typer.echo(json.dumps(made.to_dict(), ensure_ascii=False))
        return 0
    for path in made.files:
        typer.echo(f"written: {path}")
    for note in made.notes:
        say(f"note: {note}")
    return 0


def _from_run(
    run: Path, out: Path | None, name: str | None, end_to_end: bool | None, weights: str
) -> Any:
    """The float32 file of a run, proven against its network."""
    try:
        from whatwhere.train import export_run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "whatwhere":
            raise
        raise MissingExtraError("train", "Exporting a run") from error
    return export_run(run, out, name=name, end_to_end=end_to_end, which=weights)


def _check_run(run: Path) -> None:
    if not (run / "config.json").is_file():
        raise UsageError(f"{run} is not the folder of a training run: name its model file")


def _beside(run: Path, half: bool, int8: bool, to: _To) -> Path:
    kind = ".fp16" if half else ".int8" if int8 else ""
    return run / f"model{kind}{'.xml' if to is _To.OPENVINO else '.onnx'}"


def _pictures(
    place: Path | None, format: str | None, images: Path | None
) -> Dataset | list[str] | None:
    """Labelled pictures, or the paths of unlabelled ones."""
    if place is None:
        return None
    from whatwhere.data import read
    from whatwhere.runtime import expand

    try:
        return read(place, format, images=images)
    except DataError as error:
        if format is not None or images is not None or not place.is_dir():
            raise
        paths = [str(path) for path in expand([place])]
        if not paths:
            raise
        say(f"{place} has no labels that can be read ({error}): its {len(paths)} pictures are used")
        return paths


def _checked(
    check: Path | None,
    calibrate: Path | None,
    run: Path | None,
    format: str | None,
    images: Path | None,
) -> Dataset | list[str] | None:
    """Pictures of the gate; those that a run held out if nothing else is named."""
    if check is not None:
        return _pictures(check, format, images)
    if calibrate is not None or run is None:
        return None
    from whatwhere.data import read

    place, form, folder = trained_on(run, str(run))
    data = read(place, form, images=folder)
    return data if {"test", "val"} & data.splits.keys() else held_out(data, run)


def _print_run(made: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(made.to_dict(), ensure_ascii=False))
        return
    size = made.model.stat().st_size / 1e6
    typer.echo(f"{made.model}: {size:.1f} MB, compared with the network on real pictures")
    for note in made.notes:
        say(f"note: {note}")


def _print(exported: Exported, run: Any, as_json: bool) -> None:
    notes = [*([] if run is None else run.notes), *exported.notes]
    if as_json:
        about = {} if run is None else run.to_dict()
        typer.echo(json.dumps({**about, **exported.to_dict(), "notes": notes}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    gate = exported.gate
    console = Console(highlight=False)
    table = Table("", "engine", "MB", "ms, one core", "speed", gate.metric, box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    first = exported.sides[0].ms
    for side in exported.sides:
        value = "" if side.value is None else f"{side.value:.4f}"
        row = (f"{side.megabytes:.2f}", f"{side.ms:.1f}", f"{first / side.ms:.2f} x", value)
        table.add_row(side.what, side.engine, *row)
    console.print(table)
    if gate.per_class:
        console.print()
        console.print(_classes(exported))
        console.print()
    if exported.precision == "int8":
        how = f", ranges by {exported.ranges}" if exported.ranges else ""
        of = f" of {exported.layers}" if exported.layers else ""
        console.print(f"layers in float: {len(exported.in_float)}{of}{how}")
    console.print(Text(gate.sentence), soft_wrap=True)
    if exported.model is not None:
        console.print(Text(f"written: {exported.model}"), soft_wrap=True)
    for note in notes:
        say(f"note: {note}")


_SHOWN = 15


def _classes(exported: Exported) -> Any:
    """The classes, those that lose most first."""
    from rich.table import Table
    from rich.text import Text

    rows = sorted(exported.gate.per_class.items(), key=lambda row: -(row[1].loss or 0.0))
    table = Table("class", "before", "after", "change", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in rows[:_SHOWN]:
        values = [one.before, one.after]
        told = ["–" if value is None else f"{value:.4f}" for value in values]
        table.add_row(Text(name), *told, "–" if one.loss is None else f"{-one.loss:+.4f}")
    if len(rows) > _SHOWN:
        table.add_row(f"and {len(rows) - _SHOWN} more (--json has all)", "", "", "")
    return table
