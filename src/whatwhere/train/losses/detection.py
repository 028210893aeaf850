"""Which anchor point answers for which object, and what its mistakes cost.

Task-aligned assignment (Feng et al., TOOD, ICCV 2021): an object is given to the anchor
points inside its box whose present class score and box fit it best together; their target
score is how well they fit. Boxes are taught by generalised IoU (Rezatofighi et al., CVPR
2019) and by the distribution focal loss (Li et al., NeurIPS 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.train.batch import BoxTargets

BINS = 16
"""A side lies at most BINS - 1 strides away from its anchor point."""


class RawBoxes(TypedDict):
    """What a head says before decoding; A anchor points over all levels, C classes."""

    logits: Tensor  # (N, A, C), before the sigmoid
    sides: Tensor  # (N, A, 4, BINS), before the softmax: left, top, right, bottom
    points: Tensor  # (A, 2), x and y of each anchor point in input pixels
    strides: Tensor  # (A,), input pixels per step of a side


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """Loss of a batch.

    Args:
        candidates: anchor points given to each object.
        alpha, beta: weight of the score and of the IoU when they are ranked.
        class_gain, box_gain, side_gain: weights of the three parts.
    """

    candidates: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    class_gain: float = 1.0
    box_gain: float = 5.0
    side_gain: float = 1.0

    def __call__(
        self, raw: RawBoxes, boxes: Tensor, targets: BoxTargets
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its parts for the log.

        Args:
            raw: what the head says.
            boxes: (N, A, 4), the same decoded.
            targets: what it should say.
        """
        logits = raw["logits"]
        with torch.no_grad():
            object_of, quality = self.assign(logits.sigmoid(), boxes, raw["points"], targets)
            positive = quality > 0
            weight = logits.new_ones(logits.shape)
            target = torch.zeros_like(logits)
            picture, point = positive.nonzero(as_tuple=True)
            owner = object_of[picture, point]
            target[picture, point, targets.classes[picture, owner]] = quality[picture, point]
            if targets.known is not None:
                # A class that nobody looked for is not wrong where nothing is assigned.
                weight *= targets.known[:, None, :] | (target > 0)
            inside = _inside(raw["points"], targets.boxes) & (
                targets.ignore & targets.valid
            ).unsqueeze(-1)
            weight *= (~inside.any(1) | positive).unsqueeze(-1)
            total = quality.sum().clamp(min=1.0)
        classes = functional.binary_cross_entropy_with_logits(
            logits, target, weight, reduction="sum"
        )
        share = quality[picture, point]
        wanted = targets.boxes[picture, owner]
        box = ((1 - _giou(boxes[picture, point], wanted)) * share).sum()
        side = (
            _side_loss(
                raw["sides"][picture, point], wanted, raw["points"][point], raw["strides"][point]
            )
            * share
        ).sum()
        parts = {
            "class_loss": self.class_gain * classes / total,
            "box_loss": self.box_gain * box / total,
            "side_loss": self.side_gain * side / total,
        }
        return sum(parts.values(), logits.new_zeros(())), {
            name: value.detach() for name, value in parts.items()
        }

    def assign(
        self, scores: Tensor, boxes: Tensor, points: Tensor, targets: BoxTargets
    ) -> tuple[Tensor, Tensor]:
        """For each anchor point the object it answers for (N, A) and its target score (N, A).

        A target score of 0 means background.
        """
        count, anchors, _ = scores.shape
        if targets.boxes.shape[1] == 0:
            empty = torch.zeros((count, anchors), dtype=torch.int64, device=scores.device)
            return empty, scores.new_zeros((count, anchors))
        wanted = (targets.valid & ~targets.ignore).unsqueeze(-1)  # (N, G, 1)
        overlap = _iou(targets.boxes, boxes) * wanted  # (N, G, A)
        index = targets.classes.unsqueeze(1).expand(-1, anchors, -1)
        score = scores.gather(2, index).transpose(1, 2)  # (N, G, A)
        fit = score.clamp(min=1e-9) ** self.alpha * overlap**self.beta
        inside = _inside(points, targets.boxes) & wanted
        fit = fit * inside
        best = fit.topk(min(self.candidates, anchors), dim=-1)
        chosen = torch.zeros_like(fit, dtype=torch.bool)
        chosen.scatter_(2, best.indices, best.values > 0)
        # A point claimed by several objects goes to the one it overlaps most.
        rival = torch.where(chosen, overlap, overlap.new_tensor(-1.0))
        object_of = rival.argmax(1)  # (N, A)
        mine = functional.one_hot(object_of, wanted.shape[1]).permute(0, 2, 1).bool()
        chosen &= mine
        # Scaled so that each object's best point has its IoU as target score.
        fit = fit * chosen
        # An overlap of a thousandth, to the power of six, is still far above the clamp.
        scale = (overlap * chosen).amax(-1, keepdim=True) / fit.amax(-1, keepdim=True).clamp(
            min=1e-30
        )
        return object_of, (fit * scale).amax(1)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Which points (A, 2) lie inside which boxes (N, G, 4): bool (N, G, A)."""
    x, y = points[:, 0], points[:, 1]
    x1, y1, x2, y2 = (side.unsqueeze(-1) for side in boxes.unbind(-1))
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (N, G, 4) with boxes (N, A, 4): (N, G, A)."""
    a, b = a.unsqueeze(2), b.unsqueeze(1)
    width = (torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])).clamp_(0)
    height = (torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])).clamp_(0)
    inter = width * height
    area_a = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1])
    area_b = (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return inter / (area_a + area_b - inter).clamp(min=1e-9)


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
        sides: (K, 4, BINS) logits.
        boxes: (K, 4) wanted, in input pixels.
        points: (K, 2); strides: (K,).

    Returns:
        (K,), the mean over the four sides.
    """
    distance = torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], -1) / strides[:, None]
    distance = distance.clamp(0, BINS - 1 - 0.01)
    low = distance.long()
    share = distance - low
    log = sides.log_softmax(-1)
    near = log.gather(2, low.unsqueeze(-1)).squeeze(-1)
    far = log.gather(2, (low + 1).unsqueeze(-1)).squeeze(-1)
    return -(near * (1 - share) + far * share).mean(-1)
