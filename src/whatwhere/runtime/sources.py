"""From what a user names (files, folders, patterns) to paths of pictures."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from whatwhere.errors import UsageError
from whatwhere.images import IMAGE_SUFFIXES

PathLike: TypeAlias = str | os.PathLike[str]


def expand(sources: PathLike | Sequence[PathLike]) -> Iterator[str]:
    """Paths of the pictures that the sources name, in their order.

    A file is taken as it is, whatever its suffix. A folder gives the pictures in it and
    below, sorted by name, hidden ones left out. A pattern (`*`, `?`, `[...]`, `**` for any
    depth) gives the pictures it matches, sorted. Each source is looked at before the first
    path is given, so that a wrong one is reported before any work; folders are then walked
    while the paths are used.

    Raises:
        UsageError: a source does not exist or has no picture.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not given:
        raise UsageError("no picture was named: give files, folders or patterns such as '*.jpg'")
    return chain.from_iterable([_expand_one(os.fspath(source)) for source in given])


def is_picture(name: str) -> bool:
    """Whether a file name ends like a picture's."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a million names


def _expand_one(source: str) -> Iterator[str]:
    if source.startswith(("http://", "https://")):
        raise UsageError(f"{source} is a web address: download the picture and give its path")
    if not source:
        raise UsageError("a source is empty: give files, folders or patterns such as '*.jpg'")
    path = Path(source)
    try:
        is_folder, is_file = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise UsageError(f"{source!r} is not a usable path ({error}): check it") from error
    if is_folder:
        found, what = _walk(source, frozenset()), f"no picture in the folder {source}"
    elif is_file:
        return iter([source])
    elif glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - absolute patterns too
        found = (match for match in matches if is_picture(match) and Path(match).is_file())
        what = f"no picture matches {source!r}"
    else:
        raise UsageError(f"{source} does not exist: check the path")
    first = next(found, None)
    if first is None:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UsageError(f"{what}: pictures end in {kinds}")
    return chain([first], found)


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Pictures of a folder and below; links are followed, but never in a circle."""
    status = os.stat(folder)  # noqa: PTH116 - a million folders
    me = (status.st_dev, status.st_ino)
    if me in above:
        return
    with os.scandir(folder) as entries:
        listed = sorted((entry.name, entry.is_dir(), entry.is_file()) for entry in entries)
    for name, is_folder, is_file in listed:
        if name.startswith("."):
            continue
        path = os.path.join(folder, name)  # noqa: PTH118 - a million names
        if is_folder:
            yield from _walk(path, above | {me})
        elif is_file and is_picture(name):
            yield path
