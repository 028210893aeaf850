"""Damaged requests: see `tests/request_fuzzing.py` for what is done and what is checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import request_fuzzing

TESTS = Path(request_fuzzing.__file__).parent

SLOW_INPUTS = 60_000
"""Of the slow suite, over all kinds."""


def _fuzz(folder: Path, *options: object, timeout: float) -> dict[str, int]:
    """Run the program; how many answers there were of each kind and status."""
    progress = folder / "progress"
    command = [sys.executable, str(TESTS / "request_fuzzing.py"), "--progress", str(progress)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run(
        [*command, *map(str, options)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    again = f"python tests/request_fuzzing.py {progress.read_text() if progress.exists() else ''}"
    assert lines, f"the process ended early, at {again}: {done.stderr[-1000:]}"
    summary = json.loads(lines[-1])
    assert "statuses" in summary, f"the process died at {again}: {done.stderr[-1000:]}"
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
