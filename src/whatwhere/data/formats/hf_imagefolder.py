"""Hugging Face's `imagefolder`: metadata.jsonl, metadata.csv or metadata.parquet beside pictures.

Each record has `file_name`, from the folder of its file, and `label` (one class), `labels` (any
number) or `objects`: {"bbox": [[x, y, width, height], ...], "category": [...]}. Folders train/,
validation/ and test/ are splits. Numbers of classes get their names from the `class_label` of a
README.md; without labels in the records, folders are the classes. Source: the documentation of
Hugging Face Datasets, "Create an image dataset".

Columns of the tables beyond these are written as further keys; `split` for a split that is
none of the three folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._class_sets import (
    Places,
    missing_images,
    own_file,
    read_text,
)
from whatwhere.data.formats._files import entries, head, relative, split_name
from whatwhere.data.formats._frames import columns_of
from whatwhere.data.formats._hf_records import LABEL_KEYS, readme_names, records_of
from whatwhere.data.formats._hf_write import write
from whatwhere.data.formats._json_labels import JsonLabels
from whatwhere.data.formats._label_json import (
    HELD,
)
from whatwhere.errors import DataError
from whatwhere.types import TASKS as EVERY_TASK
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "hf_imagefolder"
TITLE = "Hugging Face imagefolder"
TASKS: frozenset[Task] = frozenset(EVERY_TASK)
HOLDS = HELD
LOOKS_FOR = "metadata.jsonl, metadata.csv or metadata.parquet with file_name, beside pictures"

_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_CLASS_KEYS = ("category", "categories", "label", "labels", "class", "class_id", "category_id")
_KNOWN = (
    *("file_name", "objects", "width", "height", "split", "image_id", "label_columns"),
    *("group", "labelled", "complete", *LABEL_KEYS),
)


def _files(path: Path) -> list[Path]:
    """The metadata files of the folder and of those in it."""
    if path.is_file():
        return [path] if path.name in _FILES else []
    order = ("train", "val", "test")
    below = [Path(one.path) for one in entries(path) if one.is_dir()][:200]
    splits = {one: split_name(one.name) for one in below}
    below.sort(key=lambda one: order.index(splits[one]) if splits[one] in order else 3)
    folders = [path, *below]
    near = [folder / name for folder in folders for name in _FILES]
    near = [file for file in near if own_file(file, path)]
    named = [file for file in near if _has_names(file)]
    # One whose first line is damaged belongs to the others.
    return [file for file in near if file in named or file.suffix == ".jsonl"] if named else []


def _has_names(file: Path) -> bool:
    """Whether records name pictures; those of a CSV file with boxes are another format's."""
    if file.suffix == ".parquet":
        return "file_name" in columns_of(file)
    first = head(file, 1 << 16).removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    if file.suffix == ".jsonl":
        return first.lstrip().startswith(b"{") and b'"file_name"' in first
    keys = {key.strip(' "').lower() for key in first.decode("utf-8", "replace").split(",")}
    return "file_name" in keys and not keys & {"xmin", "x1", "x_min", "bbox_x"}


