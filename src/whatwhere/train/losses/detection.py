"""Which anchor point answers for which object, and what its mistakes cost.

Task-aligned assignment (Feng et al., TOOD, ICCV 2021): an object is given to the anchor
points inside its box whose present class score and box fit it best together; their target
score is how well they fit. Boxes are taught by generalised IoU (Rezatofighi et al., CVPR
2019) and by the distribution focal loss (Li et al., NeurIPS 2020).

An object narrower than a step of the finest level may have no anchor point inside. For the
choice of its points it counts as one step wide, so that no object is without an example;
its box stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.train.batch import BoxTargets
from whatwhere.train.losses.share import over_processes

BINS = 16
"""A side lies at most BINS - 1 strides away from its anchor point, unless a head has more."""
LEAST_TARGET = 0.05
"""Target score of an object's best point, at least: what nobody overlaps is still taught."""
_LEAST_OVERLAP = 1e-3


class RawBoxes(TypedDict):
    """What a head says before decoding; A anchor points over all levels, C classes, B bins."""

    logits: Tensor  # (N, A, C), before the sigmoid
    sides: Tensor  # (N, A, 4, B), before the softmax: left, top, right, bottom
    points: Tensor  # (A, 2), x and y of each anchor point in input pixels
    strides: Tensor  # (A,), input pixels per step of a side


