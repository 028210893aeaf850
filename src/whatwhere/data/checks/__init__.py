"""A closer look at a data set than reading takes; one file a concern.

Each concern has `find(report)`, which adds to the report what it sees: a finding, and where
the fault can be repaired without asking anybody, how (`data.repair` does it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from whatwhere.data.checks import boxes, classes, counts, duplicates, groups, pictures
from whatwhere.data.checks._report import Depth, Progress, Report
from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.errors import UsageError

__all__ = ["Depth", "Report", "check", "examine"]

_CONCERNS: tuple[Callable[[Report], None], ...] = (
    pictures.find,
    duplicates.find,
    groups.find,
    boxes.find,
    classes.find,
    counts.find,
)


def examine(
    dataset: Dataset,
    *,
    depth: Depth = "pixels",
    near: bool = True,
    progress: Progress | None = None,
) -> Report:
    """See `Dataset.check`; the report also knows which rows its findings are of."""
    if depth not in get_args(Depth):
        raise UsageError(f"depth can be {', '.join(get_args(Depth))}, not {depth!r}")
    report = Report(dataset, depth, near, progress)
    report.findings.extend(dataset.findings)
    for find in _CONCERNS:
        find(report)
    return report


def check(
    dataset: Dataset,
    *,
    depth: Depth = "pixels",
    near: bool = True,
    progress: Progress | None = None,
) -> list[Finding]:
    """See `Dataset.check`."""
    return examine(dataset, depth=depth, near=near, progress=progress).findings
