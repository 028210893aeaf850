"""The command `whatwhere data stats`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from whatwhere.cli.data._common import Format, Images, Json, PathArgument, busy, data, read_data


@data.command()
def stats(
    path: PathArgument,
    format: Format = None,
    images: Images = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with plots and sample pictures, too."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Sample pictures of each class on the page.")
    ] = 4,
    full: Annotated[
        bool, typer.Option("--full", help="With --json: everything that is counted.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Count pictures, labels, boxes, classes and splits; with --json one object.

    Sizes are COCO's: small below 32 x 32 square pixels, large from 96 x 96. "Classes differ" is
    the total variation distance of the split's classes from those of the first split, "sizes
    differ" the largest gap between the distributions of box sizes (Kolmogorov-Smirnov). Anchors
    are typical box sizes with the image's long side at 640 pixels (k-means).
    """
    dataset = read_data(path, format, images)
    if split is not None:
        dataset = dataset.split_named(split)
    if html is not None:
        from whatwhere.outputs.data_page import write_data_page

        with busy(f"writing {html}"):
            write_data_page(dataset, html, samples=samples)
        typer.echo(f"page: {html}", err=True)
    if as_json:
        typer.echo(json.dumps(dataset.stats(full=full), ensure_ascii=False))
        return 0
    from whatwhere.cli.data._stats_text import print_statistics

    print_statistics(dataset.stats(full=True))
    return 0
