"""The labels of a data set, one by one, as writers need them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.tables import BOX, FLAGS
from whatwhere.errors import UsageError


@dataclass(frozen=True, slots=True)
class Record:
    """A label.

    Args:
        name: the class.
        box: x1, y1, x2, y2 in pixels, each the shortest text that reads back to the same
            float32; None without a box.
        flags: the flags that are true.
        values: area, score, source and track that are not null.
        segmentation, keypoints: as in the table, parsed.
        attributes: of the label.
        extra: what the table keeps for this format.
    """

    name: str
    box: tuple[float, float, float, float] | None
    flags: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    segmentation: Any = None
    keypoints: Any = None
    attributes: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


_VALUES = ("area", "score", "source", "track")


class Records:
    """All labels of a data set, and what the table keeps for one format.

    Args:
        dataset: what is written.
        name: of the format, for the extras.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset, self.name = dataset, name
        labels = dataset.labels
        self._ids = labels["class_id"].to_list()
        self._boxes = list(zip(*(short(labels[side]) for side in BOX), strict=True))
        self._more: dict[str, list[Any]] = {}
        for column in (*FLAGS, *_VALUES, "segmentation", "keypoints", "attributes", "extra"):
            values = labels[column]
            if values.null_count() < values.len():
                self._more[column] = short(values) if column == "score" else values.to_list()
        self.images = dataset.images.to_dicts()

    def of(self, image: int) -> list[Record]:
        """The labels of a picture."""
        first, end = self.dataset.rows_of(image)
        return [self._record(row) for row in range(first, end)]

    def image_extra(self, image: int) -> dict[str, Any]:
        """What the table keeps of the picture for this format; a copy."""
        return own(self.images[image]["extra"], self.name)

    def _record(self, row: int) -> Record:
        more = {
            column: values[row] for column, values in self._more.items() if values[row] is not None
        }
        box = self._boxes[row]
        name = self.dataset.names[self._ids[row]]
        whole = None if box[0] is None else box
        if not more:
            return Record(name, whole)
        return Record(
            name,
            whole,
            tuple(flag for flag in FLAGS if more.get(flag)),
            {column: more[column] for column in _VALUES if column in more},
            parsed(more.get("segmentation")),
            parsed(more.get("keypoints")),
            parsed(more.get("attributes")) or {},
            own(more.get("extra"), self.name),
        )


def parsed(text: str | None) -> Any:
    """The value of a JSON column."""
    return None if text is None else json.loads(text)


def own(text: str | None, name: str) -> dict[str, Any]:
    """The part of an `extra` that belongs to the format; empty where it is no JSON object."""
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return {}
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def short(values: pl.Series) -> list[float | None]:
    """Each float32 as the shortest decimal number that reads back to it."""
    found: list[float | None] = values.cast(pl.String).cast(pl.Float64).to_list()
    return found


def folder_of(split: str | None) -> str:
    """A split's name as that of a folder.

    Raises:
        UsageError: it cannot be one.
    """
    name = split or ""
    if name and (not re.fullmatch(r"[^/\\:*?\"<>|\x00-\x1f]{1,100}", name) or name[0] in ". "):
        raise UsageError(f"the split {name!r} cannot be the name of a folder: call it otherwise")
    return name


def same(a: Any, b: Any) -> bool:
    """Whether numbers, such as those of two boxes, are the same float32 values."""
    return np.array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))
