"""Divide rows into parts: by chance, evenly over classes, groups kept together.

One class a row is dealt out class by class. Several classes a row are divided by iterative
stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label
data", ECML PKDD 2011): the class with the fewest rows left is served first, each of its rows
going to the part that lacks that class most. Here rows may be groups, and the parts get
exactly the sizes asked for wherever groups allow it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError

Rows = NDArray[np.int64]

# A group of more than this share of the smallest part is placed before the small ones.
_LARGE = 0.05


def checked_shares(fractions: Sequence[float]) -> NDArray[np.float64]:
    """The share of each part, float64 (N,).

    Raises:
        UsageError: they are not positive or do not add up to 1.
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.size == 0 or not (shares > 0).all() or abs(float(shares.sum()) - 1) > 1e-6:
        given = ", ".join(f"{value:g}" for value in fractions) or "nothing"
        raise UsageError(f"fractions must be positive and add up to 1, not {given}")
    return shares


def split_rows(
    count: int,
    fractions: Sequence[float],
    *,
    seed: int = 0,
    strata: Sequence[int] | Rows | None = None,
    labels: tuple[Rows, Rows] | None = None,
    groups: Sequence[str | None] | Rows | None = None,
) -> list[Rows]:
    """Row numbers of each part, ascending; together every row exactly once.

    Args:
        count: number of rows.
        fractions: share of each part; they add up to 1.
        seed: the same seed gives the same parts on every machine.
        strata: class of each row; each class is divided by the same shares.
        labels: int64 (M,) rows and int64 (M,) classes: any number of classes a row, instead
            of `strata`. Rows without one are divided like a class of their own.
        groups: rows with one name or number stay together; None means a group of its own.

    Raises:
        UsageError: the fractions are not positive or do not add up to 1.
    """
    shares = checked_shares(fractions)
    order = np.random.default_rng(seed).permutation(count)
    numbers = None if groups is None else group_numbers(groups)
    if numbers is not None and len(np.unique(numbers)) == count:
        numbers = None
    if numbers is None and labels is None:
        part = _by_stratum(order, shares, strata)
    else:
        if labels is None and strata is not None:
            labels = np.arange(count), np.asarray(strata, np.int64)
        part = _iterative(order, shares, labels, numbers)
    return [np.flatnonzero(part == number) for number in range(shares.size)]


def group_numbers(groups: Sequence[str | None] | Rows) -> Rows:
    """A number for each group: the first row of it."""
    if isinstance(groups, np.ndarray):
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        return np.asarray(first[inverse], np.int64)
    known: dict[str, int] = {}
    numbers = (
        row if name is None else known.setdefault(name, row) for row, name in enumerate(groups)
    )
    return np.fromiter(numbers, np.int64, len(groups))


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


@dataclass(slots=True)
class _Units:
    """What is dealt out: groups, or single rows, in random order.

    Args:
        size: rows of each unit.
        classes: (class, rows of the unit that have it) of each unit.
        members: units of each class.
    """

    size: list[int]
    classes: list[list[tuple[int, int]]]
    members: list[list[int]]


def _iterative(
    order: Rows,
    shares: NDArray[np.float64],
    labels: tuple[Rows, Rows] | None,
    groups: Rows | None,
) -> Rows:
    count = order.size
    # Units are numbered by the place of their first row in the random order.
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    unit = place
    if groups is not None:
        first = np.full(count, count, np.int64)
        np.minimum.at(first, groups, place)
        _, unit = np.unique(first[groups], return_inverse=True)
    units = _units(count, unit, labels)
    dealer = _Dealer(units, shares.tolist(), _sizes(count, shares))
    dealer.large_units()
    dealer.rarest_first()
    return np.asarray(dealer.part, np.int64)[unit]


