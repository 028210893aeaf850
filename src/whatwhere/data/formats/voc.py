"""Pascal VOC: Annotations/*.xml, JPEGImages/, ImageSets/Main/*.txt.

Source: the VOC2012 development kit. Pixels are counted from 1 and the last one belongs to
the box, so x1 and y1 lose 1 in reading and gain it in writing. A box whose first and last
pixel are the same is taken for a slip of the mouse and kept out.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._files import (
    add_sizes,
    entries,
    folders_below,
    inside,
    is_picture,
    relative,
    split_name,
)
from whatwhere.data.formats._voc_write import write
from whatwhere.data.formats._xml import Node, XmlError, parse_xml
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, LABEL_COLUMNS, table, tidy_boxes
from whatwhere.errors import DataError
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "voc"
TITLE = "Pascal VOC"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset({"split", "ignore", "difficult", "truncated"})
LOOKS_FOR = "Annotations/ with XML files, beside JPEGImages/"


def _roots(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [
        folder
        for folder in folders_below(path, 3)
        if any(entry.name.endswith(".xml") for entry in entries(folder / "Annotations"))
    ]


def recognise(path: Path) -> str | None:
    """See `formats`."""
    roots = _roots(path)
    if not roots:
        return None
    return f"Annotations/ with XML files in {relative(roots[0], path.parent)}"


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; the folder with Annotations/ may lie up to three levels below `path`."""
    roots = _roots(path)
    if not roots:
        raise DataError(f"{path} is not a Pascal VOC data set: looked for {LOOKS_FOR}")
    if len(roots) > 1:
        names = ", ".join(relative(root, path) for root in roots)
        raise DataError(f"{path} holds {len(roots)} Pascal VOC data sets: give one of {names}")
    return _Reader(roots[0]).read()


