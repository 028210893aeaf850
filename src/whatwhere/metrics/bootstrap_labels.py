"""Numbers of labels as a function of how often each picture counts.

`LabelNumbers` for one class a picture, `TableNumbers` for any number of classes, and for
everything else `MeanNumbers` and `CountNumbers`: means, and functions of counts, of pictures.
Each is a `bootstrap.Weighted`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.bootstrap import Key, Weights
from whatwhere.metrics.bootstrap_boxes import mean_defined, ratio, running
from whatwhere.metrics.classification import NOTHING
from whatwhere.metrics.multilabel import THRESHOLD

_SHARES = ("precision", "recall", "f1")
_CELLS = 1 << 17


class LabelNumbers:
    """`classification.classification_scores` of weighted pictures.

    Keys are accuracy, top5, precision, recall, f1 and the last three of each class.

    Args:
        images: number of pictures M.
        names: names of the C classes.
        image: int64 (N,), the picture of each row.
        truth: int64 (N,), the right class of each row.
        ranked: int64 (N, k), the classes of each answer, best first; -1 for none.
    """

    bounds = (0.0, 1.0)

    def __init__(
        self,
        images: int,
        names: Sequence[str],
        image: NDArray[np.int64],
        truth: NDArray[np.int64],
        ranked: NDArray[np.int64],
    ) -> None:
        self.images = images
        self.keys: tuple[Key, ...] = (
            *((name, None) for name in ("accuracy", "top5", *_SHARES)),
            *((share, name) for name in names for share in _SHARES),
        )
        self._image, self._truth, self._classes = image, truth, len(names)
        first = ranked[:, 0] if ranked.shape[1] else np.full(len(truth), NOTHING)
        self._right = first == truth
        self._among = (ranked[:, :5] == truth[:, None]).any(axis=1)
        answered = first != NOTHING
        right = self._right
        self._sums = tuple(
            _ClassSums(image[rows], of[rows], len(names))
            for rows, of in ((right, truth), (answered, first), (np.ones_like(right), truth))
        )

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `bootstrap.Weighted`: of a class, the units with pictures of it."""
        mine = units[self._image]
        per_class = _units_by_class(mine, self._truth, self._classes)
        whole = np.full(5, len(np.unique(mine)))
        return np.concatenate([whole, np.repeat(per_class, 3)]).astype(np.int64)

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """See `bootstrap.Weighted`."""
        total = weights.take(self._image, axis=1).sum(axis=1)
        shares = []
        for rows in (self._right, self._among):
            hits = weights.take(self._image[rows], axis=1).sum(axis=1)
            shares.append(ratio(hits, total))
        right, said, real = (sums(weights) for sums in self._sums)
        per_class = _precision_recall_f1(right, said, real)
        means = [mean_defined(share) for share in per_class]
        rows = np.stack(per_class, axis=2).reshape(len(weights), -1)
        return np.concatenate([np.stack([*shares, *means], axis=1), rows], axis=1)


