"""The command `whatwhere data stats`."""

from __future__ import annotations

import json

import typer

from whatwhere.cli.data._common import Format, Images, Json, PathArgument, data, read_data


@data.command()
def stats(
    path: PathArgument, format: Format = None, images: Images = None, as_json: Json = False
) -> int:
    """Count pictures, labels, boxes, classes and splits; with --json one object."""
    dataset = read_data(path, format, images)
    counts = dataset.stats()
    if as_json:
        typer.echo(json.dumps(counts, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    summary = Table("task", "images", "labels", "boxes", "kept out", box=None)
    for name in counts["splits"]:
        summary.add_column(Text(name))
    for column in summary.columns[1:]:
        column.justify = "right"
    summary.add_row(
        dataset.task,
        *(str(counts[key]) for key in ("images", "labels", "boxes")),
        str(dataset.kept_out),
        *(str(count) for count in counts["splits"].values()),
    )
    console.print(summary)
    classes = Table("class", "labels", "", box=None)
    classes.columns[1].justify = "right"
    most = max(counts["classes"].values(), default=0) or 1
    for name, count in sorted(counts["classes"].items(), key=lambda item: -item[1]):
        classes.add_row(Text(name), str(count), "█" * round(40 * count / most))
    console.print(classes)
    return 0
