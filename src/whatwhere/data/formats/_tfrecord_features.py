"""Values of one TFRecord example: its features by type, and what they may be."""

from __future__ import annotations

import json
from typing import Any

from whatwhere.data.formats._tfrecord_wire import Feature, Record

# JSON columns of a label that are texts in the table.
_TEXTS = frozenset({"source", "track", "segmentation", "keypoints", "attributes", "extra"})


class Features:
    """The features of one record, by type."""

    def __init__(self, record: Record, features: dict[str, Feature]) -> None:
        self.data, self.features = record.data, features
        self.damaged: list[str] = []

    def numbers(self, key: str) -> list[float]:
        return [one for one in self.features.get(key, ()) if isinstance(one, int | float)]

    def count(self, key: str) -> int:
        return len(self.features.get(key, ()))

    def texts(self, key: str) -> list[str]:
        spans = [one for one in self.features.get(key, ()) if isinstance(one, tuple)]
        return [self.data[start:end].decode("utf-8", "replace") for start, end in spans]

    def span(self, key: str) -> tuple[int, int]:
        spans = [one for one in self.features.get(key, ()) if isinstance(one, tuple)]
        return spans[0] if spans else (0, 0)

    def json(self, key: str, kind: type) -> Any:
        """What our writer put there; an empty value, and a word in `damaged`, for all else."""
        start, end = self.span(key)
        try:
            value = json.loads(self.data[start:end]) if end > start else kind()
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, kind):
            self.damaged.append(key)
            return kind()
        return value


def exact(kept: Any, box: list[float], size: list[float]) -> list[float]:
    """The box that our writer kept, where it is that of the fractions; else the latter.

    Others may change the fractions, which are float32, so that digits are lost.
    """
    if not (isinstance(kept, list) and len(kept) == 4):
        return box
    if not all(isinstance(one, int | float) for one in kept):
        return box
    near = all(
        abs(a - b) <= 1e-6 * size[at % 2] for at, (a, b) in enumerate(zip(kept, box, strict=True))
    )
    return kept if near else box


def checked(name: str, value: Any) -> Any:
    """The value, if it has the type of its column; else None."""
    if name in ("labelled", "complete"):
        good = isinstance(value, list) and all(isinstance(one, str) for one in value)
    elif name in _TEXTS or name in ("path", "split", "group", "name", "record"):
        good = isinstance(value, str)
    elif name in ("area", "score"):
        good = isinstance(value, int | float) and not isinstance(value, bool)
    elif name in ("image", "id", "width", "height"):
        good = isinstance(value, int) and not isinstance(value, bool)
    else:
        good = isinstance(value, bool)
    return value if good else None
