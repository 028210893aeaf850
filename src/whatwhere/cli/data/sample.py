"""The command `whatwhere data sample`."""

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


@data.command()
def sample(
    source: Source,
    target: Target,
    count: Annotated[int | None, typer.Option(help="Number of pictures.")] = None,
    share: Annotated[float | None, typer.Option(help="Or their share, such as 0.1.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another sample.")] = 0,
    to: To = None,
    format: Format = None,
    images: Images = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Write some of the pictures to a new folder, the same ones for the same seed.

    Every class is in it if there is room; splits and classes keep their shares.
    """
    dataset = read_data(source, format, images)
    chosen = dataset.sample(count, share=share, seed=seed)
    return write_data(
        chosen, target, to or dataset.format, as_json, pictures, read=dataset.findings
    )
