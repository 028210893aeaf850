"""Penalised logistic regression on fixed features: the best linear answer to few pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Of half the squared weights on standardised features, beside the mean loss of a picture."""
_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Known:
    """Features of pictures and what is known of their classes.

    Args:
        features: (N, D) float32.
        present: (N, C) float32: for `one`, the share of each class, zeros where nothing is
            known; else 1 where the class is in the picture and 0 where it is not.
        known: (N, C) bool; where False the pair of picture and class counts nowhere.
    """

    features: Tensor
    present: Tensor
    known: Tensor


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear answer: logits = features @ weight.T + bias.

    Args:
        weight: (C, D) float32.
        bias: (C,) float32.
        penalty: that was chosen.
        loss: mean cost of a known answer of the pictures that chose it.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    loss: float


def fit_linear(
    training: Known, choosing: Known, *, one: bool, penalties: Sequence[float] = PENALTIES
) -> Linear:
    """Logistic regression, its penalty chosen by the log loss on other pictures.

    Features are standardised, as the penalty is the same for all of them; the result is for
    features as they were. Solved by L-BFGS, from the strongest penalty on, each result being a
    start for the next.

    Args:
        training: what is learnt from.
        choosing: what decides between penalties; where nothing is known there, the middle one
            is taken.
        one: a softmax over classes (one a picture); else a sigmoid for each class.
        penalties: to choose from.
    """
    mean, spread = training.features.mean(0), training.features.std(0, unbiased=False) + 1e-6
    x, others = ((part.features - mean) / spread for part in (training, choosing))
    classes = training.present.shape[1]
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    counted = max(1, int(training.known.any(1).sum()))
    ordered = sorted(penalties, reverse=True)
    found: list[Linear] = []
    for penalty in ordered:
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=_ROUNDS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def closure(penalty: float = penalty, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            cost = _costs(x @ weight.T + bias, training, one).sum() / counted
            loss = cost + penalty / 2 * weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            each = _costs(others @ weight.T + bias, choosing, one)
            pairs = choosing.known.any(1).sum() if one else choosing.known.sum()
            loss = float(each.sum() / pairs) if pairs else float("inf")
            scaled = weight / spread
            found.append(Linear(scaled, bias - scaled @ mean, penalty, loss))
    if all(answer.loss == float("inf") for answer in found):
        return found[len(found) // 2]
    return min(found, key=lambda answer: answer.loss)


def _costs(logits: Tensor, data: Known, one: bool) -> Tensor:
    """Log loss of each known answer: (N,) for a softmax, (N, C) for sigmoids."""
    if one:
        return -(data.present * logits.log_softmax(1)).sum(1)
    each = functional.binary_cross_entropy_with_logits(logits, data.present, reduction="none")
    return each * data.known
