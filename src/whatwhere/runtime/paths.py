"""Paths of pictures: files, folders, patterns, and lists of them."""

from __future__ import annotations

import codecs
import glob
import os
from collections.abc import Iterator, Sequence
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import TypeAlias, TypeVar

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import IMAGE_SUFFIXES, member, picture_exists
from whatwhere.runtime.items import Item, broken

PathLike: TypeAlias = str | os.PathLike[str]
Found = TypeVar("Found")

WEB = ("http://", "https://")
TAR = (".tar",)
PACKED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ZIP = (".zip",)

HINT = "give files, folders or patterns such as '*.jpg'"
# A longer line is no path.
_LONGEST = 1 << 16


def expand(sources: PathLike | Sequence[PathLike]) -> Iterator[str]:
    """Paths of the pictures that files, folders and patterns name, in their order.

    As `Sources`, for what needs paths: videos, archives, lists and addresses are not opened.

    Raises:
        UsageError: a source does not exist or has no picture.
        ImageError: a folder cannot be listed.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not given:
        raise UsageError(f"no picture was named: {HINT}")
    return chain.from_iterable([_expand_one(os.fspath(source)) for source in given])


def is_picture(name: str) -> bool:
    """Whether a file name ends like a picture's."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a million names


def is_web(source: str) -> bool:
    """Whether a source is a web address."""
    return source[:8].lower().startswith(WEB)


def is_archive(name: str) -> bool:
    """Whether a file name ends like that of an archive that can be read."""
    return name.lower().endswith(TAR + PACKED_TAR + ZIP)


def _expand_one(source: str) -> Iterator[str]:
    if is_web(source):
        raise UsageError(f"{source} is a web address: download the picture and give its path")
    kind = kind_of(source)
    if kind == "file":
        return iter([source])
    if kind == "pattern":
        matches = (match for match in matching(source) if is_picture(match))
        return some(matches, unmatched(source))
    return (
        item if isinstance(item, str) else str(item.read(0))
        for item in some(walk(source), bare(f"folder {source}"))
    )


def kind_of(source: str) -> str:
    """`file`, `folder` or `pattern`.

    Raises:
        UsageError: the source is none of these.
    """
    if not source:
        raise UsageError(f"a source is empty: {HINT}")
    path = Path(source)
    try:
        if path.is_dir():
            return "folder"
        if path.exists():
            return "file"
    except (OSError, ValueError) as error:
        raise UsageError(f"{source!r} is not a usable path ({error}): check it") from error
    if glob.has_magic(source):
        return "pattern"
    # What lies in an archive may be named as results name it.
    if member(source) is not None and picture_exists(source):
        return "file"
    raise UsageError(f"{source} does not exist: check the path")


def matching(pattern: str) -> list[str]:
    """Files that match a pattern, sorted."""
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - absolute patterns too
    return sorted(match for match in found if Path(match).is_file())


def is_plain(line: str) -> bool:
    """Most lines by far: not looked at, since reading the picture does that anyway."""
    return is_picture(line) and not is_web(line) and not glob.has_magic(line)


def unmatched(pattern: str) -> str:
    """The message about a pattern without a match."""
    return f"no picture matches {pattern!r}: pictures end in {', '.join(sorted(IMAGE_SUFFIXES))}"


def bare(what: str) -> str:
    """The message about a folder or archive without a picture."""
    return f"no picture in the {what}: pictures end in {', '.join(sorted(IMAGE_SUFFIXES))}"


def some(found: Iterator[Found], message: str) -> Iterator[Found]:
    """The same, after looking for the first.

    Raises:
        UsageError: there is none; with this message.
    """
    for first in found:
        return chain([first], found)
    raise UsageError(message)


def lines_of(path: str) -> Iterator[str]:
    """The lines of a list, as `texts`."""
    with Path(path).open("rb") as file:
        yield from texts(file, f"the list {path}")


def texts(file: BufferedReader, where: str) -> Iterator[str]:
    """Lines without their ends, empty ones left out.

    Raises:
        UsageError: the first one cannot be a path.
    """
    binary = b"\0" in file.peek(32)[:32]
    line = file.readline(_LONGEST).removeprefix(codecs.BOM_UTF8)
    if binary or len(line) == _LONGEST:
        raise UsageError(f"{where} does not begin with a path: write one path a line")
    while line:
        path = line.rstrip(b"\r\n")
        if path:
            yield os.fsdecode(path)
        line = file.readline(_LONGEST)


def walk(
    folder: str, above: frozenset[tuple[int, int]] = frozenset(), *, order: bool = True
) -> Iterator[str | Item]:
    """Pictures of a folder and below; links are followed, but never in a circle.

    Without `order` nothing is kept in memory.
    """
    try:
        status = os.stat(folder)  # noqa: PTH116 - a million folders
        me = (status.st_dev, status.st_ino)
        if me in above:
            return
        names = _listed(folder)
        for name, is_folder in sorted(names) if order else names:
            path = os.path.join(folder, name)  # noqa: PTH118 - a million names
            if is_folder:
                yield from walk(path, above | {me}, order=order)
            else:
                yield path
    except OSError as error:
        text = f"{folder} cannot be listed ({error.strerror or error}): check its permissions"
        yield broken(folder, ImageError(text))


def _listed(folder: str) -> Iterator[tuple[str, bool]]:
    """Names of the pictures and folders in a folder, and whether each is a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield entry.name, True
            elif is_picture(entry.name) and entry.is_file():
                yield entry.name, False
