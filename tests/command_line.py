"""Running commands in tests, and what a good error looks like."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The JSON objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Outcome]


def sentence(outcome: Outcome, *words: str) -> None:
    """One sentence on stderr with all the words, nothing on stdout, status 2."""
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    lines = [line for line in outcome.err.splitlines() if line.strip()]
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("whatwhere: ")
    for word in words:
        assert word in lines[0], f"{word!r} not in {lines[0]!r}"
