"""The command `whatwhere data rename`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
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
from whatwhere.errors import DataError, UsageError


@data.command()
def rename(
    source: Source,
    target: Target,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="Once for each class; see --file."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="JSON object of new names by old names, or CSV with two columns, old and new."
        ),
    ] = None,
    to: To = None,
    format: Format = None,
    images: Images = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Write a data set with other class names; classes that get one name become one class."""
    mapping = {} if file is None else read_mapping(file)
    for pair in map or []:
        old, equals, new = pair.partition("=")
        if not equals or not old.strip() or not new.strip():
            raise UsageError(f"--map {pair!r} is not of the form OLD=NEW")
        mapping[old.strip()] = new.strip()
    if not mapping:
        raise UsageError("nothing to rename: add  --map OLD=NEW  or  --file FILE")
    dataset = read_data(source, format, images)
    renamed = dataset.rename(mapping)
    return write_data(renamed, target, to or dataset.format, as_json, pictures)


def read_mapping(file: Path) -> dict[str, str]:
    """New names by old names.

    Raises:
        DataError: the file cannot be read or says something else.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise DataError(f"{file} cannot be read ({reason}): check the file") from error
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file} is not JSON ({error}): correct it") from None
        for old, new in found.items():
            if not isinstance(new, str):
                raise DataError(f"{file} gives {old!r} the name {new!r}: names are texts")
        return dict(found)
    mapping = {}
    reader = csv.reader(text.splitlines(), delimiter="\t" if "\t" in text else ",")
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells == ["old", "new"]:
            continue
        if len(cells) != 2 or not all(cells):
            raise DataError(
                f"{file}:{reader.line_num} is not an old and a new name with a comma between"
            )
        mapping[cells[0]] = cells[1]
    return mapping
