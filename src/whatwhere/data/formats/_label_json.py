"""Columns of the two tables as JSON beside a picture, for formats that have room for any key.

Labels are lists of one length: {"names": [...], "boxes": [...], "score": [...]}; what a row
has as JSON text (outlines, attributes) stands there as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.tables import FLAGS

NUMBERS = ("area", "score")
TEXTS = ("source", "track")
JSON = ("segmentation", "keypoints", "attributes", "extra")

LABEL_COLUMNS = (*FLAGS, *NUMBERS, *TEXTS, *JSON)
IMAGE_COLUMNS = ("group", "labelled", "complete")

HELD = frozenset(
    {"split", "group", "id", "labelled", "complete", "image_extra", "extra"} | {*LABEL_COLUMNS}
)
"""HOLDS of a format that writes all of it."""


def label_columns(dataset: Dataset) -> dict[str, list[Any]]:
    """The columns of labels that have values, ready for JSON; row numbers as in the table."""
    found: dict[str, list[Any]] = {}
    crowds = dataset.labels["iscrowd"].to_list()
    for name in LABEL_COLUMNS:
        values = dataset.labels[name].to_list()
        if name == "ignore" and any(crowds):
            # A crowd is ignored unless this says that it is not.
            values = [
                bool(one) if crowd else one for one, crowd in zip(values, crowds, strict=True)
            ]
            found[name] = values
            continue
        if not any(value is not None and value is not False for value in values):
            continue
        if name in JSON:
            values = [None if value is None else json.loads(value) for value in values]
        found[name] = values
    return found


def image_columns(dataset: Dataset) -> dict[str, list[Any]]:
    """The columns of pictures that have values, ready for JSON; `image_id` is the id."""
    found: dict[str, list[Any]] = {}
    for name in IMAGE_COLUMNS:
        if dataset.images[name].count():
            found[name] = dataset.images[name].to_list()
    if dataset.images["id"].count():
        found["image_id"] = dataset.images["id"].to_list()
    if dataset.images["extra"].count():
        texts = dataset.images["extra"].to_list()
        found["extra"] = [None if text is None else json.loads(text) for text in texts]
    return found


class BadValueError(Exception):
    """A value that is of the wrong kind; the message is the end of a sentence."""


def label_value(name: str, value: Any) -> Any:
    """The value of a label's column as the table has it.

    Raises:
        BadValueError: it is of the wrong kind.
    """
    if value is None:
        return None
    if name in FLAGS and value in (0, 1):
        return bool(value)
    if name in NUMBERS and is_number(value):
        return float(value)
    if name in TEXTS and isinstance(value, str):
        return value
    if name == "track" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    lists = name in ("segmentation", "keypoints")
    if name in JSON and isinstance(value, (dict, list) if lists else dict):
        return json.dumps(value, ensure_ascii=False)
    raise BadValueError(f"{name!r} is {str(value)[:40]!r}")


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number that a table can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def whole_number(value: Any, limit: int) -> int | None:
    """A positive whole number up to the limit; None for anything else."""
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= limit
    return value if sound else None


def image_values(record: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    """group, labelled, complete and id of a picture; what is of a wrong kind goes to faults."""
    found: dict[str, Any] = {}
    for name in IMAGE_COLUMNS:
        value = record.get(name)
        texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if value is not None and not (isinstance(value, str) if name == "group" else texts):
            faults.append(f"{name!r} is {str(value)[:40]!r}")
            value = None
        found[name] = value
    number = record.get("image_id")
    sound = isinstance(number, int) and not isinstance(number, bool) and abs(number) < 1 << 63
    if number is not None and not sound:
        faults.append(f"'image_id' is {str(number)[:40]!r}")
    found["id"] = number if sound else None
    return found


def image_extra(record: Mapping[str, Any], known: Collection[str], format: str) -> str | None:
    """The picture's `extra`: as written by us, and the keys that nobody here knows."""
    extra = record.get("extra")
    found = dict(extra) if isinstance(extra, dict) else {}
    others = {key: value for key, value in record.items() if key not in known and key != "extra"}
    if extra is not None and not isinstance(extra, dict):
        others["extra"] = extra
    if others:
        mine = found.get(format)
        found[format] = {**mine, **others} if isinstance(mine, dict) else others
    return json.dumps(found, ensure_ascii=False) if found else None
