"""Damaged requests: see `tests/request_fuzzing.py` for what is done and what is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

import request_fuzzing
from fuzz_process import run_fuzzer

SLOW_INPUTS = 60_000
"""Of the slow suite, over all kinds."""


def _fuzz(folder: Path, *options: object, timeout: float) -> dict[str, int]:
    """Run the program; how many answers there were of each kind and status."""
    summary, lines = run_fuzzer(
        "request_fuzzing.py", folder, *options, ends="statuses", timeout=timeout
    )
    assert not summary["failures"], "\n".join(lines[:10])
    statuses: dict[str, int] = summary["statuses"]
    return statuses


def test_damaged_requests(tmp_path: Path) -> None:
    statuses = _fuzz(tmp_path, "--inputs", 1000, timeout=600)
    assert sum(statuses.values()) == 1000
    # Some are answered, some refused: the damage is neither none nor all there is.
    for kind in request_fuzzing.KINDS:
        assert statuses[f"{kind} 200"] > 5
        assert sum(count for name, count in statuses.items() if name.startswith(kind)) == 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", request_fuzzing.KINDS)
def test_many_damaged_requests(kind: str, tmp_path: Path) -> None:
    share = SLOW_INPUTS // len(request_fuzzing.KINDS)
    given = ("--kind", kind, "--inputs", share, "--first", 1_000_000)
    assert sum(_fuzz(tmp_path, *given, timeout=3000).values()) == share
