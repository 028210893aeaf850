"""Divide rows into parts: by chance, evenly over classes, groups kept together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError

Rows = NDArray[np.int64]


def split_rows(
    count: int,
    fractions: Sequence[float],
    *,
    seed: int = 0,
    strata: Sequence[int] | NDArray[np.int64] | None = None,
    groups: Sequence[str | None] | None = None,
) -> list[Rows]:
    """Row numbers of each part, ascending; together every row exactly once.

    Args:
        count: number of rows.
        fractions: share of each part; they add up to 1.
        seed: the same seed gives the same parts on every machine.
        strata: class of each row; each class is divided by the same shares.
        groups: rows with one name stay together; None means a group of its own.

    Raises:
        UsageError: the fractions are not positive or do not add up to 1.
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.size == 0 or not (shares > 0).all() or abs(float(shares.sum()) - 1) > 1e-6:
        given = ", ".join(f"{value:g}" for value in fractions) or "nothing"
        raise UsageError(f"fractions must be positive and add up to 1, not {given}")
    order = np.random.default_rng(seed).permutation(count)
    if groups is not None:
        part = _by_group(order, shares, groups)
    else:
        part = _by_stratum(order, shares, strata)
    return [np.flatnonzero(part == number) for number in range(shares.size)]


def _by_stratum(
    order: Rows, shares: NDArray[np.float64], strata: Sequence[int] | Rows | None
) -> Rows:
    """Deal out each class in turn; what is left of one class is made good by the next."""
    part = np.zeros(order.size, dtype=np.int64)
    classes = np.zeros(order.size, np.int64) if strata is None else np.asarray(strata, np.int64)
    owed = np.zeros(shares.size)
    for value in np.unique(classes):
        rows = order[classes[order] == value]
        wanted = shares * rows.size
        counts = np.floor(wanted).astype(np.int64)
        owed += wanted - counts
        for _ in range(rows.size - int(counts.sum())):
            most = int(np.argmax(owed))
            counts[most] += 1
            owed[most] -= 1
        part[rows] = np.repeat(np.arange(shares.size), counts)
    return part


def _by_group(order: Rows, shares: NDArray[np.float64], groups: Sequence[str | None]) -> Rows:
    """Give each group, large ones first, to the part that lacks most rows."""
    members: dict[str | int, list[int]] = {}
    for row in order.tolist():
        name = groups[row]
        members.setdefault(row if name is None else name, []).append(row)
    part = np.zeros(order.size, dtype=np.int64)
    lacking = shares * order.size
    for rows in sorted(members.values(), key=len, reverse=True):
        chosen = int(np.argmax(lacking))
        part[rows] = chosen
        lacking[chosen] -= len(rows)
    return part
