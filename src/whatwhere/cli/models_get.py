"""The command `whatwhere models get`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli._options import Json
from whatwhere.cli.models import models
from whatwhere.errors import DataError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from whatwhere.types import Image

_MOST = 8
"""Pictures of `--check` that are looked at."""


@models.command()
def get(
    name: Annotated[str, typer.Argument(help="Model that  whatwhere models  lists.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; if left out, the cache, where the name then finds it.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Weights on disk, so that nothing is fetched: a file of tensors (torchvision) or a"
            " checkpoint's folder (transformers).",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Input HEIGHT,WIDTH, for Faster R-CNN.", show_default=False),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            help="Pictures of the comparison with the library: a file or folder; drawn ones if"
            " left out.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a stronger model of another library and make it a model file, once.

    The weights come through that library's own loader. The file is compared with the library's
    answers before it is written.
    """
    from whatwhere.runtime import hub

    model = hub.get(name)
    shown = None if size is None else _size(size)
    pictures = [] if check is None else _pictures(check)
    place = f"from {source}" if source is not None else f"from {model.page}"
    typer.echo(f"{model.name}: {model.source}, {model.license}, {place}", err=True)
    try:
        from whatwhere.train.hub import fetch
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "whatwhere":
            raise
        raise MissingExtraError("train", "Converting a model of another library") from error
    made = fetch(
        name,
        out=out,
        source=source,
        size=shown,
        pictures=pictures,
        progress=sys.stderr.isatty(),
    )
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        typer.echo(json.dumps(made.to_dict(), ensure_ascii=False))
        return
    met = made.agreement
    typer.echo(f"licence {made.spec.license}, {len(made.spec.names)} classes")
    typer.echo(f"published scores: {made.spec.reference['published']}")
    if met["found"]:
        typer.echo(
            f"agrees with {model.library}: {met['matched']:.1%} of {met['found']:.0f} boxes, within"
            f" {met['boxes']:.2g} px and {met['scores']:.2g} of a score"
        )
    used = made.model.name if out is None else made.file
    typer.echo(f"written: {made.file}; use it as --model {used}")


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise UsageError(
            f"--size {text!r} is no size: give HEIGHT,WIDTH in pixels, such as 800,1344"
        ) from None
    return height, width


def _pictures(place: Path) -> list[Image]:
    """Some pictures of a file or folder, spread over it."""
    from whatwhere.images import IMAGE_SUFFIXES, read_image

    paths = [place]
    if place.is_dir():
        files = sorted(place.rglob("*"))
        paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise DataError(f"{place} has no pictures: give others as --check")
    step = max(1, len(paths) // _MOST)
    return [read_image(path) for path in paths[::step][:_MOST]]
