"""Multi-label numbers of whole pictures, against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    accuracy_score,
    coverage_error,
    f1_score,
    hamming_loss,
    label_ranking_average_precision_score,
    label_ranking_loss,
)
from torchmetrics.functional.classification import (
    multilabel_coverage_error,
    multilabel_ranking_average_precision,
    multilabel_ranking_loss,
)

from whatwhere.metrics.setwise import ranking_scores, set_scores

LEVELS = st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])


def check(truth: np.ndarray, scores: np.ndarray) -> None:
    known = np.ones_like(truth)
    said = scores >= 0.5
    result = set_scores(truth, said, known) | ranking_scores(truth, scores, known)
    assert result["subset_accuracy"] == pytest.approx(accuracy_score(truth, said), abs=1e-9)
    assert result["hamming_loss"] == pytest.approx(hamming_loss(truth, said), abs=1e-9)
    shown = truth.any(axis=1)
    if not shown.any():
        assert result["f1_samples"] is result["coverage_error"] is result["lrap"] is None
    else:
        own, values = truth[shown], scores[shown]
        expected = f1_score(own, said[shown], average="samples", zero_division=0)
        assert result["f1_samples"] == pytest.approx(expected, abs=1e-9)
        assert result["coverage_error"] == pytest.approx(coverage_error(own, values), abs=1e-9)
        expected = label_ranking_average_precision_score(own, values)
        assert result["lrap"] == pytest.approx(expected, abs=1e-9)
    mixed = shown & ~truth.all(axis=1)
    if not mixed.any():
        assert result["ranking_loss"] is None
    else:
        expected = label_ranking_loss(truth[mixed], scores[mixed])
        assert result["ranking_loss"] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(hnp.arrays(bool, (5, 4)), hnp.arrays(np.float64, (5, 4), elements=LEVELS))
def test_any_table_with_ties(truth: np.ndarray, scores: np.ndarray) -> None:
    check(truth, scores)


def test_many_pictures_against_both() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random((300, 8)) < 0.3
    truth[:, 0] |= ~truth.any(axis=1)
    truth[:, 1] &= ~truth.all(axis=1)
    scores = rng.random((300, 8)) * 0.7 + truth * 0.3
    check(truth, scores)
    result = ranking_scores(truth, scores, np.ones_like(truth))
    tensors = torch.from_numpy(scores), torch.from_numpy(truth).long(), 8
    for key, theirs in (
        ("coverage_error", multilabel_coverage_error),
        ("ranking_loss", multilabel_ranking_loss),
        ("lrap", multilabel_ranking_average_precision),
    ):
        # torchmetrics computes in float32.
        assert result[key] == pytest.approx(float(theirs(*tensors)), abs=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    hnp.arrays(bool, (1, 6)),
    hnp.arrays(np.float64, (1, 6), elements=LEVELS),
    hnp.arrays(bool, (1, 6)),
)
def test_unknown_pairs_are_as_if_the_class_were_not_there(
    truth: np.ndarray, scores: np.ndarray, known: np.ndarray
) -> None:
    seen = known[0]
    said = scores >= 0.5
    ours = set_scores(truth, said, known) | ranking_scores(truth, scores, known)
    part = truth[:, seen], np.ones((1, seen.sum()), bool)
    without = set_scores(part[0], said[:, seen], part[1])
    without |= ranking_scores(part[0], scores[:, seen], part[1])
    assert ours == without
    if not seen.any():
        assert set(ours.values()) == {None}


def test_no_pictures_is_undefined() -> None:
    table = np.zeros((0, 3), bool)
    result = set_scores(table, table, table) | ranking_scores(table, np.zeros((0, 3)), table)
    assert len(result) == 6
    assert set(result.values()) == {None}
