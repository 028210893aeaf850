"""What an evaluation gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.types import Prediction, Task

if TYPE_CHECKING:
    from whatwhere.evaluation.details import Details
    from whatwhere.evaluation.leaks import Leaks


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Labelled and predicted boxes as they were scored.

    Args:
        names: class name by class id.
        truth, found: pictures are numbered from 0.
        rows: int64, row of the data of each of these pictures, which stand in the order of their
            COCO ids, by which equal scores are ranked; None for the data's own order.
    """

    names: Mapping[int, str]
    truth: TrueBoxes
    found: FoundBoxes
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Result(Mapping[str, "float | None"]):
    """Scores by standard name, `result["AP50"]`, and how they came about.

    Args:
        task: which numbers these are (see `metrics.METRICS`).
        images: pictures that were scored.
        metrics: numbers in 0..1 by standard name; None where undefined.
        per_class: the same of each class, by class name.
        notes: sentences about what was left out or looks wrong; empty if nothing was.
        unreadable: pictures that could not be read; their labels count as missed.
        model: name of the model, if one was run.
        source: where the data set came from.
        split: which part of it was scored; None for all.
        threshold: score from which boxes are drawn in a report.
        seconds: time that reading and predicting took; None for saved predictions.
        curves, confusion: for reports, as `metrics.score` gives them.
        data, predictions: the pictures with their labels, and one prediction each.
        labels: scores of a second head, for the whole picture, on the same pictures; None if
            the model has none or the data say nothing about its classes.
        looks: float32 (images of `data`, 3), what `images.appearance.look` measured of each
            picture, NaN where it could not be read; None for saved predictions.
        scored: the predictions as they were scored, if rows were left out; empty if not.
        boxes: the boxes as they were scored, where they are not those of `predictions` rounded
            to float32; None elsewhere.
        leaks: pictures that the model was trained on, or on near copies of; None if nothing is
            known of its training pictures.
        details: intervals and all that stands behind the numbers; None if it was not asked for.
    """

    task: Task
    images: int
    metrics: Mapping[str, float | None]
    per_class: Mapping[str, Mapping[str, float | None]]
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    model: str | None = None
    source: str = ""
    split: str | None = None
    threshold: float = 0.25
    seconds: float | None = None
    curves: Mapping[str, Any] | None = None
    confusion: Sequence[Sequence[int]] | None = None
    data: Dataset | None = field(default=None, repr=False)
    predictions: Sequence[Prediction] = field(default=(), repr=False)
    labels: Result | None = field(default=None, repr=False)
    looks: NDArray[np.float32] | None = field(default=None, repr=False)
    scored: tuple[Prediction, ...] = field(default=(), repr=False)
    boxes: Boxes | None = field(default=None, repr=False)
    leaks: Leaks | None = field(default=None, repr=False)
    details: Details | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> float | None:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def with_details(self, **how: Any) -> Result:
        """The same with intervals, further numbers and tables; see `evaluation.details.details`.

        Args:
            how: samples, level, seed, groups, protocol.

        Raises:
            UsageError: as there.
        """
        from whatwhere.evaluation.details import details

        labels = (
            None
            if self.labels is None
            else self.labels.with_details(
                **{name: value for name, value in how.items() if name != "protocol"}
            )
        )
        return replace(self, details=details(self, **how), labels=labels)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `evaluate --json`: plain values, undefined numbers as null."""
        return {
            "task": self.task,
            "images": self.images,
            **self.metrics,
            "per_class": {name: dict(row) for name, row in self.per_class.items()},
            "model": self.model,
            "data": self.source,
            "split": self.split,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "unreadable": list(self.unreadable),
            "leaks": None if self.leaks is None else self.leaks.to_dict(),
            "notes": [*self.notes, *(self.details.notes if self.details else ())],
            **({} if self.details is None else self.details.to_dict()),
            **({} if self.labels is None else {"labels": self.labels.to_dict()}),
        }
