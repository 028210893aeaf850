"""COCO's JSON as three frames, with as little Python per record as possible."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.errors import DataError

_TEXTS, _NUMBERS = pl.List(pl.String), pl.List(pl.Float64)
_FIELDS: dict[str, dict[str, Any]] = {
    "images": {
        "id": pl.Int64,
        "file_name": pl.String,
        "width": pl.Float64,
        "height": pl.Float64,
        "labelled_classes": pl.String,
        "complete_classes": _TEXTS,
    },
    "annotations": {
        "id": pl.Int64,
        "image_id": pl.Int64,
        "category_id": pl.Int64,
        "bbox": _NUMBERS,
        "area": pl.Float64,
        "iscrowd": pl.Int64,
        "ignore": pl.Int64,
        "score": pl.Float64,
    },
    "categories": {"id": pl.Int64, "name": pl.String},
}


@dataclass
class Tables:
    """The records of one file, with the position of each in its list as `position`."""

    images: pl.DataFrame
    annotations: pl.DataFrame
    categories: pl.DataFrame
    findings: list[Finding] = field(default_factory=list)


def load(path: Path, where: str) -> Tables:
    """Read a file; fields that nobody here needs, such as outlines, are skipped.

    Args:
        path: the file.
        where: its name in findings.

    Raises:
        DataError: it is not JSON, or has no lists of images and annotations.
    """
    try:
        schema = {name: pl.List(pl.Struct(fields)) for name, fields in _FIELDS.items()}
        frame = pl.read_json(path, schema=schema)
    except pl.exceptions.PolarsError:
        # One odd value makes polars give up on all; the slow path names it.
        return _load_slowly(path, where)
    if frame.height != 1 or any(frame[name].null_count() for name in ("images", "annotations")):
        return _load_slowly(path, where)
    images, annotations, categories = (
        _frame(frame[name], fields) for name, fields in _FIELDS.items()
    )
    return Tables(images, annotations, categories)


def _frame(column: pl.Series, fields: Mapping[str, Any]) -> pl.DataFrame:
    rows = column.explode() if column.null_count() == 0 and column.list.len()[0] else None
    if rows is None:
        return pl.DataFrame(schema={**fields, "position": pl.UInt32}).select("position", *fields)
    return rows.struct.unnest().with_row_index("position")


def _load_slowly(path: Path, where: str) -> Tables:
    try:
        with path.open("rb") as file:
            content = json.load(file)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}):"
            " get it again or repair it"
        ) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}): get it again or repair it") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    ):
        raise DataError(
            f"{path} is not COCO ground truth: it needs lists 'images' and 'annotations' at the top"
        )
    findings: list[Finding] = []
    frames = []
    for name, fields in _FIELDS.items():
        records = content.get(name)
        columns: dict[str, list[Any]] = {"position": [], **{field: [] for field in fields}}
        for position, record in enumerate(records if isinstance(records, list) else []):
            place = f"{where}#{name}[{position}]"
            if not isinstance(record, dict):
                message = f"the record is {type(record).__name__}, not an object"
                lost = int(name == "annotations")
                findings.append(Finding("bad-record", message, place, "error", KEPT_OUT, lost))
                continue
            columns["position"].append(position)
            for one, kind in fields.items():
                value, odd = _value(record.get(one), kind)
                columns[one].append(value)
                if odd:
                    message = f"{one!r} is {str(record[one])[:40]!r}, which is of the wrong kind"
                    findings.append(Finding("bad-value", message, place, "warning", "left out"))
        frames.append(pl.DataFrame(columns, schema={"position": pl.UInt32, **fields}))
    images, annotations, categories = frames
    return Tables(images, annotations, categories, findings)


def _value(value: Any, kind: Any) -> tuple[Any, bool]:
    """The value as that type, and whether it had to be left out."""
    if value is None:
        return None, False
    try:
        if kind == pl.String:
            if isinstance(value, list):
                return ",".join(str(one) for one in value), False
            return (value, False) if isinstance(value, str) else (None, True)
        if kind == _TEXTS:
            return ([str(one) for one in value], False) if isinstance(value, list) else (None, True)
        if kind == _NUMBERS:
            return [float(one) for one in value], False
        convert: Callable[[Any], Any] = float if kind == pl.Float64 else _integer
        return convert(value), False
    except (TypeError, ValueError, OverflowError):
        return None, True


def _integer(value: Any) -> int:
    number = int(value)
    if number != float(value) or not -(2**63) <= number < 2**63:
        raise ValueError(value)
    return number
