"""The settings that a model is trained with unless others are asked for."""

from __future__ import annotations

from dataclasses import replace

from whatwhere.errors import UsageError
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import DEFAULT_MODELS, families, find_model
from whatwhere.types import TASKS, Task


def recipe(task: Task, model: str = "") -> TrainConfig:
    """The recipe of a model for a task.

    Args:
        task: what is to be trained.
        model: name of a family, perhaps with a size ("yolo-s"); the task's usual one if "".

    Raises:
        UsageError: task or model is unknown, or the model is not for the task.
    """
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}: use one of {', '.join(TASKS)}")
    name = model or DEFAULT_MODELS[task]
    family, settings = find_model(name)
    if task not in family.tasks:
        others = ", ".join(other.name for other in families().values() if task in other.tasks)
        raise UsageError(f"model {name!r} is not for {task}: use one of {others}")
    return replace(TrainConfig(task=task), model=name, **settings)