def decode_sides(sides: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes (..., 4), x1 y1 x2 y2 in input pixels, from the distributions of their sides.

    Args:
        sides: (..., 4, B) logits.
        points: (..., 2); strides: (...,); one for each box, or broadcast.
    """
    bins = torch.arange(sides.shape[-1], dtype=sides.dtype, device=sides.device)
    distance = (sides.softmax(-1) @ bins) * strides.unsqueeze(-1)
    return torch.cat([points - distance[..., :2], points + distance[..., 2:]], -1)


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """Loss of a batch.

    Args:
        candidates: anchor points given to each object.
        alpha, beta: weight of the score and of the IoU when they are ranked.
        class_gain, box_gain, side_gain: weights of the three parts; without gain for box and
            side there is the first part alone.
    """

    candidates: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    class_gain: float = 1.0
    box_gain: float = 5.0
    side_gain: float = 1.0

    def __call__(
        self,
        raw: RawBoxes,
        targets: BoxTargets,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its parts for the log.

        Args:
            raw: what the head says.
            targets: what it should say.
            boxes: (N, A, 4), the same decoded, if they are at hand.
        """
        logits, points, strides = raw["logits"], raw["points"], raw["strides"]
        with torch.no_grad():
            if boxes is None:
                boxes = decode_sides(raw["sides"], points, strides)
            object_of, quality = self.assign(logits.sigmoid(), boxes, points, targets, strides)
            positive = quality > 0
            picture, point = positive.nonzero(as_tuple=True)
            owner = object_of[picture, point]
            share = quality[picture, point]
            target = torch.zeros_like(logits)
            if targets.soft is None:
                target[picture, point, targets.classes[picture, owner]] = share
            else:
                # A teacher's object: all its class scores, where the box fits.
                scores = targets.soft[picture, owner]
                target[picture, point] = scores * share[:, None]
                share = share * scores.amax(-1)
            total = over_processes(share.sum(), 1.0)
            weight = _weight(target, positive, points, targets)
            if targets.counts is not None:
                counts = targets.counts[picture, owner]
                share = share * counts
                assert weight is not None
                taught = target[picture, point] > 0
                weight[picture, point] = counts[:, None].where(taught, weight[picture, point])
            wanted = targets.boxes[picture, owner]
        classes = functional.binary_cross_entropy_with_logits(
            logits, target, weight, reduction="sum"
        )
        parts = {"class_loss": self.class_gain * classes / total}
        if self.box_gain or self.side_gain:
            # Only the boxes that are taught are decoded again, with gradients.
            sides, at, step = raw["sides"][picture, point], points[point], strides[point]
            box = ((1 - _giou(decode_sides(sides, at, step), wanted)) * share).sum()
            side = (_side_loss(sides, wanted, at, step) * share).sum()
            parts["box_loss"] = self.box_gain * box / total
            parts["side_loss"] = self.side_gain * side / total
        return sum(parts.values(), logits.new_zeros(())), {
            name: value.detach() for name, value in parts.items()
        }

    def assign(
        self,
        scores: Tensor,
        boxes: Tensor,
        points: Tensor,
        targets: BoxTargets,
        strides: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """For each anchor point the object it answers for (N, A) and its target score (N, A).

        A target score of 0 means background.
        """
        count, anchors, _ = scores.shape
        objects = targets.boxes.shape[1]
        object_of = torch.zeros(count * anchors, dtype=torch.int64, device=scores.device)
        quality = scores.new_zeros(count * anchors)
        if objects == 0:
            return object_of.view(count, anchors), quality.view(count, anchors)
        inside = _inside(points, _widened(targets.boxes, float(strides.min())))
        inside &= (targets.valid & ~targets.ignore).unsqueeze(-1)
        # Of all pairs of object and point few are inside: only those are compared.
        picture, number, point = inside.nonzero(as_tuple=True)
        overlap = _pair_iou(targets.boxes[picture, number], boxes[picture, point])
        # A point beside a narrow object may say a box that does not touch it.
        overlap = overlap.clamp(min=_LEAST_OVERLAP)
        score = scores[picture, point, targets.classes[picture, number]]
        fit = score.clamp(min=1e-9) ** self.alpha * overlap**self.beta
        table = fit.new_zeros(inside.shape)
        table[picture, number, point] = fit
        best = table.topk(min(self.candidates, anchors), dim=-1)
        picture, number, rank = (best.values > 0).nonzero(as_tuple=True)
        point, fit = best.indices[picture, number, rank], best.values[picture, number, rank]
        overlap = _pair_iou(targets.boxes[picture, number], boxes[picture, point])
        overlap = overlap.clamp(min=_LEAST_OVERLAP)
        # A point claimed by several objects goes to the one it overlaps most, or to the first.
        place = picture * anchors + point
        most = quality.scatter_reduce(0, place, overlap, "amax")
        claim = torch.where(overlap == most[place], number, objects)
        first = torch.full_like(object_of, objects).scatter_reduce_(0, place, claim, "amin")
        mine = first[place] == number
        place, number, fit, overlap = place[mine], number[mine], fit[mine], overlap[mine]
        # Scaled so that each object's best point has its IoU as target score.
        owner = picture[mine] * objects + number
        top = fit.new_zeros(count * objects)
        best_overlap = top.scatter_reduce(0, owner, overlap, "amax").clamp(min=LEAST_TARGET)
        best_fit = top.scatter_reduce(0, owner, fit, "amax")
        object_of[place] = number
        quality[place] = fit / best_fit[owner] * best_overlap[owner]
        return object_of.view(count, anchors), quality.view(count, anchors)


def _weight(target: Tensor, positive: Tensor, points: Tensor, targets: BoxTargets) -> Tensor | None:
    """What each class score (N, A, C) counts; None if all count the same."""
    weight = None
    if targets.known is not None:
        # A class that nobody looked for is not wrong where nothing is assigned.
        weight = (targets.known[:, None, :] | (target > 0)).to(target.dtype)
        if targets.trust is not None:
            weight = weight * targets.trust[:, None, :].where(target == 0, 1.0)
    ignored = targets.ignore & targets.valid
    if ignored.any():
        inside = (_inside(points, targets.boxes) & ignored.unsqueeze(-1)).any(1)
        counts = (~inside | positive).unsqueeze(-1).to(target.dtype)
        weight = counts.expand_as(target) if weight is None else weight * counts
    return weight


def _widened(boxes: Tensor, least: float) -> Tensor:
    """Boxes (N, G, 4) whose sides are at least this long, about the same centre.

    Points lie a step apart and half a step from the border, so a box a little longer than a
    step holds one wherever it lies.
    """
    half = 0.5005 * least
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    return torch.cat(
        [
            torch.minimum(boxes[..., :2], centre - half),
            torch.maximum(boxes[..., 2:], centre + half),
        ],
        -1,
    )


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Which points (A, 2) lie inside which boxes (N, G, 4): bool (N, G, A)."""
    x, y = points[:, 0], points[:, 1]
    x1, y1, x2, y2 = (side.unsqueeze(-1) for side in boxes.unbind(-1))
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)


def _pair_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (K, 4) pair by pair, (K,), in 0..1."""
    top_left, bottom_right = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    inter = (bottom_right - top_left).clamp_(min=0).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - inter
    return inter / union.clamp_(min=1e-9)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of boxes (K, 4) pair by pair, (K,), in -1..1."""
    top_left, bottom_right = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    inter = (bottom_right - top_left).clamp(min=0).prod(-1)
    union = (a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - inter
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
    union, hull = union.clamp(min=1e-9), hull.clamp(min=1e-9)
    return inter / union - (hull - union) / hull


def _side_loss(sides: Tensor, boxes: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Distribution focal loss: the two bins around the true distance share the probability.

    Args:
        sides: (K, 4, B) logits.
        boxes: (K, 4) wanted, in input pixels.
        points: (K, 2); strides: (K,).

    Returns:
        (K,), the mean over the four sides.
    """
    distance = torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], -1) / strides[:, None]
    distance = distance.clamp(0, sides.shape[-1] - 1 - 0.01)
    low = distance.long()
    share = distance - low
    log = sides.log_softmax(-1)
    near = log.gather(2, low.unsqueeze(-1)).squeeze(-1)
    far = log.gather(2, (low + 1).unsqueeze(-1)).squeeze(-1)
    return -(near * (1 - share) + far * share).mean(-1)
