"""Objects with soft scores beside labels by people: what a teacher of detectors adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatwhere.train.batch import BoxTargets
from whatwhere.types import box_iou

FAINT = 0.05
"""A teacher's box counts from this score on."""
SURE = 0.5
"""Families that learn no soft scores take boxes from this score on as labels."""
_SAME = 0.5


Array = NDArray[Any]


def with_objects(
    targets: BoxTargets,
    found: Sequence[tuple[Array, Array]],
    taught: Tensor,
    weight: float,
    *,
    soft: bool,
) -> BoxTargets:
    """Labelled objects and a teacher's, as one.

    Args:
        targets: of N pictures, by people.
        found: of each picture, boxes (K, 4) in input pixels and scores (K, C).
        taught: bool (C,), classes that the teacher knows.
        weight: what the teacher's objects and its silence count beside people's.
        soft: class scores are kept; otherwise boxes from `SURE` on become labels, and fainter
            ones regions to be ignored.
    """
    count, classes = len(found), len(taught)
    known = targets.known
    if known is None:
        known = torch.ones(count, classes, dtype=torch.bool)
    parts = [_added(targets, known, row, *pair) for row, pair in enumerate(found)]
    own, most = targets.boxes.shape[1], max((len(boxes) for boxes, _ in parts), default=0)
    size = own + most
    made = BoxTargets(
        torch.zeros(count, size, 4),
        torch.zeros(count, size, dtype=torch.int64),
        torch.zeros(count, size, dtype=torch.bool),
        torch.zeros(count, size, dtype=torch.bool),
        known | taught,
    )
    for name in ("boxes", "classes", "valid", "ignore"):
        getattr(made, name)[:, :own] = getattr(targets, name)
    scores = torch.zeros(count, size, classes)
    scores[:, :own].scatter_(2, targets.classes.unsqueeze(-1), 1.0)
    counts = torch.ones(count, size)
    counts[:, own:] = weight
    for row, (boxes, values) in enumerate(parts):
        end = own + len(boxes)
        made.boxes[row, own:end], scores[row, own:end] = boxes, values
        made.classes[row, own:end] = values.argmax(-1)
        made.valid[row, own:end] = True
        if not soft:
            made.ignore[row, own:end] = values.amax(-1) < SURE
    if not soft:
        return made
    trust = known.float() + (taught & ~known).float() * weight
    return replace(made, soft=scores, counts=counts, trust=trust)


def _added(
    targets: BoxTargets, known: Tensor, row: int, boxes: Array, scores: Array
) -> tuple[Tensor, Tensor]:
    """What a teacher's objects add to a picture's labels: boxes (K, 4) and scores (K, C)."""
    ignored = targets.valid[row] & targets.ignore[row]
    labelled = targets.valid[row] & ~targets.ignore[row]
    own = targets.boxes[row]
    kept = added(boxes, scores, known[row].numpy(), own[labelled].numpy(), own[ignored].numpy())
    return torch.from_numpy(kept[0]), torch.from_numpy(kept[1])


def added(
    boxes: Array, scores: Array, known: Array, labelled: Array, ignored: Array
) -> tuple[Array, Array]:
    """What a teacher's boxes (K, 4) and scores (K, C) add to people's labels, in their pixels.

    Args:
        boxes, scores: the teacher's.
        known: bool (C,), classes that people looked for.
        labelled, ignored: (G, 4), what they marked, as objects and as regions to be ignored.
    """
    if len(boxes):
        # In a region to be ignored nobody looked, whatever is known of the rest.
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = (centre[:, None] > ignored[None, :, :2]) & (centre[:, None] < ignored[None, :, 2:])
        free = inside.all(-1).any(-1, keepdims=True)
        scores = scores * (free | ~known[None, :])
        theirs = box_iou(boxes, labelled)
        keep = (scores.max(1) >= FAINT) & ~(theirs > _SAME).any(1)
        boxes, scores = boxes[keep], scores[keep]
    return boxes, np.asarray(scores, np.float32)
