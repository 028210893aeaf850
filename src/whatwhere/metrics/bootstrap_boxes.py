"""COCO's numbers as a function of how often each picture counts.

Which box belongs to which is settled once: drawing a picture twice copies its boxes, and
copies find their own labelled boxes. Only the ranking over all pictures changes, and there only
cumulated weights matter. Precision is highest right after a correct box, so it is computed at
correct boxes only; COCO's 101 recall levels are read off a table by number of correct boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.bootstrap import Key, Weights
from whatwhere.metrics.coco import RECALL_LEVELS, SUMMARY, FoundBoxes, TrueBoxes
from whatwhere.metrics.pairing import AREAS, COCO_IOUS, Pairs, pair_areas

_LEVELS = np.linspace(0.0, 1.0, RECALL_LEVELS)
_PER_CLASS = ("AP", "AP50", "AR100")
_IOU_50, _IOU_75 = 0, 5
_CELLS = 1 << 17
"""Cells of an array of samples by boxes: small enough to stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """The boxes of one class and range of areas, best first, as rows of the weights.

    Args:
        positives: pictures of the labelled boxes that count.
        always: pictures of the found boxes that count at every threshold.
        hits: by threshold, pictures of the correct boxes.
        always_at: by threshold, how many of `always` stand no later than each correct box.
        some: by threshold, pictures of the other found boxes that count there.
        some_at: by threshold, how many of those stand no later than each correct box.
        best: pictures of the correct boxes, by threshold, among the best 1 and 10 of their
            picture; empty where not wanted.
    """

    positives: NDArray[np.int32]
    always: NDArray[np.int32]
    hits: tuple[NDArray[np.int32], ...]
    always_at: tuple[NDArray[np.int32], ...]
    some: tuple[NDArray[np.int32], ...]
    some_at: tuple[NDArray[np.int32], ...]
    best: tuple[tuple[NDArray[np.int32], ...], ...]

    def curves(
        self, weights: Weights
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], list[NDArray[np.float64]]]:
        """AP (B, T), recall (B, T), and mean recall over thresholds (B,) of each of `best`."""
        positives = weights.take(self.positives, axis=1).sum(axis=1)
        ap = np.zeros((len(weights), len(self.hits)))
        recall = np.zeros_like(ap)
        step = max(8, _CELLS // (len(self.always) + 1))
        for start in range(0, len(weights), step):
            part = slice(start, start + step)
            self._fill(weights[part], positives[part], ap[part], recall[part])
        none = positives == 0
        ap[none] = recall[none] = np.nan
        first = []
        for rows in self.best:
            right = sum(weights.take(row, axis=1).sum(axis=1) for row in rows)
            share = right / (np.maximum(positives, 1) * len(rows))
            first.append(np.where(none, np.nan, share))
        return ap, recall, first

    def _fill(
        self,
        weights: Weights,
        positives: NDArray[np.int64],
        ap: NDArray[np.float64],
        recall: NDArray[np.float64],
    ) -> None:
        seen = running(weights, self.always)
        levels, offset = _level_table(positives)
        for level, hits in enumerate(self.hits):
            if not len(hits):
                continue
            right = np.cumsum(weights.take(hits, axis=1), axis=1, dtype=np.int64)
            all_ = seen.take(self.always_at[level], axis=1)
            if len(self.some[level]):
                all_ += running(weights, self.some[level]).take(self.some_at[level], axis=1)
            recall[:, level] = right[:, -1] / np.maximum(positives, 1)
            precision = right / np.maximum(all_, 1, out=all_)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            right += offset[:, None]
            reached = levels.take(right)
            reached[:, 1:] = np.diff(reached, axis=1)
            best *= reached
            ap[:, level] = best.sum(axis=1) / RECALL_LEVELS


def running(weights: Weights, images: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int32]:
    """Cumulated weights with a 0 before them, int32 (B, len(images) + 1)."""
    total = np.zeros((len(weights), len(images) + 1), dtype=np.int32)
    np.cumsum(weights.take(images, axis=1), axis=1, out=total[:, 1:])
    return total


def _level_table(positives: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """How many of the 101 recall levels so many correct boxes reach.

    Returns:
        A flat table, and the place in it of each sample's entry for 0 correct boxes.
    """
    samples = len(positives)
    # The least count whose quotient reaches the level in floating point, as COCO compares.
    need = np.ceil(_LEVELS * positives[:, None] - 1e-9)
    need += need / np.maximum(positives, 1)[:, None] < _LEVELS
    width = int(positives.max(initial=0)) + 2
    offset = np.arange(samples, dtype=np.int64) * width
    flat = (np.minimum(need, width - 1).astype(np.int64) + offset[:, None]).ravel()
    table = np.bincount(flat, minlength=samples * width).reshape(samples, width)
    return np.cumsum(table, axis=1).astype(np.uint8).ravel(), offset


class BoxNumbers:
    """COCO's 12 numbers, and AP, AP50 and AR100 of each class; a `bootstrap.Weighted`.

    With every picture once they equal those of `coco.coco_scores` but for the last bits.

    Args:
        images: number of pictures M; ids of pictures are 0 to M - 1.
        names: class name by class id.
        truth, found: rows of other classes are left out.
        sizes: also the numbers of small, medium and large boxes, for twice the time.
    """

    bounds = (0.0, 1.0)

    def __init__(
        self,
        images: int,
        names: Mapping[int, str],
        truth: TrueBoxes,
        found: FoundBoxes,
        *,
        sizes: bool = True,
    ) -> None:
        self.images = images
        self._ids = sorted(names)
        truth = truth.only(np.isin(truth.class_id, self._ids))
        found = found.only(np.isin(found.class_id, self._ids))
        ranges = list(AREAS) if sizes else ["all"]
        self._rankings = []
        for name, pairs in zip(
            ranges,
            pair_areas(truth, found, COCO_IOUS, 100, [AREAS[name] for name in ranges]),
            strict=True,
        ):
            self._rankings.append(_rankings(pairs, self._ids, first=name == "all"))
        self._summary = SUMMARY if sizes else tuple(n for n in SUMMARY if n[-1] not in "sml")
        self.keys: tuple[Key, ...] = (
            *((name, None) for name in self._summary),
            *((name, names[class_id]) for class_id in self._ids for name in _PER_CLASS),
        )

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `bootstrap.Weighted`: of a class, or a size, the units with labelled boxes."""
        by_size = {
            size: len(np.unique(units[np.concatenate([r.positives for r in rankings])]))
            if rankings
            else 0
            for size, rankings in zip("asml", self._rankings, strict=False)
        }
        everything = len(np.unique(units))
        whole = [by_size[n[-1]] if n[-1] in "sml" else everything for n in self._summary]
        of_class = [len(np.unique(units[r.positives])) for r in self._rankings[0]]
        return np.array([*whole, *np.repeat(of_class, len(_PER_CLASS))], dtype=np.int64)

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """See `bootstrap.Weighted`."""
        numbers: dict[str, NDArray[np.float64]] = {}
        per_class: list[NDArray[np.float64]] = []
        for size, rankings in zip("asml", self._rankings, strict=False):
            ap = np.full((len(weights), len(COCO_IOUS), len(rankings)), np.nan)
            recall = np.full_like(ap, np.nan)
            first = np.full((2, len(weights), len(rankings)), np.nan)
            for column, ranking in enumerate(rankings):
                ap[:, :, column], recall[:, :, column], best = ranking.curves(weights)
                if best:
                    first[:, :, column] = best
            means, recalls = ap.mean(axis=1), recall.mean(axis=1)
            if size != "a":
                numbers["AP" + size] = mean_defined(means)
                numbers["AR" + size] = mean_defined(recalls)
                continue
            numbers["AP"], numbers["AR100"] = mean_defined(means), mean_defined(recalls)
            numbers["AP50"] = mean_defined(ap[:, _IOU_50])
            numbers["AP75"] = mean_defined(ap[:, _IOU_75])
            numbers["AR1"], numbers["AR10"] = mean_defined(first[0]), mean_defined(first[1])
            for column in range(len(rankings)):
                per_class += [means[:, column], ap[:, _IOU_50, column], recalls[:, column]]
        return np.stack([*(numbers[name] for name in self._summary), *per_class], axis=1)


def _rankings(pairs: Pairs, ids: Sequence[int], *, first: bool) -> list[_Ranking]:
    """One for each class."""
    true_order = np.argsort(pairs.true_class, kind="stable")
    true_class = pairs.true_class[true_order]
    true_image = pairs.true_image[true_order].astype(np.int32)
    true, image = pairs.true, pairs.image.astype(np.int32)
    made = []
    for class_id in ids:
        start, end = np.searchsorted(pairs.class_id, [class_id, class_id + 1])
        right: Any = true[:, start:end]
        # What stands after the last correct box changes nothing.
        stop = start + int(np.flatnonzero(right.any(axis=0))[-1]) + 1 if right.any() else start
        right, ignored = true[:, start:stop], pairs.ignored[:, start:stop]
        mine, rank = image[start:stop], pairs.rank[start:stop]
        always: Any = ~ignored.any(axis=0)
        at: list[Any] = [np.flatnonzero(row) for row in right]
        some: list[Any] = [~row & ~always for row in ignored]
        a, b = np.searchsorted(true_class, [class_id, class_id + 1])
        made.append(
            _Ranking(
                positives=true_image[a:b],
                always=mine[always],
                hits=tuple(mine[rows] for rows in at),
                always_at=_counts_at([always] * len(at), at),
                some=tuple(mine[rows] for rows in some),
                some_at=_counts_at(some, at),
                best=tuple(
                    tuple(mine[rows[rank[rows] < limit]] for rows in at) for limit in (1, 10)
                )
                if first
                else (),
            )
        )
    return made


def _counts_at(marks: Sequence[NDArray[np.bool_]], at: Sequence[Any]) -> tuple[Any, ...]:
    """How many marks stand no later than each row of `at`."""
    return tuple(
        np.cumsum(mark, dtype=np.int32)[rows] for mark, rows in zip(marks, at, strict=True)
    )


def mean_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    valid = np.isfinite(values)
    number = valid.sum(axis=-1)
    total = np.where(valid, values, 0.0).sum(axis=-1)
    return ratio(total, number)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Quotients, float64; NaN where `whole` is 0."""
    quotient: NDArray[np.float64] = np.divide(
        part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0
    )
    return quotient


def pooled_boxes(
    truth: TrueBoxes, first: FoundBoxes, second: FoundBoxes
) -> tuple[TrueBoxes, FoundBoxes]:
    """Two systems' boxes as one set of twice the pictures, for `bootstrap.differences`.

    Picture i becomes `2 * i` with the boxes of `first`, and `2 * i + 1` with those of `second`.
    """
    twice = TrueBoxes(
        np.concatenate([2 * truth.image, 2 * truth.image + 1]),
        np.tile(truth.class_id, 2),
        np.tile(truth.xywh, (2, 1)),
        np.tile(truth.area, 2),
        np.tile(truth.ignore, 2),
    )
    both = FoundBoxes(
        np.concatenate([2 * first.image, 2 * second.image + 1]),
        np.concatenate([first.class_id, second.class_id]),
        np.concatenate([first.xywh, second.xywh]),
        np.concatenate([first.score, second.score]),
    )
    return twice, both
