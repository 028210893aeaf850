"""Suppression, fusion and merging of boxes as their papers and tools write them: box by box."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def some_boxes(
    seed: int, count: int, classes: int = 3, *, across: float = 200.0, side: float = 60.0
) -> tuple[Array, Array, Array]:
    """Boxes (N, 4), their scores and classes; the smaller `across`, the more they overlap."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, across, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, side, (count, 2))], 1)
    scores = rng.uniform(0.01, 1, count).astype(np.float32)
    return boxes.astype(np.float32), scores, rng.integers(0, classes, count)


def overlap(a: Array, b: Array, metric: str = "iou") -> float:
    """IoU, or intersection over the smaller box."""
    x1, y1, x2, y2 = (float(value) for value in a)
    u1, v1, u2, v2 = (float(value) for value in b)
    common = max(0.0, min(x2, u2) - max(x1, u1)) * max(0.0, min(y2, v2) - max(y1, v1))
    first, second = (x2 - x1) * (y2 - y1), (u2 - u1) * (v2 - v1)
    return common / (min(first, second) if metric == "ios" else first + second - common)


def soft_nms(
    boxes: Array, scores: Array, ids: Array, iou: float | None, sigma: float, least: float
) -> Array:
    """Bodla et al., figure 3: take the best, lower the others, again; scores that are left."""
    left = scores.astype(np.float64)
    waiting = [i for i in range(len(boxes)) if left[i] >= least]
    while waiting:
        best = max(waiting, key=lambda i: (left[i], -i))
        waiting.remove(best)
        for i in list(waiting):
            if ids[i] != ids[best]:
                continue
            shared = overlap(boxes[i], boxes[best])
            if iou is None:
                left[i] *= np.exp(-(shared**2) / sigma)
            elif shared > iou:
                left[i] *= 1 - shared
            if left[i] < least:
                waiting.remove(i)
    return left


def fuse(
    boxes: Array, scores: Array, ids: Array, model: Array, weights: list[float], iou: float
) -> list[tuple[int, float, list[float], list[int]]]:
    """Solovyev et al., section 3: class, score, box and members of each cluster, best first."""
    scaled = scores.astype(np.float64) * np.array(weights)[model]
    clusters: list[list[int]] = []
    means: list[Array] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scaled[i], i)):
        shares = [
            overlap(mean, boxes[i]) if ids[members[0]] == ids[i] else 0.0
            for mean, members in zip(means, clusters, strict=True)
        ]
        best = int(np.argmax(shares)) if shares else -1
        if best >= 0 and shares[best] > iou:
            clusters[best].append(i)
            weight = scaled[clusters[best]]
            means[best] = (weight[:, None] * boxes[clusters[best]]).sum(0) / weight.sum()
        else:
            clusters.append([i])
            means.append(boxes[i].astype(np.float64))
    fused = []
    for mean, members in zip(means, clusters, strict=True):
        score = scaled[members].mean() * min(len(weights), len(members)) / sum(weights)
        fused.append((int(ids[members[0]]), float(score), mean.tolist(), members))
    return sorted(fused, key=lambda one: -one[1])


def merge(
    boxes: Array, scores: Array, ids: Array, greedy: bool, metric: str, least: float
) -> dict[int, list[float]]:
    """SAHI's non-maximum merging: the box that each kept one grows to."""
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    members: dict[int, list[int]] = {}
    owner: dict[int, int] = {}
    for place, i in enumerate(order):
        if i not in owner:
            members[i] = []
            keeper = i
        elif greedy:
            continue
        else:
            keeper = owner[i]
        for j in order[place + 1 :]:
            if j in owner or ids[i] != ids[j] or overlap(boxes[i], boxes[j], metric) < least:
                continue
            owner[j] = keeper
            members[keeper].append(j)
    grown: dict[int, list[float]] = {}
    for keeper, parts in members.items():
        box = boxes[keeper].astype(np.float64)
        for j in parts:
            if overlap(box, boxes[j], metric) >= least:
                box = np.concatenate(
                    [np.minimum(box[:2], boxes[j][:2]), np.maximum(box[2:], boxes[j][2:])]
                )
        grown[keeper] = box.tolist()
    return grown
