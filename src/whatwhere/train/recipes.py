"""The settings that a model is trained with unless others are asked for."""

from __future__ import annotations

from collections.abc import Iterable
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


def unused_settings(model: str, given: Iterable[str]) -> list[str]:
    """Those of the settings that only other families use.

    Args:
        model: as in `TrainConfig`.
        given: names of settings.
    """
    family, _ = find_model(model)
    special = frozenset[str]().union(*(other.settings for other in families().values()))
    return sorted(set(given) & (special - family.settings))
