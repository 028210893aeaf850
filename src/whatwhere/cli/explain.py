"""The command `whatwhere explain`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli import app
from whatwhere.cli._options import Backend, Format
from whatwhere.errors import ImageError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from whatwhere.evaluation.explain_check import ExplainCheck
    from whatwhere.runtime.explain import Explanation
    from whatwhere.runtime.masking import Method

FOLDER = Path("explained")
_MASKING = ("occlusion", "rise")
_GRADIENTS = ("gradcam", "hirescam", "layercam")
# Below this share of the score no place alone decides the answer.
_LITTLE = 0.1


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="Shipped model, model file or run folder.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PICTURES]...",
            help="Pictures, folders, or patterns such as '*.jpg'.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--class", help="Explain this class; the best answer if left out."),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X1,Y1,X2,Y2",
            help="Ask about an object of --class there, found or not.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="occlusion or rise; of a run folder also gradcam, hirescam, layercam."),
    ] = "occlusion",
    most: Annotated[int, typer.Option(min=1, help="Answers of a picture to explain.")] = 1,
    masks: Annotated[int, typer.Option(min=2, help="Passes of rise.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the masks, and of a check.")] = 0,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Score of objects; the model's own if left out."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where drawings go; 'explained' if left out, none with --json.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="Check the maps on labelled pictures instead.", show_default=False
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data to check on.")] = None,
    format: Format = None,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of a check.")] = 50,
    backend: Backend = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Show on which parts of a picture an answer rests.

    Exit status 1 if a picture could not be read or has nothing to explain, or if checked maps
    are not better than chance.
    """
    if check is not None:
        if sources or name or box or out:
            raise UsageError("--check draws its own pictures: leave pictures, class and out away")
        way = _method(method, model, masks, seed)
        return _check(model, way, check, split, format, pictures, seed, backend, as_json)
    if not sources:
        raise UsageError("no picture was named: give files or folders, or  --check DATA")
    place = _place(box, name)
    from whatwhere.outputs.folder import AnswerFolder
    from whatwhere.runtime import expand, load
    from whatwhere.runtime.explain import explain as run

    paths = expand(sources)
    folder = None
    if out is not None or not as_json:
        folder = AnswerFolder(out or FOLDER, sources)
        paths = folder.outside(paths)
    predictor = load(model, backend=backend)
    way = _method(method, model, masks, seed)
    failures = 0
    for path in paths:
        try:
            with _bar("explaining") as progress:
                found = run(
                    predictor,
                    path,
                    name=name,
                    box=place,
                    method=way,
                    most=most,
                    threshold=threshold,
                    progress=progress,
                )
        except ImageError as error:
            failures += 1
            _say_failure(path, str(error), as_json)
            continue
        if not found:
            failures += 1
            what = name or "anything"
            _say_failure(path, f"{path}: the model does not find {what} there", as_json)
        for item in found:
            _show(item, None if folder is None else _draw(item, folder), as_json)
    return 1 if failures else 0


def _place(box: str | None, name: str | None) -> list[float] | None:
    if box is None:
        return None
    if name is None:
        raise UsageError("--box says where, not what: add  --class NAME")
    try:
        place = [float(part) for part in box.split(",")]
    except ValueError:
        place = []
    if len(place) != 4:
        raise UsageError(f"--box {box} is no box: give X1,Y1,X2,Y2 in pixels, such as 10,20,90,80")
    return place


def _method(name: str, model: str, masks: int, seed: int) -> Method:
    from whatwhere.runtime.masking import Occlusion, Rise

    if name in _GRADIENTS:
        try:
            from whatwhere.train.explain import Gradients
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "whatwhere":
                raise
            raise MissingExtraError("train", f"The method {name}") from error
        return Gradients(model, name)  # type: ignore[arg-type]
    if name == "rise":
        return Rise(masks=masks, seed=seed)
    if name == "occlusion":
        return Occlusion()
    raise UsageError(f"unknown method {name!r}: use one of {', '.join(_MASKING + _GRADIENTS)}")


def _draw(item: Explanation, folder: object) -> Path:
    from whatwhere.outputs.folder import AnswerFolder
    from whatwhere.outputs.heat import draw_explanation

    assert isinstance(folder, AnswerFolder)
    assert item.image is not None
    path = folder.place(item.image)
    draw_explanation(item).save(path)
    return path


def _show(item: Explanation, drawing: Path | None, as_json: bool) -> None:
    if as_json:
        row = item.to_dict() | {"drawing": None if drawing is None else str(drawing)}
        typer.echo(json.dumps(row, ensure_ascii=False))
        return
    parts = [f"{item.image}: {item.name} {item.score:.2f}"]
    if item.peak is None:
        parts.append("nothing that was hidden speaks for it")
    else:
        parts.append(f"most at {item.peak[0]:.0f},{item.peak[1]:.0f}")
        if item.inside is not None:
            parts.append(f"{item.inside:.0%} of it inside the box")
        if item.method == "occlusion" and item.values.max() < _LITTLE * item.score:
            parts.append(f"no place matters much: hiding one costs at most {item.values.max():.3f}")
    typer.echo("; ".join([*parts, str(drawing)]))


def _say_failure(path: str, text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"image": path, "error": text}, ensure_ascii=False))
    else:
        typer.echo(f"whatwhere: {text}", err=True)


def _check(
    model: str,
    method: Method,
    place: Path,
    split: str | None,
    format: str | None,
    pictures: int,
    seed: int,
    backend: str,
    as_json: bool,
) -> int:
    from whatwhere.data import read
    from whatwhere.evaluation.explain_check import check_explanations

    data = read(place, format)
    with _bar("checking") as progress:
        found = check_explanations(
            model,
            data,
            method=method,
            split=split,
            pictures=pictures,
            seed=seed,
            backend=backend,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        _print(found)
    return 0 if found.good else 1


def _print(found: ExplainCheck) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    title = f"{found.method} of {found.model} on {found.source}: {found.images} pictures"
    console.print(title, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for head in ("", "mean", "95 % interval", "pictures"):
        table.add_column(head, justify="left" if not head else "right")
    for name, number in found.numbers.items():
        if number is None or number.value is None:
            table.add_row(name, "–", "", "")
            continue
        ends = "" if number.low is None else f"{number.low:.3f} to {number.high:.3f}"
        table.add_row(name, f"{number.value:.3f}", ends, str(number.units))
    console.print(table)
    typer.echo("better than chance" if found.good else "not shown to be better than chance")
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)


@contextmanager
def _bar(words: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        work = bar.add_task("", total=None)
        yield lambda done, total: bar.update(work, completed=done, total=total)
