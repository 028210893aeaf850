"""What stands in a COCO file: frames of pictures and labels, and everything else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._coco_fields import (
    ANNOTATIONS,
    IMAGES,
    OURS,
    image_rows,
    label_rows,
)
from whatwhere.data.formats._coco_scan import LIST, Array, scan
from whatwhere.errors import DataError

RESULTS = "results"
"""What the records of a file of results are called in findings."""


@dataclass(frozen=True, slots=True)
class Category:
    """A class: its number, name and what else is said of it, and its place in the list."""

    position: int
    id: int | None
    name: str
    info: dict[str, Any]


@dataclass
class Tables:
    """The records of one file, with the position of each in its list as `position`.

    Args:
        images, annotations: columns as `_coco_fields` says.
        categories: in the order of the file.
        info: all other keys at the top.
        ours: what our writer says about the file: {"split": ..., "area": "box"}.
        findings: what was wrong.
    """

    images: pl.DataFrame
    annotations: pl.DataFrame
    categories: list[Category]
    info: dict[str, Any]
    ours: dict[str, Any]
    findings: list[Finding]


def load(path: Path, where: str, **how: Any) -> Tables:
    """Read a file of ground truth.

    Args:
        path: the file.
        where: its name in findings.
        how: as for `_coco_scan.scan`.

    Raises:
        DataError: it is not JSON, or has no lists of images and annotations.
    """
    arrays = {
        "images": Array(list(IMAGES), image_rows(where)),
        "annotations": Array(list(ANNOTATIONS), label_rows(where, "annotations")),
    }
    scanned = scan(path, where, arrays, **how)
    images, annotations = scanned.frames["images"], scanned.frames["annotations"]
    if images is None or annotations is None:
        raise DataError(
            f"{path} is not COCO ground truth: it needs lists 'images' and 'annotations' at the top"
        )
    rest = scanned.rest
    categories, findings = _categories(rest.pop("categories", None), where)
    ours = rest.pop(OURS, None)
    if isinstance(ours, dict):
        rest |= ours["info"] if isinstance(ours.get("info"), dict) else {}
    elif ours is not None:
        rest[OURS] = ours
    known = ours if isinstance(ours, dict) else {}
    tables = Tables(images, annotations, categories, rest, known, scanned.findings + findings)
    _last.clear()
    if annotations.height <= _MOST_REMEMBERED:
        _last[_state(path)] = _boxes(tables)
    return tables


_MOST_REMEMBERED = 1 << 18
_last: dict[tuple[str, int, int], pl.DataFrame] = {}
"""Boxes of the file that was read last, if they are not many: at most 16 MB."""


def loaded_boxes(path: Path) -> pl.DataFrame:
    """The boxes of ground truth as they are written, in float64, for exact scores.

    A file that was just read, and has not changed since, is not read again.

    Returns:
        image_id, category_id, x, y, w, h, area, iscrowd of every record; null where it does not
        say, or not what it should.

    Raises:
        DataError: as in `load`.
    """
    found = _last.get(_state(path))
    return _boxes(load(path, path.name)) if found is None else found


def _boxes(tables: Tables) -> pl.DataFrame:
    return tables.annotations.select(
        "image_id", "category_id", "x", "y", "w", "h", "area", "iscrowd"
    )


def _state(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.resolve()), status.st_mtime_ns, status.st_size


def load_results(path: Path, where: str, **how: Any) -> tuple[pl.DataFrame, list[Finding]]:
    """The labels in a file of results, a list of image_id, category_id, bbox and score.

    Raises:
        DataError: it is not JSON, or no list.
    """
    arrays = {LIST: Array(list(ANNOTATIONS), label_rows(where, RESULTS))}
    scanned = scan(path, where, arrays, **how)
    frame = scanned.frames[LIST]
    if frame is None:
        raise DataError(f"{path} is not a list of COCO results")
    return frame, scanned.findings


def _categories(records: Any, where: str) -> tuple[list[Category], list[Finding]]:
    found, findings = [], []
    for position, record in enumerate(records if isinstance(records, list) else []):
        place = f"{where}#categories[{position}]"
        if not isinstance(record, dict):
            message = f"the record is {type(record).__name__}, not an object"
            findings.append(Finding("bad-record", message, place, "error", KEPT_OUT))
            continue
        number, name = record.get("id"), record.get("name")
        try:
            if number is not None:
                # As for annotations: whole, and no larger than 64 bits.
                if int(number) != float(number) or not -(2**63) <= int(number) < 2**63:
                    raise ValueError(number)
                number = int(number)
        except (TypeError, ValueError, OverflowError):
            message = f"'id' is {number!r}, which is of the wrong kind"
            findings.append(Finding("bad-value", message, place, "warning", "left out"))
            number = None
        if isinstance(name, (int, float)):
            name = str(name)
        name = name.strip() if isinstance(name, str) else ""
        info = {key: value for key, value in record.items() if key not in ("id", "name")}
        found.append(Category(position, number, name or f"class {number}", info))
    return found, findings
