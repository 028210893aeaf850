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
    """Status 2, nothing on stdout, and a last line on stderr that holds all the words.

    Lines before it may say what was understood, such as the split that was chosen.
    """
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    errors = [line for line in outcome.err.splitlines() if line.startswith("whatwhere: ")]
    assert errors == outcome.err.splitlines()[-1:], outcome.err
    for word in words:
        assert word in errors[0], f"{word!r} not in {errors[0]!r}"
