"""The command `whatwhere data formats`."""

from __future__ import annotations

import json

import typer

from whatwhere.cli.data._common import Json, data


@data.command()
def formats(as_json: Json = False) -> int:
    """List the formats that can be read and written; with --json one object a line.

    "keeps" is what stays exactly the same after writing and reading, beyond pictures, their
    sizes, classes and boxes.
    """
    from whatwhere.data.formats import formats as known

    rows = [
        {
            "name": name,
            "title": one.TITLE,
            "tasks": [task for task in ("classify", "multilabel", "detect") if task in one.TASKS],
            "read": True,
            "write": hasattr(one, "write"),
            "keeps": sorted(one.HOLDS),
            "looks_for": one.LOOKS_FOR,
            "read_as": [f"{name}:{option}" for option in getattr(one, "OPTIONS", ())],
            "write_as": [f"{name}:{option}" for option in getattr(one, "WRITE_OPTIONS", ())],
        }
        for name, one in sorted(known().items())
    ]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "looks like", "tasks", "keeps", box=None, pad_edge=False)
    table.columns[1].overflow = "fold"
    table.columns[3].style = "dim"
    for row in rows:
        looks = f"{row['title']}: {row['looks_for']}" + ("" if row["write"] else " (read only)")
        for key, word in (("read_as", "--format"), ("write_as", "--to")):
            if row[key]:
                looks += f"; also {word} {', '.join(row[key])}"  # type: ignore[arg-type]
        table.add_row(
            Text(str(row["name"]), "bold"),
            Text(looks),
            "\n".join(str(task) for task in row["tasks"]),  # type: ignore[attr-defined]
            " ".join(row["keeps"]),  # type: ignore[arg-type]
            end_section=True,
        )
    Console().print(table)
    return 0
