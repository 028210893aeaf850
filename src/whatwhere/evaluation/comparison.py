"""Two results on the same pictures: which is better, by how much, in what, and is it chance.

`compare` gives a `Comparison`. Differences are second minus first, picture by picture, so what
both find hard cancels out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation.differing import (
    part_differences,
    slice_differences,
    whole_differences,
)
from whatwhere.evaluation.matching import some
from whatwhere.evaluation.result import Result
from whatwhere.metrics import METRICS, PRIMARY
from whatwhere.metrics.bootstrap import LEVEL, SAMPLES
from whatwhere.metrics.changes import Change, changes
from whatwhere.metrics.paired import Difference
from whatwhere.metrics.slices import FEW
from whatwhere.metrics.trust import picture_groups, weakness
from whatwhere.outputs.gallery import cut
from whatwhere.types import Prediction, Task

SHOWN = 100
"""Changed pictures in the JSON form; there all are counted, and these are named."""

_LABELS = ("image", "class_id", "x1", "y1", "x2", "y2", "ignore")


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Mapping[str, Difference]):
    """How a second result differs from a first; `comparison["AP"].value` is second - first.

    Args:
        task: of the numbers.
        images: pictures that both were scored on.
        first, second: names of the two.
        source, split: of the data.
        numbers: by standard name.
        per_class: by class, then by name. `Difference.adjusted` is p corrected for the number
            of classes.
        parts: of each part of the data that `metrics.slices` finds (by size, light, group ...),
            F1 at the thresholds (accuracy of single labels; recall where answers belong to no
            part), by the part's name, then by the number's. `Difference.adjusted` is p
            corrected for the number of parts.
        slices: the task's main number on parts of the pictures that were asked for, by the
            part's name. `Difference.adjusted` is p corrected for the number of these.
        level: nominal coverage of the intervals, and 1 - the level of the tests.
        changes: pictures that the two answer differently, worst for the second first.
        thresholds: answers of a lower score do not count in `changes` and `parts`; of each.
        notes: what was left out, or makes the comparison weak.
        data, predictions: the pictures, and the answers of each system.
        labels: the same of second heads, if both results have one.
    """

    task: Task
    images: int
    first: str
    second: str
    source: str
    split: str | None
    numbers: Mapping[str, Difference]
    per_class: Mapping[str, Mapping[str, Difference]]
    parts: Mapping[str, Mapping[str, Difference]]
    slices: Mapping[str, Difference]
    level: float
    changes: tuple[Change, ...]
    thresholds: tuple[float, float]
    notes: tuple[str, ...] = ()
    data: Dataset | None = field(default=None, repr=False)
    predictions: tuple[Sequence[Prediction], Sequence[Prediction]] = field(
        default=((), ()), repr=False
    )
    labels: Comparison | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> Difference:
        return self.numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def worse(self) -> list[Change]:
        """Pictures with more mistakes of the second system, the worst first."""
        return [one for one in self.changes if one.worse_by > 0]

    @property
    def better(self) -> list[Change]:
        """Pictures with fewer mistakes of the second system, the best first."""
        return [one for one in reversed(self.changes) if one.worse_by < 0]

    @property
    def sorted_parts(self) -> dict[str, Difference]:
        """Parts and slices by name, and by number if those differ.

        The most worsened first; those of fewer than 30 pictures, whose differences mean
        little, behind the others.
        """
        found = [
            *((part, name, one) for part, row in self.parts.items() for name, one in row.items()),
            *((part, PRIMARY[self.task], one) for part, one in self.slices.items()),
        ]
        several = len({name for _, name, _ in found}) > 1
        found.sort(key=lambda row: (row[2].value is None, row[2].units < FEW, row[2].value or 0))
        return {f"{part} ({name})" if several else part: one for part, name, one in found}

    @property
    def verdict(self) -> str:
        """One sentence: which is better in the task's main number, or that none is shown to be."""
        name = PRIMARY[self.task]
        main = self.numbers[name]
        if main.value is None or main.p is None:
            return f"{name} is undefined here, so nothing can be said"
        if not self.changes and all(not one.value for one in self.numbers.values()):
            return f"{self.first} and {self.second} are equal in every number"
        ends = ""
        if main.low is not None and main.high is not None:
            ends = f" ({self.level:.0%} interval {main.low:+.4f} to {main.high:+.4f}"
            ends += f", p {_p(main.p)})"
        if main.p > 1 - self.level:
            return (
                f"no difference in {name} is shown between {self.first} and {self.second} on"
                f" {self.images} pictures: {main.value:+.4f}{ends}"
            )
        word = "better" if main.value > 0 else "worse"
        return f"{self.second} is {word} than {self.first}: {name} {main.value:+.4f}{ends}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `compare --json`: plain values, undefined numbers as null."""
        names = [] if self.data is None else self.data.relative_paths()
        worse, better = self.worse, self.better
        return {
            "task": self.task,
            "images": self.images,
            "first": self.first,
            "second": self.second,
            "data": self.source,
            "split": self.split,
            "verdict": self.verdict,
            "level": self.level,
            "differences": {name: plain(one) for name, one in self.numbers.items()},
            "per_class": {
                name: {key: plain(one) for key, one in row.items()}
                for name, row in self.per_class.items()
            },
            "parts": {
                part: {"number": name, **plain(one)}
                for part, row in self.parts.items()
                for name, one in row.items()
            },
            "slices": {name: plain(one) for name, one in self.slices.items()},
            "pictures": {
                "better": len(better),
                "worse": len(worse),
                "otherwise": len(self.changes) - len(better) - len(worse),
                "same": self.images - len(self.changes),
            },
            "worse": [_picture(one, names) for one in worse[:SHOWN]],
            "better": [_picture(one, names) for one in better[:SHOWN]],
            "thresholds": list(self.thresholds),
            "notes": list(self.notes),
            **({} if self.labels is None else {"labels": self.labels.to_dict()}),
        }


