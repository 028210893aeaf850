"""Numbers from a data set and predictions: pure functions, nothing is read or written.

`score` gives the standard numbers of a task; `METRICS` says what each of them means. `score_by`
gives a detector's numbers by the rules of another protocol; `FURTHER` says what those mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.asked import scored_classes
from whatwhere.metrics.classification import score_classification
from whatwhere.metrics.detection import score_detection
from whatwhere.metrics.multilabel import score_multilabel
from whatwhere.metrics.protocols import PROTOCOLS, default_protocol, score_by
from whatwhere.metrics.registry import FURTHER, METRICS, PRIMARY, Metric
from whatwhere.types import Prediction, Task

__all__ = [
    "FURTHER",
    "METRICS",
    "PRIMARY",
    "PROTOCOLS",
    "SCORERS",
    "Metric",
    "default_protocol",
    "score",
    "score_by",
]

SCORERS: dict[Task, Callable[..., dict[str, Any]]] = {
    "classify": score_classification,
    "multilabel": score_multilabel,
    "detect": score_detection,
}


def score(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    curves: bool = False,
) -> dict[str, Any]:
    """The standard numbers of a task, each in 0..1, or None where it is undefined.

    Predictions should hold every label (classify, multilabel) or every box down to a low
    score (detect), as decoding with `evaluation=True` gives them; ranked numbers need the
    tail. Labels that are marked `ignore` count neither way. In a partly labelled data set a
    class counts only in the pictures in which it was looked for (see `partial`).

    Args:
        task: which numbers; a detection set can be scored as "multilabel".
        data: the truth. Classes are matched by name; what a prediction says about classes
            that the data does not have is passed over.
        predictions: one a picture of `data`, in its order, best rows first.
        classes: score these classes of the data only, as if the others did not exist.
        curves: also give `curves` (precision over recall) or `confusion` (rows the right
            class, columns the predicted one, last column none), for reports.

    Returns:
        The names of `METRICS[task]` with their values, and `per_class`: a dictionary by
        class name. A class without positives has None, and no share in any mean.

    Raises:
        UsageError: the number of predictions is not that of pictures, or a class is unknown.
        MissingExtraError: the extra `data` is not installed.
    """
    if task not in SCORERS:
        raise UsageError(f"unknown task {task!r}: use one of {', '.join(SCORERS)}")
    chosen = scored_classes(data, predictions, classes)
    return SCORERS[task](data, predictions, classes=chosen, curves=curves)
