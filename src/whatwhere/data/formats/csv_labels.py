"""Tables of labels: CSV, TSV, Parquet or Arrow with a column of pictures, in one of three forms.

One column for each class with 0 or 1, and -1 or nothing for "not looked at" (CheXpert); one
column with the names of the classes, divided by `;`, `|`, a comma or a space (NIH ChestX-ray14,
Kaggle's competitions); or one column with one name. A column of splits and one of groups
(patients, videos) are known by their names, other columns are kept. What a table is taken for
is said; where more than one reading makes sense, reading ends with an error that lists them.

Written is labels.csv beside images/: with a column for each class, or with the column `label`
and, where their order matters, classes.txt. A column `task` is added where the table alone
would be read as something else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding, Severity
from whatwhere.data.formats._class_sets import (
    Places,
    missing_images,
    names_of,
    read_text,
    some_sizes,
)
from whatwhere.data.formats._csv_labels_layout import find_tables, split_of
from whatwhere.data.formats._csv_labels_write import natural, write
from whatwhere.data.formats._files import split_name
from whatwhere.data.formats._label_columns import (
    SPLIT_FLAGS,
    YES,
    AmbiguousError,
    key_of,
    mostly_binary,
    roles_of,
)
from whatwhere.data.formats._label_parts import Part
from whatwhere.data.formats._label_tables import Table, is_table, load_table
from whatwhere.data.tables import IMAGE_COLUMNS, table
from whatwhere.errors import DataError
from whatwhere.images import IMAGE_SUFFIXES
from whatwhere.types import Labels, Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "csv_labels"
TITLE = "table of labels"
TASKS: frozenset[Task] = frozenset({"classify", "multilabel"})
HOLDS = frozenset({"split", "group", "labelled", "image_extra"})
LOOKS_FOR = "a CSV or Parquet table with a column of pictures and one or more of classes"

_MAX_FILES = 3_000_000
"""Files that are looked at for a picture that is not where the table says."""


def recognise(path: Path) -> str | None:
    """See `formats`."""
    return "; ".join(seen for _, seen in find_tables(path)) or None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be the table, too."""
    root = path.parent if path.is_file() else path
    files = [file for file, _ in find_tables(path)]
    if not files and path.is_file() and is_table(path):
        files = [path]
    if not files:
        raise DataError(f"{path} has no table of labels: looked for {LOOKS_FOR}")
    order = ("train", "val", "test", None)
    files.sort(key=lambda file: order.index(one) if (one := split_of(file)) in order else 3)
    splits = [split_of(file) for file in files]
    if len(set(splits)) < len(files):
        names = ", ".join(file.name for file in files)
        raise DataError(f"{path} has {len(files)} tables of labels: give one of {names}")
    reader = _Reader(root, images)
    for file, split in zip(files, splits, strict=True):
        reader.load(file, split)
    return reader.dataset()


