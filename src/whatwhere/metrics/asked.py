"""What is asked of predictions before they are scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.types import Prediction


def scored_classes(
    data: Dataset, predictions: Sequence[Prediction], classes: Iterable[str] | None
) -> frozenset[str]:
    """The classes to score: those asked for, or all of the data.

    Raises:
        UsageError: not one prediction a picture, or the data has no such class.
    """
    if len(predictions) != len(data):
        raise UsageError(
            f"{len(data)} pictures need {len(data)} predictions, not {len(predictions)}:"
            " give an empty prediction for a picture without an answer"
        )
    chosen = frozenset(data.names if classes is None else classes)
    for name in chosen - frozenset(data.names):
        data.names.id(name)
    return chosen
