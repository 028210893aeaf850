"""Tables of boxes: CSV or TSV with one box a row.

Sources: keras-retinanet (path,x1,y1,x2,y2,class without header, and classes.csv),
DeepForest (image_path,xmin,ymin,xmax,ymax,label,score,geometry), TensorFlow's tutorials and
Roboflow's `_annotations.csv` (filename,width,height,class,xmin,ymin,xmax,ymax), makesense.ai
(label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,...). Columns are known by their
names, in any order. None of these says how pixels are counted: corners are taken as
continuous from 0. A row with a picture and no box is a picture without objects.

Where no number of any box is larger than 1 and not all are whole, they are fractions of the
picture, which a finding says. Holes of polygons are filled, with a finding, since outlines as
in COCO cannot have any.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.formats._csv_columns import Columns, columns_of, holes, polygons
from whatwhere.data.formats._csv_write import write
from whatwhere.data.formats._files import entries, relative, split_name
from whatwhere.data.formats._outlines import enclosing, runs_of
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import flag, index, number, split_order, text, whole
from whatwhere.data.tables import FLAGS
from whatwhere.errors import DataError
from whatwhere.types import Task

__all__ = ["HOLDS", "LOOKS_FOR", "NAME", "TASKS", "TITLE", "read", "recognise", "write"]

NAME = "csv_boxes"
TITLE = "CSV of boxes"
TASKS: frozenset[Task] = frozenset({"detect"})
HOLDS = frozenset(
    {"split", "group", "id", "ignore", "difficult", "truncated", "occluded", "iscrowd", "area"}
    | {"score", "source", "track", "segmentation", "keypoints", "attributes", "extra"}
)
OWN_EXTRA_ONLY = True
LOOKS_FOR = "a CSV file with columns for picture, xmin, ymin, xmax, ymax and label"

_OVER = 0.05
_FEW = 4
"""Pixels of a picture's side up to which a box of less than a pixel may be meant."""

_SUFFIXES = (".csv", ".tsv")
_CLASSES = ("classes.csv", "class_mapping.csv", "labels.csv")


def _tables(path: Path) -> dict[Path, Columns]:
    """The tables of boxes at a path, and what their columns mean."""
    if path.is_file():
        files = [path] if path.suffix.lower() in _SUFFIXES else []
    else:
        files = [Path(one.path) for one in entries(path) if one.name.lower().endswith(_SUFFIXES)]
        below = [Path(one.path, "_annotations.csv") for one in entries(path) if one.is_dir()]
        files += [file for file in below if file.is_file()]
    found = {file: columns_of(file) for file in files if file.is_file()}
    order = sorted(found, key=lambda file: split_order(_split_of(file)))
    return {file: columns for file in order if (columns := found[file]) is not None}


def _split_of(file: Path) -> str | None:
    if file.name == "_annotations.csv":
        return split_name(file.parent.name)
    words = re.split(r"[_\-. ]", file.stem)
    return next((name for word in reversed(words) if (name := split_name(word))), None)


