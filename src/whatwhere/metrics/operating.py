"""At which score should a class count? Thresholds for a wanted precision, recall, F1 or cost.

A threshold is chosen on labelled data and looks better there than it is: check it on other
pictures with `counts_at`. Boxes, labels and single-label answers are all the same here: answers
with a score, each right or wrong, and a number of things to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.binomial import share_interval, wilson_lower
from whatwhere.metrics.curves import Steps, steps

PER = 1000
"""Expected counts are given for this many pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The answers about one class, judged.

    Args:
        score: float (N,), in 0..1.
        true: bool (N,), whether each answer is right.
        positives: things to find: pictures of the class, or labelled boxes.
        pictures: pictures that were looked at; for partly labelled data those in which the
            class was looked for.
    """

    score: NDArray[np.floating]
    true: NDArray[np.bool_]
    positives: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Goal:
    """What a threshold is chosen for.

    Args:
        kind: "precision": the lowest threshold at which precision is at least `value`, so the
            most is found; "recall": the highest at which recall is at least `value`; "f1": the
            largest F1; "cost": the least `cost_fp` * wrong + `cost_fn` * missed.
        value: the wanted precision or recall, above 0 and at most 1.
        cost_fp, cost_fn: cost of a wrong and of a missed one.
        confidence: for precision and recall: Wilson's one-sided lower bound of the share must
            reach `value`, with that confidence; None: the share itself.

    Raises:
        UsageError: a value is missing or out of its range.
    """

    kind: Literal["precision", "recall", "f1", "cost"]
    value: float | None = None
    cost_fp: float = 1.0
    cost_fn: float = 1.0
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("precision", "recall", "f1", "cost"):
            raise UsageError(f"unknown goal {self.kind!r}: use precision, recall, f1 or cost")
        if self.kind in ("precision", "recall"):
            if self.value is None or not 0 < self.value <= 1:
                raise UsageError(f"{self.kind} must be above 0 and at most 1, not {self.value}")
        elif self.value is not None or self.confidence is not None:
            raise UsageError(f"the goal {self.kind} takes no value and no confidence")
        costs = (self.cost_fp, self.cost_fn)
        if not all(0 <= cost < np.inf for cost in costs) or not any(costs):
            raise UsageError(f"costs must be 0 or more, and one above 0, not {costs}")
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise UsageError(f"confidence must be 0.5 or more and below 1, not {self.confidence}")

    @classmethod
    def parse(cls, text: str) -> Goal:
        """A goal as written: "precision=0.9", "recall=0.95", "f1", "cost=1:5" (wrong:missed).

        Raises:
            UsageError: it cannot be read.
        """
        kind, _, rest = text.strip().partition("=")
        wrong = f"goal {text!r}: write precision=0.9, recall=0.95, f1 or cost=1:5 (wrong:missed)"
        try:
            if kind in ("precision", "recall"):
                return cls("precision" if kind == "precision" else "recall", float(rest))
            if kind == "cost":
                first, second = rest.replace(",", ":").split(":")
                return cls("cost", cost_fp=float(first), cost_fn=float(second))
        except ValueError:
            raise UsageError(wrong) from None
        if kind != "f1" or rest:
            raise UsageError(wrong)
        return cls("f1")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold, and what to expect of it.

    Args:
        threshold: answers with this score or more count; exact in float32. None if the class
            has no positives, so that nothing can be chosen.
        reached: whether the goal is reached. Where it is not, `threshold` is where the wanted
            share is largest.
        right, wrong, missed: counts on these data.
        precision, recall, f1: None where undefined.
        precision_interval, recall_interval: Clopper-Pearson at 95 %, as if answers were
            independent; too narrow where pictures hold many alike. None where undefined.
        cost: per picture, for the goal "cost" only.
        per_1000: expected `said`, `right`, `wrong`, `missed` for 1,000 pictures like these;
            None without pictures.
        positives, pictures: what it rests on.
    """

    threshold: float | None
    reached: bool
    right: int
    wrong: int
    missed: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: tuple[float, float] | None
    recall_interval: tuple[float, float] | None
    cost: float | None
    per_1000: dict[str, float] | None
    positives: int
    pictures: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def operating_point(judged: Judged, goal: Goal) -> OperatingPoint:
    """The threshold of one class that serves the goal, and its counts.

    It lies half-way between the last score that counts and the next below, so that rounding
    does not move an answer across.
    """
    counts = steps(judged.true, judged.score, judged.positives)
    if not judged.positives:
        # Nothing to find: no threshold is better founded than another.
        return _point(judged, goal, None, 0, 0, reached=False)
    if not len(counts.said):
        # Nothing is ever said. Only the cost of that can be what was wanted.
        return _point(judged, goal, 0.0, 0, 0, reached=goal.kind == "cost")
    place, reached = _choose(counts, goal)
    thresholds = between(counts.threshold)
    if place < 0:
        top = float(counts.threshold[0])
        return _point(judged, goal, min(1.0, (top + 1) / 2), 0, 0, reached=True)
    right, said = int(counts.hits[place]), int(counts.said[place])
    return _point(judged, goal, float(thresholds[place]), right, said, reached=reached)


