"""The command `whatwhere data filter`."""

from __future__ import annotations

from typing import Annotated

import typer

from whatwhere.cli.data._common import (
    Format,
    Images,
    Json,
    Pictures,
    Source,
    Target,
    To,
    data,
    read_data,
    write_data,
)
from whatwhere.errors import UsageError

_EXAMPLE = 'width > 500 and name in ("car", "bus") and not truncated'


@data.command("filter")
def filter_command(
    source: Source,
    target: Target,
    classes: Annotated[
        str | None, typer.Option(help="Only these classes, commas between them.")
    ] = None,
    without: Annotated[str | None, typer.Option(help="All classes but these.")] = None,
    min_size: Annotated[
        float | None, typer.Option(help="The shorter side of a box has at least so many pixels.")
    ] = None,
    max_size: Annotated[
        float | None, typer.Option(help="The longer side of a box has at most so many pixels.")
    ] = None,
    flags: Annotated[
        str | None,
        typer.Option(
            help="difficult, truncated, occluded, crowd or ignore for labels that are; with no-"
            " before it for labels that are not: no-difficult,no-crowd."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only these splits, commas between them.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPRESSION", help=f"A condition: {_EXAMPLE}")
    ] = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Keep pictures of which no label is left.")
    ] = False,
    rest: Annotated[
        str,
        typer.Option(
            help="What becomes of labels that are not chosen: remove, or ignore, so that finding"
            " them is no mistake. Those of other classes are always removed."
        ),
    ] = "remove",
    to: To = None,
    format: Format = None,
    images: Images = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Write the labels that fulfil all conditions, and their pictures, to a new folder.

    Columns of EXPRESSION: path, width, height, split, group, labels (of the picture); name,
    x1, y1, x2, y2, box_width, box_height, area, ignore, difficult, truncated, occluded,
    iscrowd, score, source, track, attributes, record (of the label).
    """
    if rest not in ("remove", "ignore"):
        raise UsageError(f"--rest is remove or ignore, not {rest!r}")
    dataset = read_data(source, format, images)
    chosen = dataset.filter(
        where,
        classes=None if classes is None else _list(classes),
        without=_list(without),
        min_size=min_size,
        max_size=max_size,
        flags=_list(flags),
        split=None if split is None else _list(split),
        keep_empty=keep_empty,
        rest="ignore" if rest == "ignore" else "remove",
    )
    if len(chosen) == 0:
        raise UsageError(f"no picture of {source} is chosen: ask for less")
    typer.echo(
        f"{len(chosen)} of {len(dataset)} pictures, {chosen.labels.height} of"
        f" {dataset.labels.height} labels",
        err=True,
    )
    return write_data(
        chosen, target, to or dataset.format, as_json, pictures, read=dataset.findings
    )


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]