class _Reader:
    """Gathers rows and findings of one data set."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.images: dict[str, list[Any]] = {name: [] for name in ("path", "width", "height")}
        self.labels: dict[str, list[Any]] = {
            name: []
            for name in ("image", "name", *BOX, "ignore", "difficult", "truncated", "record")
        }

    def find(self, *args: Any) -> None:
        self.findings.append(Finding(*args))

    def read(self) -> Dataset:
        pictures = self._pictures()
        found: dict[str, Path] = {}
        for entry in entries(self.root / "Annotations"):
            if not entry.name.endswith(".xml"):
                continue
            stem = entry.name[:-4]
            row = self._annotation(stem, Path(entry.path), pictures)
            if row is not None:
                found[stem] = row
        for stem in sorted(pictures.keys() - found.keys()):
            if pictures[stem] in found.values():
                continue
            where = relative(pictures[stem], self.root)
            if any(one.where.startswith(f"Annotations/{stem}.xml") for one in self.findings):
                continue
            self.find(
                "missing-annotation",
                "the picture has no annotation file",
                where,
                "warning",
                "read as background",
            )
            self._image(pictures[stem], None, None)
            found[stem] = pictures[stem]
        return self._dataset(found)

    def _pictures(self) -> dict[str, Path]:
        folder = self.root / "JPEGImages"
        found: dict[str, Path] = {}
        for entry in entries(folder):
            place = Path(entry.path)
            if not is_picture(entry.name):
                self.find("not-an-image", "not a picture", relative(place, self.root), "info")
            elif place.stem in found:
                self.find(
                    "duplicate-name",
                    f"{found[place.stem].name} has the same name but for its ending",
                    relative(place, self.root),
                    "warning",
                    KEPT_OUT,
                )
            else:
                found[place.stem] = place
        return found

    def _image(self, place: Path, width: int | None, height: int | None) -> int:
        self.images["path"].append(str(place))
        self.images["width"].append(width)
        self.images["height"].append(height)
        return len(self.images["path"]) - 1

    def _annotation(self, stem: str, file: Path, pictures: dict[str, Path]) -> Path | None:
        where = relative(file, self.root)
        try:
            tree = parse_xml(file)
        except XmlError as error:
            self.find("damaged-annotation", str(error), where, "error", KEPT_OUT)
            return None
        except OSError as error:
            self.find("damaged-annotation", f"{error.strerror}", where, "error", KEPT_OUT)
            return None
        if tree.tag != "annotation":
            message = f"the XML is <{tree.tag}>, not <annotation>"
            self.find("damaged-annotation", message, where, "error", KEPT_OUT)
            return None
        place = self._picture_of(stem, tree, where, pictures)
        if place is None:
            return None
        size = [_whole(tree.value("size", side)) for side in ("width", "height")]
        width, height = size if all(size) else (None, None)
        row = self._image(place, width, height)
        for node in tree.children:
            if node.tag == "object":
                self._object(node, row, f"{where}:{node.line}")
        return place

    def _picture_of(
        self, stem: str, tree: Node, where: str, pictures: dict[str, Path]
    ) -> Path | None:
        """By the annotation's own name, as the format has it; else by its <filename>."""
        if stem in pictures:
            return pictures[stem]
        name = tree.value("filename") or ""
        count = sum(node.tag == "object" for node in tree.children)
        place = inside(self.root / "JPEGImages", name) if name else None
        if name and place is None:
            message = f"<filename> {name!r} leaves the data set's folder"
            self.find("path-outside", message, where, "error", KEPT_OUT, count)
        elif place is None or not place.is_file():
            message = "JPEGImages has no picture for this annotation"
            self.find("missing-image", message, where, "error", KEPT_OUT, count)
        else:
            return place
        return None

    def _object(self, node: Node, row: int, record: str) -> None:
        name = node.value("name")
        values = [_number(node.value("bndbox", side)) for side in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = values
        if not name:
            self.find("no-class", "the object has no name", record, "error", KEPT_OUT, 1)
            return
        if x1 is None or y1 is None or x2 is None or y2 is None:
            message = f"the object {name!r} has no box of four numbers"
            self.find("bad-box", message, record, "error", KEPT_OUT, 1)
            return
        difficult = _flag(node.value("difficult"))
        # As written for boxes that tidy_boxes refuses, so that it finds the same fault.
        shift = 1 if x2 > x1 and y2 > y1 else 0
        for column, value in {
            "image": row,
            "name": name,
            "x1": x1 - shift,
            "y1": y1 - shift,
            "x2": x2,
            "y2": y2,
            "ignore": difficult,
            "difficult": difficult,
            "truncated": _flag(node.value("truncated")),
            "record": record,
        }.items():
            self.labels[column].append(value)

    def _dataset(self, found: dict[str, Path]) -> Dataset:
        images = table(self.images, IMAGE_COLUMNS)
        images, unreadable = add_sizes(images, self.root)
        self.findings += unreadable
        split = self._splits(found)
        images = images.with_columns(
            pl.Series("split", [split.get(path) for path in self.images["path"]], pl.String)
        )
        names = self._names()
        ids = [names.index(name) for name in self.labels.pop("name")]
        labels, faults = tidy_boxes(pl.DataFrame(self.labels | {"class_id": ids}), images)
        self.findings += faults
        return Dataset(
            images,
            table(labels, LABEL_COLUMNS),
            Labels(names),
            findings=self.findings,
            root=str(self.root),
            task="detect",
        )

    def _names(self) -> list[str]:
        """Names in the order of a labelmap.txt (CVAT's addition), the others by alphabet."""
        listed: dict[str, None] = {}
        file = self.root / "labelmap.txt"
        if file.is_file():
            for line in file.read_text("utf-8", "replace").splitlines():
                name = line.split(":")[0].strip()
                if name and not name.startswith("#") and name != "background":
                    listed[name] = None
        return [*listed, *sorted(set(self.labels["name"]) - listed.keys())]

    def _splits(self, found: dict[str, Path]) -> dict[str, str]:
        """Split of each path. "trainval" counts where neither train nor val has a picture."""
        folder = self.root / "ImageSets" / "Main"
        lists = {}
        for entry in entries(folder):
            stem, suffix = Path(entry.name).stem, Path(entry.name).suffix
            # "cat_train.txt" says which pictures show a cat: not a split of its own.
            if suffix == ".txt" and stem.rsplit("_", 1)[-1] in (stem, ""):
                lists[split_name(stem) or stem] = Path(entry.path)
        known = ["train", "val", "test"]
        order = [*known, *sorted(lists.keys() - {*known, "trainval"}), "trainval"]
        split: dict[str, str] = {}
        for name in order:
            if name not in lists:
                continue
            where = relative(lists[name], self.root)
            lines = lists[name].read_text("utf-8", "replace").splitlines()
            seen: set[str] = set()
            for number, line in enumerate(lines, 1):
                stem = line.strip()
                if stem not in found:
                    # The kit's lists of one class have 1, 0 or -1 behind the name.
                    stem = re.sub(r"\s+(-1|0|1)$", "", stem)
                record = f"{where}:{number}"
                if not stem:
                    continue
                if stem in seen:
                    message = f"{stem} is listed twice"
                    self.find("duplicate-entry", message, record, "warning", KEPT_OUT)
                    continue
                seen.add(stem)
                place = str(found.get(stem, ""))
                if not place:
                    message = f"{stem} is listed, but has no picture or no annotation"
                    self.find("missing-image", message, record, "error", KEPT_OUT)
                elif place not in split:
                    split[place] = name
                    if name == "trainval" and {"train", "val"} <= lists.keys():
                        message = f"{stem} is in trainval, but neither in train nor in val"
                        self.find("contradicting-splits", message, record, "warning")
                elif name != "trainval" or split[place] not in ("train", "val"):
                    message = f"{stem} is in {split[place]} and in {name}; {split[place]} counts"
                    self.find("two-splits", message, record, "error")
        return split


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    value = _number(text)
    return int(value) if value is not None and 0 < value < 2**31 else None


def _flag(text: str | None) -> bool:
    return (text or "").strip().lower() in ("1", "true", "yes")
