"""What is wrong with a data set, one record at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]

KEPT_OUT = "kept out"
"""Action of a finding whose record is not in the data set."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, and what was done about it.

    Args:
        kind: short name of the fault, the same in every format ("zero-size-box").
        message: one sentence that says what is wrong.
        where: file and line or record, relative to the data set's folder if it lies there.
        severity: "error" for what makes results wrong or reading fail, "warning" for what
            was repaired or looks wrong, "info" for what is worth knowing.
        action: what was done: "kept out", "clipped", "kept", "read as background".
        boxes: labels that are not in the data set because of it.
    """

    kind: str
    message: str
    where: str
    severity: Severity = "warning"
    action: str = "kept"
    boxes: int = 0

    def to_dict(self) -> dict[str, str | int]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.action})"
