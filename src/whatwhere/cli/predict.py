"""The command `whatwhere predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli import app
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
    from whatwhere.cli._progress import Pace
    from whatwhere.outputs.folder import AnswerFolder
    from whatwhere.outputs.resume import Done
    from whatwhere.runtime import Failure, Predictor
    from whatwhere.runtime.cascade import Pair
    from whatwhere.runtime.fetch import UrlLimits
    from whatwhere.runtime.items import Item
    from whatwhere.types import Image, Prediction


@app.command()
def predict(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, folders, patterns such as '*.jpg', videos, ZIP and tar files, lists of"
            " these (@FILE), camera:0, rtsp://..., or - for stdin.",
            show_default=False,
        ),
    ] = None,
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
        typer.Option(help="jsonl, csv, coco or geojson; by default read off the suffix of --out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the results to a file.", show_default=False)
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="COCO annotation file whose ids --format coco uses.", show_default=False),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on after the results that --out FILE holds already."),
    ] = False,
    list_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--list", metavar="FILE", help="The same as the source @FILE.", show_default=False
        ),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Of videos and cameras, every n-th frame.")] = 1,
    urls: Annotated[
        bool,
        typer.Option("--urls", help="Allow http and https addresses; only public ones are asked."),
    ] = False,
    url_megabytes: Annotated[
        float, typer.Option(min=0, help="Largest picture from an address.")
    ] = 50,
    url_seconds: Annotated[
        float, typer.Option(min=0, help="Longest time for a picture from an address.")
    ] = 30,
    tile: Tile = None,
    tile_overlap: TileOverlap = None,
    merge: MergeOption = None,
    merge_metric: MergeBy = None,
    suppress: SuppressOption = None,
    suppress_iou: SuppressIou = None,
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
    from whatwhere.cli._progress import Pace, progress
    from whatwhere.cli._results import output
    from whatwhere.images import DEFAULT_MAX_PIXELS
    from whatwhere.runtime import Sources, load

    chosen = _format(format, out, ids)
    _check(threshold, as_json, chosen, out)
    if resume and (out is None or chosen not in ("jsonl", "csv")):
        raise UsageError("--resume needs a file to go on with: add  --out FILE.jsonl  or .csv")
    given = Sources(
        sources or [],
        lists=list_file or [],
        urls=_limits(url_megabytes, url_seconds) if urls else False,
        every=every,
    )
    items = iter(given)
    folder = None
    if save is not None:
        from whatwhere.outputs.folder import AnswerFolder

        folder = AnswerFolder(save, sources or [])
        items = folder.outside(items)
    boxing = Boxing(tile, tile_overlap, merge, merge_metric, suppress, suppress_iou)
    predictor = boxing.apply(load(model, backend=backend, threads=threads))
    if top is not None:
        predictor = _with_top(predictor, top)
    if chosen == "coco" and predictor.spec.task != "detect":
        raise UsageError(
            f"COCO's form holds boxes and {predictor.name} finds none: use --format jsonl or csv"
        )
    pace = Pace(given.count)
    done = None
    if resume:
        assert out is not None
        assert chosen is not None
        from whatwhere.outputs.resume import read_done

        done = read_done(out, chosen, predictor.name)
        items = _undone(items, done, pace, folder)
    failures = 0 if done is None else done.failures
    with ExitStack() as stack:
        show = stack.enter_context(output(chosen, out, as_json, ids, predictor.spec.names, done))
        bar = stack.enter_context(progress(pace, hidden=out is None and sys.stdout.isatty()))
        pixels = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
        # To be drawn on; as many as are in work at once.
        seen: dict[int, Image] = {}
        stream = predictor.stream(
            items,
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
            pace.step()
            bar()
    if done is not None and done.pictures:
        typer.echo(f"{done.pictures:,} pictures were done before, {pace.done:,} now", err=True)
    if out is not None:
        typer.echo(f"results: {out}", err=True)
    if folder is not None and not as_json:
        typer.echo(f"annotated pictures: {folder.folder}", err=True)
    return 1 if failures else 0


def _limits(megabytes: float, seconds: float) -> UrlLimits:
    from whatwhere.runtime.fetch import UrlLimits

    return UrlLimits(most_bytes=int(megabytes * 1e6), seconds=seconds)


def _undone(
    items: Iterator[str | Item], done: Done, pace: Pace, folder: AnswerFolder | None
) -> Iterator[str | Item]:
    """What the file does not hold yet."""
    from whatwhere.runtime.items import name_of

    for item in items:
        name = name_of(item) or ""
        if not done.take(name):
            yield item
            continue
        pace.skip()
        if folder is not None:
            # Its drawing keeps its name.
            folder.place(name)


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
        known = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".geojson": "geojson"}
        format = known.get(out.suffix.lower())
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


def _save(item: Prediction | Failure, image: Image, folder: AnswerFolder) -> None:
    """Write the drawing of a prediction."""
    from whatwhere.outputs.draw import draw
    from whatwhere.types import Prediction

    assert isinstance(item, Prediction)
    assert item.image is not None
    draw(item, image).save(folder.place(item.image))
