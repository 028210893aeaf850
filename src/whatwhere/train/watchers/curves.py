"""`curves.png`: losses, scores and learning rate, drawn again as the run goes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from whatwhere.data import Dataset
from whatwhere.images import write_image
from whatwhere.metrics import METRICS
from whatwhere.outputs.curves import curve_groups, draw_curves
from whatwhere.outputs.report import read_columns
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT
from whatwhere.train.loop import METRICS as TABLE
from whatwhere.types import Prediction

CURVES = "curves.png"

# Drawing takes at most this share of the time.
_SHARE = 0.01


class Curves:
    """A watcher that draws the rows of `metrics.csv`.

    After each epoch, but in quick runs only as often as leaves 99 % of the time to training;
    always after the first and the last one.
    """

    def __init__(self) -> None:
        self._rows: list[Mapping[str, float]] = []
        self._file = Path()
        self._known: list[str] = []
        self._next = 0.0

    def started(
        self, config: TrainConfig, folder: Path, first_batch: Batch, names: Sequence[str]
    ) -> None:
        """Take over the rows of the sittings before."""
        self._file = folder / CURVES
        self._known = [metric.name for metric in METRICS[config.task]]
        if (folder / CHECKPOINT).is_file() and (folder / TABLE).is_file():
            columns = read_columns(folder / TABLE)
            rows = zip(*columns.values(), strict=True)
            self._rows = [dict(zip(columns, row, strict=True)) for row in rows]

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add a row; an epoch that is repeated after an interruption takes its old place."""
        self._rows = [old for old in self._rows if old["epoch"] < row["epoch"]] + [row]
        began = time.monotonic()
        if began >= self._next:
            self._draw()
            done = time.monotonic()
            self._next = done + (done - began) / _SHARE

    def validated(self, epoch: int, dataset: Dataset, predictions: Sequence[Prediction]) -> None:
        """The row that follows has the numbers."""

    def finished(self, folder: Path) -> None:
        """Draw all rows."""
        if self._rows:
            self._draw()

    def _draw(self) -> None:
        names = dict.fromkeys(name for row in self._rows for name in row)
        columns = {name: [row.get(name, math.nan) for row in self._rows] for name in names}
        write_image(self._file, draw_curves(*curve_groups(columns, self._known)))
