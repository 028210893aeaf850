"""What a confusion matrix gives, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
)

from whatwhere.metrics.agreement import agreement

CLASSES = 4


def matrix_of(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    matrix = np.zeros((CLASSES, CLASSES + 1), dtype=np.int64)
    np.add.at(matrix, (truth, said), 1)
    return matrix


def check(truth: np.ndarray, said: np.ndarray) -> None:
    result = agreement(matrix_of(truth, said))
    # scikit-learn's balanced accuracy warns of an answer that is no class of the truth,
    # and of a single class.
    present = np.unique(truth)
    recalls = [np.mean(said[truth == name] == name) for name in present]
    assert result["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-12)
    if set(said) <= set(present) and len(present) > 1:
        expected = balanced_accuracy_score(truth, said)
        assert result["balanced_accuracy"] == pytest.approx(expected, abs=1e-9)
    for kind, labels in (("micro", range(CLASSES)), ("weighted", present)):
        values = precision_recall_fscore_support(
            truth, said, labels=list(labels), average=kind, zero_division=0
        )
        for key, value in zip(("precision", "recall", "f1"), values[:3], strict=True):
            assert result[f"{key}_{kind}"] == pytest.approx(value, abs=1e-9)
    if len(set(truth) | set(said)) == 1:
        assert result["kappa"] is None
    else:
        assert result["kappa"] == pytest.approx(cohen_kappa_score(truth, said), abs=1e-9)
    if len(set(truth)) == 1 or len(set(said)) == 1:
        assert result["mcc"] is None
    else:
        assert result["mcc"] == pytest.approx(matthews_corrcoef(truth, said), abs=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES)), min_size=1, max_size=20
    )
)
def test_any_answers_and_none(pairs: list[tuple[int, int]]) -> None:
    truth, said = np.array(pairs, dtype=np.int64).T
    check(truth, said)


def test_no_pictures_is_undefined() -> None:
    result = agreement(np.zeros((3, 4), dtype=np.int64))
    assert len(result) == 9
    assert set(result.values()) == {None}
