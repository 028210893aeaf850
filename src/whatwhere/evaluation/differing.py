"""Differences of two results' numbers, for `comparison`: of the whole, of parts, of slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.evaluation.result import Boxes, Result
from whatwhere.metrics import PRIMARY
from whatwhere.metrics.bootstrap import Key, Weighted
from whatwhere.metrics.bootstrap_boxes import BoxNumbers, pooled_boxes
from whatwhere.metrics.paired import Difference, differences
from whatwhere.metrics.slices import paired_slices
from whatwhere.metrics.subsets import ChosenNumbers, SubsetNumbers
from whatwhere.metrics.trust import pooled, weighted
from whatwhere.types import Prediction, Task


def whole_differences(
    first: Result,
    second: Result,
    data: Dataset,
    rows: NDArray[np.int64],
    answers: tuple[list[Prediction], list[Prediction]],
    classes: Sequence[str],
    how: Mapping[str, Any],
) -> dict[Key, Difference]:
    """Every number of the whole and of the classes."""
    one, two = first.boxes, second.boxes
    whole = len(rows) == len(first.data or ()) == len(second.data or ())
    if one is not None and two is not None and whole and _same_truth(one, two):
        # Both files were read in float64, in COCO's order; so are their differences.
        names = {class_id: name for class_id, name in one.names.items() if name in classes}
        count = len(data) if one.rows is None else len(one.rows)
        truth, found = pooled_boxes(one.truth, one.found, two.found)
        units = how["groups"]
        if units is not None and one.rows is not None:
            units = units[one.rows]
        return differences(
            BoxNumbers(count, names, one.truth, one.found),
            BoxNumbers(count, names, two.truth, two.found),
            BoxNumbers(2 * count, names, truth, found),
            **{**how, "groups": units},
        )
    made = [weighted(first.task, data, each, classes=classes) for each in answers]
    both = pooled(first.task, data, *answers, classes=classes)
    return differences(made[0], made[1], both, **how)


def _same_truth(one: Boxes, two: Boxes) -> bool:
    pairs = (
        (one.truth.image, two.truth.image),
        (one.truth.class_id, two.truth.class_id),
        (one.truth.xywh, two.truth.xywh),
        (one.rows, two.rows),
    )
    return one.names == two.names and all(np.array_equal(a, b) for a, b in pairs)  # type: ignore[arg-type]


def slice_differences(
    task: Task,
    data: Dataset,
    one: Sequence[Prediction],
    two: Sequence[Prediction],
    classes: Iterable[str],
    parts: Mapping[str, NDArray[np.int64]],
    how: Mapping[str, Any],
) -> dict[str, Difference]:
    """The main number's differences on parts of the pictures, in the same trials for all."""
    if not parts:
        return {}
    wanted = list(classes)
    main = PRIMARY[task]
    made: list[Weighted] = []
    for times, systems in ((1, (one,)), (1, (two,)), (2, (one, two))):
        inner = {}
        for name, rows in parts.items():
            piece = data.select(rows)
            chosen = [[system[row] for row in rows.tolist()] for system in systems]
            make = weighted if times == 1 else pooled
            numbers = make(task, piece, *chosen, classes=wanted)
            at = (times * rows[:, None] + np.arange(times)).ravel()
            inner[name] = (at, numbers)
        made.append(SubsetNumbers(times * len(data), main, inner))
    found = differences(made[0], made[1], made[2], **how)
    return {name: each for (_, name), each in found.items() if name is not None}


def part_differences(
    task: Task,
    data: Dataset,
    systems: tuple[Sequence[Prediction], Sequence[Prediction]],
    classes: Iterable[str],
    thresholds: tuple[float, float],
    looks: NDArray[np.float32] | None,
    how: Mapping[str, Any],
) -> dict[str, dict[str, Difference]]:
    """The main number of each part that both systems have, corrected together."""
    pairs = list(
        paired_slices(task, data, systems, thresholds=thresholds, classes=classes, looks=looks)
    )
    if not pairs:
        return {}
    names = {part: name for one, _ in pairs for name, part in one.keys if part is not None}
    found = differences(
        ChosenNumbers("part", [(one, one.keys) for one, _ in pairs]),
        ChosenNumbers("part", [(two, two.keys) for _, two in pairs]),
        ChosenNumbers("part", [(one.pooled(two), one.keys) for one, two in pairs]),
        **how,
    )
    return {part: {names[part]: each} for (_, part), each in found.items() if part is not None}
