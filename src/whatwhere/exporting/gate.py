"""The condition that every export has to meet: on the user's pictures it is as good.

With labels the task's main number is compared (AP, accuracy, mAP); without, what the original
answers is taken for the labels, so that every change counts as a loss.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.evaluation import Result, evaluate
from whatwhere.metrics import PRIMARY
from whatwhere.runtime import Predictor
from whatwhere.types import Image

AGREEMENT = {"classify": "accuracy", "multilabel": "mAP", "detect": "AP50"}
"""The number for pictures without labels, by task: boxes that moved a little are no loss."""
_FEW = 100
"""Pictures; with fewer, a loss of a hundredth is within chance."""
_ROUNDS = 15


@dataclass(frozen=True, slots=True)
class Change:
    """One number before and after.

    Args:
        before, after: of the original and of the export, None where undefined.
    """

    before: float | None
    after: float | None

    @property
    def loss(self) -> float | None:
        """before - after; None where either is undefined."""
        return None if self.before is None or self.after is None else self.before - self.after

    def to_dict(self) -> dict[str, float | None]:
        """Plain values."""
        return {"before": self.before, "after": self.after, "loss": self.loss}


@dataclass(frozen=True, slots=True)
class Gate:
    """What came out of comparing an export with its original.

    Args:
        metric: name of the number, such as "AP".
        labelled: on labels; else on the original's own answers.
        pictures: how many.
        data: where they came from.
        whole: the number.
        limit: the loss that is allowed.
        per_class: the number of each class.
        notes: what makes the comparison weak.
        second: name and number of a second head for whole pictures, if model and labels have it.
    """

    metric: str
    labelled: bool
    pictures: int
    data: str
    whole: Change
    limit: float
    per_class: dict[str, Change] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    second: tuple[str, Change] | None = None

    @property
    def passed(self) -> bool:
        """Whether the loss is at most the limit; an undefined one does not pass."""
        losses = [self.whole.loss, *([] if self.second is None else [self.second[1].loss])]
        # Rounding of sums must not decide.
        return all(loss is not None and loss <= self.limit + 1e-9 for loss in losses)

    @property
    def worth(self) -> float:
        """The loss, infinite where undefined: less is better."""
        return float("inf") if self.whole.loss is None else self.whole.loss

    @property
    def sentence(self) -> str:
        """For people."""
        word = "passed" if self.passed else "failed"
        what = self.metric if self.labelled else f"agreement ({self.metric} on its own answers)"
        if self.whole.before is None or self.whole.after is None:
            return f"gate {word}: {what} is undefined on these {self.pictures} pictures"
        change = self.whole.after - self.whole.before
        also = ""
        if self.second is not None:
            name, one = self.second
            also = f", and {name} of its other answer {_said(one.before)} -> {_said(one.after)}"
        return (
            f"gate {word}: {what} {self.whole.before:.4f} -> {self.whole.after:.4f}"
            f" ({change:+.4f}, at most -{self.limit:g} is allowed){also}, on {self.pictures}"
            " pictures"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "passed": self.passed,
            "metric": self.metric,
            "labelled": self.labelled,
            "pictures": self.pictures,
            "data": self.data,
            **self.whole.to_dict(),
            "max_loss": self.limit,
            "per_class": {name: one.to_dict() for name, one in self.per_class.items()},
            "second": None
            if self.second is None
            else {"metric": self.second[0], **self.second[1].to_dict()},
            "notes": list(self.notes),
        }


class Judge:
    """Scores an original once, then any number of exports of it on the same pictures.

    Args:
        original: loaded.
        data: labelled pictures, or those of `pictures.answers_as_labels`.
        labelled: which of the two.
        limit: the loss that is allowed.
    """

    def __init__(self, original: Predictor, data: Dataset, *, labelled: bool, limit: float) -> None:
        self.data, self.labelled, self.limit = data, labelled, limit
        self.before = evaluate(original, data)
        names = PRIMARY if labelled else AGREEMENT
        self.metric = names[self.before.task]

    def __call__(self, made: Predictor) -> Gate:
        """The comparison of one export."""
        after = evaluate(made, self.data)
        return Gate(
            self.metric,
            self.labelled,
            self.before.images,
            self.before.source,
            Change(self.before[self.metric], after[self.metric]),
            self.limit,
            self._classes(after),
            tuple(self._notes()),
            self._second(after),
        )

    def _second(self, after: Result) -> tuple[str, Change] | None:
        first = self.before.labels
        if first is None or after.labels is None:
            return None
        metric = PRIMARY[first.task]
        one = Change(first[metric], after.labels[metric])
        return None if one.before is None else (metric, one)

    def _classes(self, after: Result) -> dict[str, Change]:
        rows = {}
        for name, row in self.before.per_class.items():
            key = class_number(self.metric, list(row))
            one = Change(row.get(key), after.per_class.get(name, {}).get(key))
            if one.before is not None or one.after is not None:
                rows[name] = one
        return rows

    def _notes(self) -> list[str]:
        notes = []
        if self.before.images < _FEW:
            notes.append(
                f"{self.before.images} pictures are few: differences of a few hundredths can be"
                " chance; give more for a gate that can be relied on"
            )
        if self.before.unreadable:
            notes.append(f"{len(self.before.unreadable)} pictures cannot be read")
        return notes


def _said(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def class_number(metric: str, keys: Sequence[str]) -> str:
    """The number of a class that stands for a number of the whole."""
    for name in (metric, {"mAP": "AP", "accuracy": "recall"}.get(metric, "")):
        if name in keys:
            return name
    return keys[0] if keys else metric


@dataclass(frozen=True, slots=True)
class Side:
    """One row of the table.

    Args:
        what: "original" or what was made of it.
        engine: that ran it.
        megabytes: of its files, in 10^6 bytes.
        ms: median milliseconds of the engine for a picture, on one core.
        value: the gate's number; None where it was not measured.
    """

    what: str
    engine: str
    megabytes: float
    ms: float
    value: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def engine_ms(predictors: Sequence[Predictor], image: Image, rounds: int = _ROUNDS) -> list[float]:
    """Median milliseconds of the engines for one canvas, measured in turns.

    Args:
        predictors: loaded with one thread each.
        image: a canvas, uint8 (H, W, 3).
        rounds: how often each is timed, after one that does not count.
    """
    taken: NDArray[np.float64] = np.zeros((rounds + 1, len(predictors)))
    for turn in range(rounds + 1):
        for place, predictor in enumerate(predictors):
            start = time.perf_counter()
            predictor.backend(image[None])
            taken[turn, place] = time.perf_counter() - start
    return [float(value) * 1e3 for value in np.median(taken[1:], axis=0)]