def _units(count: int, unit: Rows, labels: tuple[Rows, Rows] | None) -> _Units:
    number = int(unit.max()) + 1 if count else 0
    rows, ids = (np.empty(0, np.int64),) * 2 if labels is None else labels
    # Each class once a row; rows without any get the class that no other has.
    _, ids = np.unique(ids, return_inverse=True)
    classes = int(ids.max()) + 1 if ids.size else 0
    pairs = np.unique(np.asarray(rows, np.int64) * (classes + 1) + ids)
    bare = np.setdiff1d(np.arange(count), rows)
    pairs = np.concatenate([pairs, bare * (classes + 1) + classes])
    rows, ids = np.divmod(pairs, classes + 1)
    keys, amounts = np.unique(unit[rows] * (classes + 1) + ids, return_counts=True)
    owners, ids = np.divmod(keys, classes + 1)
    found: list[list[tuple[int, int]]] = [[] for _ in range(number)]
    members: list[list[int]] = [[] for _ in range(classes + 1)]
    for owner, class_id, amount in zip(
        owners.tolist(), ids.tolist(), amounts.tolist(), strict=True
    ):
        found[owner].append((class_id, amount))
        members[class_id].append(owner)
    return _Units(np.bincount(unit, minlength=number).tolist(), found, members)


def _sizes(count: int, shares: NDArray[np.float64]) -> list[int]:
    """Whole numbers of rows that add up: the largest remainders are rounded up."""
    wanted = shares / shares.sum() * count
    sizes = np.floor(wanted + 1e-9).astype(np.int64)
    rest = np.argsort(sizes - wanted, kind="stable")[: count - int(sizes.sum())]
    sizes[rest] += 1
    return [int(size) for size in sizes]


class _Dealer:
    """Gives each unit to a part; plain lists, since each step depends on the one before."""

    def __init__(self, units: _Units, shares: list[float], sizes: list[int]) -> None:
        self.units = units
        self.total = [0] * len(units.members)
        for classes in units.classes:
            for class_id, amount in classes:
                self.total[class_id] += amount
        self.left = list(self.total)
        self.lacking = [[share * amount for share in shares] for amount in self.total]
        self.room = list(sizes)
        self.smallest = min(sizes, default=0)
        self.part = [-1] * len(units.size)

    def large_units(self) -> None:
        """Large groups first, each to the part that lacks most of what it has."""
        sizes = self.units.size
        large = [one for one, size in enumerate(sizes) if size > max(1, _LARGE * self.smallest)]
        for one in sorted(large, key=sizes.__getitem__, reverse=True):
            worth = [0.0] * len(self.room)
            for class_id, amount in self.units.classes[one]:
                scale = amount / self.total[class_id]
                for part, lacking in enumerate(self.lacking[class_id]):
                    worth[part] += scale * lacking
            self._give(one, worth)

    def rarest_first(self) -> None:
        """The class with the fewest rows left, then the next, until all units are given."""
        waiting = [(amount, class_id) for class_id, amount in enumerate(self.left) if amount]
        heapq.heapify(waiting)
        sizes = self.units.size
        while waiting:
            amount, class_id = heapq.heappop(waiting)
            if amount != self.left[class_id]:
                if self.left[class_id]:
                    heapq.heappush(waiting, (self.left[class_id], class_id))
                continue
            todo = [one for one in self.units.members[class_id] if self.part[one] < 0]
            # Units are in random order already; sorting keeps it among those of one size.
            todo.sort(key=sizes.__getitem__, reverse=True)
            for one in todo:
                self._give(one, self.lacking[class_id])

    def _give(self, one: int, worth: list[float]) -> None:
        """To the part of most worth that has room; among equals, that of most room."""
        size = self.units.size[one]
        parts = [part for part, room in enumerate(self.room) if room >= size]
        if parts:
            chosen = max(parts, key=lambda part: (worth[part], self.room[part]))
        else:
            chosen = max(range(len(self.room)), key=self.room.__getitem__)
        self.part[one] = chosen
        self.room[chosen] -= size
        for class_id, amount in self.units.classes[one]:
            self.lacking[class_id][chosen] -= amount
            self.left[class_id] -= amount
