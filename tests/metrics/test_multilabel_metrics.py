"""Mean average precision and the macro averages, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from whatwhere.metrics.multilabel import average_precision, multilabel_scores, recall_curve


def check(truth: np.ndarray, scores: np.ndarray) -> None:
    result = multilabel_scores(truth, scores)
    present = np.flatnonzero(truth.any(axis=0))
    expected = [average_precision_score(truth[:, c], scores[:, c]) for c in present]
    assert [result["per_class"][c]["AP"] for c in present] == pytest.approx(expected, abs=1e-9)
    said = (scores >= 0.5).astype(int)
    for column in range(truth.shape[1]):
        row = result["per_class"][column]
        if column not in present:
            assert row == {"AP": None, "precision": None, "recall": None, "f1": None, "images": 0}
            continue
        own = precision_recall_fscore_support(
            truth[:, column].astype(int), said[:, column], average="binary", zero_division=0
        )
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(own[:3], abs=1e-9)
    if len(present):
        assert result["mAP"] == pytest.approx(np.mean(expected), abs=1e-9)
        means = precision_recall_fscore_support(
            truth[:, present].astype(int), said[:, present], average="macro", zero_division=0
        )[:3]
        ours = [result["precision"], result["recall"], result["f1"]]
        # scikit-learn reads a single column as one binary problem with two classes.
        if len(present) > 1:
            assert ours == pytest.approx(means, abs=1e-9)
    else:
        assert result["mAP"] is None


@pytest.mark.parametrize("levels", [None, 4])
def test_random_scores_with_and_without_ties(levels: int | None) -> None:
    rng = np.random.default_rng(3)
    truth = rng.random((300, 7)) < 0.2
    truth[:, 4] = False
    scores = np.clip(rng.random((300, 7)) * 0.7 + truth * 0.25, 0, 1)
    if levels:
        scores = np.round(scores * levels) / levels
    check(truth, scores)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    hnp.arrays(bool, (6, 3)),
    hnp.arrays(np.float64, (6, 3), elements=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])),
)
def test_any_table(truth: np.ndarray, scores: np.ndarray) -> None:
    check(truth, scores)


def test_unknown_pairs_count_nowhere() -> None:
    truth = np.array([[True], [False], [False]])
    scores = np.array([[0.6], [0.9], [0.1]])
    known = np.array([[True], [False], [True]])
    assert multilabel_scores(truth, scores)["mAP"] == 0.5
    result = multilabel_scores(truth, scores, known)
    assert (result["mAP"], result["precision"]) == (1.0, 1.0)


def test_no_positives_is_undefined() -> None:
    assert average_precision(np.zeros(3, bool), np.ones(3)) is None
    assert multilabel_scores(np.zeros((0, 2), bool), np.zeros((0, 2)))["mAP"] is None


def test_curve_is_the_upper_envelope_of_the_steps() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(200) < 0.3
    scores = np.round(rng.random(200), 2)
    precision, recall, _ = precision_recall_curve(truth, scores)
    expected = [precision[recall >= level - 1e-12].max() for level in np.linspace(0, 1, 101)[1:]]
    curve = recall_curve(truth, scores)
    # scikit-learn closes its curve with precision 1 at recall 0, which nothing reached.
    assert curve[1:] == pytest.approx(expected, abs=1e-9)
    assert len(curve) == 101
