"""What the checks share: the data set, its pixels seen once, and what they found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding, Severity
from whatwhere.data.near import Seen, see

Depth = Literal["labels", "headers", "pixels"]
Progress = Callable[[str, int, int], None]


@dataclass(eq=False)
class Report:
    """Findings, and the rows that a repaired copy does without.

    Args:
        dataset: what is looked at.
        depth: "labels" opens no picture, "headers" reads the first bytes of each, "pixels"
            decodes them.
        near: whether to look for near duplicates.
        progress: called with what is done, how many pictures are, and how many there are.
        findings: in the order of the checks.
        left_out: rows of pictures that cannot be used, with the finding that says why.
        dropped: rows of labels that are wrong or there twice.
        same: rows of pictures that are copies of another, with that one's row: the labels
            of both are for one picture.
        turned: rows of pictures whose labels are for the pixels before EXIF turned them,
            with the orientation.
        resized: rows of pictures without boxes whose recorded size is wrong, with the true
            width and height.
    """

    dataset: Dataset
    depth: Depth = "pixels"
    near: bool = True
    progress: Progress | None = None
    findings: list[Finding] = field(default_factory=list)
    left_out: dict[int, Finding] = field(default_factory=dict)
    dropped: dict[int, Finding] = field(default_factory=dict)
    same: dict[int, tuple[int, Finding]] = field(default_factory=dict)
    turned: dict[int, tuple[int, Finding]] = field(default_factory=dict)
    resized: dict[int, tuple[int, int, Finding]] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """Relative name of each picture."""
        return self.dataset.relative_paths()

    @cached_property
    def splits(self) -> list[str | None]:
        """Split of each picture."""
        return self.dataset.images["split"].to_list()

    @cached_property
    def records(self) -> list[str | None]:
        """Where each label stands."""
        return self.dataset.labels["record"].to_list()

    @cached_property
    def seen(self) -> Seen:
        """The pixels, decoded once."""
        return see(self.dataset.paths, lambda done, count: self.tell("pixels", done, count))

    def tell(self, what: str, done: int, count: int) -> None:
        """Pass progress on, if anybody asked for it."""
        if self.progress is not None:
            self.progress(what, done, count)

    def picture(self, row: int, kind: str, message: str, severity: Severity = "warning") -> Finding:
        """Add a finding about a picture."""
        return self._add(Finding(kind, message, self.names[row], severity))

    def label(self, row: int, kind: str, message: str, severity: Severity = "warning") -> Finding:
        """Add a finding about a label."""
        where = self.records[row] or self.names[self.dataset.labels["image"][row]]
        return self._add(Finding(kind, message, where, severity))

    def whole(self, kind: str, message: str, severity: Severity = "info") -> Finding:
        """Add a finding about the data set."""
        return self._add(Finding(kind, message, self.dataset.source, severity))

    def _add(self, finding: Finding) -> Finding:
        self.findings.append(finding)
        return finding


def listed(names: list[str], most: int = 5) -> str:
    """The first few of many names, for a sentence."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
