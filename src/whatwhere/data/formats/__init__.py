"""One file for each format, with its reader and its writer.

A format module has `NAME`; `TITLE` for people; `recognise(path) -> str | None`, a phrase
that says what it saw; `read(path) -> Dataset`; `write(dataset, folder) -> findings`.
`LOOKS_FOR` completes "looked for ..." in the message for an unknown folder. Modules are
found by their place: a new file here is a new format.
"""

from __future__ import annotations

import os
import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.errors import DataError, UsageError
from whatwhere.images import atomic_path


class Format(Protocol):
    """What a module of this package offers."""

    NAME: str
    TITLE: str
    LOOKS_FOR: str

    def recognise(self, path: Path) -> str | None:
        """What was seen that shows this format, or None."""

    def read(self, path: Path) -> Dataset:
        """The data set; DataError where it cannot be understood as a whole."""

    def write(self, dataset: Dataset, folder: Path) -> list[Finding]:
        """Write into an existing, empty folder; say what could not be written."""


@cache
def formats() -> dict[str, Format]:
    """Every format by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            format = cast(Format, import_module(f"{__name__}.{module.name}"))
            found[format.NAME] = format
    return found


def _format(name: str) -> Format:
    try:
        return formats()[name]
    except KeyError:
        known = ", ".join(formats())
        raise UsageError(f"unknown data format {name!r}: use one of {known}") from None


def read(path: str | os.PathLike[str], format: str | None = None) -> Dataset:
    """Read a data set; the format is recognised unless it is given.

    Args:
        path: a folder, or an annotation file of a format that has one (COCO's JSON).
        format: "coco", "folders", "voc" or "yolo".

    Returns:
        The data set; `recognised` says what was seen, `findings` what was wrong.

    Raises:
        DataError: the path is missing, empty, of no known format, of more than one, or
            damaged as a whole.
        UsageError: the format name is unknown.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"{place} does not exist: check the path")
    if place.is_dir() and not any(place.iterdir()):
        raise DataError(f"{place} is an empty folder: put a data set into it")
    absolute = place.resolve()
    if format is not None:
        chosen = _format(format)
        seen = chosen.recognise(absolute) or "as asked"
    else:
        chosen, seen = _recognise(absolute, place)
    dataset = chosen.read(absolute)
    dataset.source, dataset.format = os.fspath(path), chosen.NAME
    dataset.recognised = f"{chosen.TITLE}: {seen}"
    if len(dataset) == 0:
        raise DataError(f"{place} was read as {dataset.recognised}, but holds no pictures")
    return dataset


def _recognise(path: Path, shown: Path) -> tuple[Format, str]:
    seen = {name: phrase for name, one in formats().items() if (phrase := one.recognise(path))}
    if not seen:
        wanted = "; ".join(f"{one.LOOKS_FOR} ({name})" for name, one in formats().items())
        raise DataError(f"{shown} is not a data set of a known format: looked for {wanted}")
    if len(seen) > 1:
        both = " and ".join(f"{name} ({phrase})" for name, phrase in seen.items())
        raise DataError(f"{shown} looks like {both}: say which with format=")
    ((name, phrase),) = seen.items()
    return formats()[name], phrase


def write(dataset: Dataset, folder: str | os.PathLike[str], format: str) -> tuple[Finding, ...]:
    """See `Dataset.write`."""
    chosen = _format(format)
    target = Path(folder)
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if target.exists():
        raise UsageError(f"{target} has content already: choose a new folder")
    with atomic_path(target) as temporary:
        temporary.mkdir()
        return tuple(chosen.write(dataset, temporary))
