"""What is shown and kept of a run while it goes, beside `metrics.csv`."""

from __future__ import annotations

from whatwhere.train.config import TrainConfig
from whatwhere.train.watch import Listener, Watcher
from whatwhere.train.watchers.curves import Curves
from whatwhere.train.watchers.mlflow import MLflow
from whatwhere.train.watchers.previews import Previews
from whatwhere.train.watchers.tensorboard import TensorBoard
from whatwhere.train.watchers.tracked import Tracked

__all__ = ["Curves", "Previews", "trackers"]


def trackers(config: TrainConfig, listener: Listener) -> list[Watcher]:
    """The tools that the settings ask for; to be called after `Previews`, whose sheets they send.

    Args:
        config: settings.
        listener: is told if one cannot be reached.

    Raises:
        MissingExtraError: a tool's package is not installed.
    """
    made: list[Watcher] = []
    if config.tensorboard:
        made.append(Tracked(TensorBoard(), "TensorBoard", listener))
    if config.mlflow:
        made.append(Tracked(MLflow(config.mlflow), f"MLflow at {config.mlflow}", listener))
    return made