def recognise(path: Path) -> str | None:
    """See `formats`."""
    found = _tables(path)
    return f"boxes in {', '.join(relative(file, path.parent) for file in found)}" if found else None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be a table, too. Tables of train, val and test are one set."""
    tables = _tables(path)
    if not tables:
        raise DataError(f"{path} is not a table of boxes: looked for {LOOKS_FOR}")
    splits = {_split_of(file) for file in tables}
    if len(tables) > 1 and (None in splits or len(splits) < len(tables)):
        names = ", ".join(relative(file, path) for file in tables)
        raise DataError(f"{path} has {len(tables)} tables of boxes: give one of {names}")
    root = path if path.is_dir() else path.parent
    reader = _Reader(root, images)
    reader.fractions = all(_are_fractions(file, columns) for file, columns in tables.items())
    for file, columns in tables.items():
        reader.add(file, columns)
    return reader.dataset()


def _are_fractions(file: Path, columns: Columns) -> bool:
    """Whether the numbers of the boxes are fractions; a table in pixels ends it at once."""
    seen = False
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream, delimiter=columns.delimiter)
        try:
            for line, cells in enumerate(reader):
                if line == 0 and columns.header:
                    continue
                for at in columns.sides or ():
                    value = _decimal(cells[at], columns.delimiter) if at < len(cells) else None
                    # Boxes that a model predicts reach over the edge a little.
                    if value is not None and not -_OVER <= value <= 1 + _OVER:
                        return False
                    seen = seen or (value is not None and not value.is_integer())
        except csv.Error:
            return False
    return seen


class _Reader:
    def __init__(self, root: Path, images: Path | None) -> None:
        self.root = root
        self.rows = Rows(NAME, root, images, [root / "images"])
        self.used: set[str] = set()
        self.listed: list[str] = []
        # Row of each name as it is written, so that a picture is looked for once.
        self.seen: dict[tuple[Path, str], int | None] = {}
        # Split, group and id of each row, as its first record tells them.
        self.said: dict[int, tuple[str | None, str | None, int | None]] = {}
        self.contradicted: set[tuple[int, str]] = set()
        self.fractions = False
        self.scaled = 0
        self.first: Path | None = None

    def add(self, file: Path, columns: Columns) -> None:
        where, split = self.rows.where(file), _split_of(file)
        self.first = self.first or file
        self.listed = self.listed or _class_list(file)
        for name in columns.twice:
            message = f"several columns are called {name!r}; the last is read"
            self.rows.find("duplicate-key", message, f"{where}:1", "warning", "the last is read")
        for cells, line in self._lines(file, columns, where):
            self._row(cells, columns, f"{where}:{line}", split, file.parent)

    def _lines(self, file: Path, columns: Columns, where: str) -> Iterator[tuple[list[str], int]]:
        """The rows of a file with their line numbers; those that cannot be read are named."""
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.reader(stream, delimiter=columns.delimiter)
            first = columns.header
            width, short = None, 0
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    record = f"{where}:{reader.line_num}"
                    self.rows.find(
                        "bad-record", f"the row cannot be read: {error}", record, boxes=1
                    )
                    continue
                if cells is None:
                    break
                if not any(cell.strip() for cell in cells):
                    continue
                width = len(cells) if width is None else width
                short += columns.header and len(cells) < width
                if any(cell.strip() for cell in cells[width:]):
                    message = f"the row has {len(cells)} cells, the first one {width}"
                    record = f"{where}:{reader.line_num}"
                    self.rows.find("bad-record", message, record, action="the first are read")
                if not first:
                    yield cells, reader.line_num
                first = False
        if short:
            message = f"{short} rows have fewer cells than the header has columns"
            self.rows.find("bad-record", message, where, "warning", "kept")

    def _row(
        self, cells: list[str], columns: Columns, record: str, split: str | None, near: Path
    ) -> None:
        def cell(place: int | None) -> str:
            return cells[place].strip() if place is not None and place < len(cells) else ""

        more = {name: value for name, at in columns.more.items() if (value := cell(at))}
        sides = [cell(at) for at in columns.sides or ()]
        shape = more.pop("geometry", "")
        empty = not any(sides) and not shape
        name = cell(columns.picture)
        if not name:
            self.rows.find("bad-record", "the row names no picture", record, boxes=int(not empty))
            return
        if "\ufffd" in name + cell(columns.label):
            message = "the row has bytes that are not UTF-8; store the file as UTF-8"
            self.rows.find("bad-value", message, record, "warning")
        row = self._image(name, record, columns, cell, more, split, near, int(not empty))
        label = text(cell(columns.label))
        if label is not None:
            self.used.add(label)
        if row is None or empty:
            return
        segmentation: Any = polygons(shape) if shape else None
        box = self._box(sides, columns, segmentation, record, shape)
        if box is None:
            return
        if segmentation is not None and (count := holes(shape)) > 0:
            message = (
                f"the polygon has {count} hole(s), which outlines cannot have: they are filled"
            )
            self.rows.find("filled-hole", message, record, "warning", "filled")
        if self.fractions and any(sides):
            size = self._size(row)
            if size is None:
                message = "the box is in fractions of a picture whose size is not known"
                self.rows.find("bad-box", message, record, boxes=1)
                return
            width, height = size
            if min(size) > _FEW:
                box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
                self.scaled += 1
        if segmentation is not None and _is_rectangle(segmentation, box):
            segmentation = None
        found = _columns(more, {name: cell(at) for name, at in columns.unknown.items()})
        if segmentation is not None:
            found["segmentation"] = segmentation
        self.rows.label(row, label, box, record, **found)

    def _size(self, row: int) -> tuple[int, int] | None:
        """Width and height, from the picture itself if no row tells them."""
        width, height = self.rows.size(row)
        if width is None or height is None:
            width, height = self.rows.probe(row)
            if width is None or height is None:
                return None
            self.rows.set_size(row, width, height)
        return width, height

    def _image(
        self,
        name: str,
        record: str,
        columns: Columns,
        cell: Any,
        more: dict[str, str],
        split: str | None,
        near: Path,
        boxes: int,
    ) -> int | None:
        group, number_ = more.pop("group", None), index(more.pop("id", None))
        own = more.pop("split", None)
        if own is not None:
            split = split_name(own) or own
        if (near, name) in self.seen:
            row = self.seen[near, name]
            if row is None:
                message = f"{name!r} is not a picture inside the data set's folder"
                self.rows.find("path-outside", message, record, boxes=boxes)
            else:
                self._compare(row, name, record, (split, group, number_))
            return row
        width, height = (cell(at) for at in columns.size or (None, None))
        row = self.rows.image(
            name,
            record,
            size=(whole(width), whole(height)),
            near=near,
            boxes=boxes,
            split=split,
            group=group,
            id=number_,
        )
        self.seen[near, name] = row
        if row is not None and row in self.said:
            self._compare(row, name, record, (split, group, number_))
        elif row is not None:
            self.said[row] = (split, group, number_)
        return row

    def _compare(
        self, row: int, name: str, record: str, said: tuple[str | None, str | None, int | None]
    ) -> None:
        """Say once a picture what a later row says otherwise; the first row counts."""
        for column, value, before in zip(
            ("split", "group", "id"), said, self.said[row], strict=True
        ):
            if value is None or value == before or (row, column) in self.contradicted:
                continue
            self.contradicted.add((row, column))
            first = "none" if before is None else repr(before)
            message = f"the {column} of {name!r} is {value!r} here and {first} in its first row"
            kind = "contradicting-splits" if column == "split" else "bad-value"
            self.rows.find(kind, message, record, "warning", "the first is read")

    def _box(
        self,
        sides: list[str],
        columns: Columns,
        segmentation: Any,
        record: str,
        shape: str,
    ) -> tuple[float, ...] | None:
        if any(sides):
            values = [_decimal(side, columns.delimiter) for side in sides]
            if None in values:
                shown = ", ".join(sides)
                hint = ""
                if columns.delimiter == "," and any("," in side for side in sides):
                    hint = "; decimal commas are understood where ';' or tabs divide the columns"
                message = f"{shown!r} is not four numbers{hint}"
                self.rows.find("bad-box", message, record, boxes=1)
                return None
            x1, y1, x2, y2 = (value or 0.0 for value in values)
            return (x1, y1, x1 + x2, y1 + y2) if columns.lengths else (x1, y1, x2, y2)
        if segmentation:
            return enclosing(segmentation)
        kind = "no-box" if re.match(r"\s*(MULTI)?(POINT|LINE)", shape, re.I) else "bad-box"
        message = f"the geometry {shape[:40]!r} is no polygon"
        severity: Any = "warning" if kind == "no-box" else "error"
        self.rows.find(kind, message, record, severity, boxes=1)
        return None

    def dataset(self) -> Dataset:
        if self.scaled and self.first is not None:
            where = self.rows.where(self.first)
            message = (
                f"no number of {self.scaled} boxes is larger than 1: they were read as fractions"
                " of the picture"
            )
            self.rows.find("fractional-boxes", message, where, "info", "kept")
        names = self.listed if self.used <= set(self.listed) else []
        return self.rows.dataset(names, task="detect")


def _decimal(cell: str, delimiter: str) -> float | None:
    if delimiter != "," and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", cell):
        cell = cell.replace(",", ".")
    return number(cell)


def _columns(more: dict[str, str], unknown: dict[str, str]) -> dict[str, Any]:
    """Columns of the table; what cannot be understood is kept as text."""
    found: dict[str, Any] = {}
    extra = {name: value for name, value in unknown.items() if value}
    for name, cell in more.items():
        value: Any = cell
        if name in FLAGS:
            value = flag(cell)
        elif name in ("score", "area"):
            value = number(cell)
            if name == "score" and value is not None and not 0 <= value <= 1:
                value = None
        elif name in ("segmentation", "keypoints", "attributes"):
            value = _json(name, cell)
        if value is None:
            extra[name] = cell
        else:
            found[name] = value
    if found.get("iscrowd"):
        found.setdefault("ignore", True)
    return found | {"extra": extra}


def _json(name: str, cell: str) -> Any:
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    if name == "attributes":
        return value if isinstance(value, dict) else None
    if name == "segmentation" and isinstance(value, dict):
        return value if runs_of(value.get("counts")) is not None else None
    return value if isinstance(value, list) else None


def _is_rectangle(segmentation: list[list[float]], box: tuple[float, ...]) -> bool:
    """Whether the outline is the box itself."""
    points = segmentation[0]
    pairs = set(zip(points[0::2], points[1::2], strict=True))
    x1, y1, x2, y2 = box
    return len(segmentation) == 1 and pairs == {(x1, y1), (x2, y1), (x2, y2), (x1, y2)}


def _class_list(file: Path) -> list[str]:
    """The classes in keras-retinanet's list beside the table: name, number."""
    for one in entries(file.parent):
        if one.name in _CLASSES and one.is_file() and Path(one.path) != file:
            with Path(one.path).open(encoding="utf-8-sig", errors="replace", newline="") as stream:
                try:
                    rows = [row for row in csv.reader(stream) if any(row)]
                except csv.Error:
                    return []
            numbers = [index(row[1]) if len(row) == 2 else None for row in rows]
            if None not in numbers:
                order = sorted(range(len(rows)), key=lambda place: numbers[place] or 0)
                return list(dict.fromkeys(rows[place][0].strip() for place in order))
    return []
