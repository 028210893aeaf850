"""The same picture twice: byte for byte, or near enough, in one split or in two."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from whatwhere.data.checks._report import Report
from whatwhere.data.near import groups_of
from whatwhere.errors import ImageError
from whatwhere.images import member, picture_bytes

# Of two copies the one is kept whose split must not lose pictures.
_KEEP = {"test": 0, "val": 1, None: 3}


def find(report: Report) -> None:
    """Exact copies always, near ones at depth "pixels"."""
    if report.depth == "labels":
        return
    exact = exact_groups(report.dataset.paths)
    for rows in exact:
        _copies(report, rows)
    if report.depth == "pixels" and report.near:
        _near(report, exact)


def exact_groups(paths: Sequence[str]) -> list[list[int]]:
    """Rows of pictures with the same bytes, by their size and then by their SHA-256.

    A path that is there twice counts once, and parts of pictures do not count.
    """
    first: dict[str, int] = {}
    by_size: dict[object, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        if first.setdefault(path, row) != row:
            continue
        place = member(path)
        if place is not None:
            # Parts of pictures would have to be decoded and encoded.
            if place.crop is None:
                by_size[place.shape].append(row)
            continue
        try:
            by_size[os.stat(path).st_size].append(row)  # noqa: PTH116
        except (OSError, ValueError):
            continue
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for size, rows in by_size.items():
        if size and len(rows) > 1:
            for row in rows:
                try:
                    content = picture_bytes(paths[row])
                except ImageError:
                    continue
                by_content[hashlib.sha256(content).digest()].append(row)
    return sorted(rows for rows in by_content.values() if len(rows) > 1)


def _copies(report: Report, rows: list[int]) -> None:
    splits = report.splits
    kept = min(rows, key=lambda row: (_KEEP.get(splits[row], 2), row))
    first = rows[0]
    for row in rows[1:]:
        pair = f"{report.names[first]} is the same picture"
        if splits[first] != splits[row]:
            message = f"{pair}, in {splits[first]} and here in {splits[row]}"
            finding = report.picture(row, "leaked-image", message)
        else:
            finding = report.picture(row, "duplicate-image", pair)
        report.same[first if row == kept else row] = kept, finding
        _contradiction(report, first, row, pair, exact=True)


def _contradiction(report: Report, first: int, row: int, pair: str, *, exact: bool) -> None:
    if report.dataset.task != "classify":
        return
    names = report.dataset.names
    ids = [report.dataset.targets(one).class_ids.tolist() for one in (first, row)]
    if ids[0] != ids[1]:
        said = [names[one[0]] if one else "nothing" for one in ids]
        message = f"{pair}, called {said[0]!r} there and {said[1]!r} here"
        report.picture(row, "contradicting-labels", message, "error" if exact else "warning")


def _near(report: Report, exact: list[list[int]]) -> None:
    """One finding for each picture but the first of a group of near duplicates."""
    pairs = report.seen.pairs()
    if not len(pairs):
        return
    copy_of = np.arange(len(report.dataset))
    for rows in exact:
        copy_of[rows] = rows[0]
    paths = report.dataset.paths
    pairs = pairs[copy_of[pairs[:, 0]] != copy_of[pairs[:, 1]]]
    before: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs.tolist():
        if paths[first] != paths[second]:
            before[second].append(first)
    group = groups_of(len(report.dataset), pairs)
    size = np.bincount(group, minlength=len(report.dataset))
    for row, others in sorted(before.items()):
        # One in another split is worth more than one in the same.
        other = next((one for one in others if report.splits[one] != report.splits[row]), others[0])
        pair = f"{report.names[other]} is nearly the same picture"
        if (count := int(size[group[row]])) > 2:
            pair += f" (one of {count} that are alike)"
        if report.splits[other] != report.splits[row]:
            message = f"{pair}, in {report.splits[other]} and here in {report.splits[row]}"
            report.picture(row, "leaked-near-duplicate", message)
        else:
            report.picture(row, "near-duplicate", pair, "info")
        _contradiction(report, other, row, pair, exact=False)