def compare(
    first: Result,
    second: Result,
    *,
    names: tuple[str, str] | None = None,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    groups: str = "auto",
    thresholds: tuple[float, float] | None = None,
    parts: bool = True,
    slices: Mapping[str, Sequence[int] | NDArray[np.int64]] | None = None,
) -> Comparison:
    """Paired differences of every number of two results, with intervals and tests.

    Intervals are bootstrap intervals of the difference over pictures, tests are paired
    permutation tests: in each trial the two answers to each picture are swapped or not. Tests
    of many classes, of many parts and of many slices are corrected together (Westfall and Young's
    step-down maxT); those of the whole are not. Pictures and classes that only one result has
    are left out, and a note says so.

    Args:
        first, second: of `evaluate` or `evaluate_predictions`, on the same labelled pictures.
        names: what to call the two.
        samples: how often the pictures are drawn anew, and how many trials the tests have.
        level: nominal coverage of the intervals.
        seed: the same seed gives the same numbers.
        groups: a column of the pictures: those of equal value (of one video, one patient) depend
            on each other, and are drawn and swapped together; "auto" for "group" where the data
            has it, "none" for each picture alone.
        thresholds: lowest scores that count in parts and in the list of changed pictures; None
            for the results' own (boxes) or 0.5 (labels). The numbers do not depend on them.
        parts: compare the parts of the data that it falls into by itself.
        slices: rows of the first result's pictures, by name of the slice.

    Raises:
        UsageError: the results are of different tasks, have no picture or class in common, or
            the labels of the common pictures differ.
    """
    if first.task != second.task:
        raise UsageError(
            f"the first result is of the task {first.task}, the second of {second.task}: score"
            " both as one, such as  --task multilabel"
        )
    notes: list[str] = []
    data, (rows, others), (one, two) = _aligned(first, second, notes)
    classes = [name for name in first.per_class if name in second.per_class]
    lone = (set(first.per_class) | set(second.per_class)) - set(classes)
    if not classes:
        raise UsageError("the two results have no class in common: there is nothing to compare")
    if lone:
        notes.append(f"{len(lone)} classes were scored in one result only: {some(lone)}")
    if groups == "auto":
        groups = "none" if data.images["group"].null_count() == len(data) else "group"
    units = None if groups == "none" else picture_groups(data, groups)
    how: dict[str, Any] = {"samples": samples, "level": level, "seed": seed, "groups": units}
    found = whole_differences(first, second, data, rows, (one, two), classes, how)
    own = cut(first.task, first.threshold), cut(first.task, second.threshold)
    at = own if thresholds is None else thresholds
    titles = _titles(first, second) if names is None else names
    main = found[PRIMARY[first.task], None]
    if (reason := weakness(main)) and main.value:
        notes.append(f"the difference in {PRIMARY[first.task]} means little: {reason}")
    asked = slice_differences(first.task, data, one, two, classes, _kept(slices or {}, rows), how)
    looks = first.looks if second.looks is None else second.looks
    if looks is not None:
        looks = looks[rows] if looks is first.looks else looks[others]
    found_parts = {}
    if parts:
        found_parts = part_differences(first.task, data, (one, two), classes, at, looks, how)
    labels = None
    if first.labels is not None and second.labels is not None:
        same = first.labels.task == second.labels.task
        if same and set(first.labels.per_class) & set(second.labels.per_class):
            labels = compare(
                first.labels,
                second.labels,
                names=titles,
                samples=samples,
                level=level,
                seed=seed,
                groups=groups,
                parts=parts,
            )
        else:
            notes.append("the labels of whole pictures are of different kinds: not compared")
    return Comparison(
        task=first.task,
        images=len(data),
        first=titles[0],
        second=titles[1],
        source=first.source,
        split=first.split,
        numbers={metric.name: found[metric.name, None] for metric in METRICS[first.task]},
        per_class={
            name: {key: each for (key, of), each in found.items() if of == name} for name in classes
        },
        parts=found_parts,
        slices=asked,
        level=level,
        changes=tuple(changes(first.task, data, one, two, thresholds=at, classes=classes)),
        thresholds=at,
        notes=tuple(notes),
        data=data,
        predictions=(one, two),
        labels=labels,
    )


