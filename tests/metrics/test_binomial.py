"""Exact intervals of shares, against SciPy."""

import numpy as np
import pytest
from scipy import stats

from whatwhere.errors import UsageError
from whatwhere.metrics.binomial import (
    beta_binomial_cdf,
    binomial_cdf,
    share_interval,
    upper_bound,
    wilson_lower,
)


@pytest.mark.parametrize("trials", [1, 7, 60, 2000, 100_000])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.93])
def test_tails_are_exact(trials: int, share: float) -> None:
    for part in (0.0, 0.0005, 0.05, 0.1, 0.5, 0.95, 1.0):
        count = int(part * trials)
        expected = stats.binom.cdf(count, trials, share)
        assert binomial_cdf(count, trials, share) == pytest.approx(expected, rel=1e-8, abs=1e-300)
    assert binomial_cdf(-1, trials, share) == 0
    assert (binomial_cdf(0, trials, 1.0), binomial_cdf(0, trials, 0.0)) == (0, 1)


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (5, 5), (3, 9), (1, 400), (370, 400)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_intervals_are_clopper_and_pearsons(hits: int, trials: int, confidence: float) -> None:
    expected = stats.binomtest(hits, trials).proportion_ci(confidence, method="exact")
    assert share_interval(hits, trials, confidence) == pytest.approx(tuple(expected), abs=1e-9)
    expected = stats.binomtest(hits, trials, alternative="less").proportion_ci(confidence)
    assert upper_bound(hits, trials, confidence) == pytest.approx(expected.high, abs=1e-9)


def test_wilson_is_the_score_interval() -> None:
    hits, trials = np.array([0.0, 3, 40, 40]), np.array([10.0, 9, 41, 40])
    expected = [
        stats.binomtest(int(h), int(n), alternative="greater").proportion_ci(0.9, "wilson").low
        for h, n in zip(hits, trials, strict=True)
    ]
    assert wilson_lower(hits, trials, 0.9) == pytest.approx(expected, abs=1e-12)
    assert wilson_lower(np.zeros(1), np.zeros(1), 0.9) == [0]


def test_beta_binomial() -> None:
    for hits in (-1, 0, 3, 170, 200):
        expected = stats.betabinom.cdf(hits, 200, 91, 10)
        assert beta_binomial_cdf(hits, 200, 91, 10) == pytest.approx(expected, rel=1e-8)


def test_nothing_has_no_interval() -> None:
    assert share_interval(0, 0) is upper_bound(0, 0) is None


@pytest.mark.parametrize(("hits", "trials", "confidence"), [(3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1)])
def test_what_is_no_share_is_refused(hits: int, trials: int, confidence: float) -> None:
    with pytest.raises(UsageError):
        share_interval(hits, trials, confidence)
