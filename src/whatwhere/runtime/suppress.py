"""Many boxes of one object become one: non-maximum suppression, hard and soft."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.runtime.fusion import fuse_boxes
from whatwhere.runtime.overlaps import IdArray, find_pairs
from whatwhere.specs import PostprocessSpec
from whatwhere.types import Boxes, Scores, box_iou

FloatArray: TypeAlias = NDArray[Any]

# Candidates are compared in blocks: one matrix of 512 x 512 stays in the L2 cache.
_BLOCK = 512
# Soft suppression and fusion look at pairs of overlapping boxes: eight million at the worst.
MAX_PAIRED = 4_000


class Kept(NamedTuple):
    """What is left of a picture's candidates, best first.

    Args:
        rows: int64 (K,), the candidate that each comes from, or begins with.
        boxes: float32 (K, 4), where the candidates' were.
        scores: float32 (K,).
    """

    rows: IdArray
    boxes: Boxes
    scores: Scores


def reduce_boxes(
    boxes: Boxes, scores: Scores, class_ids: IdArray, limits: FloatArray, post: PostprocessSpec
) -> Kept:
    """Suppression, or fusion, as a spec asks for it.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2.
        scores: float32 (N,), best first.
        class_ids: (N,).
        limits: (N,), the least score of each one's class: soft suppression goes below it.
        post: the spec.
    """
    most = post.max_detections
    if post.end_to_end:
        rows = np.arange(min(most, len(scores)))
    elif post.suppress == "nms":
        rows = nms(boxes, scores, class_ids, post.nms_iou, most)
    else:
        boxes, scores, class_ids = boxes[:MAX_PAIRED], scores[:MAX_PAIRED], class_ids[:MAX_PAIRED]
        if post.suppress == "wbf":
            # The boxes of one model are no votes: an object has as many as there are anchors.
            fused = fuse_boxes(boxes, scores, class_ids, post.nms_iou, best_score=True)
            rows = fused.first[:most]
            return Kept(rows, fused.boxes[:most], fused.scores[:most])
        left = soften(
            boxes,
            scores,
            class_ids,
            least=float(limits.min(initial=1.0)),
            iou=post.nms_iou if post.suppress == "soft-linear" else None,
            sigma=post.soft_sigma,
        )
        rows = np.argsort(-left, kind="stable")
        rows = rows[left[rows] >= limits[rows]][:most]
        return Kept(rows, boxes[rows], left[rows])
    return Kept(rows, boxes[rows], scores[rows])


def nms(
    boxes: Boxes,
    scores: Scores,
    class_ids: IdArray,
    iou: float,
    max_kept: int | None = None,
) -> IdArray:
    """Greedy non-maximum suppression within each class; exact.

    A box is dropped when a kept box of its class with a higher score overlaps it by more
    than `iou`. Equal scores keep the order of the input.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2.
        scores: (N,).
        class_ids: integers (N,).
        iou: 0..1; boxes that overlap by exactly this much are both kept.
        max_kept: stop after so many boxes; None for all.

    Returns:
        Positions of the kept boxes, int64 (K,), best first.
    """
    order = np.argsort(-scores, kind="stable")
    limit = len(order) if max_kept is None else max_kept
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        if len(kept):
            block = block[~_overlaps(boxes, class_ids, kept, block, iou).any(axis=0)]
        kept = np.concatenate([kept, block[_greedy(boxes, class_ids, block, iou)]])
        if len(kept) >= limit:
            break
    return kept[:limit].astype(np.int64)


def _overlaps(
    boxes: Boxes, class_ids: IdArray, rows: IdArray, columns: IdArray, iou: float
) -> NDArray[np.bool_]:
    """Which pairs are of one class and overlap too much, (len(rows), len(columns))."""
    # Comparing ids, instead of moving each class to its own far place, keeps the
    # coordinates' full precision.
    same = class_ids[rows][:, None] == class_ids[columns][None, :]
    too_much: NDArray[np.bool_] = same & (box_iou(boxes[rows], boxes[columns]) > iou)
    return too_much


def _greedy(boxes: Boxes, class_ids: IdArray, block: IdArray, iou: float) -> NDArray[np.bool_]:
    """Greedy suppression inside one block that is sorted best first, without a loop over boxes.

    A box stays when no better box that stays overlaps it. Starting from "all stay" and
    applying that rule again and again settles the first t boxes after t rounds, whatever
    the rest; in practice after the length of the longest chain of overlaps, a few rounds.
    """
    drops = np.triu(_overlaps(boxes, class_ids, block, block, iou), 1).astype(np.float32)
    stays = np.ones(len(block), dtype=np.bool_)
    while True:
        after = (stays.astype(np.float32) @ drops) == 0
        if np.array_equal(after, stays):
            return stays
        stays = after


def soften(
    boxes: Boxes,
    scores: Scores,
    class_ids: IdArray,
    *,
    least: float = 0.0,
    iou: float | None = None,
    sigma: float = 0.5,
) -> Scores:
    """Scores after Soft-NMS (Bodla et al., ICCV 2017) within each class; exact.

    The box with the highest score is taken, the scores of those that overlap it are lowered, and
    so on with the rest: by the factor exp(-IoU^2 / sigma), or linearly.

    Here all boxes that are better than everything they overlap are taken at once: nothing that
    is taken later can change them, so the result is the same as one by one.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2.
        scores: (N,), in 0..1.
        class_ids: (N,).
        least: boxes below it are out: they lower no others.
        iou: linear: the factor is 1 - IoU for boxes that overlap by more than this; None for the
            exponential.
        sigma: of the exponential.

    Returns:
        float32 (N,), in the order of the input.
    """
    pairs = find_pairs(boxes, class_ids, 0.0 if iou is None else iou)
    factors = np.exp(-(pairs.overlap**2) / sigma) if iou is None else 1 - pairs.overlap
    left = np.asarray(scores, np.float64).copy()
    first, second = pairs.first, pairs.second
    waiting = left >= least
    while True:
        open_pairs = waiting[first] & waiting[second]
        first, second, factors = first[open_pairs], second[open_pairs], factors[open_pairs]
        if not len(first):
            return left.astype(np.float32)
        # Equal scores keep the order of the input; `first` stands before `second`.
        lead = left[first] >= left[second]
        loses = np.zeros(len(left), np.bool_)
        loses[np.where(lead, second, first)] = True
        taken = waiting & ~loses
        for winner, other in ((first, second), (second, first)):
            hit = taken[winner]
            np.multiply.at(left, other[hit], factors[hit])
        waiting &= ~taken & (left >= least)
