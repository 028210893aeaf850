"""What several formats need to know about folders, names and pictures on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import polars as pl

from whatwhere.data.findings import Finding
from whatwhere.errors import ImageError
from whatwhere.images import IMAGE_SUFFIXES, member, probe_image, shown_path

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "trainval": "trainval",
}


def split_name(text: str) -> str | None:
    """The split that a folder or file name stands for ("valid", "train2017"), or None."""
    return _SPLITS.get(re.sub(r"[-_]?\d{4}$", "", text.lower()))


def inside(folder: Path, name: str) -> Path | None:
    """`folder / name`, or None if that would leave the folder (links are not followed)."""
    text = name.replace("\\", "/")
    if "\0" in text or text.startswith("/") or re.match(r"[A-Za-z]:", text):
        return None
    place = os.path.normpath(folder / text)
    return Path(place) if Path(place).is_relative_to(folder) else None


def is_picture(name: str) -> bool:
    """Whether a file's suffix is that of a picture, and the file is not hidden."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


_listings: ContextVar[dict[Path, list[os.DirEntry[str]]] | None] = ContextVar(
    "_listings", default=None
)


@contextmanager
def remembered_listings() -> Iterator[None]:
    """Inside, each folder is listed once, however many formats look at it."""
    token = _listings.set({})
    try:
        yield
    finally:
        _listings.reset(token)


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name, hidden things left out; empty if there is no folder."""
    known = _listings.get()
    if known is not None and folder in known:
        return known[folder]
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        visible = [entry for entry in found if not entry.name.startswith(".")]
    visible.sort(key=lambda entry: entry.name)
    if known is not None:
        known[folder] = visible
    return visible


def head(file: Path, count: int = 1 << 16) -> bytes:
    """The first bytes of a file, for `recognise`; nothing where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(count)
    except OSError:
        return b""


def folders_below(path: Path, depth: int) -> Iterator[Path]:
    """The folder and those below it, nearest first, by name, hidden ones left out."""
    level = [path]
    for _ in range(depth + 1):
        yield from level
        level = [Path(entry.path) for one in level for entry in entries(one) if entry.is_dir()]


def add_sizes(
    images: pl.DataFrame, root: Path, *, only_missing: bool = True
) -> tuple[pl.DataFrame, list[Finding]]:
    """Fill in width and height from the pictures' headers.

    Returns:
        The pictures, null where one cannot be read, and a finding for each of those.
    """
    wanted = images["width"].is_null() | images["height"].is_null() | (not only_missing)
    rows = wanted.arg_true().to_list()
    paths = images["path"].gather(rows).to_list()
    widths, heights = images["width"].to_list(), images["height"].to_list()
    findings = []
    for row, path, answer in zip(rows, paths, probe_all(paths), strict=True):
        if isinstance(answer, ImageError):
            where = relative(Path(shown_path(path)), root)
            findings.append(Finding("unreadable-image", str(answer), where, "error"))
        else:
            widths[row], heights[row] = answer
    columns = [pl.Series("width", widths, pl.Int32), pl.Series("height", heights, pl.Int32)]
    return images.with_columns(columns), findings


def probe_all(paths: Sequence[str]) -> Iterator[tuple[int, int] | ImageError]:
    """Width and height of each picture after EXIF turning, or what is wrong with it."""

    def probe(path: str) -> tuple[int, int] | ImageError:
        try:
            info = probe_image(path)
        except ImageError as error:
            return error
        return info.width, info.height

    with ThreadPoolExecutor(max_workers=8) as pool:
        yield from pool.map(probe, paths, chunksize=64)


def relative(path: Path, root: Path) -> str:
    """The path from the data set's folder, as findings show it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def picture_name(path: str) -> str:
    """The file name of a picture, also of one inside a file."""
    inner = member(path)
    return os.path.basename(path if inner is None else inner.name)  # noqa: PTH119


_DRIVE = re.compile(r"^([A-Za-z]):")


def unique_names(paths: Sequence[str], key: Sequence[str] | None = None) -> list[str]:
    """A file name for each picture; those that clash, case and suffix aside, get a number.

    A name that begins like a drive of Windows ("C:.png") gets "_" for the colon, since
    `inside` takes such names for places outside the data set.

    Args:
        paths: where the pictures are.
        key: names clash only if the keys are equal, too (the folder that they go to).
    """
    quick = _already_unique(paths, key)
    if quick is not None:
        return quick
    taken: set[tuple[str, str]] = set()
    names = []
    for row, path in enumerate(paths):
        base = _DRIVE.sub(r"\1_", picture_name(path))
        first, suffix = os.path.splitext(base)  # noqa: PTH122
        folder = key[row] if key else ""
        stem, number = first, 1
        while (folder, stem.lower()) in taken:
            number += 1
            stem = f"{first}-{number}"
        taken.add((folder, stem.lower()))
        names.append(stem + suffix)
    return names


def _already_unique(paths: Sequence[str], key: Sequence[str] | None) -> list[str] | None:
    """The file names where none clash, as in most data sets; None to look closer."""
    if os.altsep is not None:
        return None
    names = [path[path.rfind(os.sep) + 1 :] for path in paths]
    text = "\n".join(names)
    if any(_DRIVE.match(name) for name in names):
        return None
    if any("!/" in path for path in paths) or "\n." in text or text[:1] in ("", "."):
        return None
    stems = [name[:dot] if (dot := name.rfind(".")) > 0 else name for name in names]
    if key is not None:
        stems = [f"{folder}/{stem}" for folder, stem in zip(key, stems, strict=True)]
    return names if len({stem.lower() for stem in stems}) == len(names) else None
