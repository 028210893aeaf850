"""Where the XML files and pictures of a Pascal VOC data set lie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from whatwhere.data.formats._files import (
    entries,
    head,
    is_picture,
    relative,
    split_name,
)
from whatwhere.errors import DataError

LOOKS_FOR = (
    "Annotations/ with XML files beside JPEGImages/, or XML files with <annotation> beside the"
    " pictures, perhaps in train/, valid/ and test/"
)

_ANNOTATIONS = ("Annotations", "annotations")
_PICTURES = ("JPEGImages", "images", "Images", "Data")
_DEEPEST = 5
_BROADEST = 64


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of annotations and the folder of its pictures.

    Args:
        base: the folder that the XML files lie in or below.
        files: the XML files.
        pictures: where the pictures lie; `deep` if in folders below, too.
        split: what the folder's name says.
        own: whether a picture without annotation belongs to the data set, too.
    """

    base: Path
    files: list[str]
    pictures: Path
    split: str | None = None
    deep: bool = True
    own: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """All parts; `seen` says what the format is recognised by."""

    root: Path
    parts: list[Part]
    seen: str
    lists: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lists", self.root / "ImageSets" / "Main")


def find_layout(path: Path, images: Path | None = None) -> Layout | None:
    """The layout of the data set at a path, None if there is none.

    Raises:
        DataError: there are several, which do not belong together.
    """
    if path.is_file():
        if path.suffix.lower() != ".xml" or not _is_voc(str(path)):
            return None
        part = Part(path.parent, [str(path)], images or path.parent, None, bool(images), False)
        return Layout(path.parent, [part], f"<annotation> in {path.name}")
    roots = list(_kit_roots(path))
    if not roots:
        return _beside(path, images)
    root = roots[0][0]
    if len(roots) > 1:
        root = root.parent
        splits = [split_name(folder.name) for folder, _ in roots]
        if None in splits or len({folder.parent for folder, _ in roots}) > 1:
            names = ", ".join(relative(folder, path) for folder, _ in roots)
            raise DataError(f"{path} holds {len(roots)} Pascal VOC data sets: give one of {names}")
    parts = []
    for folder, base in roots:
        inner = next((folder / name for name in _PICTURES if (folder / name).is_dir()), None)
        pictures = images or inner or folder / "JPEGImages"
        split = split_name(folder.name) if len(roots) > 1 else None
        files = list(xml_files(base, _DEEPEST))
        parts.append(Part(base, files, pictures, split, True, images is None))
    where = relative(roots[0][1].parent, path.parent)
    return Layout(root, parts, f"{roots[0][1].name}/ with XML files in {where}")


def _kit_roots(path: Path) -> Iterator[tuple[Path, Path]]:
    """Folders that have a folder of annotations, with that folder."""
    for folder in _near(path):
        names = {entry.name for entry in entries(folder)}
        for name in _ANNOTATIONS:
            if name not in names:
                continue
            first = []
            for file in xml_files(folder / name, _DEEPEST):
                first.append(file)
                if len(first) == 5:
                    break
            if first and ("JPEGImages" in names or any(map(_is_voc, first))):
                yield folder, folder / name
            break


def _near(path: Path) -> Iterator[Path]:
    """The folder and those below it, three levels deep, but not all of a thousand classes."""
    level = [path]
    for _ in range(4):
        yield from level
        level = [Path(entry.path) for one in level for entry in entries(one) if entry.is_dir()]
        level = level[:_BROADEST]


def _beside(path: Path, images: Path | None) -> Layout | None:
    """XML files beside the pictures: in the folder itself, or in folders named as splits."""
    parts = []
    below = [Path(entry.path) for entry in entries(path) if entry.is_dir()]
    for folder in [path, *(one for one in below if split_name(one.name))]:
        files = list(xml_files(folder, 0))
        if any(map(_is_voc, files[:5])):
            split = None if folder == path else split_name(folder.name)
            pictures, own = images or folder, images is None
            parts.append(Part(folder, files, pictures, split, images is not None, own))
    if not parts:
        return None
    names = ", ".join(relative(part.base, path.parent) for part in parts)
    return Layout(path, parts, f"XML files with <annotation> in {names}")


def _is_voc(file: str) -> bool:
    data = head(Path(file), 4096)
    return bool(
        re.search(rb"<annotation[\s>]", data)
        and re.search(rb"<(bndbox|object|filename|size)[\s>/]", data)
    )


def xml_files(folder: Path, depth: int) -> Iterator[str]:
    """Paths of the XML files in a folder and up to `depth` below."""
    for entry in entries(folder):
        if entry.name.lower().endswith(".xml"):
            if entry.is_file():
                yield entry.path
        elif depth and entry.is_dir():
            yield from xml_files(Path(entry.path), depth - 1)


class Found:
    """The pictures in a folder and, if `deep`, below it, by name.

    Args:
        by_path: path below the folder, without suffix -> path.
        by_stem: name without suffix -> path; None if several have it.
        exact: name -> path of pictures whose names are the same but for the suffix.
        clashes: two such paths.
        others: files that are not pictures.
    """

    def __init__(self, folder: Path, deep: bool = True) -> None:
        self.folder = folder
        self.by_path: dict[str, str] = {}
        self.by_stem: dict[str, str | None] = {}
        self.exact: dict[str, str] = {}
        self.clashes: list[tuple[str, str]] = []
        self.others: list[str] = []
        self._add(folder, "", _DEEPEST if deep else 0)

    def _add(self, folder: Path, prefix: str, depth: int) -> None:
        for entry in entries(folder):
            stem, _ = os.path.splitext(entry.name)  # noqa: PTH122
            key = prefix + stem
            if not is_picture(entry.name):
                if depth and entry.is_dir():
                    self._add(Path(entry.path), f"{prefix}{entry.name}/", depth - 1)
                else:
                    self.others.append(entry.path)
            elif key in self.by_path:
                first = self.by_path[key]
                self.clashes.append((first, entry.path))
                self.exact[entry.name] = entry.path
                self.exact[os.path.basename(first)] = first  # noqa: PTH119
            else:
                self.by_path[key] = entry.path
                self.by_stem[stem] = None if stem in self.by_stem else entry.path

    def get(self, *keys: str) -> str | None:
        """The picture of the first key that has one."""
        for key in keys:
            found = self.by_path.get(key)
            if found is not None:
                return found
        for key in keys:
            found = self.by_stem.get(key.rsplit("/", 1)[-1])
            if found is not None:
                return found
        return None