class TableNumbers:
    """`multilabel.multilabel_scores` of weighted pictures.

    Keys are mAP, precision, recall, f1, and AP, precision, recall, f1 of each class.

    Args:
        names: names of the C classes.
        truth: bool (M, C).
        scores: float64 (M, C).
        known: bool (M, C); pairs that are False count nowhere.
    """

    bounds = (0.0, 1.0)

    def __init__(
        self,
        names: Sequence[str],
        truth: NDArray[np.bool_],
        scores: NDArray[np.float64],
        known: NDArray[np.bool_],
    ) -> None:
        self.images = len(truth)
        self.keys: tuple[Key, ...] = (
            *((name, None) for name in ("mAP", *_SHARES)),
            *((share, name) for name in names for share in ("AP", *_SHARES)),
        )
        self._positive = truth & known
        said = (scores >= THRESHOLD) & known
        self._sums = tuple(
            _ClassSums(*_places(table), len(names))
            for table in (said & truth, said, self._positive)
        )
        self._steps = [
            _Steps(np.flatnonzero(rows), truth[rows, column], scores[rows, column])
            for column, rows in enumerate(known.T)
        ]

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `bootstrap.Weighted`: of a class, the units that show it."""
        image, class_id = np.nonzero(self._positive)
        per_class = _units_by_class(units[image], class_id, len(self._steps))
        whole = np.full(4, len(np.unique(units)))
        return np.concatenate([whole, np.repeat(per_class, 4)]).astype(np.int64)

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """See `bootstrap.Weighted`."""
        ap = np.full((len(weights), len(self._steps)), np.nan)
        for column, steps in enumerate(self._steps):
            step = max(8, _CELLS // (len(steps.ranked) + 1))
            for start in range(0, len(weights), step):
                ap[start : start + step, column] = steps(weights[start : start + step])
        right, said, real = (sums(weights) for sums in self._sums)
        per_class = [ap, *_precision_recall_f1(right, said, real)]
        means = [mean_defined(share) for share in per_class]
        rows = np.stack(per_class, axis=2).reshape(len(weights), -1)
        return np.concatenate([np.stack(means, axis=1), rows], axis=1)


class MeanNumbers:
    """Means over pictures: log loss, Brier score, any number that each picture has.

    Args:
        keys: what the Q numbers are.
        values: float64 (M, Q); NaN where a picture has no such number.
        bounds: the least and the largest value that they can have.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        values: NDArray[np.float64],
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> None:
        _check_table(keys, values)
        self.bounds = bounds
        self.images, self.keys = len(values), tuple(keys)
        self._valid = np.isfinite(values)
        self._values = np.where(self._valid, values, 0.0)

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `bootstrap.Weighted`: the units of pictures that have the number."""
        counts = [len(np.unique(units[column])) for column in self._valid.T]
        return np.array(counts, dtype=np.int64)

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """See `bootstrap.Weighted`."""
        often = weights.astype(np.float64)
        return ratio(often @ self._values, often @ self._valid.astype(np.float64))


class CountNumbers:
    """Functions of counts that add up over pictures: precision at a threshold, kappa, ECE.

    Args:
        keys: what the Q numbers are.
        counts: (M, K), the counts of each picture, such as its right, false and missed boxes.
        function: from sums float64 (B, K) to numbers float64 (B, Q), NaN where undefined.
        members: bool (M, Q), which pictures a number rests on; None for all.
        bounds: the least and the largest value that the numbers can have.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        counts: NDArray[np.float64] | NDArray[np.int64],
        function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        members: NDArray[np.bool_] | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.bounds = bounds
        if members is not None:
            _check_table(keys, members)
        self.images, self.keys = len(counts), tuple(keys)
        self._counts = counts.astype(np.float64)
        self._function, self._members = function, members

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `bootstrap.Weighted`."""
        if self._members is None:
            return np.full(len(self.keys), len(np.unique(units)), dtype=np.int64)
        counts = [len(np.unique(units[column])) for column in self._members.T]
        return np.array(counts, dtype=np.int64)

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """See `bootstrap.Weighted`."""
        return self._function(weights.astype(np.float64) @ self._counts)

    def pooled(self, other: CountNumbers) -> CountNumbers:
        """The same numbers of twice the pictures, as `paired.differences` needs them.

        Picture i becomes `2 * i` with these counts, and `2 * i + 1` with those of `other`,
        which has the same keys, pictures and function.
        """
        both = np.stack([self._counts, other._counts], axis=1)
        members = None if self._members is None else np.repeat(self._members, 2, axis=0)
        flat = both.reshape(2 * self.images, -1)
        return CountNumbers(self.keys, flat, self._function, members, self.bounds)


class _ClassSums:
    """Weights added up by class: rows of pictures `image` and classes `class_id`, both (N,)."""

    def __init__(self, image: NDArray[np.int64], class_id: NDArray[np.int64], classes: int) -> None:
        order = np.argsort(class_id, kind="stable")
        self._image = image[order]
        self._bounds = np.searchsorted(class_id[order], np.arange(classes + 1))

    def __call__(self, weights: Weights) -> NDArray[np.int32]:
        """int32 (B, C)."""
        sums = [
            running(part, self._image).take(self._bounds, axis=1)
            for part in np.array_split(weights, max(1, weights.size // _CELLS))
        ]
        total = np.concatenate(sums)
        return total[:, 1:] - total[:, :-1]


class _Steps:
    """The ranking of one class: pictures `image`, whether they show it, and their scores."""

    def __init__(
        self, image: NDArray[np.int64], truth: NDArray[np.bool_], scores: NDArray[np.float64]
    ) -> None:
        order = np.argsort(-scores, kind="stable")
        hits = np.cumsum(truth[order])
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        if not len(order) or not hits[-1]:
            ends = ends[:0]
        # Recall only grows where a tie of scores holds a picture that shows the class.
        ends = ends[np.diff(hits[ends], prepend=0) > 0]
        self.ranked = image[order[: ends[-1] + 1]] if len(ends) else image[:0]
        self._positive = image[order[truth[order]]]
        self._ends, self._hits = ends + 1, hits[ends]

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """AP, float64 (B,)."""
        if not len(self._ends):
            return np.full(len(weights), np.nan)
        right = running(weights, self._positive).take(self._hits, axis=1)
        seen = running(weights, self.ranked).take(self._ends, axis=1)
        gained = np.diff(right, axis=1, prepend=0)
        area = (gained * (right / np.maximum(seen, 1))).sum(axis=1)
        return ratio(area, right[:, -1])


def _precision_recall_f1(
    right: NDArray[np.int32], said: NDArray[np.int32], real: NDArray[np.int32]
) -> list[NDArray[np.float64]]:
    """As `classification.precision_recall_f1`: NaN for a class without positives."""
    none = real == 0
    rows = (
        right / np.maximum(said, 1),
        right / np.maximum(real, 1),
        2 * right / np.maximum(said + real, 1),
    )
    return [np.where(none, np.nan, row) for row in rows]


def _units_by_class(
    units: NDArray[np.int64], class_id: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Number of different units of each class, int64 (C,)."""
    width = int(units.max(initial=0)) + 1
    pairs = np.unique(class_id * width + units)
    return np.bincount(pairs // width, minlength=classes).astype(np.int64)


def _places(table: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = np.nonzero(table)
    return rows.astype(np.int64), columns.astype(np.int64)


def _check_table(keys: Sequence[Key], table: NDArray[Any]) -> None:
    if table.ndim != 2 or table.shape[1] != len(keys):
        raise UsageError(
            f"{len(keys)} numbers need a table of {len(keys)} columns, not {table.shape}"
        )
