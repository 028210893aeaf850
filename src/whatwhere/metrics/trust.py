"""Can a number be believed, and is one system better: intervals and tests of `score`'s numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.asked import scored_classes
from whatwhere.metrics.bootstrap import Interval, Key, Weighted, intervals
from whatwhere.metrics.bootstrap_boxes import BoxNumbers, pooled_boxes
from whatwhere.metrics.bootstrap_labels import LabelNumbers, TableNumbers
from whatwhere.metrics.classification import ranked_classes, right_classes
from whatwhere.metrics.detection import found_boxes, known_boxes, true_boxes
from whatwhere.metrics.multilabel import class_table, score_table
from whatwhere.metrics.paired import Difference, differences
from whatwhere.types import Prediction, Task


def score_intervals(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    **how: Any,
) -> dict[Key, Interval]:
    """Bootstrap intervals of the numbers that `metrics.score` gives.

    Args:
        task, data, predictions, classes: as in `metrics.score`.
        how: as in `bootstrap.intervals`: samples, level, seed, method, groups.

    Returns:
        By (name, None) the numbers of `METRICS[task]`, by (name, class) those of a class.

    Raises:
        UsageError: the number of predictions is not that of pictures, a class is unknown, or
            as `bootstrap.intervals`.
    """
    return intervals(weighted(task, data, predictions, classes=classes), **how)


def score_differences(
    task: Task,
    data: Dataset,
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    permute: bool = True,
    **how: Any,
) -> dict[Key, Difference]:
    """How much better `second` is than `first` in every number of `metrics.score`.

    Args:
        task, data, classes: as in `metrics.score`.
        first, second: predictions of two systems, each one a picture of `data`.
        permute: test by permutation, for about three times the time; see
            `paired.differences`.
        how: as in `paired.differences`: samples, level, seed, groups.
    """
    one = weighted(task, data, first, classes=classes)
    two = weighted(task, data, second, classes=classes)
    both = pooled(task, data, first, second, classes=classes) if permute else None
    return differences(one, two, both, **how)


def weighted(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
) -> Weighted:
    """The numbers of `metrics.score` as a function of the pictures' weights."""
    return _numbers(task, data, [predictions], classes)


def pooled(
    task: Task,
    data: Dataset,
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
) -> Weighted:
    """The numbers of both systems' answers, as `paired.differences` needs them."""
    return _numbers(task, data, [first, second], classes)


def picture_groups(data: Dataset, column: str) -> NDArray[np.int64]:
    """Numbers of equal values of a column of the pictures, int64 (pictures,).

    A picture without a value stands alone.

    Raises:
        UsageError: there is no such column.
    """
    if column not in data.images.columns:
        have = ", ".join(name for name in data.images.columns if name != "path")
        raise UsageError(f"the pictures have no column {column!r} to group by: they have {have}")
    number: dict[Any, int] = {}
    keys = [
        (row,) if value is None else value
        for row, value in enumerate(data.images[column].to_list())
    ]
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)


def _numbers(
    task: Task,
    data: Dataset,
    systems: Sequence[Sequence[Prediction]],
    classes: Iterable[str] | None,
) -> Weighted:
    asked = None if classes is None else frozenset(classes)
    wanted = frozenset(data.names)
    for predictions in systems:
        wanted = scored_classes(data, predictions, asked)
    columns = [place for place, name in enumerate(data.names) if name in wanted]
    names = [data.names[place] for place in columns]
    times = len(systems)
    if task == "detect":
        truth, found = true_boxes(data), [found_boxes(each, data.names) for each in systems]
        kept = [known_boxes(data, truth, each) for each in found]
        truth, boxes = kept[0]
        if times == 2:
            truth, boxes = pooled_boxes(truth, boxes, kept[1][1])
        by_id = dict(zip(columns, names, strict=True))
        return BoxNumbers(times * len(data), by_id, truth, boxes)
    if task == "multilabel":
        shown, known = (table[:, columns] for table in class_table(data))
        scores = np.stack([score_table(each, names) for each in systems], axis=1)
        return TableNumbers(
            names,
            np.repeat(shown, times, axis=0),
            scores.reshape(times * len(data), len(names)),
            np.repeat(known, times, axis=0),
        )
    if task == "classify":
        turns: list[Prediction] = list(chain.from_iterable(zip(*systems, strict=True)))
        image, right = right_classes(data, names)
        ranked = ranked_classes(turns, names)
        rows: NDArray[np.int64] = (times * image[:, None] + np.arange(times)).ravel()
        return LabelNumbers(times * len(data), names, rows, np.repeat(right, times), ranked[rows])
    raise UsageError(f"unknown task {task!r}: use classify, multilabel or detect")


def weakness(result: Interval | Difference, *, width: float = 0.2, least: int = 30) -> str | None:
    """One sentence on why a number means little, or None.

    Args:
        width: an interval at least this wide, from end to end, says little.
        least: with fewer pictures an interval is itself unreliable: the usual rule of thumb,
            below which the bootstrap of a mean covers clearly less than its level.
    """
    if result.value is None:
        return "it is undefined: no label counts"
    few = "picture or group" if result.units == 1 else "pictures or groups"
    rests = f"it rests on {result.units} {few}"
    if result.low is None or result.high is None:
        return f"{rests}, and most samples of them do not define it"
    if result.units < least:
        return f"{rests}, fewer than {least}: neither the number nor its interval means much"
    if result.defined < 1 - (1 - result.level) / 2:
        return f"{rests}, and {1 - result.defined:.0%} of the samples do not define it"
    if isinstance(result, Interval) and result.low == result.high:
        # The "rule of three" (Hanley and Lippman-Hand, If nothing goes wrong, is everything
        # all right?, 1983): resampling cannot show a case that never came up.
        return (
            f"every sample gives the same; {rests}, which leaves room for up to"
            f" {min(1.0, 3 / result.units):.3f} of cases that none of them shows"
        )
    if result.high - result.low >= width:
        return f"its interval is {result.high - result.low:.2f} wide; {rests}"
    return None
