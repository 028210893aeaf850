"""What is wrong with a data set, one record at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from whatwhere.data.advice import advice

Severity = Literal["error", "warning", "info"]

KEPT_OUT = "kept out"
"""Action of a finding whose record is not in the data set."""


def shortened(text: str, limit: int = 500) -> str:
    """The text, or its beginning and end if it has more characters than the limit."""
    if len(text) <= limit:
        return text
    return f"{text[: limit * 2 // 3]} ... {text[len(text) - limit // 4 :]}"


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

    def __post_init__(self) -> None:
        # Messages quote what was found, and a line of a damaged file may be endless.
        object.__setattr__(self, "message", shortened(self.message))
        object.__setattr__(self, "where", shortened(self.where))

    @property
    def do(self) -> str:
        """What to do about it."""
        return advice(self.kind)

    @property
    def place(self) -> tuple[str, int | None, str | None]:
        """`where` in its parts: file, line from 1 ("a.xml:3"), record ("a.json#17")."""
        file, mark, record = self.where.rpartition("#")
        if mark and file:
            return file, None, record
        file, mark, line = self.where.rpartition(":")
        if mark and file and line.isascii() and line.isdigit():
            return file, int(line), None
        return self.where, None, None

    def to_dict(self) -> dict[str, str | int | None]:
        """Plain values, for JSON: the fields, then `file`, `line`, `record` and `do`."""
        file, line, record = self.place
        return {**asdict(self), "file": file, "line": line, "record": record, "do": self.do}

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.action})"
