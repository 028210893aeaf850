"""The command `whatwhere predict`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli import app
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from whatwhere.outputs.folder import AnswerFolder
    from whatwhere.outputs.results import ResultWriter
    from whatwhere.runtime import Failure, Predictor
    from whatwhere.runtime.cascade import Pair
    from whatwhere.types import Image, Prediction

    Show = Callable[[Prediction | Failure], bool]


@app.command()
def predict(
    sources: Annotated[
        list[str], typer.Argument(help="Pictures, folders, or patterns such as '*.jpg'.")
    ],
    model: Annotated[
        str, typer.Option(help="Shipped model, model file or run folder.")
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write annotated pictures.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Lowest score, 0 to 1; the model's own if left out."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="At most so many labels of a whole picture.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="jsonl, csv or coco; by default read off the suffix of --out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the results to a file.", show_default=False)
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="COCO annotation file whose ids --format coco uses.", show_default=False),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Pictures at once.", show_default=False)
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, onnxruntime or openvino.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the model; one a core if left out.")
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, help="Refuse larger pictures; 200 million if left out."),
    ] = None,
) -> int:
    """Say what is in pictures, and where.

    Exit status 1 if a picture could not be read; the others go on.
    """
    from whatwhere.images import DEFAULT_MAX_PIXELS
    from whatwhere.runtime import expand, load

    chosen = _format(format, out, ids)
    _check(threshold, as_json, chosen, out)
    paths = expand(sources)
    folder = None
    if save is not None:
        from whatwhere.outputs.folder import AnswerFolder

        folder = AnswerFolder(save, sources)
        paths = folder.outside(paths)
    predictor = load(model, backend=backend, threads=threads)
    if top is not None:
        predictor = _with_top(predictor, top)
    if chosen == "coco" and predictor.spec.task != "detect":
        raise UsageError(
            f"COCO's form holds boxes and {predictor.name} finds none: use --format jsonl or csv"
        )
    failures = 0
    with ExitStack() as stack:
        show = stack.enter_context(_output(chosen, out, as_json, ids, predictor.spec.names))
        count = stack.enter_context(_progress(hidden=out is None and sys.stdout.isatty()))
        pixels = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
        # To be drawn on; as many as are in work at once.
        seen: dict[int, Image] = {}
        stream = predictor.stream(
            paths,
            threshold=threshold,
            batch=batch,
            max_pixels=pixels,
            watch=None if folder is None else seen.__setitem__,
        )
        for place, item in enumerate(stream):
            readable = show(_shortened(item, top))
            if folder is not None and readable:
                _save(item, seen[place], folder)
            seen.pop(place, None)
            failures += not readable
            count()
    if out is not None:
        typer.echo(f"results: {out}", err=True)
    if folder is not None and not as_json:
        typer.echo(f"annotated pictures: {folder.folder}", err=True)
    return 1 if failures else 0


def _check(threshold: float | None, as_json: bool, format: str | None, out: Path | None) -> None:
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"threshold must be in 0..1, not {threshold}")
    if as_json and out is None and format not in (None, "jsonl"):
        raise UsageError(f"--json and --format {format} both want stdout: add  --out FILE")


def _format(format: str | None, out: Path | None, ids: Path | None) -> str | None:
    """The file format that is asked for; None for a table."""
    from whatwhere.outputs.results import FORMATS

    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if format is None and out is not None:
        format = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(out.suffix.lower())
        if format is None:
            raise UsageError(f"{out}: say what to write, with  --format {' or '.join(FORMATS)}")
    if ids is not None and format != "coco":
        raise UsageError("--ids are for COCO's form: add  --format coco")
    return format


def _with_top(predictor: Predictor | Pair, count: int) -> Predictor | Pair:
    from whatwhere.runtime import Predictor
    from whatwhere.runtime.cascade import Pair

    if isinstance(predictor, Predictor):
        return predictor.with_top(count)
    return Pair(predictor.detector, predictor.classifier.with_top(count), predictor.fits)


def _shortened(item: Prediction | Failure, top: int | None) -> Prediction | Failure:
    """The prediction with at most `top` labels; `multilabel` models give any number."""
    from whatwhere.types import Prediction

    if top is None or not isinstance(item, Prediction):
        return item
    return replace(item, label_names=item.label_names[:top], label_scores=item.label_scores[:top])


@contextmanager
def _output(
    format: str | None, out: Path | None, as_json: bool, ids: Path | None, names: Sequence[str]
) -> Iterator[Show]:
    """Where results go: to a file that appears when all is done, to stdout, or to both."""
    from whatwhere.outputs.results import CocoIds, JsonLines, open_writer
    from whatwhere.runtime import Failure

    known = None if ids is None else CocoIds.read(ids)
    with ExitStack() as stack:
        writers: list[ResultWriter] = []
        if out is not None and format is not None:
            from whatwhere.images import atomic_path

            temporary = stack.enter_context(atomic_path(out))
            # File names may hold bytes that are not UTF-8: they are escaped, not refused.
            file = temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace")
            writers.append(open_writer(format, stack.enter_context(file), names=names, ids=known))
        elif format is not None:
            writers.append(open_writer(format, sys.stdout, names=names, ids=known))
        if as_json and (out is not None or format is None):
            writers.append(JsonLines(sys.stdout))
        table = None
        if not writers:
            from whatwhere.outputs.table import ResultTable

            table = ResultTable()

        def show(item: Prediction | Failure) -> bool:
            for writer in writers:
                writer.write(item)
            if writers and (out is None or as_json):
                sys.stdout.flush()
            if isinstance(item, Failure):
                if not as_json:
                    _complain(item.error)
                return False
            if table is not None:
                table.print(item)
            return True

        yield show
        for writer in writers:
            writer.close()


def _save(item: Prediction | Failure, image: Image, folder: AnswerFolder) -> None:
    """Write the drawing of a prediction."""
    from whatwhere.outputs.draw import draw
    from whatwhere.types import Prediction

    assert isinstance(item, Prediction)
    assert item.image is not None
    draw(item, image).save(folder.place(item.image))


def _complain(error: Exception) -> None:
    typer.echo(f"whatwhere: {error}", err=True)


@contextmanager
def _progress(*, hidden: bool) -> Iterator[Callable[[], None]]:
    """Counts pictures on stderr, from the second second on; nothing where that is no terminal.

    Hidden, too, where the results themselves scroll over the terminal.
    """
    if hidden or not sys.stderr.isatty():
        yield lambda: None
        return
    start = time.monotonic()
    done = 0
    with ExitStack() as stack:
        bar: Progress | None = None

        def count() -> None:
            nonlocal bar, done
            done += 1
            spent = time.monotonic() - start
            if bar is None and spent > 1:
                bar = stack.enter_context(_bar())
                bar.add_task("predicting", total=None)
            if bar is not None:
                words = f"{done:,} pictures, {done / spent:.1f} a second"
                bar.update(bar.task_ids[0], completed=done, description=words)

        yield count


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    # The number of pictures is not known before the folders are walked: no percentage.
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=Console(stderr=True), transient=True)
