"""Calibration and thresholds for one head, fitted on judged answers and checked on others.

Everything is done twice: on all pictures, for the model file, and in folds, where what was
fitted on some pictures is counted on the rest, for numbers that can be believed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.operating import (
    Goal,
    Judged,
    OperatingPoint,
    counts_at,
    operating_point,
    totals,
)
from whatwhere.metrics.recalibrate import Numbers
from whatwhere.scoremaps import Kind
from whatwhere.specs import AnswerSpec
from whatwhere.types import Task

Method: TypeAlias = Literal["temperature", "platt", "isotonic", "kept"]

FEW = 20
"""A threshold that rests on fewer things to find is said to be doubtful."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for.

    Args:
        goal: of the thresholds; None: leave them.
        per_class: a threshold for each class; otherwise one for all.
        scores: calibrate the scores.
        nearest: where a goal cannot be reached, take the threshold that comes nearest.
        risk: `classify`: the share of wrong answers that is accepted; less sure ones become
            "not sure".
        confidence: with it the risk holds on new pictures (see `abstain_threshold`); None:
            it holds on these.
        coverage: `classify`: chance that a set of classes holds the right one.
        sets: how these sets are made.
        seed: of the folds.
    """

    goal: Goal | None = None
    per_class: bool = True
    scores: bool = True
    nearest: bool = False
    risk: float | None = None
    confidence: float | None = None
    coverage: float | None = None
    sets: Kind = "lac"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Tuned:
    """What one head gets, and what it does.

    Args:
        task: of the head.
        answers: to be stored.
        method: how scores are calibrated; "kept" if nothing was better than what there was.
        images: pictures that it rests on.
        before: calibration errors as the file was.
        after: as it will be, measured in folds. Both have `ece`, `ece_adaptive`, `log_loss`
            and `brier`, and for boxes `d_ece` and `d_ece_place`.
        points: for each class what its new threshold gives, counted in folds; `reached` says
            whether the goal is, on all pictures.
        before_points: what the old thresholds gave.
        abstain: score, `coverage`, `risk` with its interval, counted in folds; None if not asked.
        conformal: `coverage` with its interval and `mean_size`, counted in folds; likewise.
        risk_coverage: share of wrong answers at coverage 0.01 … 1, calibrated in folds.
        failed: sentences about what was asked for and cannot be had; it is not stored.
        notes: sentences about what is doubtful.
    """

    task: Task
    answers: AnswerSpec
    method: Method
    images: int
    before: Numbers
    after: Numbers
    points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    before_points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    abstain: Mapping[str, Any] | None = None
    conformal: Mapping[str, Any] | None = None
    risk_coverage: list[float] | None = None
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task": self.task,
            "images": self.images,
            "method": self.method,
            "before": dict(self.before),
            "after": dict(self.after),
            "answers": self.answers.model_dump(mode="json"),
            "classes": {
                name: {
                    **point.to_dict(),
                    "before": self.before_points[name].to_dict(),
                }
                for name, point in self.points.items()
            },
            "per_1000": {
                "before": totals(self.before_points),
                "after": totals(self.points),
            }
            if self.points
            else None,
            "abstain": None if self.abstain is None else dict(self.abstain),
            "conformal": None if self.conformal is None else dict(self.conformal),
            "risk_coverage": self.risk_coverage,
            "failed": list(self.failed),
            "notes": list(self.notes),
        }


def choose(
    judged: Mapping[str, Judged],
    wishes: Wishes,
    otherwise: Mapping[str, float],
    taken: Collection[str] | None = None,
) -> tuple[dict[str, float], dict[str, OperatingPoint]]:
    """A threshold for each class, and the points that were found.

    Args:
        judged: answers of each class.
        wishes: `goal`, `per_class` and `nearest` count.
        otherwise: the threshold of a class whose goal cannot be reached.
        taken: the classes whose threshold is taken, reached or not, as it is on all pictures:
            for folds, where a goal can be out of reach by chance. None: those that reach it.
    """
    if wishes.goal is None:
        return dict(otherwise), {}
    if wishes.per_class:
        points = {name: operating_point(one, wishes.goal) for name, one in judged.items()}
    else:
        points = dict.fromkeys(judged, operating_point(pooled(judged.values()), wishes.goal))
    chosen = dict(otherwise)
    for name, point in points.items():
        wanted = point.reached or wishes.nearest if taken is None else name in taken
        if point.threshold is not None and wanted:
            chosen[name] = point.threshold
    return chosen, points


def accepted(points: Mapping[str, OperatingPoint], wishes: Wishes) -> frozenset[str]:
    """The classes whose points `choose` took."""
    return frozenset(name for name, one in points.items() if one.reached or wishes.nearest)


def pooled(judged: Iterable[Judged]) -> Judged:
    """The answers of all classes as those of one."""
    rows = list(judged)
    return Judged(
        np.concatenate([np.zeros(0), *(one.score for one in rows)]),
        np.concatenate([np.zeros(0, bool), *(one.true for one in rows)]),
        sum(one.positives for one in rows),
        max((one.pictures for one in rows), default=0),
    )


def counted(
    kept: NDArray[np.bool_], true: NDArray[np.bool_], positives: int, pictures: int
) -> OperatingPoint:
    """Counts of answers of one class that were kept, whatever the threshold was."""
    return counts_at(Judged(kept.astype(np.float64), true, positives, pictures), 0.5)


def shortfalls(points: Mapping[str, OperatingPoint], wishes: Wishes) -> list[str]:
    """A sentence about goals that are not reached."""
    goal = wishes.goal
    lost = [name for name, point in points.items() if not point.reached]
    if goal is None or not lost:
        return []
    wanted = goal.kind if goal.value is None else f"{goal.kind} {goal.value:g}"
    empty = [name for name in lost if points[name].threshold is None]
    short = [name for name in lost if name not in empty]
    result = []
    stays = "the nearest one is taken" if wishes.nearest else "their thresholds stay"
    if short:
        best = {
            name: getattr(points[name], goal.kind, None)
            for name in short
            if goal.kind in ("precision", "recall")
        }
        shown = ", ".join(
            name if best.get(name) is None else f"{name} (best {best[name]:.3f})"
            for name in short[:8]
        )
        more = f" and {len(short) - 8} more" if len(short) > 8 else ""
        result.append(f"{wanted} cannot be reached for {shown}{more}: {stays}")
    if empty:
        shown = ", ".join(empty[:8]) + (f" and {len(empty) - 8} more" if len(empty) > 8 else "")
        result.append(f"nothing is labelled as {shown}, so no threshold can be chosen: they stay")
    return result


def doubts(points: Mapping[str, OperatingPoint], images: int) -> list[str]:
    """A sentence about thresholds that rest on little."""
    few = [name for name, point in points.items() if 0 < point.positives < FEW]
    if not few:
        return []
    shown = ", ".join(f"{name} ({points[name].positives})" for name in few[:8])
    more = f" and {len(few) - 8} more" if len(few) > 8 else ""
    return [f"fewer than {FEW} things to find in {images} pictures for {shown}{more}: doubtful"]
