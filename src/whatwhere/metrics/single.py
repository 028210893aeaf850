"""Single mistakes of a model, each with its picture, boxes and names, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.answers import class_answers
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.detection import found_boxes, true_boxes
from whatwhere.metrics.multilabel import class_table, score_table
from whatwhere.metrics.overlaps import overlaps
from whatwhere.metrics.partial import known_pairs
from whatwhere.metrics.tide import KINDS, LEFT_OUT, RIGHT, tide
from whatwhere.types import Prediction, Task, limits

MISTAKES: dict[str, str] = {
    "false positive": "something is found where nothing is labelled",
    "missed": "something labelled is not found",
    "wrong class": "what is labelled is found, under another name",
    "poor box": "the right class, but the boxes overlap by less than half (IoU 0.1 to 0.5)",
    "duplicate": "what was found already is found once more",
    "class and place": "near something labelled, but of another class and badly placed",
}
"""Kinds of mistakes, and what each means. Those of boxes are TIDE's (see `metrics.tide`)."""

_OF_TIDE = {
    "class": "wrong class",
    "location": "poor box",
    "both": "class and place",
    "duplicate": "duplicate",
    "background": "false positive",
}

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake of a model, or one likely mistake in the labels.

    Args:
        kind: one of `MISTAKES`, or of `doubts.DOUBTS`.
        rank: place among those of its list, from 1, worst first.
        image: row of the picture in the data set.
        weight: what the list is sorted by, 0..1, larger is worse.
        truth: the labelled class; None where nothing is labelled.
        said: the predicted class; None where nothing is found.
        score: of the prediction; for something missed the score of a box that did find it, but
            below the threshold; None if there is none.
        truth_score: score that the model gives the labelled class, where it is known.
        box, true_box: x1, y1, x2, y2 in pixels of the picture; None without boxes.
        iou: of the two boxes.
        label: row in `Dataset.labels`; None where there is no label.
    """

    kind: str
    rank: int
    image: int
    weight: float
    truth: str | None = None
    said: str | None = None
    score: float | None = None
    truth_score: float | None = None
    box: Box | None = None
    true_box: Box | None = None
    iou: float | None = None
    label: int | None = None


def mistake_rows(mistakes: Iterable[Mistake], data: Dataset) -> list[dict[str, Any]]:
    """Mistakes as plain values: scores to 4 digits, boxes to 0.01 pixels.

    `image` is the picture's name from the data set's folder, `record` the place of the label
    in the files that were read.
    """
    names, records = data.relative_paths(), data.labels["record"]
    return [
        {
            "kind": one.kind,
            "rank": one.rank,
            "image": names[one.image],
            "weight": _short(one.weight),
            "truth": one.truth,
            "said": one.said,
            "score": _short(one.score),
            "truth_score": _short(one.truth_score),
            "box": _rounded(one.box),
            "true_box": _rounded(one.true_box),
            "iou": _short(one.iou),
            "record": None if one.label is None else records[one.label],
        }
        for one in mistakes
    ]


def _rounded(box: Box | None) -> list[float] | None:
    return None if box is None else [round(side, 2) for side in box]


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def single_mistakes(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    threshold: float = 0.5,
    limit: int | None = 100,
) -> dict[str, list[Mistake]]:
    """Mistakes by kind, worst first: the surest wrong answers, and what was missed most clearly.

    Args:
        task, data, predictions, classes: as in `metrics.score`.
        threshold: answers with a lower score do not exist (not for `classify`, whose first
            class always counts); a `types.Cut` for each class's own.
        limit: at most so many of a kind; None for all.

    Returns:
        Only kinds that there are. Labels marked `ignore`, and classes that were not looked for
        in a picture, make no mistakes.
    """
    wanted = frozenset(data.names if classes is None else classes)
    if task == "detect":
        found = _of_boxes(data, predictions, wanted, threshold, limit)
    elif task == "multilabel":
        found = _of_labels(data, predictions, wanted, threshold)
    else:
        found = _of_classes(data, predictions, wanted)
    by_kind: dict[str, list[Mistake]] = {}
    for kind in MISTAKES:
        mine = ranked([one for one in found if one.kind == kind], limit)
        if mine:
            by_kind[kind] = mine
    return by_kind


def ranked(found: Iterable[Mistake], limit: int | None = None) -> list[Mistake]:
    """Largest weight first, equal ones by picture, with their ranks."""
    order = sorted(found, key=lambda one: (-one.weight, one.image))
    return [replace(one, rank=place) for place, one in enumerate(order[:limit], 1)]


@dataclass(frozen=True, slots=True, eq=False)
class BoxRows:
    """The boxes that count, and where they come from.

    Args:
        truth: the labelled boxes of classes that were looked for.
        label: int64, row in `Dataset.labels` of each.
        found: the predicted boxes, likewise.
        names: class name by class id.
    """

    truth: TrueBoxes
    label: NDArray[np.int64]
    found: FoundBoxes
    names: dict[int, str]

    def true_box(self, row: int) -> Box:
        """Corners of a labelled box."""
        return _corners(self.truth.xywh[row])

    def box(self, row: int) -> Box:
        """Corners of a predicted box."""
        return _corners(self.found.xywh[row])


def box_rows(
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    threshold: float = 0.0,
) -> BoxRows:
    """The boxes of these classes, those found from a score on."""
    names = {place: name for place, name in enumerate(data.names) if name in classes}
    label = data.labels.with_row_index("row").filter(pl.col("x1").is_not_null())["row"]
    truth, rows = true_boxes(data), label.to_numpy().astype(np.int64)
    found = found_boxes(predictions, data.names)
    # The class after the last one is that of names which the data do not have.
    scored = np.isin(np.arange(len(data.names) + 1), list(names))
    known = known_pairs(data, "complete")
    if known is None:
        known = np.ones((len(data), len(data.names)), dtype=bool)
    known = np.concatenate([known, np.zeros((len(data), 1), dtype=bool)], axis=1) & scored
    keep = known[truth.image, truth.class_id]
    # Names that the data do not have are not known, whatever their score.
    least = np.append(limits(threshold, data.names), 0.0)[found.class_id]
    said = known[found.image, found.class_id] & (found.score >= least)
    return BoxRows(truth.only(keep), rows[keep], found.only(said), names)


def _of_boxes(
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    threshold: float,
    limit: int | None,
) -> list[Mistake]:
    rows = box_rows(data, predictions, classes, threshold)
    truth, found = rows.truth, rows.found
    sorted_ = tide(rows.names, truth, found)
    wrong = np.flatnonzero((sorted_.kind != RIGHT) & (sorted_.kind != LEFT_OUT))
    mistakes = []
    for number, kind in enumerate(KINDS):
        mine = wrong[sorted_.kind[wrong] == number]
        # The surest of each kind are enough; a detector without a threshold makes thousands.
        mine = mine[np.argsort(-found.score[sorted_.row[mine]], kind="stable")][:limit]
        partners = sorted_.partner[mine]
        if kind in ("duplicate", "both"):
            partners = _nearest(rows, sorted_.row[mine], same_class=kind == "duplicate")
        for row, partner in zip(sorted_.row[mine].tolist(), partners.tolist(), strict=True):
            near = partner >= 0
            mistakes.append(
                Mistake(
                    _OF_TIDE[kind],
                    0,
                    int(found.image[row]),
                    float(found.score[row]),
                    truth=rows.names[int(truth.class_id[partner])] if near else None,
                    said=rows.names[int(found.class_id[row])],
                    score=float(found.score[row]),
                    box=rows.box(row),
                    true_box=rows.true_box(partner) if near else None,
                    iou=_iou(found.xywh[row], truth.xywh[partner]) if near else None,
                    label=int(rows.label[partner]) if near else None,
                )
            )
    return mistakes + _misses(data, predictions, classes, rows, sorted_.missed, limit)


def _nearest(rows: BoxRows, found: NDArray[np.int64], *, same_class: bool) -> NDArray[np.int64]:
    """The labelled box that each of these predicted boxes overlaps most, -1 for none."""
    boxes = rows.found
    chosen = FoundBoxes(
        boxes.image[found], boxes.class_id[found], boxes.xywh[found], boxes.score[found]
    )
    pairs = overlaps(rows.truth, chosen, same_class=same_class)
    pairs = pairs.only(~rows.truth.ignore[pairs.truth])
    nearest = np.full(len(found), -1, dtype=np.int64)
    order = np.argsort(pairs.iou, kind="stable")
    nearest[pairs.found[order]] = pairs.truth[order]
    return nearest


def _misses(
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    rows: BoxRows,
    missed: NDArray[np.int64],
    limit: int | None,
) -> list[Mistake]:
    """Objects that nothing came near to; large ones, which are easy, are the worst misses."""
    sizes = np.array([(one.width, one.height) for one in predictions], dtype=np.float64)
    area = np.maximum(sizes.reshape(-1, 2).prod(axis=1), 1.0)[rows.truth.image[missed]]
    side = np.sqrt(rows.truth.xywh[missed, 2] * rows.truth.xywh[missed, 3] / area)
    # A picture that could not be read has no size, and shows nothing about the model.
    side = np.where(area > 1, np.clip(side, 0, 1), 0.0)
    order = np.argsort(-side, kind="stable")[:limit]
    below = _best_below(data, predictions, classes, rows, missed[order])
    return [
        Mistake(
            "missed",
            0,
            int(rows.truth.image[row]),
            float(side[place]),
            truth=rows.names[int(rows.truth.class_id[row])],
            score=below.get(row),
            true_box=rows.true_box(row),
            label=int(rows.label[row]),
        )
        for place, row in zip(order.tolist(), missed[order].tolist(), strict=True)
    ]


def _best_below(
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    rows: BoxRows,
    missed: NDArray[np.int64],
) -> dict[int, float]:
    """The best score of a box below the threshold that finds a missed object, by its row."""
    pictures = np.unique(rows.truth.image[missed])
    everything = box_rows(data, predictions, classes).found
    low = everything.only(np.isin(everything.image, pictures))
    pairs = overlaps(rows.truth, low, same_class=True)
    pairs = pairs.only((pairs.iou >= 0.5) & np.isin(pairs.truth, missed))
    best: dict[int, float] = {}
    for row, score in zip(pairs.truth.tolist(), low.score[pairs.found].tolist(), strict=True):
        best[row] = max(score, best.get(row, 0.0))
    return best


def _of_classes(
    data: Dataset, predictions: Sequence[Prediction], classes: frozenset[str]
) -> list[Mistake]:
    answers = class_answers(data, predictions, classes)
    own = answers.scores[np.arange(len(answers.truth)), answers.truth]
    return [
        Mistake(
            "wrong class" if answers.answered[row] else "missed",
            0,
            int(answers.image[row]),
            float(np.clip((answers.confidence[row] - own[row] + 1) / 2, 0, 1)),
            truth=answers.names[int(answers.truth[row])],
            said=answers.names[int(answers.first[row])] if answers.answered[row] else None,
            score=float(answers.confidence[row]) if answers.answered[row] else None,
            truth_score=float(own[row]),
            label=int(data.rows_of(int(answers.image[row]))[0]),
        )
        for row in np.flatnonzero(~answers.right).tolist()
    ]


def _of_labels(
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    threshold: float,
) -> list[Mistake]:
    columns = [place for place, name in enumerate(data.names) if name in classes]
    names = [data.names[place] for place in columns]
    truth, known = (table[:, columns] for table in class_table(data))
    scores = score_table(predictions, names)
    said = scores >= limits(threshold, names)
    mistakes = []
    for row, column in np.argwhere(known & (said != truth)).tolist():
        score, labelled = float(scores[row, column]), bool(truth[row, column])
        mistakes.append(
            Mistake(
                "missed" if labelled else "false positive",
                0,
                row,
                min(1.0, max(0.0, 1 - score if labelled else score)),
                truth=names[column] if labelled else None,
                said=None if labelled else names[column],
                score=score,
                truth_score=score if labelled else None,
            )
        )
    return mistakes


def _corners(xywh: NDArray[np.float64]) -> Box:
    left, top, width, height = xywh.tolist()
    return left, top, left + width, top + height


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = float(np.clip(high - low, 0, None).prod())
    union = float(a[2:].prod() + b[2:].prod()) - shared
    return shared / union if union > 0 else 0.0
