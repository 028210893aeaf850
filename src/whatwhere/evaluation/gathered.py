"""Saved answers of any tool as columns: in bounded memory, and with what is odd about them.

Readers of the single forms of files (`saved_*.py`) hand their rows over here. Of more than a
million boxes only the best hundred of each picture and class are kept, which is all that COCO's
protocol scores; so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import DataError, UsageError
from whatwhere.evaluation.names import ByName
from whatwhere.metrics.coco import FoundBoxes
from whatwhere.metrics.pairing import COCO_LIMIT, best_boxes
from whatwhere.types import Prediction

_MOST_ROWS = 1 << 20
"""Boxes that are held before those that COCO does not score are dropped: 28 MB."""
_MOST_NAMES = 10_000
_OUTSIDE = 0.5
"""Pixels by which rounding may move a box out of its picture."""


class Few:
    """How many different texts there were, and the first of them in alphabetical order."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self.more = False

    def add(self, name: str) -> None:
        """One more; of those beyond ten thousand only that there were more is remembered."""
        if len(self._names) < _MOST_NAMES:
            self._names.add(name)
        elif name not in self._names:
            self.more = True

    def __len__(self) -> int:
        return len(self._names)

    @property
    def count(self) -> str:
        """The number, as a text."""
        return f"more than {len(self)}" if self.more else str(len(self))

    def __str__(self) -> str:
        shown = sorted(self._names)[:8]
        rest = len(self) - len(shown)
        return ", ".join(shown) + (f" and {rest} more" if rest else "")


class Columns:
    """Blocks of equally long arrays that are joined when they are asked for."""

    def __init__(self, *kinds: tuple[Any, tuple[int, ...]]) -> None:
        self._parts = [tuple(np.zeros((0, *shape), kind) for kind, shape in kinds)]
        self._kinds = kinds
        self.rows = 0

    def add(self, *columns: Any) -> None:
        """One more block."""
        made = zip(columns, self._kinds, strict=True)
        self._parts.append(
            tuple(np.asarray(column, kind).reshape(-1, *shape) for column, (kind, shape) in made)
        )
        self.rows += len(self._parts[-1][0])

    def joined(self) -> tuple[NDArray[Any], ...]:
        """All rows, in the order in which they came."""
        if len(self._parts) > 1:
            self._parts = [tuple(map(np.concatenate, zip(*self._parts, strict=True)))]
        return self._parts[0]

    def keep(self, rows: NDArray[Any]) -> None:
        """Only these rows, a mask or places."""
        self._parts = [tuple(column[rows] for column in self.joined())]
        self.rows = len(self._parts[0][0])


