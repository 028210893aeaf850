"""Fuzzers run as processes of their own, so that a crash or a hang of one is a test's failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent


def run_fuzzer(
    script: str, folder: Path, *options: object, ends: str, timeout: float
) -> tuple[dict[str, Any], list[str]]:
    """Run a program of this folder; its summary, and the lines before it.

    Args:
        script: file name; it takes `--progress FILE` and keeps its last input there.
        folder: for that file.
        options: further arguments.
        ends: key that only the summary, its last line, has.
        timeout: seconds.
    """
    progress = folder / "progress"
    command = [sys.executable, str(TESTS / script), "--progress", str(progress)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run(
        [*command, *map(str, options)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    again = f"python tests/{script} {progress.read_text() if progress.exists() else ''}"
    assert lines, f"the process ended early, at {again}: {done.stderr[-1000:]}"
    summary = json.loads(lines[-1])
    assert ends in summary, f"the process died at {again}: {done.stderr[-1000:]}"
    return summary, lines[:-1]
