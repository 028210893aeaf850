"""Conformal sets: the published recipes, and their coverage on other pictures."""

import math

import numpy as np
import pytest

from whatwhere.errors import UsageError
from whatwhere.metrics.conformal import (
    Conformal,
    check_coverage,
    fit_conformal,
    nonconformity,
)


def pictures(seed: int, rows: int, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Softmax rows that are too sure, and the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, classes))
    fair = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (fair.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(0, classes - 1)
    sure = np.exp(2 * logits)
    return sure / sure.sum(axis=1, keepdims=True), truth


def test_limits_are_those_of_the_published_recipes() -> None:
    rows, truth = pictures(0, 199)

    def smallest(scores: np.ndarray) -> float:
        return min(one for one in scores if (scores <= one).sum() >= math.ceil(200 * 0.9))

    expected = smallest(1 - rows[np.arange(199), truth])
    assert fit_conformal(rows, truth, 0.1).limit == pytest.approx(expected, abs=1e-12)
    order = rows.argsort(axis=1)[:, ::-1]
    ranked = np.take_along_axis(rows, order, axis=1)
    above = ranked.cumsum(axis=1) - ranked
    scores = np.take_along_axis(above, order.argsort(axis=1), axis=1)[np.arange(199), truth]
    rule = fit_conformal(rows, truth, 0.1, "aps")
    assert rule.limit == pytest.approx(smallest(scores), abs=1e-12)


@pytest.mark.parametrize("kind", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_sets_cover_what_they_promise(kind: str, alpha: float) -> None:
    bare = []
    kept = 0
    for seed in range(60):
        rule = fit_conformal(*pictures(seed, 300), alpha, kind)  # type: ignore[arg-type]
        rows, truth = pictures(1000 + seed, 500)
        check = check_coverage(rule, rows, truth, tuple("abcdef"))
        inside = nonconformity(rows, rule.kind) <= rule.limit
        bare.append(inside[np.arange(500), truth].mean())
        # That the best class is always in the set can only add.
        assert check.coverage >= bare[-1]  # type: ignore[operator]
        kept += bool(check.holds)
        low, high = check.interval  # type: ignore[misc]
        assert low <= check.coverage <= high  # type: ignore[operator]
        assert sum(count for _, count, _ in check.by_size) == check.pictures == 500
    assert np.mean(bare) == pytest.approx(1 - alpha, abs=0.012)
    # Promised in 95 % of cases; four standard deviations below.
    assert kept >= 57 - 7


@pytest.mark.parametrize("kind", ["lac", "aps"])
def test_a_rule_that_was_not_fitted_is_found_out(kind: str) -> None:
    rows, truth = pictures(5, 500)
    # Believing the model, which is too sure.
    limit = 0.5 if kind == "lac" else 0.3
    check = check_coverage(Conformal(kind, 0.05, limit, 400), rows, truth, tuple("abcdef"))  # type: ignore[arg-type]
    assert check.holds is False
    assert check.chance is not None
    assert check.chance < 1e-4


def test_sets_hold_the_best_class_and_grow_with_less_risk() -> None:
    rows, truth = pictures(2, 400)
    for kind in ("lac", "aps"):
        narrow, wide = (fit_conformal(rows, truth, a, kind).sets(rows) for a in (0.3, 0.05))  # type: ignore[arg-type]
        assert narrow[np.arange(400), rows.argmax(axis=1)].all()
        assert (wide >= narrow).all()
        assert wide.sum() > narrow.sum()
        ranked = np.take_along_axis(wide, np.argsort(-rows, axis=1), axis=1)
        assert (np.diff(ranked.astype(int), axis=1) <= 0).all()


def test_sets_of_a_model_that_is_mostly_sure_are_not_too_wide() -> None:
    """Nearly all best classes have nearly all probability; one picture in eight is wrong."""
    rng = np.random.default_rng(7)
    rows = rng.dirichlet(np.full(10, 0.02), 4000)
    best = rows.argmax(axis=1)
    second = np.argsort(-rows, axis=1)[:, 1]
    truth = np.where(rng.random(4000) < 0.85, best, second)
    rule = fit_conformal(rows[:2000], truth[:2000], 0.1, "aps")
    check = check_coverage(rule, rows[2000:], truth[2000:], tuple("abcdefghij"))
    assert check.coverage == pytest.approx(0.9, abs=0.03)
    assert check.mean_size < 2  # type: ignore[operator]


def test_too_few_pictures_give_every_class() -> None:
    rows, truth = pictures(3, 8)
    rule = fit_conformal(rows, truth, 0.1)
    assert rule.limit == math.inf
    assert rule.sets(rows).all()
    assert check_coverage(rule, rows, truth, tuple("abcdef")).holds
    assert fit_conformal(*pictures(3, 9), 0.1).limit < 1


def test_no_pictures_are_undefined() -> None:
    rule = fit_conformal(*pictures(3, 50), 0.1)
    check = check_coverage(rule, np.zeros((0, 6)), np.zeros(0, np.int64), tuple("abcdef"))
    assert check.coverage is check.holds is check.mean_size is check.interval is None
    assert set(check.by_class.values()) == {None}


def test_odd_calls_are_refused() -> None:
    rows, truth = pictures(3, 9)
    with pytest.raises(UsageError, match="alpha must lie"):
        fit_conformal(rows, truth, 1.0)
    with pytest.raises(UsageError, match="use lac or aps"):
        nonconformity(rows, "raps")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="9 pictures need scores"):
        fit_conformal(rows[:4], truth)
