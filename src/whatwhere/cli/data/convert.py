"""The command `whatwhere data convert`."""

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
    data,
    read_data,
    write_data,
)


@data.command()
def convert(
    source: Source,
    target: Target,
    to: Annotated[str, typer.Option("--to", help="Format to write, such as coco or yolo.")],
    format: Format = None,
    images: Images = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Write a data set in another format, pictures included, to a new folder."""
    dataset = read_data(source, format, images)
    return write_data(dataset, target, to, as_json, pictures)
