"""The command `whatwhere data merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whatwhere.cli.data._common import (
    Images,
    Json,
    Pictures,
    busy,
    data,
    read_data,
    write_data,
)
from whatwhere.errors import UsageError


@data.command()
def merge(
    sources: Annotated[
        list[Path], typer.Argument(help="Folders or annotation files.", metavar="SRC SRC ...")
    ],
    target: Annotated[Path, typer.Argument(help="New folder.", metavar="DST")],
    to: Annotated[
        str | None,
        typer.Option("--to", help="Format to write; by default that of the first source."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="Format of all sources, if not to be recognised."),
    ] = None,
    images: Images = None,
    view: Annotated[
        str | None, typer.Option("--as", help="multilabel: drop boxes before merging.")
    ] = None,
    prefix: Annotated[
        bool,
        typer.Option(
            "--prefix", help="Put each source's name before its groups, so that none are shared."
        ),
    ] = False,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Write several data sets as one; classes of one name are one class.

    A picture that two of them have is kept once, with the labels of both where they label
    different classes. Where they contradict each other, the first source is right and the
    exit status is 1.
    """
    from whatwhere.data.merging import merge as merged

    if view not in (None, "multilabel"):
        raise UsageError(f"--as is multilabel here, not {view!r}")
    sets = [read_data(source, format, images) for source in sources]
    if view is not None:
        sets = [dataset.as_multilabel() for dataset in sets]
    names = _prefixes(sources) if prefix else None
    with busy("comparing pictures"):
        whole = merged(sets, prefixes=names)
    read = [finding for dataset in sets for finding in dataset.findings]
    known = set(read)
    found = [finding for finding in whole.findings if finding not in known]
    return write_data(whole, target, to or sets[0].format, as_json, pictures, found, read)


def _prefixes(sources: list[Path]) -> list[str]:
    """A different word for each source: its name, with a number if that is taken."""
    names: list[str] = []
    for source in sources:
        stem = name = source.resolve().stem
        number = 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names
