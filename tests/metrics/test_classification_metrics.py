"""Accuracy and the macro averages, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from whatwhere.metrics.classification import NOTHING, classification_scores


def check(truth: np.ndarray, ranked: np.ndarray, classes: int) -> None:
    result = classification_scores(truth, ranked, classes)
    said = np.where(ranked[:, 0] == NOTHING, classes, ranked[:, 0])
    assert result["accuracy"] == pytest.approx(accuracy_score(truth, said), abs=1e-12)
    present = np.unique(truth)
    per_class = precision_recall_fscore_support(truth, said, labels=present, zero_division=0)
    for place, class_id in enumerate(present):
        row = result["per_class"][class_id]
        expected = [per_class[0][place], per_class[1][place], per_class[2][place]]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(expected, abs=1e-9)
        assert row["images"] == per_class[3][place]
    means = precision_recall_fscore_support(
        truth, said, labels=present, average="macro", zero_division=0
    )
    ours = [result["precision"], result["recall"], result["f1"]]
    assert ours == pytest.approx(list(means[:3]), abs=1e-9)
    table = confusion_matrix(truth, said, labels=range(classes + 1))
    assert np.array_equal(result["confusion"], table[:classes])
    for class_id in set(range(classes)) - set(present.tolist()):
        assert result["per_class"][class_id] == {
            "precision": None,
            "recall": None,
            "f1": None,
            "images": 0,
        }


@pytest.mark.parametrize("seed", range(3))
def test_random_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((400, 12))
    truth = rng.integers(0, 11, 400)
    scores[np.arange(400), truth] += 0.3
    ranked = np.argsort(-scores, axis=1)[:, :5]
    check(truth, ranked, 12)
    top5 = top_k_accuracy_score(truth, scores, k=5, labels=range(12))
    assert classification_scores(truth, ranked, 12)["top5"] == pytest.approx(top5, abs=1e-12)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=1, max_size=20))
def test_any_answers_and_none(pairs: list[tuple[int, int]]) -> None:
    truth, first = np.array(pairs, dtype=np.int64).T
    ranked = np.stack([first, np.full_like(first, NOTHING)], axis=1)
    check(truth, ranked, 4)


def test_a_right_answer_in_second_place_counts_for_top5_only() -> None:
    result = classification_scores(np.array([1, 0]), np.array([[0, 1], [0, 1]]), 2)
    assert (result["accuracy"], result["top5"]) == (0.5, 1.0)


def test_no_pictures_is_undefined() -> None:
    result = classification_scores(np.zeros(0, np.int64), np.zeros((0, 5), np.int64), 2)
    assert result["accuracy"] is None
    assert result["f1"] is None
    assert result["confusion"].shape == (2, 3)
