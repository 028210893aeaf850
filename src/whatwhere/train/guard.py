"""Losses and gradients that are no numbers: where it happened, and what to do."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from whatwhere.errors import TrainError
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.samples import Samples
from whatwhere.train.state import State

_SHOWN = 3
# float16's loss scale starts at 65,536 and is halved after each step that it spoils; after so
# many in a row it is below 1, and the fault is another.
_SKIPPED = 20


class Guard:
    """Ends a run whose numbers have left the real ones.

    Args:
        samples: training set, which knows the pictures' files.
        config: settings.
        state: of the run.
    """

    def __init__(self, samples: Samples, config: TrainConfig, state: State) -> None:
        self._samples, self._config, self._state = samples, config, state
        self._skipped = 0

    def loss(self, loss: float, batch: Batch) -> None:
        """Raise `TrainError` if the loss of a batch is not finite."""
        if not math.isfinite(loss):
            raise TrainError(f"the loss became {loss} {self._where(batch)}")

    def gradient(self, norm: Tensor | None, batch: Batch) -> None:
        """Raise `TrainError` if a step's gradient is not finite.

        In float16 such a step is left out and the loss scaled down, so some are in order.
        """
        if norm is None or torch.isfinite(norm):
            self._skipped = 0
            return
        self._skipped += 1
        if self._config.precision != "16-mixed" or self._skipped > _SKIPPED:
            raise TrainError(f"the gradient became {norm.item()} {self._where(batch)}")

    def _where(self, batch: Batch) -> str:
        files = [Path(file).name for file in self._samples.files(batch.rows)]
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        precision = self._config.precision
        finer = "" if precision == "32-true" else " or --set precision=32-true"
        return (
            f"in epoch {self._state.epoch + 1}, step {self._state.plan.step + 1}, on"
            f" {', '.join(files[:_SHOWN])}{more}: use a lower rate"
            f" (--set rate={self._config.rate / 3:.2g}){finer}, and look at these pictures if it"
            " happens again with them"
        )
