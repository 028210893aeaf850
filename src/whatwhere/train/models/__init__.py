"""One file for each model family.

Modules are found by their place: a module with a `FAMILY` is a family. What it offers is said
in `family.Family`; the checks that each goes through are in `tests/train/test_families.py`.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from whatwhere.errors import UsageError
from whatwhere.train.models.family import Family, Network
from whatwhere.types import Task

__all__ = [
    "DEFAULT_MODELS",
    "Family",
    "Network",
    "families",
    "find_model",
    "model_names",
    "models_table",
]

DEFAULT_MODELS: Mapping[Task, str] = {
    "classify": "classifier",
    "multilabel": "classifier",
    "detect": "yolo-s",
}


@cache
def families() -> dict[str, Family]:
    """Every family by name, in alphabetical order."""
    found = {}
    for module in sorted(entry.name for entry in pkgutil.iter_modules(__path__)):
        family = getattr(import_module(f"{__name__}.{module}"), "FAMILY", None)
        if family is not None:
            found[family.name] = family
    return found


def model_names() -> list[str]:
    """Every name that `--model` takes."""
    return [
        name
        for family in families().values()
        for name in (
            [f"{family.name}-{size}" for size in family.sizes] if family.sizes else [family.name]
        )
    ]


def models_table() -> list[dict[str, str]]:
    """Every model for people: its name, tasks, what it is and what it needs."""
    return [
        {
            "name": f"{family.name}-{size}" if size else family.name,
            "tasks": ", ".join(sorted(family.tasks)),
            "title": family.title,
            "extra": family.extra,
        }
        for family in families().values()
        for size in (family.sizes or [""])
    ]


def find_model(name: str) -> tuple[Family, dict[str, Any]]:
    """A family and the settings of a size, by a name such as "yolo-s", "yolo" or "fcos".

    Raises:
        UsageError: there is none of that name.
    """
    for family in families().values():
        if name == family.name:
            first = next(iter(family.sizes.values()), {})
            return family, {**family.recipe, **first}
        size = name.removeprefix(f"{family.name}-")
        if size != name and size in family.sizes:
            return family, {**family.recipe, **family.sizes[size]}
    near = difflib.get_close_matches(name, model_names(), 3) or model_names()
    raise UsageError(f"unknown model {name!r}: use one of {', '.join(near)}")
