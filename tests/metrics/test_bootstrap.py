"""Intervals: coverage, seeds, groups, and what is undefined."""

import numpy as np
import pytest

from whatwhere.errors import UsageError
from whatwhere.metrics.bootstrap import Interval, draws, intervals
from whatwhere.metrics.bootstrap_labels import CountNumbers, MeanNumbers
from whatwhere.metrics.trust import weakness

MEAN = (("mean", None),)


def test_samples_draw_as_many_units_as_there_are() -> None:
    units = np.array([0, 0, 1, 2, 2, 2])
    blocks = list(draws(units, 3, 50, seed=1))
    weights = np.concatenate(blocks)
    assert weights.shape == (50, 6)
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert len({tuple(row) for row in weights}) > 5


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    units = np.arange(30)
    whole = np.concatenate(list(draws(units, 30, 40, seed=3)))
    monkeypatch.setattr("whatwhere.metrics.bootstrap.CELLS", 100)
    parts = list(draws(units, 30, 40, seed=3))
    assert len(parts) == 14
    assert np.array_equal(whole, np.concatenate(parts))


def test_the_seed_decides() -> None:
    numbers = MeanNumbers(MEAN, np.random.default_rng(0).random((50, 1)))
    one = intervals(numbers, seed=1, samples=200)
    assert one == intervals(numbers, seed=1, samples=200)
    assert one != intervals(numbers, seed=2, samples=200)


def test_mean_has_its_known_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, (400, 1))
    result = intervals(MeanNumbers(MEAN, values), samples=4000)["mean", None]
    assert result.value == pytest.approx(values.mean())
    assert result.error == pytest.approx(values.std() / 20, rel=0.05)
    assert result.low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.02)
    assert result.high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.02)
    assert (result.units, result.defined) == (400, 1.0)


@pytest.mark.parametrize("method", ["centred", "percentile", "bca"])
def test_intervals_cover_the_truth(method: str) -> None:
    """300 samples of 60 from a skewed distribution: the 90 % intervals hold its mean."""
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(300):
        values = rng.exponential(1.0, (60, 1))
        result = intervals(
            MeanNumbers(MEAN, values), samples=200, level=0.9, seed=trial, method=method
        )["mean", None]
        hits += result.low <= 1.0 <= result.high
    # Three binomial standard deviations, and the few per cent that every bootstrap lacks.
    assert 0.82 <= hits / 300 <= 0.952


def test_bca_equals_scipy() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(5).exponential(1.0, 40)
    ours = intervals(MeanNumbers(MEAN, values[:, None]), samples=20_000, method="bca")
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours["mean", None].low == pytest.approx(theirs.low, abs=0.01)
    assert ours["mean", None].high == pytest.approx(theirs.high, abs=0.01)


def test_centred_holds_a_number_that_its_samples_miss() -> None:
    """The number of different pictures: samples always have fewer."""

    class Distinct:
        images, keys, bounds = 100, MEAN, (0.0, 1.0)

        def support(self, units: np.ndarray) -> np.ndarray:
            return np.array([len(units)])

        def __call__(self, weights: np.ndarray) -> np.ndarray:
            return (weights > 0).mean(axis=1, keepdims=True)

    percentile = intervals(Distinct(), method="percentile")["mean", None]
    assert percentile.high < percentile.value == 1
    centred = intervals(Distinct())["mean", None]
    assert centred.low < 1 == centred.high
    # As far below the number as the samples' lower quantile lies below their mean.
    assert 1 - centred.low == pytest.approx((percentile.high - percentile.low) / 2, rel=0.3)


def test_groups_are_drawn_together() -> None:
    """Ten copies of each picture say no more than one."""
    values = np.random.default_rng(6).random((40, 1))
    single = intervals(MeanNumbers(MEAN, values), samples=1000)["mean", None]
    copies = MeanNumbers(MEAN, np.repeat(values, 10, axis=0))
    blind = intervals(copies, samples=1000)["mean", None]
    aware = intervals(copies, samples=1000, groups=np.repeat(np.arange(40) * 7, 10))["mean", None]
    assert aware.error == pytest.approx(single.error, rel=1e-9)
    assert blind.error < single.error / 2.5
    assert (aware.units, blind.units) == (40, 400)


def test_a_number_without_cases_is_undefined() -> None:
    values = np.full((20, 2), np.nan)
    values[3, 1] = 0.5
    result = intervals(MeanNumbers((("a", None), ("b", None)), values), samples=500)
    assert result["a", None] == Interval(None, None, None, 0.95, None, 0, 0.0)
    lonely = result["b", None]
    assert (lonely.value, lonely.units) == (0.5, 1)
    # One picture of twenty is drawn in 1 - 0.95**20 of the samples.
    assert lonely.defined == pytest.approx(0.64, abs=0.06)
    assert "fewer than 30" in weakness(lonely)


def test_function_of_counts() -> None:
    """Precision at a threshold, from right and false boxes of each picture."""
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 5, (80, 2))
    members = np.ones((80, 1), dtype=bool)
    members[:10] = False
    numbers = CountNumbers(
        (("precision", "cat"),), counts, lambda s: s[:, :1] / s.sum(axis=1, keepdims=True), members
    )
    result = intervals(numbers)["precision", "cat"]
    assert result.value == pytest.approx(counts[:, 0].sum() / counts.sum())
    assert result.low < result.value < result.high
    assert result.units == 70


def test_weakness_says_why() -> None:
    def made(value: float | None, low: float, high: float, units: int, defined: float) -> Interval:
        return Interval(value, low, high, 0.95, 0.01, units, defined)

    assert weakness(made(0.5, 0.45, 0.55, 500, 1.0)) is None
    assert "undefined" in weakness(made(None, None, None, 0, 0.0))
    assert "fewer than 30" in weakness(made(0.5, 0.4, 0.55, 12, 1.0))
    assert "0.30 wide" in weakness(made(0.5, 0.35, 0.65, 50, 1.0))
    assert "do not define" in weakness(made(0.5, 0.45, 0.55, 50, 0.9))
    assert "most samples" in weakness(made(0.5, None, None, 50, 0.4))
    assert "up to 0.030" in weakness(made(1.0, 1.0, 1.0, 100, 1.0))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"samples": 1}, "at least 2 samples"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"method": "magic"}, "centred, percentile or bca"),
        ({"groups": np.zeros(3, dtype=np.int64)}, "need 5 groups"),
    ],
)
def test_wrong_settings(settings: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        intervals(MeanNumbers(MEAN, np.zeros((5, 1))), **settings)


def test_no_pictures_and_tables_of_another_width() -> None:
    with pytest.raises(UsageError, match="no picture"):
        intervals(MeanNumbers(MEAN, np.zeros((0, 1))))
    with pytest.raises(UsageError, match="columns"):
        MeanNumbers(MEAN, np.zeros((5, 2)))
