"""Parts of one object, found in several tiles, become one box: non-maximum merging.

As SAHI (Akyon et al., Slicing Aided Hyper Inference, ICIP 2022) does it, within each class: the
box with the highest score grows to the rectangle around those that it is merged with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whatwhere.runtime.overlaps import IdArray, Metric, Pairs, find_pairs, overlap_of
from whatwhere.types import Boxes, Scores


class Merged(NamedTuple):
    """What is left, best first.

    Args:
        rows: int64 (K,), the best box of each.
        boxes: float32 (K, 4), the rectangles around all.
    """

    rows: IdArray
    boxes: Boxes


def merge_boxes(
    boxes: Boxes,
    scores: Scores,
    class_ids: IdArray,
    *,
    greedy: bool,
    metric: Metric = "ios",
    overlap: float = 0.5,
    absorb: float | None = None,
) -> Merged:
    """Non-maximum merging within each class; exact.

    Greedy: from the best box on, each takes those boxes without an owner that overlap it. Not
    greedy: a box belongs to the best box that overlaps it, and goes with it where that has an
    owner itself, so that chains of boxes become one.

    A box then grows by one of its boxes after the other, the best first, but only where that
    still overlaps what it has become; those that do not are dropped.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2.
        scores: (N,).
        class_ids: (N,).
        greedy: see above.
        metric: IoU, or "ios", intersection over the smaller box.
        overlap: in 0..1, above 0; boxes that overlap by at least this much are merged.
        absorb: a box that has grown takes in what is left in it: boxes with less score and this
            much of their area inside; None for none, as SAHI has it. Otherwise an object over
            many tiles keeps those parts that did not overlap its best part.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    sorted_boxes = np.asarray(boxes, np.float64)[order]
    pairs = find_pairs(sorted_boxes, class_ids[order], overlap, metric, inclusive=True)
    count = len(order)
    nobody = np.full(count, count)
    if greedy:
        own = _keepers(count, pairs)
        leads = own[pairs.first]
        owner = nobody.copy()
        np.minimum.at(owner, pairs.second[leads], pairs.first[leads])
        owner[own] = count
    else:
        owner = nobody.copy()
        np.minimum.at(owner, pairs.second, pairs.first)
    root = np.where(owner == count, np.arange(count), owner)
    while not np.array_equal(root, root[root]):
        root = root[root]
    members = np.flatnonzero(owner < count)
    members = members[np.lexsort((members, owner[members], root[members]))]
    grown = sorted_boxes.copy()
    _, starts, sizes = np.unique(root[members], return_index=True, return_counts=True)
    # The first of all, then the second of all, and so on.
    for step in range(int(sizes.max(initial=0))):
        parts = members[starts[sizes > step] + step]
        whole = root[parts]
        still = overlap_of(grown[whole], sorted_boxes[parts], metric) >= overlap
        whole, part = whole[still], sorted_boxes[parts[still]]
        grown[whole, :2] = np.minimum(grown[whole, :2], part[:, :2])
        grown[whole, 2:] = np.maximum(grown[whole, 2:], part[:, 2:])
    kept = np.flatnonzero(owner == count)
    if absorb is not None:
        kept = kept[~_absorbed(grown[kept], sorted_boxes[kept], class_ids[order[kept]], absorb)]
    return Merged(order[kept], grown[kept].astype(np.float32))


def _absorbed(
    grown: NDArray[np.float64], before: NDArray[np.float64], class_ids: IdArray, least: float
) -> NDArray[np.bool_]:
    """Which boxes, sorted best first, lie in a better one that has grown, bool (N,)."""
    pairs = find_pairs(grown, class_ids, least, "ios", inclusive=True)
    area = (grown[:, 2:] - grown[:, :2]).prod(axis=1)
    inside = (area[pairs.second] <= area[pairs.first]) & (grown != before).any(1)[pairs.first]
    gone = np.zeros(len(grown), np.bool_)
    gone[pairs.second[inside]] = True
    return gone


def _keepers(count: int, pairs: Pairs) -> NDArray[np.bool_]:
    """Boxes that greedy suppression keeps, bool (count,), of boxes sorted best first.

    All that overlap no better one that is open are kept at once, and what overlaps them is not.
    """
    kept = np.zeros(count, np.bool_)
    open_ = np.ones(count, np.bool_)
    first, second = pairs.first, pairs.second
    while open_.any():
        taken = open_.copy()
        taken[second] = False
        kept |= taken
        open_ &= ~taken
        open_[second[taken[first]]] = False
        both = open_[first] & open_[second]
        first, second = first[both], second[both]
    return kept
