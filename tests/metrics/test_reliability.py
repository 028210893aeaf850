"""Calibration errors, log loss and Brier score, against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as reference_log_loss
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from whatwhere.errors import UsageError
from whatwhere.metrics.reliability import (
    binary_brier_score,
    binary_log_loss,
    brier_score,
    class_errors,
    detection_reliability,
    log_loss,
    reliability,
)


def softmax_rows(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    weights = np.exp(rng.normal(0, 2, (rows, classes)))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_of_the_best_class(bins: int) -> None:
    rng = np.random.default_rng(bins)
    rows = softmax_rows(rng, 500, 6)
    truth = rng.integers(0, 6, 500)
    best, right = rows.max(axis=1), rows.argmax(axis=1) == truth
    ours = reliability(best, right, bins=bins)
    for norm, value in (("l1", ours.ece), ("max", ours.mce), ("l2", ours.rmsce)):
        theirs = binary_calibration_error(
            torch.from_numpy(best), torch.from_numpy(right).long(), bins, norm
        )
        assert value == pytest.approx(float(theirs), abs=1e-9)
        # The same of whole rows, which torchmetrics takes in float32.
        theirs = multiclass_calibration_error(
            torch.from_numpy(rows), torch.from_numpy(truth), 6, n_bins=bins, norm=norm
        )
        assert value == pytest.approx(float(theirs), abs=1e-6)


def test_calibration_error_of_one_class() -> None:
    rng = np.random.default_rng(7)
    scores, true = rng.random(400), rng.random(400) < 0.4
    theirs = binary_calibration_error(torch.from_numpy(scores), torch.from_numpy(true).long(), 15)
    assert reliability(scores, true).ece == pytest.approx(float(theirs), abs=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 6),
    st.booleans(),
)
def test_a_diagram_holds_every_answer_in_its_bin(
    rows: list[tuple[float, bool]], bins: int, adaptive: bool
) -> None:
    scores, true = (np.array(values) for values in zip(*rows, strict=True))
    diagram = reliability(scores, true, bins=bins, adaptive=adaptive)
    assert sum(diagram.count) == len(rows)
    error = 0.0
    for place, count in enumerate(diagram.count):
        low, high = diagram.edges[place : place + 2]
        inside = (scores > low) & (scores <= high)
        if place == 0:
            inside |= scores == 0
        assert inside.sum() == count
        if not count:
            assert diagram.confidence[place] is diagram.accuracy[place] is None
            continue
        assert diagram.confidence[place] == pytest.approx(scores[inside].mean())
        assert diagram.accuracy[place] == pytest.approx(true[inside].mean())
        error += abs(true[inside].mean() - scores[inside].mean()) * count / len(rows)
    assert diagram.ece == pytest.approx(error, abs=1e-12)


def test_adaptive_bins_hold_equal_counts() -> None:
    scores = np.random.default_rng(0).random(1000) ** 4
    diagram = reliability(scores, scores > 0.5, bins=10, adaptive=True)
    assert diagram.count == [100] * 10


@pytest.mark.parametrize("classes", [2, 5])
def test_log_loss_and_brier_score_of_rows(classes: int) -> None:
    rng = np.random.default_rng(classes)
    rows = softmax_rows(rng, 200, classes)
    rows[0] = np.eye(classes)[1]
    truth = rng.integers(0, classes, 200)
    truth[0] = 0
    labels = list(range(classes))
    expected = reference_log_loss(truth, rows, labels=labels)
    assert log_loss(rows, truth) == pytest.approx(expected, abs=1e-9)
    given_rows = rows[:, 1] if classes == 2 else rows
    expected = brier_score_loss(truth, given_rows, labels=labels, scale_by_half=False)
    assert brier_score(rows, truth) == pytest.approx(expected, abs=1e-9)


def test_log_loss_and_brier_score_of_one_class() -> None:
    rng = np.random.default_rng(3)
    scores, true = rng.random(100), rng.random(100) < 0.3
    scores[:2] = 0, 1
    expected = reference_log_loss(true, np.stack([1 - scores, scores], axis=1))
    assert binary_log_loss(scores, true) == pytest.approx(expected, abs=1e-9)
    assert binary_brier_score(scores, true) == pytest.approx(brier_score_loss(true, scores))


def test_detection_error_is_the_definition_cell_by_cell() -> None:
    rng = np.random.default_rng(5)
    scores, places = rng.random(600), rng.random((600, 2))
    true = rng.random(600) < scores * (0.5 + 0.5 * places[:, 0])
    result = detection_reliability(scores, true, places, bins=(4, 3, 3), minimum=8)
    kept, total, cells = 0, 0.0, 0
    rows = [np.linspace(0, 1, bins + 1) for bins in (4, 3, 3)]
    for a in range(4):
        for b in range(3):
            for c in range(3):
                cell = np.ones(600, bool)
                for axis, place in ((0, a), (1, b), (2, c)):
                    values = scores if axis == 0 else places[:, axis - 1]
                    cell &= (values > rows[axis][place]) & (values <= rows[axis][place + 1])
                if cell.sum() >= 8:
                    kept, cells = kept + int(cell.sum()), cells + 1
                    total += cell.sum() * abs(true[cell].mean() - scores[cell].mean())
    assert result.d_ece == pytest.approx(total / kept, abs=1e-12)
    assert (result.boxes, result.cells, result.left_out) == (kept, cells, 600 - kept)
    # Where the place matters, the error over scores alone sees less of it.
    flat = detection_reliability(scores, true, bins=(4,)).d_ece
    assert flat == pytest.approx(reliability(scores, true, bins=4).ece, abs=1e-12)


def test_errors_of_all_classes_at_once_are_those_of_each() -> None:
    rng = np.random.default_rng(1)
    scores, true, known = rng.random((90, 4)), rng.random((90, 4)) < 0.3, rng.random((90, 4)) < 0.7
    scores[:3] = [[0.0], [1.0], [0.2]]
    known[:, 2] = False
    expected = [reliability(scores[rows, c], true[rows, c]).ece for c, rows in enumerate(known.T)]
    assert expected[2] is None
    found = class_errors(scores, true, known)
    assert [v for v in found if v is not None] == pytest.approx([*expected[:2], expected[3]])
    assert found[2] is None


def test_nothing_is_undefined() -> None:
    none = np.zeros(0)
    assert reliability(none, none.astype(bool)).ece is None
    assert reliability(none, none.astype(bool), adaptive=True).mce is None
    assert log_loss(np.zeros((0, 3)), none.astype(np.int64)) is None
    assert brier_score(np.zeros((0, 3)), none.astype(np.int64)) is None
    assert binary_log_loss(none, none.astype(bool)) is None
    assert binary_brier_score(none, none.astype(bool)) is None
    few = detection_reliability(np.full(7, 0.5), np.ones(7, bool))
    assert (few.d_ece, few.left_out) == (None, 7)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan, np.inf])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"give probabilities in 0\.\.1"):
        reliability(np.array([0.5, value]), np.array([True, False]))


def test_odd_calls_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        reliability(np.array([0.5]), np.array([True]), bins=0)
    with pytest.raises(UsageError, match="as many truths"):
        reliability(np.array([0.5]), np.array([True, False]))
    with pytest.raises(UsageError, match="2 dimensions need 2 numbers"):
        detection_reliability(np.array([0.5]), np.array([True]), np.array([[0.1]]), bins=(3,))
