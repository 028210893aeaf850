"""Predictions as a table (CSV), in three forms that the header tells apart.

- boxes: columns for the picture, the class, the score and the box;
- labels, long: picture, class and score, one row a class;
- labels, wide: picture, and a column of scores for each class.

The names of columns are read as in `data.formats._csv_columns`; case and signs do not count.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from whatwhere.data import Dataset
from whatwhere.data.formats._csv_columns import CORNERS, LABEL, LENGTHS, PICTURE
from whatwhere.errors import DataError
from whatwhere.evaluation.gathered import Gathered

_LABELS = (*LABEL, "prediction", "predicted", "predictedlabel", "predictedclass", "pred")
_SCORES = ("score", "scores", "confidence", "conf", "probability", "prob", "p")
_SPANS = (
    *LENGTHS,
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "width", "height"),
)
_MIDDLES = (
    ("cx", "cy", "w", "h"),
    ("cx", "cy", "width", "height"),
    ("xc", "yc", "w", "h"),
    ("xcenter", "ycenter", "width", "height"),
    ("centerx", "centery", "width", "height"),
)
_BEFORE_CLASS = ("", "score_", "prob_", "p_", "probability_", "confidence_")
_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Header:
    """Which column is what.

    Args:
        delimiter: between cells.
        picture: its place.
        label, score: places; -1 in the wide form.
        sides: places of the box; empty for labels.
        way: what the sides are: "xyxy", "xywh" or "cxcywh".
        classes: place of each class, in the wide form.
        others: columns that are not read.
    """

    delimiter: str
    picture: int
    label: int = -1
    score: int = -1
    sides: tuple[int, ...] = ()
    way: str = "xyxy"
    classes: Mapping[str, int] = field(default_factory=dict)
    others: tuple[str, ...] = ()


def header_of(path: Path, data: Dataset) -> Header | None:
    """What the first line says, if it is the header of a table; None if it is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline(1 << 20)
    except (OSError, UnicodeDecodeError):
        return None
    delimiter = max(",;\t|", key=line.count)
    if delimiter not in line:
        return None
    try:
        names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return None
    at: dict[str, int] = {}
    for place, name in enumerate(names):
        at.setdefault(re.sub(r"[^a-z0-9]", "", name.lower()), place)
    picture = next((at[name] for name in (*PICTURE, "id") if name in at), None)
    if picture is None:
        return None
    label = next((at[name] for name in _LABELS if name in at), -1)
    score = next((at[name] for name in _SCORES if name in at), -1)
    for way, known in (("cxcywh", _MIDDLES), ("xyxy", CORNERS), ("xywh", _SPANS)):
        sides = next((one for one in known if set(one) <= at.keys()), None)
        if sides is not None and label >= 0:
            places = tuple(at[name] for name in sides)
            return Header(delimiter, picture, label, score, places, way)
    wide = _wide(names, data)
    if len(wide) > 1 or score < 0 or label < 0:
        others = [
            name for at, name in enumerate(names) if at not in {picture, *wide.values()} and name
        ]
        return Header(delimiter, picture, classes=wide, others=tuple(others)) if wide else None
    return Header(delimiter, picture, label, score)


def _wide(names: Sequence[str], data: Dataset) -> dict[str, int]:
    """Place of the column of each class of the data."""
    best: dict[str, int] = {}
    for start in _BEFORE_CLASS:
        found = {
            name[len(start) :]: place
            for place, name in enumerate(names)
            if name.startswith(start) and name[len(start) :] in data.names
        }
        best = max(best, found, key=len)
    return best


def gather_csv(path: Path, gathered: Gathered) -> None:
    """Read a table; memory does not grow with it.

    Raises:
        DataError: the header does not say enough, or a row is damaged.
    """
    header = header_of(path, gathered.data)
    if header is None:
        raise DataError(
            f"{path}:1 is not the header of a table of predictions: name the columns  image, label,"
            " score, x1, y1, x2, y2  for boxes,  image, label, score  for labels, or  image  and"
            " one column a class of the data"
        )
    if header.label >= 0 and header.score < 0:
        raise DataError(f"{path}:1 names no column 'score': a ranking needs one")
    if header.classes:
        _gather_wide(path, header, gathered)
    else:
        _gather_long(path, header, gathered)


def _gather_long(path: Path, header: Header, gathered: Gathered) -> None:
    block = _Block(header, gathered)
    for where, cells in _rows(path, header):
        row = gathered.row(cells[header.picture].strip(), where, stem=True)
        label = cells[header.label].strip()
        values = [cells[place] for place in (header.score, *header.sides)]
        if not label and not any(value.strip() for value in values):
            # A picture in which nothing was found.
            continue
        if not label:
            raise DataError(f"{where} names no class")
        numbers = [_number(value, where) for value in values]
        if row is not None:
            block.add(row, label, numbers, where)
    block.flush()


class _Block:
    """Some thousand rows on their way into arrays."""

    def __init__(self, header: Header, gathered: Gathered) -> None:
        self.header, self.gathered = header, gathered
        self.image: list[int] = []
        self.label: list[str] = []
        self.numbers: list[list[float]] = []
        self.where: list[str] = []

    def add(self, row: int, label: str, numbers: list[float], where: str) -> None:
        self.image.append(row)
        self.label.append(label)
        self.numbers.append(numbers)
        self.where.append(where)
        if len(self.image) >= _ROWS:
            self.flush()

    def flush(self) -> None:
        ids = self.gathered.class_ids(self.label)
        table = np.array(self.numbers, dtype=np.float64)
        table = table.reshape(len(ids), 1 + len(self.header.sides))
        if self.header.sides:
            box = table[:, 1:]
            if self.header.way == "xywh":
                box = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
            elif self.header.way == "cxcywh":
                half = box[:, 2:] / 2
                box = np.concatenate([box[:, :2] - half, box[:, :2] + half], axis=1)
            self.gathered.add_boxes(self.image, ids, table[:, 0], box, self.where)
        else:
            self.gathered.add_labels(self.image, ids, table[:, 0])
        self.image, self.label, self.numbers, self.where = [], [], [], []


def _gather_wide(path: Path, header: Header, gathered: Gathered) -> None:
    names = list(header.classes)
    ids = gathered.class_ids(names)
    places = list(header.classes.values())
    for where, cells in _rows(path, header):
        row = gathered.row_once(cells[header.picture].strip(), where, stem=True)
        filled = [(place, cells[at]) for place, at in enumerate(places) if cells[at].strip()]
        numbers = [_number(text, where) for _, text in filled]
        if row is not None:
            gathered.add_labels(row, ids[[place for place, _ in filled]], numbers)
    if header.others:
        gathered.remarks.append(
            f"columns of {path} that are no class of the data are not read:"
            f" {', '.join(header.others[:8])}"
        )


def _rows(path: Path, header: Header) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of each row that is not blank, without the header."""
    used = (header.picture, header.label, header.score, *header.sides, *header.classes.values())
    needed = max(used) + 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=header.delimiter)
            next(reader)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                where = f"{path}:{reader.line_num}"
                if len(cells) < needed:
                    raise DataError(
                        f"{where} has {len(cells)} cells, and its header names {needed} or more"
                    )
                if not cells[header.picture].strip():
                    raise DataError(f"{where} names no picture")
                yield where, cells
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: save it as one") from error
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num} is no row of a table ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path") from error


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where} has {text.strip()[:40]!r}: give a finite number")
    return value
