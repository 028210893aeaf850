"""Train a model: `whatwhere.train(data, task="detect", budget="10m")` gives a `Run`.

The package itself can be called (docs/adr/0005); the call is its function `train`. It is
the only part of Whatwhere that imports torch.
"""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType
from typing import Any

from whatwhere.data import Dataset, read
from whatwhere.train.config import TrainConfig, settings_table
from whatwhere.train.models import models_table
from whatwhere.train.processes import first_process
from whatwhere.train.recipes import recipe, unused_settings
from whatwhere.train.run import Run, export_run, resume_run, train_model
from whatwhere.train.setting import parse_budget
from whatwhere.train.trials import try_both
from whatwhere.train.watch import Listener
from whatwhere.types import Task

__all__ = [
    "Listener",
    "Run",
    "TrainConfig",
    "export_run",
    "first_process",
    "models_table",
    "recipe",
    "resume_run",
    "settings_table",
    "train",
    "try_both",
]


def train(
    data: Dataset | str | os.PathLike[str],
    task: Task | None = None,
    *,
    model: str | None = None,
    budget: str | float | None = None,
    epochs: int | None = None,
    backbone: str | None = None,
    size: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    format: str | None = None,
    device: str = "auto",
    settings: dict[str, str] | None = None,
    listener: Listener | None = None,
    started: float | None = None,
) -> Run:
    """Train a model on labelled pictures and export it.

    Args:
        data: a data set, or the path of one.
        task: "classify", "multilabel" or "detect"; read off the labels if None.
        model: family and size of the network, such as "yolo-s"; the task's usual one if None.
        budget: wall-clock time for everything, such as "10m"; the number of epochs is
            planned to fit. Ten minutes if neither budget nor epochs is given.
        epochs: passes over the data, in place of a budget.
        backbone: timm name of the network's body.
        size: longer side of the model's input in pixels.
        batch: pictures a step.
        seed: equal seeds and epochs give equal runs, bit by bit on one CPU.
        out: folder of the run; `runs/<task>-<number>` if None.
        format: of `data`, if it is a path and not to be recognised.
        device: "auto", "cpu" or "cuda".
        settings: any other field of `TrainConfig`, as text.
        listener: is told what happens.
        started: `time.monotonic()` when the budget began to run, if not now: reading the data
            is part of it.

    Raises:
        UsageError: a setting is unknown or out of its range, or the task does not fit.
        DataError: the data set cannot be read.
        TrainError: it cannot be trained on, or training failed.
    """
    started = time.monotonic() if started is None else started
    whole = data if isinstance(data, Dataset) else read(data, format)
    config = recipe(task or whole.task, model or "")
    given: dict[str, Any] = {
        "epochs": epochs,
        "backbone": backbone,
        "size": size,
        "batch": batch,
        "seed": seed,
        "device": device,
        "budget": None if budget is None else parse_budget(budget),
    }
    texts = {name: str(value) for name, value in given.items() if value is not None}
    texts |= settings or {}
    config = config.with_settings(texts)
    if listener and first_process() and (unused := unused_settings(config.model, texts)):
        listener.note(
            f"{config.model} does not use {', '.join(unused)}: leave out what has no effect"
        )
    return train_model(whole, config, out, listener=listener, started=started)


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Run:
        return train(*args, **options)


sys.modules[__name__].__class__ = _Callable
