"""Parts of the data on which a model is worse, from a result."""

from __future__ import annotations

from typing import Any

from whatwhere.errors import UsageError
from whatwhere.evaluation.result import Result
from whatwhere.metrics.slices import Slices
from whatwhere.metrics.slices import slices as slices_of
from whatwhere.outputs.gallery import cut


def slices(result: Result, *, threshold: float | None = None, **how: Any) -> Slices:
    """Precision, recall and F1 of every part of the data, the worst parts first.

    Args:
        result: of `evaluate`, or of `evaluate_predictions`, which knows nothing about the
            brightness and sharpness of the pictures.
        threshold: answers with a lower score do not count; None for the model's own (boxes) or
            0.5 (labels of pictures).
        how: as in `metrics.bootstrap.intervals`: samples, level, seed, method, groups.

    Raises:
        UsageError: the result was made without its data set.
    """
    if result.data is None:
        raise UsageError("the result has no data set to divide: evaluate again")
    own = cut(result.task, result.threshold)
    return slices_of(
        result.task,
        result.data,
        result.scored or result.predictions,
        classes=result.per_class,
        threshold=own if threshold is None else threshold,
        looks=result.looks,
        **how,
    )
