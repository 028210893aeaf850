"""How far a number can be believed: intervals, comparisons and tests over pictures.

A `Weighted` is a set of numbers as a function of how often each picture counts. Once each
gives the numbers themselves; drawing pictures anew with replacement gives their spread
(bootstrap).

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993 (bias chapter 10, jackknife
chapter 11, percentile interval chapter 13, BCa chapter 14).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError

Key: TypeAlias = tuple[str, str | None]
"""A number: its standard name, and the class it is of, None for the whole."""

Weights: TypeAlias = NDArray[np.int32]
"""int32 (B, M): how often each of M pictures counts, in B samples."""

Method = Literal["centred", "percentile", "bca"]

SAMPLES = 1000
LEVEL = 0.95
CELLS = 1 << 20
"""Weights that are made at once; bounds the memory, about 20 MB."""
_JACKKNIFE = 200
"""Groups of the jackknife: more would cost more and hardly change the acceleration."""
_NORMAL = NormalDist()


class Weighted(Protocol):
    """Numbers of a set of pictures as a function of the pictures' weights."""

    @property
    def images(self) -> int:
        """Number of pictures M."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """What the Q numbers are."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest value that they can have."""

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many units each number rests on, int64 (Q,); `units`, int64 (M,), by picture."""

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """float64 (B, Q), NaN where a number is undefined in a sample."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and what else it could have been with other pictures of the same kind.

    Args:
        value: the number; None if it is undefined.
        low, high: ends of the interval; None if the number is undefined, or is defined in
            fewer than half of the samples.
        level: its nominal coverage, such as 0.95.
        error: standard error, the deviation of the samples; None likewise.
        units: pictures (or groups of them) that the number rests on; for a number of a class
            those with labels of it.
        defined: share of the samples in which the number is defined.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    error: float | None
    units: int
    defined: float


def intervals(
    numbers: Weighted,
    *,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    method: Method = "centred",
    groups: NDArray[np.int64] | None = None,
) -> dict[Key, Interval]:
    """Bootstrap intervals of all numbers at once.

    Args:
        samples: how often the pictures are drawn anew.
        level: nominal coverage of the intervals.
        seed: the same seed draws the same pictures.
        method: "percentile" takes the quantiles of the samples. "centred" moves them so that
            the mean of the samples lies on the number: an average precision is higher on
            fewer different pictures, so its samples lie above it, and their quantiles alone
            can leave it out. It covers what the number is on average on so many pictures.
            "bca" corrects bias and skewness, but fails where the bias is as large as the
            spread, as that of a mean over many rare classes is.
        groups: int64 (M,); pictures of equal number (a video, a patient) depend on each other
            and are drawn together. None: each picture alone.

    Raises:
        UsageError: no pictures, fewer than 2 samples, a level outside 0..1, or `groups` of
            another length.
    """
    units, count = units_of(numbers, groups)
    check_settings(samples, level, method)
    value = numbers(np.ones((1, numbers.images), dtype=np.int32))[0]
    drawn = np.concatenate([numbers(w) for w in draws(units, count, samples, seed)])
    acceleration = _acceleration(numbers, units, count, seed) if method == "bca" else None
    low, high = ends_of(
        value, drawn, level, acceleration, centred=method == "centred", bounds=numbers.bounds
    )
    support = numbers.support(units)
    error, defined = spread(drawn)
    return {
        key: Interval(
            plain(value[place]),
            plain(low[place]),
            plain(high[place]),
            level,
            plain(error[place]) if np.isfinite(low[place]) else None,
            int(support[place]),
            float(defined[place]),
        )
        for place, key in enumerate(numbers.keys)
    }


def units_of(numbers: Weighted, groups: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], int]:
    """The unit that each picture is drawn with, and how many units there are."""
    if not numbers.images:
        raise UsageError("there is no picture to draw: intervals need labelled pictures")
    if groups is None:
        return np.arange(numbers.images, dtype=np.int64), numbers.images
    if np.shape(groups) != (numbers.images,):
        raise UsageError(
            f"{numbers.images} pictures need {numbers.images} groups, not {np.shape(groups)}"
        )
    names, units = np.unique(groups, return_inverse=True)
    return units.astype(np.int64), len(names)


def check_settings(samples: int, level: float, method: str) -> None:
    if samples < 2:
        raise UsageError(f"an interval needs at least 2 samples, not {samples}: 1000 are usual")
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval lies between 0 and 1, not at {level}")
    if method not in ("centred", "percentile", "bca"):
        raise UsageError(f"unknown interval {method!r}: use centred, percentile or bca")


