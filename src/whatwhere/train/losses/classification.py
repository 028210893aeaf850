"""Losses of whole-picture labels.

Targets may be soft: mixed pictures, smoothed labels, a teacher's answers. Whatever is not
known, a picture without a label or a class that nobody looked for, has no part in any loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from whatwhere.train.batch import NO_CLASS, Batch
from whatwhere.train.config import LOSSES
from whatwhere.train.losses.share import over_processes
from whatwhere.types import Task


@dataclass(frozen=True, slots=True)
class LabelLoss:
    """What the logits of a batch cost.

    Args:
        task: "classify" or "multilabel".
        kind: one of `config.LOSSES`; the task's usual one if "".
        smoothing: share of the target that is spread: over all classes for "classify", over
            yes and no for "multilabel".
    """

    task: Task
    kind: str = ""
    smoothing: float = 0.0

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar; 0 if nothing is known.

        Args:
            logits: (N, C) float32.
            batch: with `classes`, or `present`, which may be soft, and perhaps `known`.
        """
        kind = self.kind or LOSSES[self.task][0]
        if self.task == "classify":
            target = batch.classes if batch.classes is not None else batch.present
            assert target is not None
            if target.ndim == 2 and batch.known is not None:
                target = target * batch.known
            return single_label(logits, target, self.smoothing, 2.0 if kind == "focal" else 0.0)
        assert batch.present is not None
        present = batch.present
        known = torch.ones_like(present, dtype=torch.bool) if batch.known is None else batch.known
        if self.smoothing:
            present = present * (1 - self.smoothing) + self.smoothing / 2
        each = {"bce": binary, "focal": focal, "asymmetric": asymmetric}[kind](logits, present)
        return (each * known).sum() / over_processes(known.sum().float(), 1.0)


def single_label(
    logits: Tensor, target: Tensor, smoothing: float = 0.0, gamma: float = 0.0
) -> Tensor:
    """Cross-entropy over the pictures whose class is known, a scalar; 0 if there is none.

    With `gamma` above 0 it is the focal loss (Lin et al., Focal Loss for Dense Object
    Detection, ICCV 2017) after a softmax: a class of probability p costs -(1 - p)^gamma log p.

    Args:
        logits: (N, C) float32.
        target: (N,) int64, `NO_CLASS` where nothing is known; or (N, C) float32, the wanted
            share of each class. A row counts by its sum: 1, or less where part of a mixed
            picture is unknown.
        smoothing: share of the target that is spread over all classes.
        gamma: how much less the pictures count that are answered well.
    """
    if target.ndim == 1:
        found = target != NO_CLASS
        target = functional.one_hot(target.where(found, 0), logits.shape[1]) * found[:, None]
    target = target.to(logits.dtype)
    weight = target.sum(1, keepdim=True)
    target = target * (1 - smoothing) + weight * (smoothing / logits.shape[1])
    log = logits.log_softmax(1)
    each = -target * log
    if gamma:
        each = each * (1 - log.exp()).clamp(min=0) ** gamma
    # Mixed pictures may sum to less than one; a batch of nothing must not divide by zero.
    total = over_processes(weight.sum().detach())
    return each.sum() / total.where(total > 0, 1)


def binary(logits: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy of each pair of picture and class, (N, C).

    Args:
        logits: (N, C) float32.
        present: (N, C) float32 in 0..1.
    """
    return functional.binary_cross_entropy_with_logits(logits, present, reduction="none")


def focal(logits: Tensor, present: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Focal loss of each pair, (N, C): Lin et al., ICCV 2017, with the paper's parameters.

    Args:
        logits: (N, C) float32.
        present: (N, C) float32 in 0..1; between them both sides count by their share.
        gamma: how much less the pairs count that are answered well.
        alpha: weight of "yes"; that of "no" is 1 - alpha.
    """
    p = logits.sigmoid()
    yes = alpha * (1 - p) ** gamma * functional.softplus(-logits)
    no = (1 - alpha) * p**gamma * functional.softplus(logits)
    return present * yes + (1 - present) * no


def asymmetric(
    logits: Tensor,
    present: Tensor,
    gamma_yes: float = 0.0,
    gamma_no: float = 4.0,
    clip: float = 0.05,
) -> Tensor:
    """Asymmetric loss of each pair, (N, C): Ridnik et al., ICCV 2021.

    A picture shows few of many classes, so the easy "no" would drown all else: it counts by
    its probability to the power of `gamma_no`, and not at all below `clip`.

    Args:
        logits: (N, C) float32.
        present: (N, C) float32 in 0..1; between them both sides count by their share.
        gamma_yes, gamma_no: how much less the pairs count that are answered well.
        clip: taken off the probability of a class that is absent.
    """
    p = logits.sigmoid()
    shifted = (p - clip).clamp(min=0)
    yes = (1 - p) ** gamma_yes * functional.softplus(-logits)
    # Without the shift log1p would lose the logit's digits near p = 1.
    no = shifted**gamma_no * (-torch.log1p(-shifted) if clip else functional.softplus(logits))
    return present * yes + (1 - present) * no
