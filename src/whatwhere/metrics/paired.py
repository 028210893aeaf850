"""Two systems on the same pictures: is one better, and could chance alone have done it?

Sources: Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005; Phipson and
Smyth, Permutation P-values Should Never Be Zero, 2010; Holm, A Simple Sequentially Rejective
Multiple Test Procedure, 1979; Westfall and Young, Resampling-Based Multiple Testing, 1993.
"""

from __future__ import annotations

from collections.abc import Sequence
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

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """Two systems on the same pictures.

    Args:
        first, second: the number of each; None if undefined.
        value: second - first, with its interval `low`, `high`; None if undefined.
        p: probability of a difference as large, either way, if the systems were the same.
        test: how `p` was found, "permutation" or "bootstrap".
        level, error, units, defined: as in `Interval`.
        adjusted: of a number of a class, `p` corrected for the tests of the same number of all
            other classes; None for numbers of the whole.
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
    adjusted: float | None = None


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

    The p-values of one number of many classes are corrected together, so that a difference in
    any class where there is none comes up with a chance of at most p in all: by Westfall and
    Young's step-down maxT, which compares each class with the largest (in standard deviations)
    of all classes in the same trial. It loses less than Holm's method where classes hang
    together, and nothing by the number of trials. Without `pooled`, by Holm's.

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
    families = _families(first.keys)
    adjusted = np.full(len(value), np.nan)
    if pooled is None:
        p = _bootstrap_p(value, drawn)
        for places in families:
            adjusted[places] = holm(np.where(np.isfinite(value), p, np.nan)[places])
    else:
        by_chance = _swapped(pooled, units, count, samples, seed)
        p = _permutation_p(value, by_chance)
        for places in families:
            adjusted[places] = max_t(value[places], by_chance[:, places])
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
            plain(adjusted[place]),
        )
        for place, key in enumerate(first.keys)
    }


def _families(keys: Sequence[Key]) -> list[list[int]]:
    """Places of the numbers that are tested together: one number of all classes."""
    by_name: dict[str, list[int]] = {}
    for place, (name, of) in enumerate(keys):
        if of is not None:
            by_name.setdefault(name, []).append(place)
    return list(by_name.values())


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


def max_t(value: NDArray[np.float64], by_chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values of many tests, corrected together from their trials: step-down maxT.

    Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 2.8 with statistics
    divided by their standard deviation. NaN where the number or all its trials are undefined.

    Args:
        value: float64 (N,), what was found.
        by_chance: float64 (S, N), what the S trials gave, row by row in the same trial.
    """
    result = np.full(len(value), np.nan)
    tested = np.flatnonzero(np.isfinite(value) & np.isfinite(by_chance).any(axis=0))
    chance = np.abs(np.nan_to_num(by_chance[:, tested]))
    found = np.abs(value[tested])
    # Rounding must not pass for a difference.
    chance[chance < _ROUNDING], found[found < _ROUNDING] = 0.0, 0.0
    # Its own result belongs to the trials; what never varies is no sign of anything.
    scale = np.sqrt((np.square(chance).sum(axis=0) + found**2) / (len(chance) + 1))
    np.divide(found, scale, out=found, where=scale > 0)
    np.divide(chance, scale, out=chance, where=scale > 0)
    order = np.argsort(-found, kind="stable")
    largest = np.maximum.accumulate(chance[:, order][:, ::-1], axis=1)[:, ::-1]
    beaten = (largest >= found[order] * (1 - 1e-9)).sum(axis=0)
    result[tested[order]] = np.maximum.accumulate((beaten + 1) / (len(chance) + 1))
    return result


def _bootstrap_p(value: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """As the interval sees it: the samples are centred on the difference as well."""
    valid = np.isfinite(drawn).sum(axis=0)
    drawn = drawn + (value - np.where(np.isfinite(drawn), drawn, 0).sum(axis=0) / valid.clip(1))
    under, over = (drawn <= 0).sum(axis=0), (drawn >= 0).sum(axis=0)
    p: NDArray[np.float64] = np.minimum(2 * (np.minimum(under, over) + 1) / (valid + 1), 1.0)
    return p


def _permutation_p(
    value: NDArray[np.float64], by_chance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of trials, this one included, with a difference as large as `value`."""
    # Trials that swap nothing must count, whatever the last bit says.
    beaten = 1 + (np.abs(by_chance) >= np.abs(value) - _ROUNDING).sum(axis=0)
    p: NDArray[np.float64] = beaten / (1 + np.isfinite(by_chance).sum(axis=0))
    return p


def _swapped(
    pooled: Weighted, units: NDArray[np.int64], count: int, samples: int, seed: int
) -> NDArray[np.float64]:
    """Differences after the two answers to each unit were swapped or not; (samples, Q)."""
    rng = np.random.default_rng([seed, 2])
    block = max(1, CELLS // pooled.images)
    parts = []
    for start in range(0, samples, block):
        here = min(block, samples - start)
        swap = rng.integers(0, 2, (here, count), dtype=np.int32).take(units, axis=1)
        weights = np.empty((here, pooled.images), dtype=np.int32)
        weights[:, 0::2], weights[:, 1::2] = 1 - swap, swap
        parts.append(pooled(1 - weights) - pooled(weights))
    return np.concatenate(parts)
