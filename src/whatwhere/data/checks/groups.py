"""Groups (a video, a patient) of which two splits have pictures."""

from __future__ import annotations

import polars as pl

from whatwhere.data.checks._report import Report, listed


def find(report: Report) -> None:
    """One finding for each such group."""
    images = report.dataset.images.select("group", "split").drop_nulls()
    torn = (
        images.group_by("group", maintain_order=True)
        .agg(pl.col("split").unique(maintain_order=True), pl.len().alias("count"))
        .filter(pl.col("split").list.len() > 1)
    )
    for name, splits, count in torn.iter_rows():
        message = f"the {count} pictures of group {name!r} are in {listed(sorted(splits))}"
        report.whole("leaked-group", message, "warning")
