"""Penalised logistic regression, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from whatwhere.train.logistic import PENALTIES, Known, Linear, fit_linear


def made(pictures: int, classes: int, seed: int, *, one: bool) -> Known:
    """Features of different spreads, labels that follow from them with noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(pictures, 6)) * np.array([1, 20, 0.1, 1, 3, 1]) + 2
    weight = np.random.default_rng(9).normal(size=(6, classes))
    logits = (features - 2) / [1, 20, 0.1, 1, 3, 1] @ weight + rng.normal(size=(pictures, classes))
    present = np.eye(classes)[logits.argmax(1)] if one else (logits > 0).astype(float)
    known = torch.ones(pictures, classes, dtype=torch.bool)
    return Known(torch.tensor(features).float(), torch.tensor(present).float(), known)


def logits(answer: Linear, features: Tensor) -> Tensor:
    return features @ answer.weight.T + answer.bias


@pytest.mark.parametrize("one", [True, False])
def test_equals_scikit_learn(one: bool) -> None:
    training, choosing = made(80, 3, 1, one=one), made(40, 3, 2, one=one)
    answer = fit_linear(training, choosing, one=one, penalties=[0.1])
    x = training.features.numpy().astype(float)
    x = (x - x.mean(0)) / x.std(0)
    # Its C weighs the sum of the losses, our penalty stands beside their mean.
    peer = LogisticRegression(C=1 / (0.1 * len(x)), tol=1e-9, max_iter=1000)
    ours = logits(answer, training.features)
    if one:
        peer.fit(x, training.present.argmax(1).numpy())
        theirs = peer.predict_proba(x)
        np.testing.assert_allclose(ours.softmax(1).numpy(), theirs, atol=2e-3)
    else:
        for k in range(3):
            peer.fit(x, training.present[:, k].numpy())
            theirs = peer.predict_proba(x)[:, 1]
            np.testing.assert_allclose(ours[:, k].sigmoid().numpy(), theirs, atol=2e-3)


@pytest.mark.parametrize("one", [True, False])
def test_the_penalty_is_the_best_on_the_other_pictures(one: bool) -> None:
    training, choosing = made(30, 4, 1, one=one), made(60, 4, 2, one=one)
    chosen = fit_linear(training, choosing, one=one)
    losses = {}
    for penalty in PENALTIES:
        found = logits(
            fit_linear(training, choosing, one=one, penalties=[penalty]), choosing.features
        )
        losses[penalty] = float(
            functional.cross_entropy(found, choosing.present)
            if one
            else functional.binary_cross_entropy_with_logits(found, choosing.present)
        )
    assert chosen.penalty == min(losses, key=lambda penalty: losses[penalty])
    assert chosen.loss == pytest.approx(min(losses.values()), abs=1e-3)


def test_unknown_answers_count_nowhere() -> None:
    whole = made(50, 3, 1, one=False)
    known = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) < 0.7
    wrong = torch.where(known, whole.present, 1 - whole.present)
    answers = [
        fit_linear(
            Known(whole.features, present, known),
            Known(whole.features, present, known),
            one=False,
        )
        for present in (whole.present, wrong)
    ]
    torch.testing.assert_close(answers[0].weight, answers[1].weight)
    assert answers[0].loss == answers[1].loss


def test_nothing_to_choose_by_takes_the_middle() -> None:
    training = made(30, 3, 1, one=True)
    nothing = Known(
        training.features, torch.zeros_like(training.present), torch.zeros(30, 3, dtype=torch.bool)
    )
    assert fit_linear(training, nothing, one=True, penalties=[1.0, 0.1, 0.01]).penalty == 0.1
