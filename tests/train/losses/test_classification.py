"""Losses of whole-picture labels, against the formulas of their papers and other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from whatwhere.train.batch import NO_CLASS, Batch
from whatwhere.train.config import LOSSES
from whatwhere.train.losses.classification import (
    LabelLoss,
    asymmetric,
    binary,
    focal,
    single_label,
)

IMAGES = torch.zeros(1)
ALL = [(task, kind) for task, kinds in LOSSES.items() for kind in kinds]


def random(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hard(rows: int, columns: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, generator=generator).lt(0.3).float()


def shares(rows: int, columns: int) -> Tensor:
    return random(rows, columns, seed=2).softmax(1)


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    values: NDArray[Any] = 1 / (1 + np.exp(-x))
    return values


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_own(smoothing: float) -> None:
    logits, classes = random(6, 4), torch.tensor([0, 3, NO_CLASS, 1, 1, NO_CLASS])
    known = classes != NO_CLASS
    expected = functional.cross_entropy(logits[known], classes[known], label_smoothing=smoothing)
    torch.testing.assert_close(single_label(logits, classes, smoothing), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_targets_are_torchs_own(smoothing: float) -> None:
    logits, target = random(5, 4), shares(5, 4)
    expected = functional.cross_entropy(logits, target, label_smoothing=smoothing)
    torch.testing.assert_close(single_label(logits, target, smoothing), expected)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 4))
def test_a_mixed_picture_costs_the_mixture(share: float, smoothing: float, gamma: float) -> None:
    logits = random(1, 5)
    mixed = torch.tensor([[0.0, share, 0.0, 1 - share, 0.0]])
    parts = [single_label(logits, torch.tensor([i]), smoothing, gamma) for i in (1, 3)]
    expected = share * parts[0] + (1 - share) * parts[1]
    torch.testing.assert_close(single_label(logits, mixed, smoothing, gamma), expected)


def test_the_unknown_part_of_a_mixed_picture_does_not_count() -> None:
    logits = random(2, 3)
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.25, 0.0]])
    whole, part = (single_label(logits[i : i + 1], torch.tensor([i])) for i in (0, 1))
    expected = (whole + 0.25 * part) / 1.25
    torch.testing.assert_close(single_label(logits, target), expected)


def test_focal_loss_of_a_softmax() -> None:
    logits, classes = random(6, 4), torch.tensor([0, 3, 2, 1, 1, 0])
    p = torch.softmax(logits.double(), 1).numpy()[np.arange(6), classes.numpy()]
    expected = np.mean(-((1 - p) ** 2) * np.log(p))
    loss = LabelLoss("classify", "focal")(logits, Batch(IMAGES, classes=classes))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_focal_loss_is_torchvisions(gamma: float, alpha: float) -> None:
    logits, present = random(7, 5), hard(7, 5)
    expected = sigmoid_focal_loss(logits, present, alpha=alpha, gamma=gamma)
    torch.testing.assert_close(focal(logits, present, gamma, alpha), expected)


@pytest.mark.parametrize(
    ("gamma_yes", "gamma_no", "clip"), [(0.0, 4.0, 0.05), (1.0, 4.0, 0.05), (1.0, 2.0, 0.0)]
)
def test_asymmetric_loss_is_the_papers(gamma_yes: float, gamma_no: float, clip: float) -> None:
    """Equations 4 to 7 of Ridnik et al., in double precision."""
    logits, present = random(7, 5), hard(7, 5)
    p, y = sigmoid(logits.double().numpy()), present.numpy()
    shifted = np.maximum(p - clip, 0)
    yes = (1 - p) ** gamma_yes * np.log(p)
    no = shifted**gamma_no * np.log(1 - shifted)
    found = asymmetric(logits, present, gamma_yes, gamma_no, clip)
    np.testing.assert_allclose(found.numpy(), -(y * yes + (1 - y) * no), rtol=2e-5, atol=1e-7)


def test_asymmetric_loss_passes_over_what_is_surely_absent() -> None:
    logits = torch.tensor([[-4.0, -2.0, 1.0]], requires_grad=True)
    asymmetric(logits, torch.zeros(1, 3)).sum().backward()
    assert logits.grad is not None
    # The first has a probability below the clip of 0.05.
    assert logits.grad[0, 0] == 0
    assert 0 < logits.grad[0, 1] < logits.grad[0, 2]


def test_special_cases_agree() -> None:
    logits, present = random(4, 3), shares(4, 3)
    torch.testing.assert_close(focal(logits, present, 0.0, 0.5), binary(logits, present) / 2)
    torch.testing.assert_close(asymmetric(logits, present, 0, 0, 0), binary(logits, present))


@pytest.mark.parametrize("each", [binary, focal, asymmetric])
def test_gradients(each: Any) -> None:
    logits = random(3, 4, scale=1.5).double().requires_grad_()
    present = shares(3, 4).double()
    assert torch.autograd.gradcheck(lambda x: each(x, present), (logits,))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_gradients_of_a_softmax(gamma: float) -> None:
    logits = random(3, 4, scale=1.5).double().requires_grad_()
    target = shares(3, 4).double()
    assert torch.autograd.gradcheck(lambda x: single_label(x, target, 0.1, gamma), (logits,))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_extreme_logits_of_a_softmax(logit: float, gamma: float) -> None:
    logits = torch.tensor([[logit, 0.0]], requires_grad=True)
    loss = single_label(logits, torch.tensor([0]), 0.0, gamma)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(max(0.0, -logit))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("each", [binary, focal, asymmetric])
@pytest.mark.parametrize("logit", [-200.0, 200.0])
@pytest.mark.parametrize("present", [0.0, 1.0])
def test_extreme_logits(each: Any, logit: float, present: float) -> None:
    logits = torch.tensor([[logit]], requires_grad=True)
    loss = each(logits, torch.tensor([[present]])).sum()
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    right = (logit > 0) == bool(present)
    assert float(loss.detach()) == 0 if right else float(loss.detach()) > 2


@pytest.mark.parametrize(("task", "kind"), ALL)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_not_known_never_counts(task: Any, kind: str, smoothing: float) -> None:
    """Neither the value nor a gradient depends on it, and no known pair counts less for it."""
    cost = LabelLoss(task, kind, smoothing)
    logits = random(4, 3).requires_grad_()
    if task == "classify":
        known = torch.tensor([True, False, True, False])
        batch = Batch(IMAGES, classes=torch.tensor([1, NO_CLASS, 0, NO_CLASS]))
        rest = cost(logits.detach()[known], Batch(IMAGES, classes=torch.tensor([1, 0])))
    else:
        known = torch.ones(4, 3, dtype=torch.bool)
        known[1], known[3, 0] = False, False
        present = hard(4, 3)
        batch = Batch(IMAGES, present=present, known=known)
        kept = logits.detach()[known][:, None], present[known][:, None]
        rest = cost(kept[0], Batch(IMAGES, present=kept[1]))
    loss = cost(logits, batch)
    loss.backward()
    torch.testing.assert_close(loss.detach(), rest)
    assert logits.grad is not None
    assert not logits.grad[~known].any()
    assert logits.grad[known].abs().sum() > 0


@pytest.mark.parametrize(("task", "kind"), ALL)
def test_nothing_known_costs_nothing(task: Any, kind: str) -> None:
    logits = random(2, 3).requires_grad_()
    unknown = torch.zeros(2, 3, dtype=torch.bool)
    batches = [Batch(IMAGES, present=torch.zeros(2, 3), known=unknown)]
    if task == "classify":
        batches.append(Batch(IMAGES, classes=torch.full((2,), NO_CLASS)))
    for batch in batches:
        loss = LabelLoss(task, kind, 0.1)(logits, batch)
        loss.backward()
        assert float(loss.detach()) == 0
        assert logits.grad is not None
        assert not logits.grad.any()


@pytest.mark.parametrize(("task", "kind"), ALL)
def test_a_better_answer_costs_less(task: Any, kind: str) -> None:
    cost = LabelLoss(task, kind)
    target = torch.tensor([[0.0, 1.0, 0.0]])
    known = torch.ones(1, 3, dtype=torch.bool)
    values = [
        float(cost(sharpness * (2 * target - 1), Batch(IMAGES, present=target, known=known)))
        for sharpness in (-1.0, 0.0, 1.0, 2.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 2 * values[-1]


def test_smoothing_of_yes_and_no() -> None:
    logits, present = random(3, 4), hard(3, 4)
    found = LabelLoss("multilabel", "bce", 0.1)(logits, Batch(IMAGES, present=present))
    expected = functional.binary_cross_entropy_with_logits(logits, 0.9 * present + 0.05)
    torch.testing.assert_close(found, expected)