def recognise(path: Path) -> str | None:
    """See `formats`."""
    files = _files(path)
    return ", ".join(relative(file, path) for file in files) if files else None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the metadata file, too."""
    files = _files(path)
    if not files:
        raise DataError(f"{path} is no Hugging Face imagefolder: looked for {LOOKS_FOR}")
    root = path.parent if path.is_file() else path
    reader = _Reader(root, images)
    for file in files:
        reader.add(file)
    return reader.read()


class _Reader(JsonLabels):
    """Gathers the records of one data set."""

    def __init__(self, root: Path, images: Path | None) -> None:
        super().__init__(root, NAME)
        self.places = Places(root, images)
        self.there: list[bool] = []
        self.gone: list[tuple[str, str]] = []
        self.known: dict[str, str] = {}
        self.folders: list[tuple[int, str, str]] = []
        self.bare: list[str] = []

    def add(self, file: Path) -> None:
        """Read one metadata file."""
        split = None
        if file.parent != self.root:
            split = split_name(file.parent.name) or file.parent.name
        for record_name, record in records_of(file, self.root, self.findings):
            self._record(record, record_name, file.parent, split)

    def _record(
        self, record: Mapping[str, Any], where: str, folder: Path, split: str | None
    ) -> None:
        name = record.get("file_name")
        count = _count(record)
        if not isinstance(name, str) or not name:
            self.find("bad-record", "the record has no file_name", where, labels=count)
            return
        full = name if folder == self.root else f"{relative(folder, self.root)}/{name}"
        if self.places.outside(name) or self.places.outside(full):
            message = f"{name!r} leaves the data set's folder"
            self.find("path-outside", message, where, labels=count)
            return
        place, there = self.places.find(name, [folder])
        if place in self.known:
            message = f"{name} has a record already, {self.known[place]}"
            self.find("duplicate-entry", message, where, labels=count)
            return
        self.known[place] = where
        if not there:
            self.gone.append((where, name))
        self.there.append(there)
        used = _used(record)
        # Of several keys with labels one is read; the others stay as they are.
        unused = {key for key in LABEL_KEYS if key != used and record.get(key) is not None}
        if used in ("objects", None):
            unused.add("label_columns")
        image = self.picture(place, split, record, set(_KNOWN) - unused, where)
        self._labels(record, image, where, name)

    def _labels(self, record: Mapping[str, Any], image: int, where: str, name: str) -> None:
        if "objects" in record:
            self.tasks.add("detect")
            self._objects(record["objects"], image, where)
            return
        key = _used(record)
        if key is None:
            parent = PurePosixPath(name.replace("\\", "/")).parent.name
            self.folders.append((image, parent, where))
            return
        value = record[key]
        many = isinstance(value, list)
        self.tasks.add("multilabel" if many else "classify")
        if value is None:
            self.bare.append(where)
            return
        columns = record.get("label_columns")
        names = value if many else [value]
        if isinstance(columns, dict):
            self.unequal(columns, len(names), where, None)
        elif columns is not None:
            message = f"'label_columns' is {str(columns)[:40]!r}, which is of the wrong kind"
            self.find("bad-value", message, where, "warning")
        for number, one in enumerate(names):
            row = f"{where}#{number}" if many else where
            columns = columns if isinstance(columns, dict) else {}
            values = self.columns(columns, number, row, set(columns))
            self.label(image, one, None, row, **values)

    def _objects(self, value: Any, image: int, where: str) -> None:
        """A dictionary of lists, or a list of dictionaries."""
        if isinstance(value, list):
            keys = {key for one in value if isinstance(one, dict) for key in one}
            if value and not keys:
                self.find("bad-record", "'objects' has no objects", where, labels=len(value))
                return
            value = {
                key: [one.get(key) if isinstance(one, dict) else None for one in value]
                for key in sorted(keys)
            }
        boxes = value.get("bbox") if isinstance(value, dict) else None
        if value in ({}, None, []):
            return
        if not isinstance(boxes, list):
            self.find("bad-record", "'objects' has no list 'bbox'", where, labels=1)
            return
        key = next((key for key in _CLASS_KEYS if isinstance(value.get(key), list)), None)
        names = value[key] if key else []
        others = set(value) - {"bbox", key}
        # A class that is no list is found at each box.
        self.unequal(value, len(boxes), where, key)
        for number, box in enumerate(boxes):
            row = f"{where}#{number}"
            name = names[number] if number < len(names) else None
            if box is None:  # a label of the whole picture
                self.label(image, name, None, row, **self.columns(value, number, row, others))
            elif (found := self.box(box, row)) is not None:
                x, y, width, height = found
                values = self.columns(value, number, row, others)
                self.label(image, name, (x, y, x + width, y + height), row, **values)

    def read(self) -> Dataset:
        """The data set of all records."""
        if not self.rows:
            raise DataError(f"{self.root} has no records with file_name: looked for {LOOKS_FOR}")
        if self.tasks and self.folders:
            for _, _, where in self.folders:
                self.find("missing-labels", "the record has no labels, others have", where)
        elif self.folders:
            self.tasks.add("classify")
            for image, parent, where in self.folders:
                if parent:
                    self.label(image, parent, None, where)
                else:
                    self.find("missing-labels", "the record has no label", where)
        if self.task() == "classify":
            for where in self.bare:
                self.find("no-class", "the record has no class", where)
        self.findings += missing_images(self.gone, len(self.rows), ".")
        listed = readme_names(read_text(self.root / "README.md", self.root) or "")
        return self.dataset(listed, self.there)


def _used(record: Mapping[str, Any]) -> str | None:
    """The key with the labels: the first that has any, else the first; None without one."""
    if "objects" in record:
        return "objects"
    there = [key for key in LABEL_KEYS if key in record]
    return next((key for key in there if record[key] is not None), there[0] if there else None)


def _count(record: Mapping[str, Any]) -> int:
    """How many labels a record has, for findings."""
    objects = record.get("objects")
    if isinstance(objects, dict):
        objects = objects.get("bbox")
    if isinstance(objects, list):
        return len(objects)
    values = [record[key] for key in LABEL_KEYS if record.get(key) is not None]
    return (len(values[0]) if isinstance(values[0], list) else 1) if values else 0
