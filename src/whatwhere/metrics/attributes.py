"""What labels, answers and pictures can be divided by: class, size, place, light, metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.images.appearance import LOOKS
from whatwhere.metrics.pairing import AREAS
from whatwhere.metrics.tally import NOBODY, Side, Tally
from whatwhere.types import Task

MOST = 50
"""Parts of one attribute at most: those with the most labels."""

_FEW_VALUES = 20
"""A column of metadata with more different numbers is divided at its quartiles."""

_FLAGS = ("truncated", "occluded", "difficult")

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """A way to divide a data set.

    Args:
        name: such as "size".
        parts: what the parts are called.
        real: int64, the part of each label of a `Tally`, -1 for none.
        said: int64, that of each answer; None where answers have no such thing, so that only
            recall makes sense.
        left_out: parts beyond the largest `MOST`.
    """

    name: str
    parts: tuple[str, ...]
    real: Codes
    said: Codes | None
    left_out: int = 0


def attributes(
    task: Task, data: Dataset, tally: Tally, looks: NDArray[np.float32] | None = None
) -> list[Attribute]:
    """Every attribute by which this data set falls into at least two parts.

    - class; group, folder (not of `classify`, where it is the class) and split of the picture.
    - of boxes: size (COCO's small, medium, large), position (the centre, in thirds of the
      picture), box shape, and the flags truncated, occluded and difficult. A right answer
      belongs to the part of its label, another one to that of its own box.
    - of pictures: brightness, contrast and sharpness in quarters, where `looks` has them;
      shape, megapixels in quarters, number of labels.
    - of metadata: the fields of `images.extra` with a plain value in most pictures: each value
      a part, or numbers of many values in quarters.

    Args:
        looks: float32 (images, 3), see `images.appearance.look`.
    """
    found = [_by_class(data, tally)]
    if tally.real.xywh is not None:
        found += _of_boxes(data, tally)
    found += [_of_pictures(name, parts, codes, tally)
              for name, parts, codes in _pictures(task, data, tally, looks)]  # fmt: skip
    return [_limited(one) for one in found if len(one.parts) > 1]


def _limited(one: Attribute) -> Attribute:
    if len(one.parts) <= MOST:
        return one
    counts = np.bincount(one.real[one.real >= 0], minlength=len(one.parts))
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST])
    place = np.full(len(one.parts) + 1, NOBODY)
    place[kept] = np.arange(MOST)
    said = None if one.said is None else place[one.said]
    parts = tuple(one.parts[at] for at in kept)
    return Attribute(one.name, parts, place[one.real], said, len(one.parts) - MOST)


def _by_class(data: Dataset, tally: Tally) -> Attribute:
    ids = np.unique(np.concatenate([tally.real.class_id, tally.said.class_id]))
    place = np.full(len(data.names) + 1, NOBODY)
    place[ids] = np.arange(len(ids))
    names = tuple(data.names[int(one)] for one in ids)
    return Attribute("class", names, place[tally.real.class_id], place[tally.said.class_id])


def _of_boxes(data: Dataset, tally: Tally) -> Iterator[Attribute]:
    sizes = ("small", "medium", "large")
    limits = [AREAS[size][1] for size in sizes[:-1]]
    assert tally.real.area is not None
    assert tally.said.area is not None
    real = np.searchsorted(limits, tally.real.area, side="right")
    said = np.searchsorted(limits, tally.said.area, side="right")
    yield _paired("size", sizes, real, said, tally)
    rows = ("top left", "top", "top right"), ("left", "centre", "right")
    thirds = (*rows[0], *rows[1], "bottom left", "bottom", "bottom right")
    frame = _frame(data)
    yield _paired("position", thirds, _third(tally.real, frame), _third(tally.said, frame), tally)
    shapes = ("tall (over 2:1)", "about square", "wide (over 2:1)")
    yield _paired("box shape", shapes, _shape(tally.real), _shape(tally.said), tally)
    for flag in _FLAGS:
        values = data.labels[flag]
        if values.null_count() < values.len() and values.any():
            codes = values.fill_null(False).to_numpy().astype(np.int64)[tally.label]
            yield Attribute(flag, (f"not {flag}", flag), codes, None)


def _paired(name: str, parts: Sequence[str], real: Codes, said: Codes, tally: Tally) -> Attribute:
    """Right answers go with their labels; parts that nothing is in are dropped."""
    matched = tally.partner != NOBODY
    said = np.where(matched, np.append(real, NOBODY)[tally.partner], said)
    return _dense(name, parts, real, said)


def _dense(name: str, parts: Sequence[str], real: Codes, said: Codes) -> Attribute:
    used = np.unique(np.concatenate([real, said]))
    used = used[used >= 0]
    place = np.full(len(parts) + 1, NOBODY)
    place[used] = np.arange(len(used))
    return Attribute(name, tuple(parts[at] for at in used), place[real], place[said])


def _frame(data: Dataset) -> NDArray[np.float64]:
    """Width and height of each picture, float64 (M, 2); NaN where not known."""
    columns = [data.images[side].cast(float).to_numpy() for side in ("width", "height")]
    frame = np.stack(columns, axis=1).astype(np.float64)
    return np.where(frame > 0, frame, np.nan)


def _third(side: Side, frame: NDArray[np.float64]) -> Codes:
    assert side.xywh is not None
    centre = (side.xywh[:, :2] + side.xywh[:, 2:] / 2) / frame[side.image]
    known: NDArray[np.bool_] = np.atleast_1d(np.isfinite(centre).all(axis=1))
    cell = np.clip(np.where(known[:, None], centre, 0) * 3, 0, 2).astype(np.int64)
    return np.where(known, cell[:, 1] * 3 + cell[:, 0], NOBODY)


def _shape(side: Side) -> Codes:
    assert side.xywh is not None
    width, height = side.xywh[:, 2], side.xywh[:, 3]
    return np.where(height > 2 * width, 0, np.where(width > 2 * height, 2, 1)).astype(np.int64)


def _of_pictures(name: str, parts: Sequence[str], codes: Codes, tally: Tally) -> Attribute:
    return _dense(name, parts, codes[tally.real.image], codes[tally.said.image])


def _pictures(
    task: Task, data: Dataset, tally: Tally, looks: NDArray[np.float32] | None
) -> Iterator[tuple[str, Sequence[str], Codes]]:
    """Name, parts and the part of each picture."""
    if looks is not None:
        for column, name in enumerate(LOOKS):
            yield name, *_quarters(looks[:, column].astype(np.float64))
    frame = _frame(data)
    ratio = np.divide(frame[:, 0], frame[:, 1])
    shape = np.select([~np.isfinite(ratio), ratio > 1.05, ratio < 1 / 1.05], [NOBODY, 0, 1], 2)
    yield "picture shape", ("landscape", "portrait", "square"), shape
    yield "megapixels", *_quarters(frame.prod(axis=1) / 1e6)
    if task != "classify":
        count = np.bincount(tally.real.image, minlength=len(data))
        parts = ("none", "1", "2 to 5", "6 to 20", "more than 20")
        yield "labels in the picture", parts, np.searchsorted([1, 2, 6, 21], count, side="right")
        folders = [str(PurePosixPath(name).parent) for name in data.relative_paths()]
        yield "folder", *_values(folders)
    for given in ("group", "split"):
        yield given, *_values(data.images[given].to_list())
    yield from _metadata(data)


def _quarters(values: NDArray[np.float64]) -> tuple[tuple[str, ...], Codes]:
    """Parts at the quartiles, fewer where many values are equal."""
    known = np.isfinite(values)
    if not known.any():
        return (), np.full(len(values), NOBODY)
    edges = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75]))
    edges = edges[(edges > values[known].min()) & (edges <= values[known].max())]
    codes = np.searchsorted(edges, np.where(known, values, 0), side="right")
    words = [f"{edge:.3g}" for edge in edges]
    if not words:
        return ("all",), np.where(known, 0, NOBODY)
    middle = [f"{low} to {high}" for low, high in pairwise(words)]
    return (f"below {words[0]}", *middle, f"from {words[-1]}"), np.where(known, codes, NOBODY)


def _values(values: Sequence[Any]) -> tuple[tuple[str, ...], Codes]:
    """A part for each value; None is in none."""
    parts: dict[str, int] = {}
    texts = [None if value is None else str(value) for value in values]
    for text in sorted({text for text in texts if text is not None}):
        parts[text] = len(parts)
    codes = [NOBODY if text is None else parts[text] for text in texts]
    return tuple(parts), np.array(codes, dtype=np.int64)


def _metadata(data: Dataset) -> Iterator[tuple[str, Sequence[str], Codes]]:
    extra = data.images["extra"]
    if extra.null_count() == extra.len():
        return
    columns: dict[str, list[Any]] = {}
    for row, text in enumerate(extra.to_list()):
        for name, value in _plain(json.loads(text) if text else {}):
            columns.setdefault(name, [None] * len(data))[row] = value
    for name, values in sorted(columns.items()):
        given = [value for value in values if value is not None]
        different = len(set(given))
        if 2 * len(given) < len(data) or different < 2:
            continue
        numbers = all(type(value) in (int, float) for value in given)
        if different <= _FEW_VALUES:
            yield name, *_values(values)
        elif numbers:
            array = np.array([np.nan if value is None else value for value in values], float)
            yield name, *_quarters(array)
        elif 4 * different <= len(given):
            yield name, *_values(values)


def _plain(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The fields with a text, number or truth value, by their names with dots."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _plain(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, str | int | float) and name:
        yield name, value
