"""Which answer of a model fits a data set, and which classes both know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.types import TASKS, Prediction, Task

Part = Literal["objects", "labels"]


@dataclass(frozen=True, slots=True)
class Head:
    """One thing that a model answers.

    Args:
        task: "detect" for objects, else what kind of labels.
        names: its classes; None if they are not known beforehand (saved predictions).
    """

    task: Task
    names: tuple[str, ...] | None

    @property
    def part(self) -> Part:
        """Which rows of a prediction hold the answer."""
        return "objects" if self.task == "detect" else "labels"


@dataclass(frozen=True, slots=True)
class Match:
    """How predictions are scored: the numbers to give, the rows and the classes to use."""

    task: Task
    head: Head
    classes: frozenset[str]
    notes: tuple[str, ...]

    def view(self, prediction: Prediction) -> Prediction:
        """The prediction without the rows that are not scored."""
        if self.task == "multilabel" and self.head.part == "objects" and prediction.label_names:
            return replace(prediction, label_names=(), label_scores=np.zeros(0, np.float32))
        return prediction


# Data task -> (numbers to give, task of the head that can give them), best first.
_FITS: dict[Task, tuple[tuple[Task, Task], ...]] = {
    "detect": (("detect", "detect"), ("multilabel", "multilabel")),
    "multilabel": (("multilabel", "multilabel"), ("multilabel", "detect")),
    "classify": (
        ("classify", "classify"),
        ("multilabel", "multilabel"),
        ("multilabel", "detect"),
    ),
}
_SAYS: dict[Task, str] = {
    "classify": "gives one class a picture",
    "multilabel": "gives any number of classes a picture",
    "detect": "gives boxes",
}
_HOLDS: dict[Task, str] = {
    "classify": "one class a picture",
    "multilabel": "any number of classes a picture",
    "detect": "boxes",
}


def match(heads: Sequence[Head], data: Dataset, model: str, task: Task | None = None) -> Match:
    """The best head for a data set, and the classes that both know.

    Args:
        heads: what the model answers.
        model: its name, for messages.
        task: give these numbers; None for what the data set holds.

    Raises:
        UsageError: the data set is empty, no head fits, or no class has the same name.
    """
    if task is not None and task not in TASKS:
        raise UsageError(f"unknown task {task!r}: use one of {', '.join(TASKS)}")
    if not len(data):
        raise UsageError(f"{data.source} has no picture to evaluate on: check the path or split")
    if not data.labels.height:
        raise UsageError(f"{data.source} has no label to compare with: give labelled pictures")
    fits = _FITS["multilabel" if task == "multilabel" else data.task]
    pairs = [(score, need) for score, need in fits if task in (None, score)]
    usable = [(score, head) for score, need in pairs for head in heads if head.task == need]
    if not usable:
        said = " and ".join(_SAYS[head.task] for head in heads)
        wanted = f", and the task asked for is {task}" if task else ""
        needs = " or ".join(dict.fromkeys(need for _, need in pairs)) or data.task
        raise UsageError(
            f"model {model} {said}, but {data.source} holds {_HOLDS[data.task]}{wanted}:"
            f" use a model of the task {needs}"
        )
    for score, head in usable:
        classes = common(head, data)
        if classes:
            return Match(score, head, classes, tuple(_notes(score, head, data, classes)))
    ours = some({name for _, head in usable for name in head.names or ()})
    raise UsageError(
        f"model {model} and {data.source} have no class name in common (the model knows {ours};"
        f" the data {some(data.names)}): rename the classes of the data, or use another model"
    )


def common(head: Head, data: Dataset) -> frozenset[str]:
    """Class names that the head and the data set have both."""
    return frozenset(data.names) & frozenset(data.names if head.names is None else head.names)


def _notes(score: Task, head: Head, data: Dataset, classes: Collection[str]) -> Iterable[str]:
    if score == "multilabel" and head.task == "detect":
        yield "boxes are scored as labels: a class has the score of its best box in the picture"
    elif score != data.task:
        yield f"the data holds {_HOLDS[data.task]}, and is scored as {score}"
    unknown = [name for name in data.names if name not in classes]
    if unknown:
        ids = [data.names.id(name) for name in unknown]
        rows = int(np.isin(data.labels["class_id"].to_numpy(), ids).sum())
        yield (
            f"{len(unknown)} of {len(data.names)} classes of the data are unknown to the model;"
            f" they and their {rows} labels are not scored: {some(unknown)}"
        )
    absent = [name for name in head.names or () if name not in classes]
    if absent:
        yield (
            f"{len(absent)} of {len(head.names or ())} classes of the model are unknown to the"
            f" data; what it says about them is not scored: {some(absent)}"
        )


def data_notes(data: Dataset, per_class: Iterable[tuple[str, int]]) -> Iterable[str]:
    """What the data set itself leaves out of the scores.

    Args:
        per_class: name and number of labels that count, of each scored class.
    """
    missing = [name for name, count in per_class if not count]
    if missing:
        yield f"no label counts of {some(missing)}: undefined, and no share in any mean"
    ignored = int(data.labels["ignore"].fill_null(False).sum())
    if ignored:
        yield f"{ignored} labels are marked to be ignored (crowd, difficult); they do not count"
    partial = len(data) - min(data.images[name].null_count() for name in ("labelled", "complete"))
    if partial:
        yield f"{partial} pictures are partly labelled: only the classes looked for in them count"
    faults = sum(finding.severity != "info" for finding in data.findings)
    if faults:
        found = "1 finding" if faults == 1 else f"{faults} findings"
        yield f"reading the data gave {found}: see  whatwhere data check {data.source}"


def some(names: Collection[str], limit: int = 8) -> str:
    """A short list for a sentence."""
    shown = sorted(names)[:limit]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "") if shown else "none"
