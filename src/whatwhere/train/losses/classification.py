"""Losses of whole-picture labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from whatwhere.train.batch import NO_CLASS


def single_label(logits: Tensor, classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy over the pictures whose class is known, a scalar; 0 if there is none.

    Args:
        logits: (N, C) float32.
        classes: (N,) int64, `NO_CLASS` where nothing is known.
        smoothing: share of the target that is spread over all classes.
    """
    total = functional.cross_entropy(
        logits, classes, ignore_index=NO_CLASS, reduction="sum", label_smoothing=smoothing
    )
    return total / (classes != NO_CLASS).sum().clamp(min=1)


def multi_label(logits: Tensor, present: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy over the pairs of picture and class that are known, a scalar.

    Args:
        logits: (N, C) float32.
        present: (N, C) float32 in 0..1.
        known: (N, C) bool.
    """
    each = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)
