"""KITTI's average precision of 2D boxes: easy, moderate and hard.

Source: the development kit of the KITTI object benchmark, evaluate_object.cpp, with the mean
over 40 recall levels that the benchmark uses since 2019 (Simonelli et al., Disentangling
Monocular 3D Object Detection, ICCV 2019). What differs from COCO:

- An object counts from a height, an occlusion and a truncation on that depend on the
  difficulty. Others of its class, and its neighbours (vans for cars, sitting persons for
  pedestrians), are neither missed nor, if found, mistakes.
- Predicted boxes of less than the least height are left out.
- Predicted boxes that lie in a DontCare region by more than the least IoU are left out.
- Precision is read at about 40 scores; at each, every object takes its box anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.detection import DONT_CARE, found_boxes, true_boxes
from whatwhere.metrics.overlaps import Overlaps, overlaps, place_in_group
from whatwhere.metrics.partial import known_pairs
from whatwhere.types import Prediction

DIFFICULTIES = ("easy", "moderate", "hard")
_LEAST_HEIGHT = (40, 25, 25)
_MOST_OCCLUSION = (0, 1, 2)
_MOST_TRUNCATION = (0.15, 0.3, 0.5)

_LEAST_IOU = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
_OTHER_IOU = 0.5
_NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting"}


_LEVELS = 40
_ENOUGH = 41
"""Objects from which perfect boxes have an AP of 1."""

_OTHER, _COUNTED, _LEFT_OUT = -1, 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Visibility:
    """How well objects can be seen, in the file's own numbers; float64 (N,) each.

    Args:
        occlusion: 0 fully visible, 1 partly, 2 largely occluded, 3 unknown.
        truncation: share of the object outside the picture, 0 to 1.
    """

    occlusion: NDArray[np.float64]
    truncation: NDArray[np.float64]

    def only(self, keep: NDArray[np.bool_]) -> Visibility:
        """The rows that `keep`, bool (N,), says."""
        return Visibility(self.occlusion[keep], self.truncation[keep])


def score_kitti(
    data: Dataset, predictions: Sequence[Prediction], *, classes: frozenset[str]
) -> dict[str, Any]:
    """`kitti_easy`, `kitti_moderate`, `kitti_hard` (see `FURTHER`), all `per_class`, `notes`.

    Scored are car, pedestrian and cyclist, as there; where the data have none of them, all
    classes, at IoU 0.5. Labels of other formats: `occluded` counts as partly occluded,
    `truncated` as wholly, as in the files that we write, and an ignored label as a DontCare
    region for its class.
    """
    rows = data.labels.filter(pl.col("x1").is_not_null())
    truth, found = true_boxes(data), found_boxes(predictions, data.names)
    seen = visibility(rows, unknown=3.0 if data.format == "kitti" else 0.0)
    known = known_pairs(data, "complete")
    if known is not None:
        keep = known[truth.image, truth.class_id]
        truth, seen = truth.only(keep), seen.only(keep)
        place = np.minimum(found.class_id, len(data.names) - 1)
        found = found.only((found.class_id < len(data.names)) & known[found.image, place])
    names = dict(enumerate(data.names))
    return kitti_scores(names, truth, seen, found, classes=classes)


def visibility(rows: pl.DataFrame, unknown: float = 0.0) -> Visibility:
    """Occlusion and truncation of labels: as the file wrote them, else from the two flags.

    Args:
        rows: labels, columns as in `LABEL_COLUMNS`.
        unknown: occlusion of labels that say nothing; KITTI writes 3, which never counts.
    """
    occlusion = rows["occluded"].cast(pl.Float64).fill_null(unknown).to_numpy().copy()
    truncation = rows["truncated"].cast(pl.Float64).fill_null(0.0).to_numpy().copy()
    for row, text in enumerate(rows["extra"].to_list()):
        if text is None or '"kitti"' not in text:
            continue
        kept = json.loads(text)
        own = kept.get("kitti") if isinstance(kept, dict) else None
        for name, column in (("occluded", occlusion), ("truncated", truncation)):
            value = own.get(name) if isinstance(own, dict) else None
            if isinstance(value, int | float):
                column[row] = value
    return Visibility(occlusion, truncation)


def kitti_scores(
    names: Mapping[int, str],
    truth: TrueBoxes,
    seen: Visibility,
    found: FoundBoxes,
    *,
    classes: frozenset[str] | None = None,
) -> dict[str, Any]:
    """The same from arrays; `names` is by class id, `classes` are those to be scored."""
    chosen = [class_id for class_id, name in names.items() if classes is None or name in classes]
    chosen = [class_id for class_id in chosen if names[class_id].lower() != DONT_CARE]
    official = [class_id for class_id in chosen if names[class_id].lower() in _LEAST_IOU]
    pairs = overlaps(truth, found)
    per_class: dict[str, dict[str, Any]] = {}
    for class_id in official or chosen:
        row: dict[str, Any] = {}
        for level, difficulty in enumerate(DIFFICULTIES):
            case = _case(names, class_id, level, truth, seen, found, pairs)
            row[f"kitti_{difficulty}"] = case.average_precision()
            row[f"boxes_{difficulty}"] = case.positives
        per_class[names[class_id]] = row
    result: dict[str, Any] = {}
    for difficulty in DIFFICULTIES:
        key = f"kitti_{difficulty}"
        values = [one[key] for one in per_class.values() if one[key] is not None]
        result[key] = float(np.mean(np.array(values, dtype=np.float64))) if values else None
    few = [
        f"{name} ({row['boxes_' + difficulty]}, {difficulty})"
        for name, row in per_class.items()
        for difficulty in DIFFICULTIES
        if 0 < row[f"boxes_{difficulty}"] < _ENOUGH
    ]
    notes = []
    if few:
        notes.append(
            f"KITTI's AP is too small where there are less than {_ENOUGH} objects, since it reads"
            f" at most one recall level an object: {', '.join(few[:6])}"
            f"{' and others' if len(few) > 6 else ''}"
        )
    return result | {"per_class": per_class, "notes": notes}


def _case(
    names: Mapping[int, str],
    class_id: int,
    level: int,
    truth: TrueBoxes,
    seen: Visibility,
    found: FoundBoxes,
    pairs: Overlaps,
) -> _Case:
    """What counts for a class at a difficulty (`cleanData` of the development kit)."""
    name = names[class_id].lower()
    near = [one for one, other in names.items() if other.lower() == _NEIGHBOUR.get(name)]
    regions = [one for one, other in names.items() if other.lower() == DONT_CARE]
    mine, least = truth.class_id == class_id, _LEAST_IOU.get(name, _OTHER_IOU)
    # A region of another format is one of a class; KITTI's are of a class of their own.
    region = np.isin(truth.class_id, regions) | (mine & truth.ignore)
    hard = (
        (seen.occlusion > _MOST_OCCLUSION[level])
        | (seen.truncation > _MOST_TRUNCATION[level])
        | (truth.xywh[:, 3] < _LEAST_HEIGHT[level])
    )
    role = np.full(len(truth.image), _OTHER)
    role[mine & ~region] = np.where(hard[mine & ~region], _LEFT_OUT, _COUNTED)
    role[np.isin(truth.class_id, near)] = _LEFT_OUT
    # There, a box too low is left out whatever its class is, and may be taken by an object.
    part = np.where(found.class_id == class_id, _COUNTED, _OTHER)
    part[np.trunc(np.abs(found.xywh[:, 3])) < _LEAST_HEIGHT[level]] = _LEFT_OUT
    area = found.xywh[:, 2] * found.xywh[:, 3]
    inside = region[pairs.truth] & (pairs.shared > least * area[pairs.found])
    excused = np.zeros(len(found.image), dtype=bool)
    excused[pairs.found[inside]] = True
    fits = (pairs.iou > least) & (role[pairs.truth] != _OTHER) & (part[pairs.found] != _OTHER)
    return _Case(role, part, excused, found.score, truth.image, pairs.only(fits))


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """One class at one difficulty.

    Args:
        role, part: int (N,) and (M,), of labelled and predicted boxes: other, counted, left out.
        excused: bool (M,), inside a DontCare region.
        score: float64 (M,).
        image: int64 (N,), picture of each labelled box.
        pairs: those that may be matched.
    """

    role: NDArray[Any]
    part: NDArray[Any]
    excused: NDArray[np.bool_]
    score: NDArray[np.float64]
    image: NDArray[np.int64]
    pairs: Overlaps

    @property
    def positives(self) -> int:
        return int((self.role == _COUNTED).sum())

    def average_precision(self) -> float | None:
        """Mean precision at recall 1/40, 2/40, … 1; None without objects that count."""
        if not self.positives:
            return None
        pairs, score = self.pairs, self.score
        # First pass: every object takes its best-scored box; the scores of the right ones
        # say where the recall levels are.
        order = np.lexsort((pairs.found, -score[pairs.found], pairs.truth))
        taken = self._take(order, np.full(1, -np.inf))[0]
        right = (taken >= 0) & (self.role == _COUNTED)
        right[right] = self.part[taken[right]] == _COUNTED
        steps = _steps(np.sort(score[taken[right]])[::-1], self.positives)
        if not len(steps):
            return 0.0
        # Second pass, at each of these scores: the box with most overlap; one that is too low
        # only where there is no other, and of those the first.
        low = self.part[pairs.found] == _LEFT_OUT
        fit = np.where(low, 0.0, -pairs.iou)
        order = np.lexsort((pairs.found, fit, low, pairs.truth))
        partner = self._take(order, steps)
        precision = np.zeros(_LEVELS + 1)
        free = (self.part == _COUNTED) & ~self.excused
        for at, (threshold, mine) in enumerate(zip(steps, partner, strict=True)):
            used = mine[mine >= 0]
            hit = mine[(mine >= 0) & (self.role == _COUNTED)]
            tp = int((self.part[hit] == _COUNTED).sum())
            rest = free & (self.score >= threshold)
            rest[used] = False
            fp = int(rest.sum())
            precision[at] = tp / (tp + fp) if tp + fp else 0.0
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return float(best[1:].mean())

    def _take(self, order: NDArray[np.int64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Objects take boxes in the order of their rows, at each threshold for itself.

        Args:
            order: the pairs by object, each object's best first.
            thresholds: float64 (T,), boxes of a lower score do not exist.

        Returns:
            int64 (T, N): the box that each object takes, -1 for none.
        """
        partner = np.full((len(thresholds), len(self.role)), -1, dtype=np.int64)
        if not len(order):
            return partner
        ours, theirs = self.pairs.found[order], self.pairs.truth[order]
        choosing = np.unique(theirs)
        choosing = choosing[np.argsort(self.image[choosing], kind="stable")]
        turn = np.zeros(len(self.role), dtype=np.int64)
        turn[choosing] = place_in_group(self.image[choosing])
        by_turn = np.argsort(turn[theirs], kind="stable")
        ours, theirs = ours[by_turn], theirs[by_turn]
        bounds = np.searchsorted(turn[theirs], np.arange(int(turn.max()) + 2))
        free = self.score[None, :] >= thresholds[:, None]
        steps = np.arange(len(thresholds))[:, None]
        # Pictures do not disturb each other: the n-th objects of all of them choose at once.
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            who, what = theirs[begin:end], ours[begin:end]
            first = np.flatnonzero(np.concatenate([[True], who[1:] != who[:-1]]))
            place = np.where(free[:, what], np.arange(len(what)), len(what))
            best = np.minimum.reduceat(place, first, axis=1)
            got = best < len(what)
            box = what[np.minimum(best, len(what) - 1)]
            partner[:, who[first]] = np.where(got, box, -1)
            row = np.broadcast_to(steps, got.shape)
            free[row[got], box[got]] = False
        return partner


def _steps(scores: NDArray[np.float64], positives: int) -> NDArray[np.float64]:
    """Scores at which recall comes nearest to 0, 1/40, … 1 (`getThresholds`).

    Args:
        scores: float64 (N,), of the right boxes, falling.
    """
    steps = []
    level, last = 0.0, len(scores) - 1
    for place, score in enumerate(scores.tolist()):
        here = (place + 1) / positives
        there = (place + 2) / positives if place < last else here
        if there - level < level - here and place < last:
            continue
        steps.append(score)
        level += 1.0 / _LEVELS
    return np.array(steps, dtype=np.float64)
