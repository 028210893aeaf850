"""The command `whatwhere data split`."""

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


@data.command()
def split(
    source: Source,
    target: Target,
    fractions: Annotated[
        str, typer.Option(help="Shares of train, val and test; they add up to 1.")
    ] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(help="Another seed gives other parts.")] = 0,
    group: Annotated[
        str | None,
        typer.Option(help="Keep pictures together that agree in this, such as folder."),
    ] = None,
    to: To = None,
    format: Format = None,
    images: Images = None,
    pictures: Pictures = "copy",
    as_json: Json = False,
) -> int:
    """Divide a data set anew into train, val and test, and write it to a new folder."""
    shares = _shares(fractions)
    dataset = read_data(source, format, images).with_splits(shares, seed=seed, group=group)
    return write_data(dataset, target, to or dataset.format, as_json, pictures)


def _shares(text: str) -> dict[str, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--fractions must be numbers with commas between them, not {text!r}"
        ) from None
    names = {1: ("train",), 2: ("train", "val"), 3: ("train", "val", "test")}.get(len(values))
    if names is None:
        raise UsageError(f"--fractions has {len(values)} shares: give train, val and test")
    # A share of nothing is no part: "0.8,0,0.2" has no validation pictures.
    return {name: value for name, value in zip(names, values, strict=True) if value != 0}