def operating_points(judged: Mapping[str, Judged], goal: Goal) -> dict[str, OperatingPoint]:
    """A threshold for each class by name; see `operating_point`."""
    return {name: operating_point(answers, goal) for name, answers in judged.items()}


def counts_at(judged: Judged, threshold: float, goal: Goal | None = None) -> OperatingPoint:
    """What a given threshold gives, for example one that was chosen on other pictures.

    Args:
        judged: the answers.
        threshold: answers with this score or more count.
        goal: fills `cost` and `reached`; None: any point is reached.
    """
    above = np.asarray(judged.score, dtype=np.float64) >= threshold
    right, said = int(np.asarray(judged.true, bool)[above].sum()), int(above.sum())
    return _point(judged, goal, threshold, right, said, reached=_meets(judged, goal, right, said))


def totals(points: Mapping[str, OperatingPoint]) -> dict[str, float]:
    """Expected counts of all classes together for 1,000 pictures; each class by its own."""
    keys = ("said", "right", "wrong", "missed")
    rows = [point.per_1000 for point in points.values() if point.per_1000 is not None]
    return {key: float(sum(row[key] for row in rows)) for key in keys}


def between(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds that keep each of the falling scores (M,) and drop the next, exact in float32.

    The last one is its score: below it nothing was seen.
    """
    result = scores.copy()
    half = ((scores[:-1] + scores[1:]) / 2).astype(np.float32).astype(np.float64)
    fits = (half > scores[1:]) & (half <= scores[:-1])
    result[:-1] = np.where(fits, half, scores[:-1])
    return result


def _choose(counts: Steps, goal: Goal) -> tuple[int, bool]:
    """Place among the steps, -1 for a threshold above all; and whether the goal is reached."""
    if goal.kind == "f1":
        f1 = 2 * counts.hits / (counts.said + counts.positives)
        return int(f1.argmax()), True
    if goal.kind == "cost":
        wrong, missed = counts.said - counts.hits, counts.positives - counts.hits
        cost = goal.cost_fp * wrong + goal.cost_fn * missed
        # No threshold in 0..1 is above a score of 1.
        silent = goal.cost_fn * counts.positives if counts.threshold[0] < 1 else np.inf
        place = int(cost.argmin())
        return (-1, True) if silent <= cost[place] else (place, True)
    share = _share(counts.hits, counts.said, counts.positives, goal)
    enough = np.flatnonzero(share >= (goal.value or 0.0))
    if not len(enough):
        return int(share.argmax()), False
    # Recall only grows along the steps; precision goes up and down.
    return int(enough[-1] if goal.kind == "precision" else enough[0]), True


def _share(
    hits: NDArray[np.float64], said: NDArray[np.float64], positives: int, goal: Goal
) -> NDArray[np.float64]:
    whole = said if goal.kind == "precision" else np.full_like(said, positives)
    if goal.confidence is not None:
        return wilson_lower(hits, whole, goal.confidence)
    return np.divide(hits, whole, out=np.zeros_like(hits), where=whole > 0)


def _meets(judged: Judged, goal: Goal | None, right: int, said: int) -> bool:
    if goal is None or goal.value is None:
        return True
    if not judged.positives:
        return False
    share = _share(np.array([float(right)]), np.array([float(said)]), judged.positives, goal)
    return bool(share[0] >= goal.value)


def _point(
    judged: Judged,
    goal: Goal | None,
    threshold: float | None,
    right: int,
    said: int,
    *,
    reached: bool,
) -> OperatingPoint:
    positives, pictures = judged.positives, judged.pictures
    wrong, missed = said - right, positives - right
    cost = None
    if goal is not None and goal.kind == "cost" and pictures:
        cost = (goal.cost_fp * wrong + goal.cost_fn * missed) / pictures
    numbers = {"said": said, "right": right, "wrong": wrong, "missed": missed}
    return OperatingPoint(
        threshold=threshold,
        reached=reached,
        right=right,
        wrong=wrong,
        missed=missed,
        precision=right / said if said else None,
        recall=right / positives if positives else None,
        f1=2 * right / (said + positives) if positives else None,
        precision_interval=share_interval(right, said) if said else None,
        recall_interval=share_interval(right, positives) if positives else None,
        cost=cost,
        per_1000={k: v * PER / pictures for k, v in numbers.items()} if pictures else None,
        positives=positives,
        pictures=pictures,
    )
