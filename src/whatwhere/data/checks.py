"""A closer look at a data set than reading takes: picture headers, doubles, contradictions."""

from __future__ import annotations

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding


def check(dataset: Dataset) -> list[Finding]:
    """See `Dataset.check`."""
    return list(dataset.findings)
