"""Weighted box fusion: boxes of one object become their mean; also those of several models.

Solovyev, Wang, Gabruseva: Weighted boxes fusion: Ensembling boxes from different object detection
models, Image and Vision Computing 107, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.runtime.overlaps import IdArray, find_pairs, groups_of, overlap_of
from whatwhere.types import Boxes, Label, Prediction, Scores


class Fused(NamedTuple):
    """Clusters of boxes, best first.

    Args:
        first: int64 (K,), position of the best box of each.
        boxes: float32 (K, 4), means of their boxes, weighted by the scores.
        scores: float32 (K,).
        cluster: int64 (N,), the cluster that each box of the input is in.
    """

    first: IdArray
    boxes: Boxes
    scores: Scores
    cluster: IdArray


def fuse_boxes(
    boxes: Boxes,
    scores: Scores,
    class_ids: IdArray,
    iou: float = 0.55,
    *,
    weights: Sequence[float] = (1.0,),
    model: IdArray | None = None,
    best_score: bool = False,
) -> Fused:
    """Weighted box fusion within each class; exact.

    From the best box on, each joins the cluster whose mean box overlaps it most, if by more than
    `iou`, or begins one. The mean is that of the cluster's boxes so far, weighted by score. With
    several models a cluster's score is its mean score, times the share of the models that have
    part in it (equation 6 of the paper: min(T, N) / N, T boxes of N models).

    Clusters that cannot meet are built side by side: one step puts the next box of each group of
    boxes, found beforehand, into its cluster.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2.
        scores: (N,), in 0..1.
        class_ids: (N,).
        iou: 0..1.
        weights: of the models.
        model: (N,), the model of each box; None for the first.
        best_score: the score of a cluster is that of its best box.
    """
    of = np.zeros(len(scores), np.int64) if model is None else model
    scaled = np.asarray(scores, np.float64) * np.asarray(weights, np.float64)[of]
    order = np.argsort(-scaled, kind="stable")
    where, number, ids = np.asarray(boxes, np.float64)[order], scaled[order], class_ids[order]
    group = _groups(where, ids)
    # Groups one after the other, each best first.
    place = np.argsort(group, kind="stable")
    _, first_of, sizes = np.unique(group[place], return_index=True, return_counts=True)
    where, number = where[place], number[place]
    total = np.zeros(len(place))  # of the scores in the cluster that begins here
    sums = np.zeros((len(place), 4))
    counts = np.zeros(len(place), np.int64)
    joined = np.arange(len(place))
    for step in range(int(sizes.max(initial=0))):
        rows = first_of[sizes > step] + step
        starts = first_of[sizes > step]
        if step:
            # All places of the group before this box; those that begin no cluster do not count.
            earlier = starts[:, None] + np.arange(step)
            means = sums[earlier] / np.where(total[earlier] > 0, total[earlier], 1)[..., None]
            shares = overlap_of(means, where[rows][:, None])
            shares[counts[earlier] == 0] = -1
            best = shares.argmax(axis=1)
            match = shares[np.arange(len(rows)), best] > iou
            joined[rows[match]] = earlier[np.arange(len(rows)), best][match]
        target = joined[rows]
        # One box of each group: no target occurs twice. Boxes without score count a little.
        weight = np.maximum(number[rows], 1e-12)
        total[target] += weight
        sums[target] += weight[:, None] * where[rows]
        counts[target] += 1
    begins = np.flatnonzero(counts)
    means = sums[begins] / total[begins][:, None]
    if best_score:
        made = number[begins] / max(weights)
    else:
        share = np.minimum(counts[begins], len(weights)) / sum(weights)
        made = total[begins] / counts[begins] * share
    best_first = np.argsort(-made, kind="stable")
    back = np.zeros(len(place), np.int64)
    back[begins[best_first]] = np.arange(len(begins))
    cluster = np.zeros(len(place), np.int64)
    cluster[order[place]] = back[joined]
    return Fused(
        order[place[begins[best_first]]],
        means[best_first].astype(np.float32),
        np.clip(made[best_first], 0, 1).astype(np.float32),
        cluster,
    )


def _groups(boxes: NDArray[np.float64], class_ids: IdArray) -> IdArray:
    """Boxes that may come into one cluster, by the first of each group, int64 (N,).

    A mean of boxes lies within the rectangle around them, so groups whose rectangles meet are
    one.
    """
    group = np.arange(len(boxes))
    while True:
        heads, of = np.unique(group, return_inverse=True)
        around = np.full((len(heads), 4), np.inf)
        around[:, 2:] = -np.inf
        np.minimum.at(around[:, :2], of, boxes[:, :2])
        np.maximum.at(around[:, 2:], of, boxes[:, 2:])
        joined = groups_of(len(heads), find_pairs(around, class_ids[heads], 0.0))
        if np.array_equal(joined, np.arange(len(heads))):
            return group
        group = heads[joined][of]


def fuse(
    predictions: Sequence[Prediction],
    *,
    weights: Sequence[float] | None = None,
    iou: float = 0.55,
    threshold: float = 0.0,
) -> Prediction:
    """What several models say about one picture, as one prediction.

    Objects: weighted box fusion by class name, see `fuse_boxes`; what only one of N models finds
    keeps 1 / N of its score. Names of crops come from the best box. Labels of the whole picture:
    the mean of their scores, where a model that does not give a label counts as 0.

    Args:
        predictions: one of each model, of the same picture.
        weights: of the models, all above 0; None for equal ones.
        iou: boxes of one class that overlap by more than this IoU are of one object.
        threshold: leave out what has less score than this after fusion.

    Raises:
        UsageError: there is no prediction, they are of pictures of different sizes, some have
            boxes and others none, or a number is out of its range.
    """
    shares = [1.0] * len(predictions) if weights is None else [float(one) for one in weights]
    _check(predictions, shares, iou, threshold)
    first = predictions[0]
    labels = _mean_labels(predictions, shares, threshold)
    models = dict.fromkeys(one.model for one in predictions if one.model is not None)
    times = [one.ms for one in predictions if one.ms is not None]
    common: dict[str, Any] = {
        "width": first.width,
        "height": first.height,
        "image": first.image,
        "label_names": tuple(label.name for label in labels),
        "label_scores": np.array([label.score for label in labels], np.float32),
        "model": "+".join(models) or None,
        "ms": sum(times) if len(times) == len(predictions) else None,
    }
    if first.boxes is None:
        return Prediction(**common)
    names = [name for one in predictions for name in one.object_names]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    crops = [row for one in predictions for row in one.object_labels or [()] * len(one.scores)]
    fused = fuse_boxes(
        np.concatenate([one.boxes for one in predictions if one.boxes is not None]),
        np.concatenate([one.object_scores for one in predictions]),
        np.array([numbers[name] for name in names], np.int64),
        iou,
        weights=shares,
        model=np.repeat(np.arange(len(predictions)), [len(one.scores) for one in predictions]),
    )
    kept = int((fused.scores >= np.float32(threshold)).sum())
    rows = fused.first[:kept].tolist()
    return Prediction(
        **common,
        object_names=tuple(names[row] for row in rows),
        object_scores=fused.scores[:kept],
        boxes=fused.boxes[:kept],
        object_labels=tuple(crops[row] for row in rows) if any(crops[row] for row in rows) else (),
    )


def _check(
    predictions: Sequence[Prediction], weights: Sequence[float], iou: float, threshold: float
) -> None:
    if not predictions:
        raise UsageError("there is nothing to fuse: give one prediction of each model")
    if len(weights) != len(predictions) or not all(0 < one < np.inf for one in weights):
        raise UsageError(
            f"{len(predictions)} predictions need as many weights above 0, not {list(weights)}"
        )
    for name, value in (("iou", iou), ("threshold", threshold)):
        if not 0 <= value <= 1:
            raise UsageError(f"{name} must be in 0..1, not {value}")
    sizes = {(one.width, one.height) for one in predictions}
    if len(sizes) > 1:
        said = " and ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise UsageError(f"predictions of pictures of {said} cannot be fused: give one picture's")
    if len({one.boxes is None for one in predictions}) > 1:
        raise UsageError("some predictions have boxes and others have none: fuse models of a task")


def _mean_labels(
    predictions: Sequence[Prediction], weights: Sequence[float], threshold: float
) -> list[Label]:
    """Labels of the whole picture, best first."""
    sums: dict[str, float] = {}
    for one, weight in zip(predictions, weights, strict=True):
        for name, score in zip(one.label_names, one.label_scores.tolist(), strict=True):
            sums[name] = sums.get(name, 0.0) + weight * score
    means = [Label(name, total / sum(weights)) for name, total in sums.items()]
    return sorted((one for one in means if one.score >= threshold), key=lambda one: -one.score)
