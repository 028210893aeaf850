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

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding, Severity
from whatwhere.data.formats._class_sets import (
    Places,
    missing_images,
    own_file,
    read_text,
    some_sizes,
    tidy_some_boxes,
)
from whatwhere.data.formats._csv_labels_write import natural
from whatwhere.data.formats._files import add_sizes, entries, head, relative, split_name
from whatwhere.data.formats._frames import columns_of
from whatwhere.data.formats._hf_records import LABEL_KEYS, readme_names, records_of
from whatwhere.data.formats._hf_write import write
from whatwhere.data.formats._label_json import (
    HELD,
    LABEL_COLUMNS,
    BadValueError,
    image_extra,
    image_values,
    is_number,
    label_value,
    whole_number,
)
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, table
from whatwhere.data.tables import LABEL_COLUMNS as TABLE
from whatwhere.errors import DataError
from whatwhere.types import TASKS as EVERY_TASK
from whatwhere.types import Labels, Task

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
    return [
        folder / name
        for folder in folders
        for name in _FILES
        if own_file(folder / name, path) and _has_names(folder / name)
    ]


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
    return reader.dataset()


@dataclass
class _Label:
    """One label, before classes have their numbers."""

    image: int
    name: str | int
    box: tuple[float, float, float, float] | None
    record: str
    values: dict[str, Any]


