"""Between a run and a tool that keeps its numbers: what fails there does not stop training."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from whatwhere.data import Dataset
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.watch import Listener
from whatwhere.train.watchers.previews import FOLDER
from whatwhere.types import Prediction

# After a failure the next try waits this many times as long as the failure took.
_PATIENCE = 50


class Tracker(Protocol):
    """A tool that keeps numbers and pictures of runs; each call may raise what its library does."""

    def begin(self, config: TrainConfig, folder: Path) -> None:
        """A run, or a sitting that resumes it, begins."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Finite numbers of an epoch."""

    def picture(self, step: int, file: Path) -> None:
        """A sheet of previews."""

    def end(self, folder: Path) -> None:
        """The run is done; its files lie in the folder."""


class Tracked:
    """A watcher that tells a tracker.

    What cannot be delivered is kept and tried again, ever less often if failing takes long.
    People are told once that it fails, and at the end if something was not delivered.

    Args:
        tracker: the tool.
        name: of it, for messages.
        listener: is told.
    """

    def __init__(self, tracker: Tracker, name: str, listener: Listener) -> None:
        self._tracker, self._name, self._listener = tracker, name, listener
        self._folder = Path()
        self._jobs: deque[Callable[[], None]] = deque()
        self._pictures: set[str] = set()
        self._told = False
        self._next = 0.0

    def started(
        self, config: TrainConfig, folder: Path, first_batch: Batch, names: Sequence[str]
    ) -> None:
        """Begin, and show the samples."""
        self._folder = folder
        self._jobs.append(partial(self._tracker.begin, config, folder))
        self._add_pictures(0)
        self._deliver()

    def validated(self, epoch: int, dataset: Dataset, predictions: Sequence[Prediction]) -> None:
        """The row and the pictures follow."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """The numbers of an epoch, and the pictures that were drawn after it."""
        values = {
            name: value for name, value in row.items() if name != "epoch" and math.isfinite(value)
        }
        step = int(row["epoch"])
        self._jobs.append(partial(self._tracker.numbers, step, values))
        self._add_pictures(step)
        if time.monotonic() >= self._next:
            self._deliver()

    def finished(self, folder: Path) -> None:
        """The rest, and a last try for what is waiting."""
        if not self._folder.name:
            return  # nothing was begun: the run was complete already
        self._add_pictures(-1)
        self._jobs.append(partial(self._tracker.end, folder))
        count = len(self._jobs)
        if (error := self._deliver()) is not None:
            self._listener.note(
                f"{self._name}: {len(self._jobs)} of {count} reports were not delivered"
                f" ({error}); {folder} has everything that was to be kept"
            )

    def _add_pictures(self, step: int) -> None:
        for file in sorted((self._folder / FOLDER).glob("*.png")):
            if file.name not in self._pictures:
                self._pictures.add(file.name)
                number = file.stem.rpartition("-")[2]
                at = int(number) if number.isdecimal() else max(step, 0)
                self._jobs.append(partial(self._tracker.picture, at, file))

    def _deliver(self) -> str | None:
        """Do what is waiting, in its order; the first failure ends it and is returned."""
        began = time.monotonic()
        while self._jobs:
            try:
                self._jobs[0]()
            # Any error: it is another library, and hours of training are worth more.
            except Exception as error:
                now = time.monotonic()
                self._next = now + _PATIENCE * (now - began)
                first = next(iter(str(error).strip().splitlines()), "")
                reason = f"{type(error).__name__}: {first}"[:300]
                if not self._told:
                    self._told = True
                    self._listener.note(
                        f"{self._name} takes no report ({reason}); training goes on and tries again"
                    )
                return reason
            self._jobs.popleft()
        return None
