"""Maps of scores: fitted against scikit-learn, and shown to lower the error on new pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression, isotonic_regression

from whatwhere.errors import UsageError
from whatwhere.metrics.calibration import (
    COLDEST,
    HOTTEST,
    fit_binary_temperature,
    fit_isotonic,
    fit_map,
    fit_platt,
    fit_temperature,
)
from whatwhere.metrics.isotonic import isotonic_blocks
from whatwhere.metrics.multilabel import average_precision
from whatwhere.metrics.recalibrate import apply_maps, calibrate_scores, calibrate_softmax
from whatwhere.metrics.reliability import binary_log_loss, log_loss
from whatwhere.scoremaps import expit, logit, temper


def too_sure(seed: int, rows: int, classes: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Softmax rows whose logits are `factor` times too large, and the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, classes))
    fair = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(classes, p=row) for row in fair])
    return temper(fair, 1 / factor), truth


def sure_scores(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sigmoid scores that are too sure and too high, and what is true."""
    rng = np.random.default_rng(seed)
    fair = rng.normal(-1, 1.5, rows)
    true = rng.random(rows) < expit(fair)
    return expit(2.5 * fair + 1.0), true


def test_the_temperature_is_the_one_of_least_log_loss() -> None:
    rows, truth = too_sure(0, 600, 5, 2.0)
    fitted = fit_temperature(rows, truth)
    assert fitted is not None
    expected = minimize_scalar(
        lambda value: log_loss(temper(rows, value), truth), (0.5, 2, 9), options={"xtol": 1e-12}
    )
    assert fitted.value == pytest.approx(expected.x, rel=1e-6)
    assert fitted.value == pytest.approx(2, abs=0.3)
    assert not fitted.at_border
    scores, true = sure_scores(0, 900)
    fitted = fit_binary_temperature(scores, true)
    expected = minimize_scalar(
        lambda value: binary_log_loss(expit(logit(scores) / value), true),
        (0.5, 2, 9),
        options={"xtol": 1e-12},
    )
    assert fitted is not None
    assert fitted.value == pytest.approx(expected.x, rel=1e-6)


def test_temperatures_at_the_border_say_so() -> None:
    rows = np.array([[0.7, 0.3], [0.2, 0.8]])
    sure, wrong = (fit_temperature(rows, np.array(truth)) for truth in ([0, 1], [1, 0]))
    assert sure is not None
    assert wrong is not None
    assert (sure.value, sure.at_border) == (pytest.approx(COLDEST), True)
    assert (wrong.value, wrong.at_border) == (pytest.approx(HOTTEST), True)
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, np.int64)) is None


def test_a_rounded_zero_does_not_rule_the_fit() -> None:
    rows, truth = too_sure(1, 600, 5, 2.0)
    rounded = np.round(rows, 4)
    exact, close = fit_temperature(rows, truth), fit_temperature(rounded, truth)
    assert exact is not None
    assert close is not None
    assert (rounded == 0).any()
    assert close.value == pytest.approx(exact.value, rel=0.02)


def test_platts_line_is_scikit_learns() -> None:
    scores, true = sure_scores(1, 800)
    fitted = fit_platt(scores, true)
    assert fitted is not None
    slope, shift = _sigmoid_calibration(logit(scores), true.astype(float))
    # Both minimise the same convex loss; scikit-learn stops earlier.
    assert (fitted.slope, fitted.shift) == pytest.approx((-slope, -shift), abs=2e-3)
    assert fitted.slope == pytest.approx(1 / 2.5, abs=0.08)