def _aligned(
    first: Result, second: Result, notes: list[str]
) -> tuple[
    Dataset,
    tuple[NDArray[np.int64], NDArray[np.int64]],
    tuple[list[Prediction], list[Prediction]],
]:
    """The common pictures, their rows in each result, and both answers to each."""
    one, two = (_pictures(result) for result in (first, second))
    mine, theirs = list(one.paths), list(two.paths)
    if mine == theirs:
        rows = others = np.arange(len(one), dtype=np.int64)
    else:
        place = {path: row for row, path in enumerate(theirs)}
        shared = [(row, place[path]) for row, path in enumerate(mine) if path in place]
        if not shared:
            raise UsageError(
                f"the results have no picture in common ({one.source} and {two.source}): evaluate"
                " both on one data set"
            )
        rows, others = (np.array(column, dtype=np.int64) for column in zip(*shared, strict=True))
        notes.append(
            f"only the {len(rows)} pictures that both were scored on count, of {len(mine)} and"
            f" {len(theirs)}"
        )
    common = one if len(rows) == len(one) else one.select(rows)
    if one is not two:
        _check_labels(common, two.select(others))
    answers = [
        [_scored(result)[row] for row in chosen.tolist()]
        for result, chosen in ((first, rows), (second, others))
    ]
    return common, (rows, others), (answers[0], answers[1])


def _pictures(result: Result) -> Dataset:
    if result.data is None or len(_scored(result)) != len(result.data):
        raise UsageError("a result came without its pictures or predictions: evaluate again")
    return result.data


def _scored(result: Result) -> Sequence[Prediction]:
    """The predictions as they were scored."""
    return result.scored or result.predictions


def _check_labels(one: Dataset, two: Dataset) -> None:
    def rows(data: Dataset) -> Any:
        return data.labels.select(_LABELS)

    if tuple(one.names) != tuple(two.names) or not rows(one).equals(rows(two)):
        raise UsageError(
            f"the labels of {one.source} and {two.source} differ: evaluate both on one data set"
        )


def _titles(first: Result, second: Result) -> tuple[str, str]:
    one, two = (result.model or "saved predictions" for result in (first, second))
    return (f"{one} (A)", f"{two} (B)") if one == two else (one, two)


def _kept(
    slices: Mapping[str, Sequence[int] | NDArray[np.int64]], rows: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Rows of the common pictures, from rows of the first result's."""
    parts = {}
    for name, chosen in slices.items():
        kept = np.flatnonzero(np.isin(rows, np.asarray(chosen, dtype=np.int64)))
        if len(kept):
            parts[name] = kept.astype(np.int64)
    return parts


def plain(one: Difference) -> dict[str, float | int | None]:
    """A difference as plain values."""
    return {
        "first": one.first,
        "second": one.second,
        "difference": one.value,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "images": one.units,
        **({} if one.adjusted is None else {"adjusted": one.adjusted}),
    }


def _picture(change: Change, names: Sequence[str]) -> dict[str, Any]:
    return {
        "image": names[change.row] if names else None,
        "before": change.before,
        "after": change.after,
        "gained": list(change.gained),
        "lost": list(change.lost),
        "false_before": change.false_before,
        "false_after": change.false_after,
    }


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.1e}"
