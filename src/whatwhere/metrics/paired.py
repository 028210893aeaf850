"""Two systems on the same pictures: is one better, and could chance alone have done it?

Sources: Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005; Phipson and
Smyth, Permutation P-values Should Never Be Zero, 2010; Holm, A Simple Sequentially Rejective
Multiple Test Procedure, 1979.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.bootstrap import (
    CELLS,
    LEVEL,
    SAMPLES,
    Key,
    Weighted,
    check_settings,
    draws,
    ends_of,
    plain,
    spread,
    units_of,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two systems on the same pictures.

    Args:
        first, second: the number of each; None if undefined.
        value: second - first, with its interval `low`, `high`; None if undefined.
        p: probability of a difference as large, either way, if the systems were the same.
        test: how `p` was found, "permutation" or "bootstrap".
        level, error, units, defined: as in `Interval`.
    """

    first: float | None
    second: float | None
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    test: Literal["permutation", "bootstrap"]
    level: float
    error: float | None
    units: int
    defined: float


def differences(
    first: Weighted,
    second: Weighted,
    pooled: Weighted | None = None,
    *,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> dict[Key, Difference]:
    """Compare two systems on the same M pictures, number by number.

    Intervals are centred percentiles (see `bootstrap.intervals`) of the differences over
    samples of pictures, the same pictures for both systems in each sample, so what both find
    hard cancels out. `p` is from a paired
    permutation test where `pooled` is given: in each of `samples` trials the two answers to a
    picture are swapped or not, by chance. If the systems are alike that changes nothing, at
    any number of pictures; a bootstrap is only right for many. Without `pooled`, p is twice
    the smaller share of the samples on one side of 0. Both add 1 to the count, so p is never 0.

    Args:
        first, second: the numbers of each; equal keys and pictures.
        pooled: the same numbers of 2 M pictures, each twice: picture i as `2 * i` with the
            first system's answer and as `2 * i + 1` with the second's.
        samples, level, seed, groups: as in `intervals`; groups are swapped as a whole.

    Raises:
        UsageError: as `intervals`, or the systems' keys or numbers of pictures differ.
    """
    if first.keys != second.keys or first.images != second.images:
        raise UsageError(
            "only numbers of the same pictures and classes can be compared: score both systems"
            " on one data set"
        )
    if pooled is not None and (pooled.keys != first.keys or pooled.images != 2 * first.images):
        raise UsageError("pooled numbers need each picture twice and the keys of the systems")
    units, count = units_of(first, groups)
    check_settings(samples, level, "centred")
    once = np.ones((1, first.images), dtype=np.int32)
    one, two = first(once)[0], second(once)[0]
    value = two - one
    drawn = np.concatenate([second(w) - first(w) for w in draws(units, count, samples, seed)])
    least, most = first.bounds
    bounds = (least - most, most - least)
    low, high = ends_of(value, drawn, level, centred=True, bounds=bounds)
    error, defined = spread(drawn)
    if pooled is None:
        p = _bootstrap_p(value, drawn)
    else:
        p = _permutation_p(pooled, value, units, count, samples, seed)
    support = first.support(units)
    return {
        key: Difference(
            plain(one[place]),
            plain(two[place]),
            plain(value[place]),
            plain(low[place]),
            plain(high[place]),
            plain(p[place]) if np.isfinite(value[place]) else None,
            "bootstrap" if pooled is None else "permutation",
            level,
            plain(error[place]) if np.isfinite(low[place]) else None,
            int(support[place]),
            float(defined[place]),
        )
        for place, key in enumerate(first.keys)
    }


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values of many tests, corrected so that all of them together hold the level.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979. NaN stays NaN and
    counts as no test.

    Args:
        p: float64 (N,), in 0..1.
    """
    result = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return result


def _bootstrap_p(value: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """As the interval sees it: the samples are centred on the difference as well."""
    valid = np.isfinite(drawn).sum(axis=0)
    drawn = drawn + (value - np.where(np.isfinite(drawn), drawn, 0).sum(axis=0) / valid.clip(1))
    under, over = (drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0)
    p: NDArray[np.float64] = np.minimum(2 * (np.minimum(under, over) + 1) / (valid + 1), 1.0)
    return p


def _permutation_p(
    pooled: Weighted,
    value: NDArray[np.float64],
    units: NDArray[np.int64],
    count: int,
    samples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Share of trials, this one included, with a difference as large as `value`."""
    rng = np.random.default_rng([seed, 2])
    block = max(1, CELLS // pooled.images)
    beaten = np.ones(len(value))
    valid = np.ones(len(value))
    for start in range(0, samples, block):
        here = min(block, samples - start)
        swap = rng.integers(0, 2, (here, count), dtype=np.int32).take(units, axis=1)
        weights = np.empty((here, pooled.images), dtype=np.int32)
        weights[:, 0::2], weights[:, 1::2] = 1 - swap, swap
        by_chance = pooled(1 - weights) - pooled(weights)
        # Trials that swap nothing must count, whatever the last bit says.
        beaten += (np.abs(by_chance) >= np.abs(value) - 1e-12).sum(axis=0)
        valid += np.isfinite(by_chance).sum(axis=0)
    return beaten / valid
