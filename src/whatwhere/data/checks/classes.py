"""Class names that are perhaps one class."""

from __future__ import annotations

import re
from collections import defaultdict

from whatwhere.data.checks._report import Report

_SHORTEST = 5


def find(report: Report) -> None:
    """Names that differ by case, spaces or marks only; then those of one letter's difference."""
    names = list(report.dataset.names)
    counts = report.dataset.stats()["classes"]
    same: dict[str, list[str]] = defaultdict(list)
    for name in names:
        same[plain_name(name)].append(name)
    for alike in same.values():
        if len(alike) > 1:
            shown = ", ".join(f"{name!r} ({counts[name]} labels)" for name in alike)
            message = f"these class names differ by case, spaces or marks only: {shown}"
            report.whole("similar-class", message, "warning")
    for first, second in spelt_alike(sorted(same)):
        one, two = same[first][0], same[second][0]
        message = (
            f"{one!r} ({counts[one]} labels) and {two!r} ({counts[two]} labels) differ by one"
            " letter"
        )
        report.whole("similar-class", message, "info")


def plain_name(name: str) -> str:
    """The name without what people write in different ways: case, spaces, "_", "-", "."."""
    return re.sub(r"[\s_.\-]+", "", name.casefold()) or name


def spelt_alike(names: list[str]) -> list[tuple[str, str]]:
    """Pairs of names with one letter added, left out, replaced or two exchanged.

    Names are compared through what is left of them without one letter (symmetric deletion:
    Garbe, SymSpell, 2012), so that ten thousand names take no longer than ten thousand steps.
    Those that differ in a digit are two things ("line 1", "line 2"), and short ones are
    words of their own ("cat", "bat").
    """
    by_rest: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if len(name) >= _SHORTEST:
            by_rest[name].add(name)
            for place in range(len(name)):
                by_rest[name[:place] + name[place + 1 :]].add(name)
    pairs: set[tuple[str, str]] = set()
    for alike in by_rest.values():
        ordered = sorted(alike)
        for place, first in enumerate(ordered):
            pairs.update((first, second) for second in ordered[place + 1 :])
    return sorted(pair for pair in pairs if _one_letter(*pair))


def _one_letter(first: str, second: str) -> bool:
    """Whether they are one edit apart, exchanged neighbours included, and no digit is in it."""
    start = 0
    while start < min(len(first), len(second)) and first[start] == second[start]:
        start += 1
    end = 0
    while end < min(len(first), len(second)) - start and first[-1 - end] == second[-1 - end]:
        end += 1
    one, two = first[start : len(first) - end], second[start : len(second) - end]
    if any(letter.isdigit() for letter in one + two):
        return False
    return max(len(one), len(two)) <= 1 or (len(one) == 2 and one == two[::-1])
