"""The command `whatwhere data view`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from whatwhere.cli.data._common import Format, Images, Json, Source, busy, data, read_data
from whatwhere.errors import UsageError


@data.command()
def view(
    source: Source,
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .jpg, .webp, .bmp or .tif.")],
    classes: Annotated[
        str | None, typer.Option(help="Pictures that show one of these, commas between them.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    count: Annotated[int, typer.Option(min=1, help="At most so many pictures.")] = 24,
    seed: Annotated[int, typer.Option(help="Another seed shows other pictures.")] = 0,
    hard: Annotated[
        str | None,
        typer.Option(
            help="Instead of chance: smallest (objects, seen close) or crowded (most labels)."
        ),
    ] = None,
    columns: Annotated[
        int | None, typer.Option(min=1, help="Pictures side by side.", show_default=False)
    ] = None,
    cell: Annotated[int, typer.Option(help="Pixels of a picture's place.")] = 320,
    outlines: Annotated[
        bool, typer.Option("--outlines", help="Draw outlines of objects instead of boxes.")
    ] = False,
    format: Format = None,
    images: Images = None,
    as_json: Json = False,
) -> int:
    """Write one picture that shows many, with their labels and a legend.

    Ignored labels are dashed. Exit status 1 if a picture could not be read.
    """
    from whatwhere.images import IMAGE_SUFFIXES
    from whatwhere.outputs.contact import HARD, choose_rows, contact_sheet

    chosen = next((one for one in HARD if one == hard), None)
    if hard is not None and chosen is None:
        raise UsageError(f"--hard is {' or '.join(HARD)}, not {hard!r}")
    if out.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(f"{out} is no name of a picture: end it with .png, .jpg or .webp")
    dataset = read_data(source, format, images)
    if split is not None:
        dataset = dataset.split_named(split)
    wanted = None if classes is None else [part.strip() for part in classes.split(",")]
    rows = choose_rows(dataset, count, classes=wanted, seed=seed, hard=chosen)
    if not rows:
        raise UsageError(f"{source} has no such picture: choose other classes")
    with busy(f"drawing {len(rows)} pictures"):
        sheet = contact_sheet(
            dataset,
            rows,
            columns=columns,
            cell=cell,
            outlines=outlines,
            close=chosen == "smallest",
        )
        sheet.drawing.save(out)
    for message in sheet.unreadable:
        typer.echo(f"whatwhere: {message}", err=True)
    names = dataset.relative_paths()
    height, width = sheet.drawing.image.shape[:2]
    if as_json:
        shown = [names[row] for row in sheet.rows]
        answer = {"path": str(out), "width": width, "height": height, "images": shown}
        typer.echo(json.dumps(answer, ensure_ascii=False))
    else:
        typer.echo(f"{out}: {len(sheet.rows)} pictures, {width}x{height} pixels")
    return int(bool(sheet.unreadable))
