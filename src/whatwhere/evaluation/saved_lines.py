"""Our JSON lines, as `whatwhere predict --json` writes them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.errors import DataError
from whatwhere.evaluation.gathered import Gathered
from whatwhere.evaluation.stream import lines


def gather_lines(path: Path, gathered: Gathered) -> None:
    """Read a file; memory does not grow with it.

    Raises:
        DataError: a line is damaged, or speaks of a picture that another one spoke of.
    """
    for number, record in _records(path):
        where = f"{path}:{number}"
        labels, objects = _rows(where, record, "labels"), _rows(where, record, "objects")
        label_scores, object_scores = _scores(where, labels), _scores(where, objects)
        boxes = [_box(where, place, row) for place, row in enumerate(objects, 1)]
        about = _about(where, record)
        row = gathered.row_once(record["image"], where)
        if row is None:
            continue
        gathered.about[row] = about
        if "error" in record:
            gathered.unreadable.append(record["image"])
        if labels:
            names = [each["name"] for each in labels]
            gathered.add_labels(row, gathered.class_ids(names), label_scores)
        if objects:
            names = [each["name"] for each in objects]
            places = (where,) * len(objects)
            gathered.add_boxes(row, gathered.class_ids(names), object_scores, boxes, places)


def _about(where: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """What else a line says of its picture."""
    found: dict[str, Any] = {
        key: int(record[key])
        for key in ("width", "height")
        if is_number(record.get(key)) and record[key] > 0
    }
    if isinstance(record.get("model"), str):
        found["model"] = sys.intern(record["model"])
    if isinstance(record.get("unsure"), bool):
        found["unsure"] = record["unsure"]
    names = record.get("label_set")
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{where}: 'label_set' is not a list of class names")
        found["label_set"] = tuple(map(sys.intern, names))
    return found


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines(path):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deeply nested"
            raise DataError(
                f"{path}:{number} is not a JSON object ({reason}): give the lines of"
                " 'whatwhere predict --json', or a COCO results file"
            ) from error
        if isinstance(record, dict) and "annotations" in record:
            raise DataError(
                f"{path}:{number} is a data set in COCO's form, not its results: give the list"
                " of its 'annotations' alone, with a 'score' each"
            )
        if not isinstance(record, dict) or not isinstance(record.get("image"), str):
            raise DataError(
                f"{path}:{number} has no 'image': give the lines of 'whatwhere predict --json',"
                " or a COCO results file"
            )
        yield number, record


def _rows(where: str, record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = record.get(key) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{where}: '{key}' is not a list of objects")
    for place, row in enumerate(rows, 1):
        if not isinstance(row.get("name"), str):
            raise DataError(f"{where}: entry {place} of '{key}' has no 'name'")
    return rows


def _scores(where: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    for place, row in enumerate(rows, 1):
        if not is_number(row.get("score")):
            raise DataError(
                f"{where}: entry {place} ({row['name']}) has the score {row.get('score')!r}:"
                " give a finite number"
            )
    return np.array([row["score"] for row in rows], dtype=np.float32)


def _box(where: str, place: int, row: Mapping[str, Any]) -> list[float]:
    box = row.get("box")
    if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
        raise DataError(f"{where}: object {place} has no 'box' of four finite numbers")
    return box


def is_number(value: object) -> bool:
    """Whether a value from JSON is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
