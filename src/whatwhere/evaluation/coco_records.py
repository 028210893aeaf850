"""Records of COCO results as arrays, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import DataError
from whatwhere.evaluation.gathered import Few
from whatwhere.evaluation.names import ByName
from whatwhere.metrics.coco import FoundBoxes
from whatwhere.metrics.ordering import places
from whatwhere.metrics.pairing import COCO_LIMIT

NOWHERE = -(1 << 62)
"""Id of pictures whose name is not one of the data."""


def boxes_of(path: Path, records: Sequence[Any], told: Told) -> FoundBoxes:
    """Records as arrays, with pictures by their ids."""
    images, class_id, xywh, score = arrays_of(path, records, told.records)
    if isinstance(images, list):
        where = f"{path}: after record {told.records}"
        images = np.array([told.number(image, where) for image in images], dtype=np.int64)
    return FoundBoxes(images, class_id, xywh, score)


def arrays_of(
    path: Path, records: Sequence[Any], before: int
) -> tuple[Any, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Records as columns; `before` records stand before them in the file.

    Returns:
        Pictures, as int64 (N,) or, where one has a name, as a list of int and str; classes,
        int64 (N,); left, top, width and height, float64 (N, 4); scores, float64 (N,).

    Raises:
        DataError: a record is damaged; the message names it.
    """
    try:
        images: Any = [record["image_id"] for record in records]
        classes = [record["category_id"] for record in records]
        xywh = np.array([record["bbox"] for record in records], dtype=np.float64).reshape(-1, 4)
        score = np.array([record["score"] for record in records], dtype=np.float64)
        kinds = set(map(type, images))
        sound = kinds <= {int, str} and set(map(type, classes)) <= {int}
        if sound and str not in kinds:
            images = np.array(images, dtype=np.int64)
        class_id = np.array(classes if sound else [], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound or not (np.isfinite(xywh).all() and np.isfinite(score).all()):
        raise _first_fault(path, records, before)
    return images, class_id, xywh, score


def _first_fault(path: Path, records: Sequence[Any], before: int) -> DataError:
    """Which record it was: looked for one by one, since there hardly ever is any."""
    for number, record in enumerate(records, before + 1):
        where = f"{path}: record {number}"
        if not isinstance(record, dict):
            return DataError(f"{where} is not an object with image_id, category_id, bbox, score")
        for key, kinds in (("image_id", int | str), ("category_id", int)):
            value = record.get(key)
            if not isinstance(value, kinds) or isinstance(value, bool):
                return DataError(f"{where} has the {key} {value!r}: give a whole number")
        box = record.get("bbox")
        if not is_box(box):
            return DataError(f"{where} has the bbox {box!r}: give left, top, width and height")
        if not is_finite(record.get("score")):
            return DataError(f"{where} has the score {record.get('score')!r}: give a finite number")
    return DataError(f"{path} is not a list of COCO results: numbers are too large")


def is_box(value: Any) -> bool:
    """Whether a value from JSON is a box of four finite numbers."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_finite, value))


def is_finite(value: Any) -> bool:
    """Whether a value from JSON is a finite number."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and bool(np.isfinite(value))


class Told:
    """What is to be said about the records that went by.

    Args:
        data: the pictures.
        sizes: as in `_found`.
    """

    def __init__(self, data: Dataset, sizes: NDArray[np.float64]) -> None:
        self.records = self.outside = self.unknown = self.bad = self.beyond = self.far = 0
        self.first_bad = self.first_far = 0
        self.images, self.classes = Few(), Few()
        self.low, self.high = np.inf, -np.inf
        self._data, self._sizes = data, sizes
        self._names: ByName | None = None
        self._ids: list[int | None] = []
        self._numbers: dict[str, int] = {}

    def number(self, image: int | str, where: str) -> int:
        """The id of a picture that may be given by its name, or by digits.

        Raises:
            DataError: several pictures have that name.
        """
        if not isinstance(image, str):
            return image
        if image in self._numbers:
            return self._numbers[image]
        if self._names is None:
            self._names, self._ids = ByName(self._data.paths), self._data.images["id"].to_list()
        row = self._names.row(image, where, stem=True)
        found = None if row is None else self._ids[row]
        if found is None and image.isdecimal() and len(image) < 19:
            found = int(image)
        if found is None:
            self.images.add(image)
            found = NOWHERE
        self._numbers[image] = found
        return found

    def add(
        self, block: FoundBoxes, images: NDArray[np.int64], known: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Counts one block; says which of its boxes are in known pictures."""
        place, inside = places(block.image, images)
        self.outside += int((~inside).sum())
        for image in np.unique(block.image[~inside]).tolist():
            if image != NOWHERE:
                self.images.add(str(image))
        self.unknown += int((~known).sum())
        for number in np.unique(block.class_id[~known]).tolist():
            self.classes.add(str(number))
        flat = (block.xywh[:, 2:] <= 0).any(axis=1)
        bad = np.flatnonzero(flat)
        if len(bad) and not self.bad:
            self.first_bad = self.records + int(bad[0]) + 1
        self.bad += len(bad)
        # Half a pixel over the edge is rounding.
        left_top = block.xywh[:, :2]
        beside = (left_top > self._sizes[place] - 0.5) | (left_top + block.xywh[:, 2:] < 0.5)
        far = np.flatnonzero(inside & beside.any(axis=1))
        if len(far) and not self.far:
            self.first_far = self.records + int(far[0]) + 1
        self.far += len(far)
        self.low = min(self.low, float(block.score.min(initial=np.inf)))
        self.high = max(self.high, float(block.score.max(initial=-np.inf)))
        self.records += len(block.image)
        return inside

    def notes(self) -> Iterator[str]:
        """One sentence on each thing that is odd."""
        if self.outside:
            yield (
                f"{self.outside} boxes belong to {self.images.count} pictures that are not in the"
                f" data and are left out: image_id {self.images}"
            )
        if self.unknown:
            yield (
                f"{self.unknown} boxes are of classes that the data does not have and are left"
                f" out: category_id {self.classes}"
            )
        if self.bad:
            yield (
                f"{self.bad} boxes have no width or height, or are inverted (first: record"
                f" {self.first_bad}); they are scored as they are"
            )
        if self.far:
            yield (
                f"{self.far} boxes lie outside of their pictures (first: record {self.first_far});"
                " they find nothing"
            )
        if self.low < 0 or self.high > 1:
            yield (
                f"scores go from {self.low:.3g} to {self.high:.3g}, not 0 to 1; only their order"
                " counts"
            )
        if self.beyond:
            yield (
                f"{self.beyond} boxes beyond the best {COCO_LIMIT} of their picture and class were"
                " passed over while reading; COCO does not score them"
            )
        if not self.records:
            yield "the file says nothing about any picture"