def test_no_map_where_none_is_founded() -> None:
    scores = np.array([0.2, 0.4, 0.8])
    for true in (np.ones(3, bool), np.zeros(3, bool), np.array([True, True, False])):
        assert fit_platt(scores, true) is None
    assert fit_isotonic(scores, np.ones(3, bool)) is None
    assert fit_platt(np.full(3, 0.5), np.array([True, False, True])) is None
    assert fit_platt(np.array([0.0, 1.0]), np.array([False, True])) is None
    with pytest.raises(UsageError, match="use platt or isotonic"):
        fit_map("spline", scores, np.ones(3, bool))  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), st.booleans()),
        min_size=2,
        max_size=30,
    )
)
def test_isotonic_fits_are_scikit_learns_and_centred_ones_rise(
    rows: list[tuple[float, bool]],
) -> None:
    scores, true = (np.array(values) for values in zip(*rows, strict=True))
    plain = fit_isotonic(scores, true, centred=False, smooth=False)
    if true.all() or not true.any():
        assert plain is None
        return
    assert plain is not None
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, true.astype(float))
    at = np.linspace(0, 1, 41)
    assert plain.apply(at) == pytest.approx(reference.predict(at), abs=1e-9)
    centred = fit_isotonic(scores, true)
    assert centred is not None
    assert (np.diff(centred.apply(at)) > 0).all()
    assert centred.apply(at).min() > 0
    assert centred.apply(at).max() < 1


def test_pooling_many_points() -> None:
    rng = np.random.default_rng(4)
    x = np.sort(rng.random(2000))
    y = x + rng.normal(0, 0.5, 2000)
    level, first, last, centre = isotonic_blocks(x, y)
    fitted = level[np.searchsorted(last, x)]
    assert fitted == pytest.approx(isotonic_regression(y), abs=1e-9)
    assert (first <= centre).all()
    assert (centre <= last).all()


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_maps_lower_the_error_on_other_pictures_and_keep_the_order(method: str) -> None:
    parts = [sure_scores(seed, 2000) for seed in (1, 2)]
    scores, true = (np.concatenate(values) for values in zip(*parts, strict=True))
    class_id = np.repeat([0, 1], 2000)
    image = np.arange(4000) // 2
    names = ("cat", "dog", "yak")
    result = calibrate_scores(names, class_id, scores, true, image, method=method)  # type: ignore[arg-type]
    for key in ("ece", "ece_adaptive", "log_loss", "brier"):
        assert result.after[key] < result.before[key]  # type: ignore[operator]
    assert result.after["ece"] < 0.03 < 0.1 < result.before["ece"]  # type: ignore[operator]
    assert result.pooled == ("yak",)
    assert any("1 of 3 classes" in note for note in result.notes)
    new_scores, new_true = sure_scores(9, 2000)
    mapped = apply_maps(names, result.maps, np.zeros(2000, np.int64), new_scores)
    assert binary_log_loss(mapped, new_true) < binary_log_loss(new_scores, new_true)  # type: ignore[operator]
    expected = average_precision(new_true, new_scores)
    assert average_precision(new_true, mapped) == pytest.approx(expected, abs=1e-12)
    assert result.to_dict()["maps"]["cat"]["kind"] == result.maps["cat"].to_dict()["kind"]


def test_a_temperature_lowers_the_error_on_other_pictures() -> None:
    rows, truth = too_sure(3, 1500, 6, 2.5)
    result = calibrate_softmax(rows, truth)
    assert result.temperature.value == pytest.approx(2.5, abs=0.3)
    assert result.after["ece"] < 0.05 < 0.15 < result.before["ece"]  # type: ignore[operator]
    assert result.after["log_loss"] < result.before["log_loss"]  # type: ignore[operator]
    assert result.notes == ()


def test_scores_that_are_fair_gain_nothing_and_that_is_said() -> None:
    rows, truth = too_sure(4, 60, 6, 1.0)
    result = calibrate_softmax(rows, truth)
    assert result.after["log_loss"] > result.before["log_loss"]  # type: ignore[operator]
    assert "leave the scores as they are" in result.notes[0]
    assert result.temperature.value == pytest.approx(1, abs=0.4)


def test_two_pictures_are_the_least() -> None:
    one = np.zeros(3, np.int64)
    with pytest.raises(UsageError, match="cannot be split"):
        calibrate_scores(("cat",), one, np.full(3, 0.5), one.astype(bool), one)
    with pytest.raises(UsageError, match="all scores are 0"):
        calibrate_softmax(np.zeros((4, 2)), np.array([0, 1, 0, 1]))