def draws(units: NDArray[np.int64], count: int, samples: int, seed: int) -> Iterator[Weights]:
    """Weights of `samples` samples, block by block: `count` units drawn with replacement."""
    rng = np.random.default_rng([seed, 0])
    block = max(1, CELLS // max(len(units), count))
    for start in range(0, samples, block):
        here = min(block, samples - start)
        drawn = rng.integers(0, count, (here, count))
        drawn += np.arange(here)[:, None] * count
        flat = np.bincount(drawn.ravel(), minlength=here * count).astype(np.int32)
        yield flat.reshape(here, count).take(units, axis=1)


def _acceleration(
    numbers: Weighted, units: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.float64]:
    """The skewness constant of BCa, float64 (Q,), from leaving out a part of the units."""
    parts = min(count, _JACKKNIFE)
    part = np.random.default_rng([seed, 1]).permutation(count) % parts
    mine = part[units]
    block = max(1, CELLS // len(units))
    left = np.concatenate(
        [
            numbers((mine != np.arange(start, min(start + block, parts))[:, None]).astype(np.int32))
            for start in range(0, parts, block)
        ]
    )
    valid = np.isfinite(left)
    number = np.maximum(valid.sum(axis=0), 1)
    mean = np.where(valid, left, 0).sum(axis=0) / number
    pull = np.where(valid, mean - left, 0)
    second = (pull**2).sum(axis=0) ** 1.5
    third = (pull**3).sum(axis=0)
    skew: NDArray[np.float64] = np.divide(
        third, 6 * second, out=np.zeros(len(mean)), where=second > 0
    )
    return skew


def ends_of(
    value: NDArray[np.float64],
    drawn: NDArray[np.float64],
    level: float,
    acceleration: NDArray[np.float64] | None = None,
    *,
    centred: bool,
    bounds: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends of every interval, float64 (Q,); NaN where there is none.

    Args:
        value: float64 (Q,), the numbers.
        drawn: float64 (S, Q), the samples, NaN where undefined.
        acceleration: of BCa, float64 (Q,).
        centred: move the samples' mean onto the number, and the ends no further than `bounds`.
    """
    ordered = np.sort(drawn, axis=0)  # NaN last
    valid = np.isfinite(ordered).sum(axis=0)
    tail = (1 - level) / 2
    at = np.tile(np.array([[tail], [1 - tail]]), (1, len(value)))
    if acceleration is not None:
        for place, skew in enumerate(acceleration):
            if valid[place] and np.isfinite(value[place]):
                below = np.count_nonzero(ordered[:, place] < value[place])
                ties = np.count_nonzero(ordered[:, place] == value[place])
                at[:, place] = _bca(below + ties / 2, int(valid[place]), float(skew), tail)
    # Linear between order statistics, as NumPy's quantile, over those that are defined.
    position = at * np.maximum(valid - 1, 0)
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(valid - 1, 0))
    column = np.arange(len(value))
    share = position - lower
    ends = ordered[lower, column] * (1 - share) + ordered[upper, column] * share
    if centred:
        mean = np.where(np.isfinite(ordered), ordered, 0).sum(axis=0) / np.maximum(valid, 1)
        ends = np.clip(ends + (value - mean), *bounds)
    ends[:, (2 * valid < len(drawn)) | ~np.isfinite(value)] = np.nan
    return ends[0], ends[1]


def _bca(below: float, samples: int, skew: float, tail: float) -> tuple[float, float]:
    """The two quantiles of the samples that bound a BCa interval."""
    shift = _NORMAL.inv_cdf(min(max(below, 0.5), samples - 0.5) / samples)
    found = []
    for end in (tail, 1 - tail):
        z = shift + _NORMAL.inv_cdf(end)
        found.append(_NORMAL.cdf(shift + z / (1 - skew * z)))
    return found[0], found[1]


def spread(drawn: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviation over the defined samples, and their share; both float64 (Q,)."""
    valid = np.isfinite(drawn)
    number = valid.sum(axis=0)
    mean = np.where(valid, drawn, 0).sum(axis=0) / np.maximum(number, 1)
    square = (np.where(valid, drawn - mean, 0) ** 2).sum(axis=0)
    return np.sqrt(square / np.maximum(number - 1, 1)), number / len(drawn)


def plain(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