class _Reader:
    """Gathers the rows of one or more tables."""

    def __init__(self, root: Path, images: Path | None) -> None:
        self.root, self.images = root, images
        self.places = Places(root, images)
        self.findings: list[Finding] = []
        self.parts: list[Part] = []
        self.rows: dict[str, list[object]] = {
            name: [] for name in ("path", "split", "group", "labelled", "extra")
        }
        self.there: list[bool] = []
        self.gone: list[tuple[str, str]] = []
        self.known: dict[str, tuple[str, bytes | list[str]]] = {}
        self.labels: dict[str, list[object]] = {n: [] for n in ("image", "class_id", "record")}
        self._index: dict[str, str] | None = None

    def find(
        self, kind: str, message: str, where: str, severity: Severity = "error", labels: int = 0
    ) -> None:
        action = KEPT_OUT if kind != "separator" else "kept"
        self.findings.append(Finding(kind, message, where, severity, action, labels))

    def load(self, file: Path, split: str | None) -> None:
        loaded = load_table(file, self.root)
        try:
            roles = roles_of(loaded)
        except AmbiguousError as error:
            raise DataError(f"{file}: {error}") from None
        if roles is None:
            raise DataError(f"{file} is no table of labels: looked for {LOOKS_FOR}")
        self.findings += loaded.findings
        if roles.separator is not None and roles.label is not None:
            column = loaded.header[roles.label]
            message = f"the names in {column!r} are divided by {roles.separator!r}"
            self.find("separator", message, loaded.name, "info")
        part = Part(loaded, roles, split)
        twice = sorted({name for name in part.classes if part.classes.count(name) > 1})
        for name in twice:
            message = f"two columns are called {name!r}, they are one class"
            self.findings.append(
                Finding("duplicate-class", message, loaded.name, "warning", "merged")
            )
        self.parts.append(part)

    def dataset(self) -> Dataset:
        single = all(part.single for part in self.parts)
        names = self._names()
        ids = {name: number for number, name in enumerate(names)}
        for part in self.parts:
            self._add(part, ids, names, single)
        self.findings += missing_images(self.gone, len(self.there), ".")
        schema = {name: IMAGE_COLUMNS[name] for name in self.rows}
        pictures = table(pl.DataFrame(self.rows, schema=schema), IMAGE_COLUMNS)
        pictures, unreadable = some_sizes(pictures, self.root, self.there)
        return Dataset(
            pictures,
            pl.DataFrame(
                self.labels, schema={"image": pl.UInt32, "class_id": pl.Int32, "record": pl.String}
            ),
            Labels(names),
            findings=[*self.findings, *unreadable],
            root=str(self.root),
            task="classify" if single else "multilabel",
        )

    def _names(self) -> list[str]:
        """Classes: of columns in their order; of cells as classes.txt has them, or sorted."""
        columns: dict[str, None] = {}
        cells: set[str] = set()
        for part in self.parts:
            columns |= dict.fromkeys(part.classes)
            if part.roles.label is not None:
                cells.update(name for names in part.names for name in names)
        listed = read_text(self.root / "classes.txt", self.root) if cells else None
        order = (names_of(listed) or []) if listed else []
        if not cells & set(order):
            order = []
        rest = natural(cells - set(order) - columns.keys())
        return [*columns, *(name for name in order if name not in columns), *rest]

    def _add(self, part: Part, ids: dict[str, int], names: list[str], single: bool) -> None:
        loaded, roles = part.table, part.roles
        self._faults(part)
        splits = self._splits(part)
        groups = [one or None for one in self._column(loaded, roles.group)]
        extras = self._extras(part)
        labelled = self._labelled(part, len(names))
        bases = [self.root, self.root / "images", self.root / Path(loaded.name).stem]
        bases += [self.root / part.split] if part.split else []
        places = [str(base) for base in bases]
        said = [row.tobytes() for row in part.codes] if roles.label is None else part.names
        for row, name in enumerate(loaded.columns[roles.file]):
            record, found = loaded.records[row], part.names[row]
            name = name if roles.verbatim else name.strip()
            place = self._place(name, record, places, len(found))
            if place is None or self._twice(place[0], said[row], record, len(found)):
                continue
            if single and len(found) != 1:
                message = f"the row has {len(found)} classes"
                self.find("no-class", message, record, labels=len(found))
                continue
            if not place[1]:
                self.gone.append((record, name))
            image = len(self.there)
            self.there.append(place[1])
            values = (place[0], splits[row], groups[row], labelled[row], extras[row])
            for column, value in zip(self.rows.values(), values, strict=True):
                column.append(value)
            # Two columns of one name are one class.
            for one in dict.fromkeys(found):
                self.labels["image"].append(image)
                self.labels["class_id"].append(ids[one])
                self.labels["record"].append(record if single else f"{record}#{one}")

    def _labelled(self, part: Part, count: int) -> list[list[str] | None]:
        """Which classes were looked for, by row; None for all `count` of them."""
        rows = len(part.table.records)
        if part.roles.label is not None:
            return [None] * rows
        explicit = self._column(part.table, part.roles.labelled)
        partial = (part.codes < 0).any(1) | (len(part.classes) < count)
        partial |= np.array([value == "all" for value in explicit], np.bool_)
        out: list[list[str] | None] = [None] * rows
        for row in np.flatnonzero(partial).tolist():
            codes = part.codes[row].tolist()
            out[row] = [name for name, code in zip(part.classes, codes, strict=True) if code >= 0]
        return out

    def _faults(self, part: Part) -> None:
        """Cells of classes that are neither 0, 1 nor unknown, and of the task."""
        loaded = part.table
        for row, value in enumerate(self._column(loaded, part.roles.mark)):
            if value and value != part.roles.task:
                message = f"the task is {value[:40]!r} here, and {part.roles.task!r} elsewhere"
                self.find("bad-value", message, loaded.records[row])
        for at in part.roles.others:
            flag = key_of(loaded.header[at]) in SPLIT_FLAGS
            if part.roles.label is None and not flag and mostly_binary(loaded.columns[at]):
                message = (
                    f"{loaded.header[at]!r} has 0 or 1 in most rows, but too much else for a class"
                )
                self.find("bad-value", message, loaded.name, "warning")
        for row, at in np.argwhere(part.codes == -2).tolist():
            column = part.roles.classes[at]
            value = loaded.columns[column][row]
            hint = ", which has a decimal comma" if value.count(",") == 1 else ""
            message = f"{loaded.header[column]!r} is {value[:40]!r}{hint}, not 0, 1, -1 or nothing"
            self.find("bad-value", f"{message}; read as not known", loaded.records[row])

    @staticmethod
    def _column(loaded: Table, at: int | None) -> Sequence[str]:
        return [""] * len(loaded.records) if at is None else loaded.columns[at]

    def _splits(self, part: Part) -> list[str | None]:
        at = part.roles.split
        values = self._column(part.table, at)
        if at is None:
            return [part.split] * len(values)
        if part.roles.verbatim:
            return [value or None for value in values]
        flag = SPLIT_FLAGS.get(key_of(part.table.header[at]))
        if flag is not None:
            other = "test" if flag == "train" else "train"
            return [flag if value.strip().lower() in YES else other for value in values]
        return [split_name(value.strip()) or value.strip() or part.split for value in values]

    def _extras(self, part: Part) -> list[str | None]:
        """What the other columns say, as JSON; or what the column `extra` has."""
        loaded, roles = part.table, part.roles
        out: list[str | None] = []
        kept = [(loaded.header[at], loaded.columns[at]) for at in roles.others]
        for row, text in enumerate(self._column(loaded, roles.extra)):
            values = {name: column[row] for name, column in kept if column[row]}
            if text and not values and _is_object(text):
                out.append(text)
                continue
            if text:
                values["extra"] = text
            out.append(json.dumps({NAME: values}, ensure_ascii=False) if values else None)
        return out

    def _twice(self, path: str, said: bytes | list[str], record: str, labels: int) -> bool:
        """Whether the picture was in a row before."""
        if path not in self.known:
            self.known[path] = (record, said)
            return False
        before, then = self.known[path]
        if then == said:
            self.find("duplicate-entry", f"the same as {before}", record, "warning", labels)
        else:
            message = f"the picture of {before} with other labels; the first row counts"
            self.find("duplicate-entry", message, record, "error", labels)
        return True

    def _place(
        self, name: str, record: str, bases: Sequence[str], labels: int
    ) -> tuple[str, bool] | None:
        """Path of a picture, and whether it is there."""
        if not name:
            self.find("bad-record", "the row names no picture", record, labels=labels)
            return None
        if self.places.outside(name):
            message = f"{name!r} leaves the data set's folder"
            self.find("path-outside", message, record, labels=labels)
            return None
        place = self.places.find(name, bases)
        if place[1]:
            return place
        # CheXpert's paths begin with the name of the folder that the table lies in.
        first, _, rest = name.replace("\\", "/").partition("/")
        if rest and first == self.root.name and self.places.find(rest, bases)[1]:
            return self.places.find(rest, bases)
        other = self._anywhere().get(os.path.basename(name.replace("\\", "/")))  # noqa: PTH119
        return (other, True) if other else place

    def _anywhere(self) -> dict[str, str]:
        """Path of each picture by its name, with and without ending, if only one is called so."""
        if self._index is None:
            found: dict[str, str] = {}
            count = 0
            for folder, below, files in os.walk(self.images or self.root):
                below[:] = sorted(one for one in below if not one.startswith("."))
                count += len(files)
                if count > _MAX_FILES:
                    break
                for name in files:
                    stem, suffix = os.path.splitext(name)  # noqa: PTH122
                    if suffix.lower() in IMAGE_SUFFIXES:
                        for key in (name, stem):
                            found[key] = "" if key in found else f"{folder}/{name}"
            self._index = found
        return self._index


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
