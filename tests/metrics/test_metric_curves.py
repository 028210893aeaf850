"""ROC and precision-recall curves and their areas, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import roc_curve as reference_curve

from whatwhere.errors import UsageError
from whatwhere.metrics.curves import (
    average_precision_of,
    mean_of,
    precision_levels,
    roc_area,
    roc_curve,
    roc_levels,
    steps,
)


def check(true: np.ndarray, scores: np.ndarray) -> None:
    counts = steps(true, scores)
    if true.all() or not true.any():
        assert roc_area(counts) is None
        assert roc_curve(counts) is None
        assert roc_levels(counts) is None
        assert (average_precision_of(counts) is None) == (not true.any())
        return
    assert roc_area(counts) == pytest.approx(roc_auc_score(true, scores), abs=1e-9)
    expected = average_precision_score(true, scores)
    assert average_precision_of(counts) == pytest.approx(expected, abs=1e-9)
    curve = roc_curve(counts)
    assert curve is not None
    for own, other in zip(
        curve, reference_curve(true, scores, drop_intermediate=False), strict=True
    ):
        assert own == pytest.approx(other, abs=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])),
        min_size=1,
        max_size=25,
    )
)
def test_any_answers_with_ties(rows: list[tuple[bool, float]]) -> None:
    true, scores = zip(*rows, strict=True)
    check(np.array(true), np.array(scores))


def test_many_answers_without_ties() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(3000) < 0.1
    check(true, rng.random(3000) + 0.2 * true)


def test_levels_lie_on_the_curves() -> None:
    rng = np.random.default_rng(1)
    true = rng.random(400) < 0.3
    counts = steps(true, np.round(rng.random(400) * 0.7 + 0.3 * true, 2))
    rates = roc_levels(counts)
    precision = precision_levels(counts)
    assert rates is not None
    assert precision is not None
    assert (len(rates), rates[-1], len(precision)) == (101, 1.0, 101)
    assert rates == sorted(rates)
    assert precision == sorted(precision, reverse=True)
    assert precision[0] == counts.precision.max()
    assert np.mean(rates) == pytest.approx(roc_area(counts), abs=0.01)


def test_things_that_no_answer_found_lower_the_recall() -> None:
    true, scores = np.array([True, True, False]), np.array([0.9, 0.4, 0.6])
    counts = steps(true, scores, positives=4)
    assert counts.recall.tolist() == [0.25, 0.25, 0.5]
    assert average_precision_of(counts) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert precision_levels(counts)[50:52] == [pytest.approx(2 / 3), 0.0]  # type: ignore[index]


def test_nothing_is_undefined() -> None:
    counts = steps(np.zeros(0, bool), np.zeros(0))
    assert roc_area(counts) is average_precision_of(counts) is precision_levels(counts) is None
    assert mean_of([None, None]) is mean_of([]) is None
    assert mean_of([None, 0.5, 1.0]) == 0.75


@pytest.mark.parametrize(
    ("true", "scores", "positives", "message"),
    [
        ([True], [np.nan], None, "finite"),
        ([True], [np.inf], None, "finite"),
        ([True, False], [0.5], None, "that shape"),
        ([True, True], [0.5, 0.6], 1, "2 answers are right, of 1"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    true: list[bool], scores: list[float], positives: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        steps(np.array(true), np.array(scores), positives)
