"""Exact intervals of a share: Clopper & Pearson, Biometrika 1934; Wilson, JASA 1927."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError


def binomial_cdf(successes: int, trials: int, share: float) -> float:
    """Chance of at most that many successes in independent trials of equal chance `share`."""
    if successes < 0:
        return 0.0
    if successes >= trials or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    mean = trials * share
    if successes > mean:
        # The shorter tail is summed, so that a chance near 1 is exact too.
        return 1.0 - binomial_cdf(trials - successes - 1, trials, 1 - share)
    log = math.log(share) - math.log1p(-share)
    term = (
        math.lgamma(trials + 1)
        - math.lgamma(successes + 1)
        - math.lgamma(trials - successes + 1)
        + successes * math.log(share)
        + (trials - successes) * math.log1p(-share)
    )
    logs = []
    for count in range(successes, -1, -1):
        logs.append(term)
        # Below the mean, terms fall at least geometrically.
        if term < logs[0] - 60:
            break
        if count:
            term += math.log(count) - math.log(trials - count + 1) - log
    top = logs[0]
    return min(1.0, math.exp(top) * math.fsum(math.exp(value - top) for value in logs))


def beta_binomial_cdf(successes: int, trials: int, a: float, b: float) -> float:
    """Chance of at most that many successes where the share itself is drawn from Beta(a, b)."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    count = np.arange(trials)
    ratio = np.log((trials - count) / (count + 1)) + np.log((count + a) / (trials - count - 1 + b))
    none = math.lgamma(trials + b) + math.lgamma(a + b) - math.lgamma(trials + a + b)
    logs = none - math.lgamma(b) + np.append(0.0, np.cumsum(ratio))
    return min(1.0, math.fsum(np.exp(logs[: successes + 1]).tolist()))


def share_interval(
    successes: int, trials: int, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Clopper and Pearson's interval of a share; None without trials.

    It holds the true share with at least that confidence if the trials are independent.

    Raises:
        UsageError: more successes than trials, or the confidence is not inside 0..1.
    """
    _check(successes, trials, confidence)
    if not trials:
        return None
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _solve(successes - 1, trials, 1 - tail)
    high = 1.0 if successes == trials else _solve(successes, trials, tail)
    return low, high


def upper_bound(successes: int, trials: int, confidence: float = 0.95) -> float | None:
    """One-sided Clopper-Pearson bound: the share is no larger, with that confidence."""
    _check(successes, trials, confidence)
    if not trials:
        return None
    return 1.0 if successes == trials else _solve(successes, trials, 1 - confidence)


def wilson_lower(
    successes: NDArray[np.float64], trials: NDArray[np.float64], confidence: float
) -> NDArray[np.float64]:
    """Wilson's one-sided lower bound of many shares at once, (N,); 0 without trials."""
    z = NormalDist().inv_cdf(confidence)
    count = np.maximum(trials, 1.0)
    share = successes / count
    middle = share + z * z / (2 * count)
    wide = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low: NDArray[np.float64] = np.where(
        trials > 0, np.maximum((middle - wide) / (1 + z * z / count), 0.0), 0.0
    )
    return low


def _solve(successes: int, trials: int, chance: float) -> float:
    """The share at which at most that many successes have that chance, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if binomial_cdf(successes, trials, middle) > chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _check(successes: int, trials: int, confidence: float) -> None:
    if not 0 <= successes <= trials:
        raise UsageError(f"{successes} of {trials} is no share: count successes among trials")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, not {confidence}")