@dataclass
class _Reader:
    """Gathers the records of one data set."""

    root: Path
    images: Path | None
    findings: list[Finding] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    there: list[bool] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    labels: list[_Label] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)
    tasks: set[Task] = field(default_factory=set)
    folders: list[tuple[int, str, str]] = field(default_factory=list)
    bare: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places = Places(self.root, self.images)

    def find(
        self, kind: str, message: str, where: str, severity: Severity = "error", labels: int = 0
    ) -> None:
        action = "left out" if kind == "bad-value" else KEPT_OUT
        self.findings.append(Finding(kind, message, where, severity, action, labels))

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
        faults: list[str] = []
        own = record.get("split")
        row = {
            "path": place,
            "width": whole_number(record.get("width"), 1 << 30),
            "height": whole_number(record.get("height"), 1 << 30),
            "split": own if isinstance(own, str) and own else split,
            "extra": image_extra(record, _KNOWN, NAME),
            **image_values(record, faults),
        }
        if not (row["width"] and row["height"]):
            row["width"] = row["height"] = None
        image = len(self.rows)
        self.rows.append(row)
        self.there.append(there)
        for fault in faults:
            self.find("bad-value", f"{fault}, which is of the wrong kind", where, "warning")
        self._labels(record, image, where, name)

    def _labels(self, record: Mapping[str, Any], image: int, where: str, name: str) -> None:
        if "objects" in record:
            self.tasks.add("detect")
            self._objects(record["objects"], image, where)
            return
        key = next((key for key in LABEL_KEYS if key in record), None)
        if key is None:
            parent = PurePosixPath(name.replace("\\", "/")).parent.name
            self.folders.append((image, parent, where))
            return
        value = record[key]
        many = isinstance(value, list)
        self.tasks.add("multilabel" if many else "classify")
        if value is None:
            self.bare.append((image, where))
            return
        columns = record.get("label_columns")
        names = value if many else [value]
        for number, one in enumerate(names):
            row = f"{where}#{number}" if many else where
            values = self._columns(columns if isinstance(columns, dict) else {}, number, row)
            self._label(image, one, None, row, values)

    def _objects(self, value: Any, image: int, where: str) -> None:
        """A dictionary of lists, or a list of dictionaries."""
        if isinstance(value, list):
            keys = {key for one in value if isinstance(one, dict) for key in one}
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
        for number, box in enumerate(boxes):
            row = f"{where}#{number}"
            values = self._columns(value, number, row, {"bbox", key or ""})
            name = names[number] if number < len(names) else None
            if box is None:  # a label of the whole picture
                self._label(image, name, None, row, values)
                continue
            if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
                self.find("bad-box", f"the box is {str(box)[:60]}, not four numbers", row, labels=1)
                continue
            x, y, width, height = map(float, box)
            self._label(image, name, (x, y, x + width, y + height), row, values)

    def _columns(
        self, lists: Mapping[str, Any], number: int, where: str, skipped: set[str] | None = None
    ) -> dict[str, Any]:
        """The further columns of a label."""
        found: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for key, values in lists.items():
            if key in (skipped or ()) or not isinstance(values, list) or number >= len(values):
                continue
            value = values[number]
            if key not in LABEL_COLUMNS:
                if value is not None:
                    others[key] = value
                continue
            try:
                found[key] = label_value(key, value)
            except BadValueError as error:
                message = f"{error}, which is of the wrong kind"
                self.find("bad-value", message, where, "warning")
        if others:
            before = json.loads(found.get("extra") or "{}")
            found["extra"] = json.dumps({**before, NAME: others}, ensure_ascii=False)
        return found

    def _label(
        self,
        image: int,
        name: Any,
        box: tuple[float, float, float, float] | None,
        where: str,
        values: dict[str, Any],
    ) -> None:
        number = isinstance(name, int) and not isinstance(name, bool) and 0 <= name < 1 << 31
        if not number and not (isinstance(name, str) and name.strip()):
            message = f"the class is {str(name)[:40]!r}, neither a name nor a number"
            self.find("no-class", message, where, labels=1)
            return
        self.labels.append(_Label(image, name, box, where, values))

    def _task(self) -> Task:
        if self.tasks and self.folders:
            for _, _, where in self.folders:
                self.find("missing-labels", "the record has no labels, others have", where)
        elif self.folders:
            self.tasks.add("classify")
            for image, parent, where in self.folders:
                if parent:
                    self.labels.append(_Label(image, parent, None, where, {}))
                else:
                    self.find("missing-labels", "the record has no label", where)
        task = next(one for one in ("detect", "multilabel", "classify") if one in self.tasks)
        if task == "classify":
            for _, where in self.bare:
                self.find("no-class", "the record has no class", where)
        return task

    def dataset(self) -> Dataset:
        if not self.rows:
            raise DataError(f"{self.root} has no records with file_name: looked for {LOOKS_FOR}")
        task = self._task()
        listed = readme_names(read_text(self.root / "README.md", self.root) or "")
        called = {
            one.name: listed[one.name] if one.name < len(listed) else f"class {one.name}"
            for one in self.labels
            if isinstance(one.name, int)
        }
        texts = [called[one.name] if isinstance(one.name, int) else one.name for one in self.labels]
        numbers = [called[number] for number in sorted(called) if called[number] not in listed]
        rest = natural(set(texts) - set(listed) - set(numbers))
        names = [*listed, *numbers, *rest]
        ids = {name: number for number, name in enumerate(names)}
        self.findings += missing_images(self.gone, len(self.rows), ".")
        schema = {name: IMAGE_COLUMNS[name] for name in self.rows[0]}
        images = table(pl.DataFrame(self.rows, schema=schema), IMAGE_COLUMNS)
        images = self._sizes(images, task)
        columns: dict[str, Any] = {
            "image": [one.image for one in self.labels],
            "class_id": [ids[name] for name in texts],
            "record": [one.record for one in self.labels],
        }
        for at, side in enumerate(BOX):
            columns[side] = [None if one.box is None else one.box[at] for one in self.labels]
        for key in LABEL_COLUMNS:
            columns[key] = [one.values.get(key) for one in self.labels]
        kinds = {key: pl.Float64 if key in BOX else kind for key, kind in TABLE.items()}
        labels = pl.DataFrame(columns, schema={key: kinds[key] for key in columns})
        if task == "detect":
            labels, faults = tidy_some_boxes(labels, images)
            self.findings += faults
        dataset = Dataset(
            images,
            labels,
            Labels(names),
            findings=self.findings,
            root=str(self.root),
            task=task,
        )
        if task == "classify":
            counts = np.bincount(dataset.labels["image"].to_numpy(), minlength=len(dataset))
            if not (counts == 1).all():
                dataset = _kept(dataset, np.flatnonzero(counts == 1))
        return dataset

    def _sizes(self, images: pl.DataFrame, task: Task) -> pl.DataFrame:
        wanted = images["width"].is_null()
        rows = [there and want for there, want in zip(self.there, wanted, strict=True)]
        if task != "detect":
            images, findings = some_sizes(images, self.root, rows)
        else:
            places = np.flatnonzero(rows)
            known, findings = add_sizes(images[places], self.root)
            columns = []
            for side in ("width", "height"):
                values = images[side].to_numpy().copy()
                values[places] = known[side].to_numpy()
                columns.append(pl.Series(side, values, nan_to_null=True).cast(pl.Int32))
            images = images.with_columns(columns)
        self.findings += findings
        return images


def _kept(dataset: Dataset, rows: Any) -> Dataset:
    """Those of the rows, with all findings."""
    some = dataset.select(rows)
    some.findings = dataset.findings
    return some


def _count(record: Mapping[str, Any]) -> int:
    """How many labels a record has, for findings."""
    objects = record.get("objects")
    if isinstance(objects, dict):
        objects = objects.get("bbox")
    if isinstance(objects, list):
        return len(objects)
    values = [record[key] for key in LABEL_KEYS if record.get(key) is not None]
    return (len(values[0]) if isinstance(values[0], list) else 1) if values else 0
