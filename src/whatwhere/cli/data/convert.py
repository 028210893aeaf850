"""The command `whatwhere data convert`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from whatwhere.cli.data._common import (
    Format,
    Images,
    Json,
    Pictures,
    Source,
    Target,
    data,
    read_data,
    write_data,
)
from whatwhere.errors import UsageError

if TYPE_CHECKING:
    from whatwhere.data import Dataset

VIEWS = ("multilabel", "classify", "crops")


@data.command()
def convert(
    source: Source,
    target: Target,
    to: Annotated[str, typer.Option("--to", help="Format to write, such as coco or yolo.")],
    view: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="multilabel: which classes each picture shows, boxes dropped; classify: the one"
            " class of each picture; crops: each box as a picture of its own.",
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Of crops: what to add on each side, as a share of the box.")
    ] = 0.0,
    format: Format = None,
    images: Images = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Write a data set in another format, pictures included, to a new folder.

    What the format cannot hold is said; 'whatwhere data formats' lists what each one holds.
    """
    if view is not None and view not in VIEWS:
        raise UsageError(f"--as is {', '.join(VIEWS)}, not {view!r}")
    if margin and view != "crops":
        raise UsageError("--margin belongs to crops: add  --as crops")
    dataset = read_data(source, format, images)
    changed = _seen_as(dataset, view, margin)
    found = () if changed is dataset else changed.findings
    return write_data(changed, target, to, as_json, pictures, found, dataset.findings)


def _seen_as(dataset: Dataset, view: str | None, margin: float) -> Dataset:
    if view == "multilabel":
        return dataset.as_multilabel()
    if view == "classify":
        return dataset.as_classify()
    return dataset.as_crops(margin) if view == "crops" else dataset
