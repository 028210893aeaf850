"""Calibration, abstaining and conformal sets of a simple classifier of real photographs."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from whatwhere.data import Dataset, read
from whatwhere.images import read_image
from whatwhere.metrics.answers import ClassAnswers, class_answers
from whatwhere.metrics.conformal import check_coverage, fit_conformal
from whatwhere.metrics.judged import judge
from whatwhere.metrics.operating import Goal, counts_at, operating_points
from whatwhere.metrics.recalibrate import calibrate_softmax
from whatwhere.metrics.reliability import log_loss, reliability
from whatwhere.metrics.selective import abstain_threshold, abstention_at, risk_coverage
from whatwhere.scoremaps import temper
from whatwhere.types import Prediction


@pytest.fixture(scope="module")
def photos(shared: Path) -> tuple[Dataset, list[Prediction]]:
    """1,600 photographs, and what an overfitted classifier of their colours says of them."""
    data = read(shared / "cifar10_folders").split_named("test")
    order = np.random.default_rng(0).permutation(len(data))
    fit, rest = np.sort(order[:400]), np.sort(order[400:])

    def colours(rows: np.ndarray) -> np.ndarray:
        pictures = [read_image(data.paths[row]).astype(np.float64) for row in rows]
        small = [one.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3)).ravel() for one in pictures]
        return np.array(small) / 255

    truth = data.labels["class_id"].to_numpy()
    model = LogisticRegression(C=100, max_iter=3000, tol=1e-3).fit(colours(fit), truth[fit])
    predictions = []
    for row in model.predict_proba(colours(rest)).astype(np.float32):
        ranked = np.argsort(-row)
        names = tuple(data.names[place] for place in ranked)
        predictions.append(Prediction(32, 32, label_names=names, label_scores=row[ranked]))
    return data.select(rest), predictions


@pytest.fixture(scope="module")
def halves(photos: tuple[Dataset, list[Prediction]]) -> tuple[ClassAnswers, ClassAnswers]:
    """The pictures to fit on, and others to check on."""
    table = class_answers(*photos)
    first = np.random.default_rng(1).random(len(table.truth)) < 0.5
    return table.only(first), table.only(~first)


def test_a_temperature_fitted_on_some_pictures_lowers_the_error_on_others(
    halves: tuple[ClassAnswers, ClassAnswers],
) -> None:
    fit, other = halves
    result = calibrate_softmax(fit.scores, fit.truth)
    assert result.temperature.value > 1
    assert not result.temperature.at_border
    colder = temper(other.scores, result.temperature.value)
    before, after = (
        reliability(rows.max(axis=1), other.right).ece for rows in (other.scores, colder)
    )
    assert after < before / 2  # type: ignore[operator]
    assert result.after["ece"] < result.before["ece"] / 2  # type: ignore[operator]
    assert log_loss(colder, other.truth) < log_loss(other.scores, other.truth)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["lac", "aps"])
def test_conformal_sets_cover_what_they_promise(
    halves: tuple[ClassAnswers, ClassAnswers], kind: str
) -> None:
    fit, other = halves
    rule = fit_conformal(fit.scores, fit.truth, 0.1, kind)  # type: ignore[arg-type]
    check = check_coverage(rule, other.scores, other.truth, other.names)
    assert check.holds
    assert 0.86 < check.coverage < 0.97  # type: ignore[operator]
    assert 1 < check.mean_size < 9  # type: ignore[operator]
    low, high = check.interval  # type: ignore[misc]
    assert low < check.coverage < high  # type: ignore[operator]


def test_abstaining_keeps_the_risk_on_other_pictures(
    halves: tuple[ClassAnswers, ClassAnswers],
) -> None:
    fit, other = halves
    curve = risk_coverage(other.confidence, other.right)
    assert curve.aurc < 1 - other.right.mean()  # type: ignore[operator]
    wanted = float(1 - fit.right.mean()) - 0.05
    chosen = abstain_threshold(fit.confidence, fit.right, wanted, confidence_level=0.95)
    assert chosen.threshold is not None
    found = abstention_at(other.confidence, other.right, chosen.threshold)
    low, _ = found.risk_interval  # type: ignore[misc]
    assert low <= wanted
    assert found.coverage > 0.02  # type: ignore[operator]


def test_thresholds_for_a_cost_pay_on_the_pictures_that_chose_them(
    photos: tuple[Dataset, list[Prediction]],
) -> None:
    judged = judge("classify", *photos).by_class()
    goal = Goal("cost", cost_fp=4, cost_fn=1)
    for name, point in operating_points(judged, goal).items():
        assert point.cost <= counts_at(judged[name], 0.0, goal).cost  # type: ignore[operator]
        assert point.cost <= counts_at(judged[name], 0.5, goal).cost  # type: ignore[operator]