class Gathered:
    """What a file says about the pictures of a data set.

    Args:
        data: the labelled pictures. Classes are known by their names.
        source: the file or folder, for messages.
        renamed: the data's name for names of the file, where they differ.

    Raises:
        UsageError: `renamed` gives a name that the data do not have.
    """

    def __init__(
        self, data: Dataset, source: str, renamed: Mapping[str, str] | None = None
    ) -> None:
        self.data, self.source = data, source
        self._index = ByName(data.paths)
        self._rows: dict[str, int | None] = {}
        self._ids = {name: place for place, name in enumerate(data.names)}
        for theirs, ours in (renamed or {}).items():
            if ours not in data.names:
                raise UsageError(f"the data have no class {ours!r}, as {theirs!r} was to be called")
            self._ids[theirs] = data.names.index(ours)
        count = len(data)
        self.seen = np.zeros(count, dtype=bool)
        self.about: dict[int, dict[str, Any]] = {}
        self.unreadable: list[str] = []
        self._once: set[int] = set()
        self.remarks: list[str] = []
        self.outside, self.unknown = Few(), Few()
        self.named_boxes = self.named_labels = 0
        self.beyond = self.far = self.flat = self.lost = 0
        self.first_flat = self.first_far = ""
        # Lowest and highest score of boxes and of labels.
        self.span = {"objects": [np.inf, -np.inf], "labels": [np.inf, -np.inf]}
        self._boxes = Columns((np.int32, ()), (np.int32, ()), (np.float32, ()), (np.float32, (4,)))
        self._labels = Columns((np.int32, ()), (np.int32, ()), (np.float32, ()))
        self._kept = 0
        sizes = data.images.select("width", "height").to_numpy().astype(np.float64)
        self.sizes: NDArray[np.float64] = sizes.reshape(-1, 2)

    def row(self, name: str, where: str, *, stem: bool = False) -> int | None:
        """The row of a picture in the data; None if it is not there, which is remembered.

        Args:
            name, where, stem: as in `ByName.row`.
        """
        if name in self._rows:
            row = self._rows[name]
        else:
            row = self._index.row(name, where, stem=stem)
            if len(self._rows) < _MOST_NAMES + len(self.data):
                self._rows[name] = row
        if row is None:
            self.outside.add(name)
        else:
            self.seen[row] = True
        return row

    def row_once(self, name: str, where: str, *, stem: bool = False) -> int | None:
        """As `row`, in files that speak of each picture once.

        Raises:
            DataError: the picture was there before.
        """
        row = self.row(name, where, stem=stem)
        if row is not None:
            if row in self._once:
                raise DataError(f"{where} is a second answer for {name}: keep one of them")
            self._once.add(row)
        return row

    def class_ids(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Places of classes in the data's names; -1 for those that it does not have."""
        get = self._ids.get
        ids = np.fromiter((get(name, -1) for name in names), dtype=np.int64, count=len(names))
        for place in np.flatnonzero(ids < 0).tolist():
            self.unknown.add(str(names[place]))
        return ids

    def add_boxes(
        self,
        image: Any,
        class_id: NDArray[np.int64],
        score: Any,
        corners: Any,
        where: Sequence[str],
    ) -> None:
        """Some boxes.

        Args:
            image: int (N,) or one number, rows of pictures.
            class_id: (N,), of `class_ids`.
            score: float (N,). corners: float (N, 4), x1, y1, x2, y2 in pixels.
            where: where each stands in the file, for messages.
        """
        corners = np.asarray(corners, np.float32).reshape(-1, 4)
        score = np.asarray(score, np.float32)
        image = np.broadcast_to(np.asarray(image, np.int32), score.shape)
        self._range("objects", score)
        self.named_boxes += len(score)
        flat = np.flatnonzero((corners[:, 2:] <= corners[:, :2]).any(axis=1))
        if len(flat):
            self.first_flat = self.first_flat or where[flat[0]]
            self.flat += len(flat)
        size = self.sizes[image]
        far = (corners[:, :2] > size - _OUTSIDE) | (corners[:, 2:] < _OUTSIDE)
        places = np.flatnonzero(far.any(axis=1))
        if len(places):
            self.first_far = self.first_far or where[places[0]]
            self.far += len(places)
        known = class_id >= 0
        self.lost += int((~known).sum())
        self._boxes.add(image[known], class_id[known], score[known], corners[known])
        if self._boxes.rows > max(_MOST_ROWS, 2 * self._kept):
            before = self._boxes.rows
            columns = self._boxes.joined()
            best = best_boxes(
                FoundBoxes(columns[0], columns[1], columns[3], columns[2]), COCO_LIMIT
            )
            self._boxes.keep(best)
            self._kept = self._boxes.rows
            self.beyond += before - self._kept

    def add_labels(self, image: Any, class_id: NDArray[np.int64], score: Any) -> None:
        """Some classes of whole pictures, as `add_boxes`."""
        score = np.asarray(score, np.float32)
        self._range("labels", score)
        self.named_labels += len(score)
        known = class_id >= 0
        self.lost += int((~known).sum())
        image = np.broadcast_to(np.asarray(image, np.int32), score.shape)
        self._labels.add(image[known], class_id[known], score[known])

    def _range(self, part: str, score: NDArray[np.float32]) -> None:
        low, high = self.span[part]
        self.span[part] = [float(score.min(initial=low)), float(score.max(initial=high))]

    def boxes(self) -> tuple[NDArray[Any], ...]:
        """Picture, class, score and corners of every box that was kept."""
        return self._boxes.joined()

    def label_once(self) -> int:
        """Drop what is said twice about a picture and class; how many rows that were.

        Raises:
            DataError: two scores of one picture and class differ.
        """
        image, class_id, score = self._labels.joined()
        key = image.astype(np.int64) * max(1, len(self._ids)) + class_id
        order = np.argsort(key, kind="stable")
        again = order[1:][key[order][1:] == key[order][:-1]]
        if not len(again):
            return 0
        first = order[np.searchsorted(key[order], key[again])]
        differ = np.flatnonzero(score[again] != score[first])
        if len(differ):
            row = again[differ[0]]
            raise DataError(
                f"{self.source} has two scores, {score[first[differ[0]]]:g} and {score[row]:g}, of"
                f" {self.data.names[class_id[row]]} in {self.data.paths[image[row]]}: keep one"
            )
        keep = np.ones(len(key), dtype=bool)
        keep[again] = False
        self._labels.keep(keep)
        return len(again)

    def check(self) -> None:
        """Is there anything to score?

        Raises:
            UsageError: no picture, or no class, is one of the data.
        """
        said = self.named_boxes + self.named_labels
        if len(self.outside) and not self.seen.any():
            raise UsageError(
                f"no picture of {self.source} belongs to {self.data.source} (the first is"
                f" {sorted(self.outside._names)[0]}): give the data set that was predicted"
            )
        if said and self.lost == said:
            raise UsageError(
                f"no class of {self.source} is one of {self.data.source} (it says {self.unknown};"
                f" the data have {_shown(self.data.names)}): write the classes as the data does"
            )

    def predictions(self) -> tuple[Prediction, ...]:
        """One prediction a picture, in the data's order, each with its best rows first."""
        names = list(self.data.names)
        boxes, labels = _by_picture(self._boxes), _by_picture(self._labels)
        count = len(self.data)
        starts = np.searchsorted(boxes[0], np.arange(count + 1))
        firsts = np.searchsorted(labels[0], np.arange(count + 1))
        only_labels = bool(self.named_labels) and not self.named_boxes
        sizes = np.nan_to_num(self.sizes).astype(np.int64).tolist()
        made = []
        for row, path in enumerate(self.data.paths):
            mine = slice(starts[row], starts[row + 1])
            ours = slice(firsts[row], firsts[row + 1])
            about = self.about.get(row, {})
            # A classifier looks for no boxes; of a picture without a line nothing is known.
            found = not only_labels and (mine.stop > mine.start or ours.stop == ours.start)
            made.append(
                Prediction(
                    image=path,
                    label_names=tuple([names[one] for one in labels[1][ours].tolist()]),
                    label_scores=labels[2][ours],
                    object_names=tuple([names[one] for one in boxes[1][mine].tolist()]),
                    object_scores=boxes[2][mine],
                    boxes=boxes[3][mine] if found else None,
                    **{"width": sizes[row][0], "height": sizes[row][1], **about},
                )
            )
        return tuple(made)

    def notes(self) -> Iterator[str]:
        """One sentence on each thing that is odd about the rows."""
        if len(self.outside):
            yield (
                f"{self.outside.count} pictures of {self.source} are not in the data and are left"
                f" out: {self.outside}"
            )
        yield from self.remarks
        silent = np.flatnonzero(~self.seen)
        if len(silent):
            short = self.data.relative_paths()
            yield (
                f"{len(silent)} of {len(self.data)} pictures have no line in {self.source}; their"
                f" labels count as missed: {_shown(sorted(short[row] for row in silent.tolist()))}"
            )
        if self.flat:
            yield (
                f"{self.flat} boxes have no width or height, or are inverted (first:"
                f" {self.first_flat}); they find nothing"
            )
        if self.far:
            yield (
                f"{self.far} boxes lie outside of their pictures (first: {self.first_far}); they"
                " find nothing"
            )
        image, class_id, score, place = self.boxes()
        twice = equal_rows(image, class_id, score, *place.T)
        if twice:
            yield twice_note(twice)
        if self.beyond:
            yield (
                f"{self.beyond} boxes beyond the best {COCO_LIMIT} of their picture and class were"
                " passed over while reading; COCO does not score them"
            )
        for part, (low, high) in self.span.items():
            if low < 0 or high > 1:
                yield (
                    f"scores of {part} go from {low:.3g} to {high:.3g}, not 0 to 1: rankings are"
                    " right, but what is counted from a score on, and calibration, mean nothing"
                )
        if len(self.unknown):
            yield (
                f"{self.unknown.count} classes of the predictions are unknown to the data; what is"
                f" said about them is not scored: {self.unknown}"
            )
        if not self.named_boxes + self.named_labels:
            yield "the file says nothing about any picture"


def _by_picture(columns: Columns) -> tuple[NDArray[Any], ...]:
    parts = columns.joined()
    order = np.lexsort((-parts[2], parts[0]))
    return tuple(part[order] for part in parts)


def twice_note(count: int) -> str:
    """What is said about boxes that are equal to others in every number."""
    return (
        f"{count} boxes are there twice, with the same picture, class, place and score; each"
        " counts, and the second one of an object as a mistake"
    )


def equal_rows(*columns: NDArray[Any]) -> int:
    """How many rows are equal to another one before them, in every column."""
    # Equal rows have equal sums, which are quickly sorted; the few others of a sum are looked at.
    total = np.zeros(len(columns[0]))
    if len(total) < 2:
        return 0
    for place, column in enumerate(columns):
        total += column * (np.sqrt(2.0) + np.sqrt(3.0) * place)
    order = np.argsort(total)
    same = np.diff(total[order]) == 0
    rows = order[np.append(same, False) | np.append(False, same)]
    if not len(rows):
        return 0
    table = np.column_stack([column[rows].astype(np.float64) for column in columns])
    return len(table) - len(np.unique(table, axis=0))


def _shown(names: Sequence[str], limit: int = 8) -> str:
    shown = list(names)[:limit]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
