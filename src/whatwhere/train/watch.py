"""Who looks on while a run goes: pictures of what it sees, logs for other tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from whatwhere.data import Dataset
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.types import Prediction


class Listener(Protocol):
    """Who is told what happens: a progress bar, a log, nobody."""

    def note(self, text: str) -> None:
        """Something to say."""

    def steps(self, done: int, total: int, about: str) -> None:
        """How far training is."""


class Silent:
    """A listener that says nothing."""

    def note(self, text: str) -> None:
        """Pass over."""

    def steps(self, done: int, total: int, about: str) -> None:
        """Pass over."""


class Watcher(Protocol):
    """Something that shows or keeps what happens in a run.

    It is called on the first of several processes alone, between steps, and must change
    nothing: neither what it is given nor the global random numbers.
    """

    def started(
        self, config: TrainConfig, folder: Path, first_batch: Batch, names: Sequence[str]
    ) -> None:
        """A sitting begins: the run's first one, or one that resumes it.

        Args:
            config: settings, with all that was chosen filled in.
            folder: of the run.
            first_batch: what the first step of this sitting gets.
            names: of the classes.
        """

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is done; `row` is its line of `metrics.csv`."""

    def validated(self, epoch: int, dataset: Dataset, predictions: Sequence[Prediction]) -> None:
        """The averaged weights were scored.

        Args:
            epoch: epochs done.
            dataset: the validation pictures.
            predictions: one a picture, before any threshold.
        """

    def finished(self, folder: Path) -> None:
        """The run is done; its folder holds the model file and the report."""
