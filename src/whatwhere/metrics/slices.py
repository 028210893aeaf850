"""Where a model is worse than elsewhere: its numbers on parts of the data, worst first.

The numbers are those of use, at one threshold: precision, recall and F1 over all labels of a
part. A mean over classes, such as AP, would change with the classes that a part happens to
have. Intervals are of the bootstrap over pictures (see `bootstrap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.attributes import Attribute, attributes
from whatwhere.metrics.bootstrap import Interval, intervals
from whatwhere.metrics.bootstrap_labels import CountNumbers
from whatwhere.metrics.tally import Tally, tally
from whatwhere.types import Prediction, Task

NUMBERS = ("precision", "recall", "f1")

FEW = 30
"""A part of fewer pictures stands behind the others: its interval means little."""

_CELLS = 1 << 22
_SURE = 0.05


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the data.

    Args:
        attribute, part: such as "size" and "small"; empty for the whole.
        pictures: those with a label or an answer in the part.
        labels, answers: how many of each.
        main: the number that it is compared by: "f1"; "accuracy" for pictures of one class each,
            "recall" where answers cannot be told apart.
        numbers: intervals by name.
        gap: its main number less that of the whole; None if undefined.
        worse: whether it is certainly worse than the whole, with a probability of error of 5 %
            for all parts together (Bonferroni, normal approximation), on at least 30 pictures.
    """

    attribute: str
    part: str
    pictures: int
    labels: int
    answers: int
    main: str
    numbers: dict[str, Interval]
    gap: float | None
    worse: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values; each number as {value, low, high}."""
        return {
            "attribute": self.attribute,
            "part": self.part,
            "pictures": self.pictures,
            "labels": self.labels,
            "answers": self.answers,
            "main": self.main,
            **{
                name: {"value": one.value, "low": one.low, "high": one.high}
                for name, one in self.numbers.items()
            },
            "gap": self.gap,
            "worse": self.worse,
        }


@dataclass(frozen=True, slots=True)
class Slices:
    """All parts, the worst first, and the whole that they are compared with.

    Args:
        threshold: answers with a lower score do not count.
        notes: sentences on parts that are not shown.
    """

    whole: Slice
    parts: tuple[Slice, ...]
    threshold: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "threshold": self.threshold,
            "whole": self.whole.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
            "notes": list(self.notes),
        }


def slices(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    threshold: float = 0.5,
    looks: NDArray[np.float32] | None = None,
    **how: Any,
) -> Slices:
    """Precision, recall and F1 of every part of the data, the worst parts first.

    Worst is the part whose interval ends furthest below the number of the whole, so that few
    samples with bad luck do not come first. Parts of fewer than 30 pictures come last.

    Args:
        task, data, predictions, classes: as in `metrics.score`.
        threshold: as in `tally`.
        looks: brightness, contrast and sharpness; None: parts by these are left out.
        how: as in `bootstrap.intervals`: samples, level, seed, method, groups.
    """
    counted = tally(task, data, predictions, classes=classes, threshold=threshold)
    ways = [_whole(counted), *attributes(task, data, counted, looks)]
    found: list[Slice] = []
    total = sum(len(way.parts) for way in ways) - 1
    for way, place, tables, numbers in _runs(task, data, counted, ways):
        answers = intervals(numbers, **how)
        for part, table in enumerate(tables, place):
            _, said, real = table.T
            pictures = int(((said > 0) | (real > 0)).sum())
            if found and not pictures:
                continue
            values = {name: answers[name, _label(way, part)] for name in _names(task, way)}
            whole = found[0] if found else None
            found.append(
                _slice(way, part, pictures, int(real.sum()), int(said.sum()), values, whole, total)
            )
    whole = found[0]
    left = [way for way in ways if way.left_out]
    notes = [f"{way.left_out} parts by {way.name} with few labels are not shown" for way in left]
    if looks is None:
        notes.append("the pictures were not read, so there are no parts by brightness or sharpness")
    return Slices(whole, tuple(sorted(found[1:], key=_order)), threshold, tuple(notes))


def slice_numbers(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    threshold: float = 0.5,
    looks: NDArray[np.float32] | None = None,
) -> Iterator[CountNumbers]:
    """The numbers of all parts as functions of the pictures' weights, some parts at a time.

    Keys are (number, "attribute: part"); two systems on the same data have those that both have
    in common (see `bootstrap` and `paired`).
    """
    counted = tally(task, data, predictions, classes=classes, threshold=threshold)
    ways = attributes(task, data, counted, looks)
    for _, _, _, numbers in _runs(task, data, counted, ways):
        yield numbers


def paired_slices(
    task: Task,
    data: Dataset,
    systems: tuple[Sequence[Prediction], Sequence[Prediction]],
    *,
    thresholds: tuple[float, float],
    classes: Iterable[str] | None = None,
    looks: NDArray[np.float32] | None = None,
) -> Iterator[tuple[CountNumbers, CountNumbers]]:
    """The main number of the parts that two systems' answers both fall into, for `paired`.

    Keys, which are equal for both, are (number, "attribute: part"). Classes are no parts here,
    since their own numbers can be compared.

    Args:
        systems: predictions of two systems, each one a picture of `data`.
        thresholds: of each system.
    """
    wanted = None if classes is None else list(classes)
    counted = [
        tally(task, data, system, classes=wanted, threshold=threshold)
        for system, threshold in zip(systems, thresholds, strict=True)
    ]
    first, second = (
        {way.name: way for way in attributes(task, data, one, looks)} for one in counted
    )
    most = max(1, _CELLS // (3 * max(len(data), 1)))
    for name, way in first.items():
        other = second.get(name)
        if name == "class" or other is None or _names(task, way) != _names(task, other):
            continue
        main = _names(task, way)[-1]
        common = [part for part in way.parts if part in other.parts]
        for start in range(0, len(common), most):
            some = common[start : start + most]
            rule, keys = _Rule(len(some), (main,)), [(main, f"{name}: {part}") for part in some]
            sides = [
                [_counts(one, side, side.parts.index(part), len(data)) for part in some]
                for one, side in zip(counted, (way, other), strict=True)
            ]
            there = [
                ((a[:, 1:] > 0) | (b[:, 1:] > 0)).any(axis=1) for a, b in zip(*sides, strict=True)
            ]
            one, two = (
                CountNumbers(keys, np.concatenate(side, axis=1), rule, np.stack(there, axis=1))
                for side in sides
            )
            yield one, two


def _whole(counted: Tally) -> Attribute:
    zeros = [np.zeros(len(side.image), dtype=np.int64) for side in (counted.real, counted.said)]
    return Attribute("", ("",), zeros[0], zeros[1])


def _label(way: Attribute, part: int) -> str:
    return f"{way.name}: {way.parts[part]}"


def _names(task: Task, way: Attribute) -> tuple[str, ...]:
    """What the numbers of a part are called, the main one last."""
    if way.said is None:
        return ("recall",)
    if task == "classify" and way.name != "class":
        # One answer a picture: precision, recall and F1 are all the accuracy.
        return ("accuracy",)
    return NUMBERS


def _runs(
    task: Task, data: Dataset, counted: Tally, ways: Sequence[Attribute]
) -> Iterator[tuple[Attribute, int, list[NDArray[np.int64]], CountNumbers]]:
    """Parts of one attribute, so many that memory stays small: the first, counts, numbers."""
    most = max(1, _CELLS // (3 * max(len(data), 1)))
    for way in ways:
        names = _names(task, way)
        for start in range(0, len(way.parts), most):
            some = range(start, min(start + most, len(way.parts)))
            tables = [_counts(counted, way, part, len(data)) for part in some]
            keys = [(name, _label(way, part)) for part in some for name in names]
            there = [(table[:, 1:] > 0).any(axis=1) for table in tables for _ in names]
            rule = _Rule(len(tables), names)
            yield (
                way,
                start,
                tables,
                CountNumbers(keys, np.concatenate(tables, axis=1), rule, np.stack(there, axis=1)),
            )


def _counts(counted: Tally, way: Attribute, part: int, images: int) -> NDArray[np.int64]:
    """Right, said and real by picture, int64 (images, 3)."""
    real, said = counted.real, counted.said
    mine = way.real == part
    hits = np.bincount(real.image[mine & real.right], minlength=images)
    labels = np.bincount(real.image[mine], minlength=images)
    if way.said is None:
        return np.stack([hits, np.zeros_like(hits), labels], axis=1)
    answers = np.bincount(said.image[way.said == part], minlength=images)
    return np.stack([hits, answers, labels], axis=1)


@dataclass(frozen=True, slots=True)
class _Rule:
    """From sums of right, said and real of each part to its numbers."""

    parts: int
    names: tuple[str, ...]

    def __call__(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        right, said, real = np.moveaxis(sums.reshape(len(sums), self.parts, 3), 2, 0)
        f1 = _ratio(2 * right, np.where(real > 0, said + real, 0))
        values = {
            "precision": _ratio(right, said),
            "recall": _ratio(right, real),
            "accuracy": _ratio(right, real),
            "f1": f1,
        }
        columns = [values[name] for name in self.names]
        return np.stack(columns, axis=2).reshape(len(sums), -1)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.divide(
        part, whole, out=np.full(part.shape, np.nan), where=whole > 0
    )
    return quotient


def _slice(
    way: Attribute,
    part: int,
    pictures: int,
    labels: int,
    answers: int,
    values: dict[str, Interval],
    whole: Slice | None,
    total: int,
) -> Slice:
    main = list(values)[-1]
    own = values[main]
    # A class's F1 is compared with the accuracy, which is the F1 of all classes together.
    compared = None if whole is None else whole.numbers.get(main) or whole.numbers[whole.main]
    gap, worse = None, False
    if compared is not None and own.value is not None and compared.value is not None:
        gap = own.value - compared.value
        far = NormalDist().inv_cdf(1 - _SURE / 2 / max(total, 1))
        worse = own.error is not None and pictures >= FEW and gap + far * own.error < 0
    return Slice(way.name, way.parts[part], pictures, labels, answers, main, values, gap, worse)


def _order(one: Slice) -> tuple[bool, bool, float]:
    """Undefined ones last, before them those of few pictures, then by the interval's end."""
    own = one.numbers[one.main]
    if one.gap is None or own.value is None:
        return True, True, 0.0
    high = own.value if own.high is None else own.high
    return False, one.pictures < FEW, one.gap + high - own.value
