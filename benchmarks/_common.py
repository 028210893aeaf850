"""What the benchmarks of training share: their options, and processes for the contestants."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import whatwhere as ww


def options(
    about: str, *, data: str, budget: str, who: Sequence[str], quick: Sequence[str], peers: str
) -> argparse.Namespace:
    """The options of a contest; ends the program where its data are not here.

    Args:
        about: what it is, for --help.
        data, budget, who: usual values; the data are looked for in ../shared/data.
        quick: contestants of --quick, which get a minute each.
        peers: packages that the Python of --peer-python has.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data") / data)
    parser.add_argument("--budget", default=budget)
    parser.add_argument("--who", default=",".join(who), help="separated by commas")
    parser.add_argument("--set", action="append", default=[], help="a setting of ours")
    parser.add_argument("--peer-python", default="", help=f"a Python with {peers}")
    parser.add_argument("--keep", type=Path, help="folder for runs and logs")
    parser.add_argument("--quick", action="store_true", help=f"a minute each: {', '.join(quick)}")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    if given.quick:
        given.budget, given.who = "60s", ",".join(quick)
    needs(given.data)
    return given


def needs(data: Path) -> None:
    """End the program, and say so, where the data are not here."""
    if not data.exists():
        print(f"skipped: {data} is not here", file=sys.stderr)
        raise SystemExit(0)


def place(root: str | Path, name: str) -> Path:
    """A new folder for a contestant."""
    folder = Path(root).resolve() / name
    if folder.exists():
        raise SystemExit(f"{folder} is there already: name another folder by --keep")
    folder.mkdir(parents=True)
    return folder


def run(command: list[str], folder: Path, **environment: str) -> None:
    """A command in a folder, with its output in a file; the last lines are shown if it fails."""
    # Not resolved: a link to Python is what makes an environment its own.
    command = [str(Path(command[0]).absolute()), *command[1:]]
    log = folder / "log.txt"
    with log.open("w") as file:
        done = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | environment,
            check=False,
        )
    if done.returncode:
        print(log.read_text()[-3000:], file=sys.stderr)
        raise SystemExit(f"{command[0]} {command[1]} failed")


def ours(
    data: Path, budget: str, folder: Path, settings: Sequence[str], model: str = ""
) -> tuple[dict[str, Any], ww.Result]:
    """What the command line trains, as a user gives it, and its scores on the test split."""
    target = folder / "run"
    command = [sys.executable, "-m", "whatwhere", "train", str(data.resolve())]
    command += ["--budget", budget, "--out", str(target)]
    command += ["--model", model] if model else []
    for pair in settings:
        command += ["--set", pair]
    began = time.monotonic()
    run(command, folder)
    seconds = time.monotonic() - began
    epochs = len((target / "metrics.csv").read_text().splitlines()) - 1
    made = {"version": ww.__version__, "seconds": seconds, "about": f"{epochs} epochs"}
    return made, ww.evaluate(ww.load(target), ww.read(data), split="test")
