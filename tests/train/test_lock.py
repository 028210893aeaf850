"""One process alone trains into a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from whatwhere.errors import TrainError
from whatwhere.train.config import TrainConfig
from whatwhere.train.lock import LOCK, locked
from whatwhere.train.loop import State

Fit = Callable[..., State]

_HOLD = """
import sys
from pathlib import Path
from whatwhere.train.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_and_let_go(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with locked(folder):
        assert (folder / LOCK).read_text("utf-8").startswith(f"process {os.getpid()} on ")
        held = f"trained into by process {os.getpid()} on"
        with pytest.raises(TrainError, match=held), locked(folder):
            raise AssertionError
        assert (folder / LOCK).exists()
    assert not (folder / LOCK).exists()
    with locked(folder):
        assert (folder / LOCK).exists()


def test_the_lock_goes_with_its_process(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TrainError, match=f"by process {process.pid} on .*: wait for its end"):
            fit(workshop / "animals", classifier_config, folder)
        assert [path.name for path in folder.iterdir()] == [LOCK]
    finally:
        process.kill()
        process.communicate()
    assert (folder / LOCK).exists(), "left behind by a process that was killed"
    assert fit(workshop / "animals", classifier_config, folder).epoch == 4
    assert not (folder / LOCK).exists()
