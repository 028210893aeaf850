"""Which files an Open Images data set has, and the names of its classes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import entries, folders_below, relative, split_name
from whatwhere.data.formats._label_files import read_lines
from whatwhere.data.formats._open_images_csv import header

# Masks, relations of two objects, and points: tables of the original that are not read.
_OTHER_TABLES = re.compile(r"-annotations-(object-segmentation|vrd|point-labels)")

# The original has 600 classes in 30 kB.
_MOST_BYTES = 1 << 24


@dataclass
class Layout:
    """The files of a data set, each with its split.

    Args:
        boxes, labels, lists: tables of boxes, of labels of whole pictures, of pictures.
        descriptions: files with names of classes, the one of boxable classes first.
        hierarchy: files with the tree of classes.
        others: CSV files that are nothing of that.
        damaged: CSV files with the name of such a table, but not with its columns.
    """

    boxes: list[tuple[Path, str | None]] = field(default_factory=list)
    labels: list[tuple[Path, str | None]] = field(default_factory=list)
    lists: list[tuple[Path, str | None]] = field(default_factory=list)
    descriptions: list[Path] = field(default_factory=list)
    hierarchy: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)


def layout(path: Path) -> Layout:
    """Sort the files of a folder, two levels deep, or a single file with its neighbours."""
    found = Layout()
    root = path if path.is_dir() else path.parent
    for folder in folders_below(root, 2) if path.is_dir() else [root]:
        for entry in entries(folder):
            file, name = Path(entry.path), entry.name.lower()
            if not name.endswith((".csv", ".json")) or not entry.is_file():
                continue
            if name.endswith(".json"):
                if "hierarchy" in name:
                    found.hierarchy.append(file)
            elif "class-descriptions" in name or name == "classes.csv":
                found.descriptions.append(file)
            elif path.is_dir() or file == path:
                _sort(file, root, found)
    found.descriptions.sort(key=lambda file: ("boxable" not in file.name, str(file)))
    return found


def _sort(file: Path, root: Path, found: Layout) -> None:
    names = set(header(file))
    split = _split_of(file, root)
    if {"ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"} <= names:
        found.boxes.append((file, split))
    elif _OTHER_TABLES.search(file.name):
        found.others.append(file)
    elif "bbox" in file.name or {"XMin", "XMax", "YMin", "YMax"} & names:
        found.damaged.append(file)
    elif {"ImageID", "LabelName", "Confidence"} <= names:
        found.labels.append((file, split))
    elif {"ImageID", "Subset", "OriginalURL"} <= names:
        found.lists.append((file, split))
    elif re.search(r"-(annotations|images)-", file.name):
        found.damaged.append(file)
    else:
        found.others.append(file)


def _split_of(file: Path, root: Path) -> str | None:
    """What stands before -annotations or -images in the name, else the folder's name."""
    named = re.fullmatch(r"(?:oidv\d+-)?(.+?)-(?:annotations|images)-.*", file.stem)
    if named is not None:
        return split_name(named[1]) or named[1]
    for folder in (file.parent, file.parent.parent):
        if folder == root or not folder.is_relative_to(root):
            break
        if split_name(folder.name):
            return split_name(folder.name)
    return None


def class_names(
    files: list[Path], root: Path, findings: list[Finding]
) -> tuple[dict[str, str], int]:
    """Name of each class by its MID, and how many come from the first file.

    Classes of the same name keep apart: the later ones get their MID behind it.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    first = 0
    for place, file in enumerate(files):
        where = relative(file, root)
        lines = read_lines(file, where, findings) or []
        for number, row in enumerate(_split_rows(lines), 1):
            if not row or (number == 1 and row[0] in ("LabelName", "ImageID")):
                continue
            mid, name = row[0].strip(), (row[1].strip() if len(row) > 1 else "")
            if not mid or not name:
                message = "the row has no MID and name"
                findings.append(
                    Finding("bad-record", message, f"{where}:{number}", "error", KEPT_OUT)
                )
            elif mid not in names:
                if name in taken:
                    message = f"two classes are called {name!r}; this one is '{name} ({mid})'"
                    if place == 0:
                        findings.append(
                            Finding("duplicate-class", message, f"{where}:{number}", "warning")
                        )
                    name = f"{name} ({mid})"
                names[mid] = name
                taken.add(name)
        first = first or len(names)
    return names, first


def _split_rows(lines: list[str]) -> Iterator[list[str]]:
    """The words of each line; a line that is no CSV gives one word."""
    for line in lines:
        try:
            yield next(csv.reader([line]), [])
        except csv.Error:
            yield [line]


def read_hierarchy(files: list[Path], root: Path, findings: list[Finding]) -> Any:
    """The tree of classes as it stands in the first good file, or None."""
    for file in files:
        where = relative(file, root)
        try:
            if file.stat().st_size > _MOST_BYTES:
                raise ValueError(f"larger than {_MOST_BYTES} bytes")
            tree = json.loads(file.read_bytes())
            if isinstance(tree, dict) and "LabelName" in tree:
                return tree
            raise ValueError("it is no tree with LabelName")
        except (ValueError, RecursionError, OSError) as error:
            message = f"cannot be read as a hierarchy ({error})"
            findings.append(Finding("damaged-annotation", message, where, "warning", KEPT_OUT))
    return None
