"""Calibration of a whole model, with honest numbers of before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.calibration import (
    Method,
    Temperature,
    fit_map,
    fit_temperature,
)
from whatwhere.metrics.folds import FOLDS, folds
from whatwhere.metrics.reliability import (
    binary_brier_score,
    binary_log_loss,
    brier_score,
    checked_scores,
    log_loss,
    reliability,
)
from whatwhere.scoremaps import ScoreMap, temper

FEW = 20
"""A class with fewer right or fewer wrong answers takes the map of all classes together."""

Numbers: TypeAlias = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class SoftmaxCalibration:
    """What a temperature does to a single-label classifier.

    Args:
        temperature: fitted on all pictures given.
        before, after: `ece`, `ece_adaptive`, `log_loss`, `brier` as given, and with
            temperatures that were fitted on other pictures (folds), so that `after` is what to
            expect of new pictures.
        images: pictures it rests on.
        notes: sentences on what is doubtful.
    """

    temperature: Temperature
    before: Numbers
    after: Numbers
    images: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """What maps of scores do to a multi-label classifier or a detector.

    Args:
        maps: one a class by name, fitted on everything given. A class that is missing keeps
            its scores.
        pooled: classes that take the map of all classes, for want of answers of their own.
        before, after: as in `SoftmaxCalibration`, of all answers; `after` from folds.
        answers: number of answers.
        notes: sentences on what is doubtful.
    """

    maps: dict[str, ScoreMap]
    pooled: tuple[str, ...]
    before: Numbers
    after: Numbers
    answers: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        maps = {name: one.to_dict() for name, one in self.maps.items()}
        return {**asdict(self), "maps": maps}


def calibrate_softmax(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.int64],
    *,
    groups: NDArray[np.int64] | None = None,
    number: int = FOLDS,
    seed: int = 0,
) -> SoftmaxCalibration:
    """Fit a temperature, and measure what it does on pictures that it was not fitted on.

    Args:
        probabilities: float (N, C), rows that sum to 1.
        truth: int64 (N,).
        groups: int64 (N,), pictures that belong together, such as frames of a video; None:
            each stands alone.
        number, seed: of the folds.

    Raises:
        UsageError: there are fewer than 2 pictures or groups, or scores lie outside 0..1.
    """
    values = checked_scores(probabilities)
    own = np.arange(len(truth)) if groups is None else groups
    fitted = np.zeros_like(values)
    for fit, judge in folds(own, number, seed):
        part = fit_temperature(values[fit], truth[fit])
        fitted[judge] = values[judge] if part is None else temper(values[judge], part.value)
    whole = fit_temperature(values, truth)
    if whole is None:
        raise UsageError("all scores are 0, so no temperature fits: predict the pictures again")
    before, after = row_numbers(values, truth), row_numbers(fitted, truth)
    notes = _worse(before, after)
    if whole.at_border:
        notes.append(
            f"no temperature within bounds is best, {whole.value:g} is the last tried: nearly all"
            " answers are right or scores say nothing; calibrate on more, harder pictures"
        )
    return SoftmaxCalibration(whole, before, after, len(truth), tuple(notes))


def calibrate_scores(
    names: Sequence[str],
    class_id: NDArray[np.int64],
    scores: NDArray[np.floating],
    true: NDArray[np.bool_],
    image: NDArray[np.int64],
    *,
    method: Method = "platt",
    number: int = FOLDS,
    seed: int = 0,
) -> ScoreCalibration:
    """Fit a map for each class, and measure what they do on other pictures.

    Args:
        names: the classes.
        class_id: int64 (N,), place in `names` of each answer's class.
        scores: float (N,) in 0..1.
        true: bool (N,), whether the class is present or the box found an object; boxes that a
            protocol ignores and pairs that nobody looked at must be left out.
        image: int64 (N,), the picture, so that answers of one picture stay in one fold.
        method: "platt", or "isotonic", which needs about 1,000 answers a class
            (Niculescu-Mizil & Caruana, ICML 2005).
        number, seed: of the folds.

    Raises:
        UsageError: there are fewer than 2 pictures, or scores lie outside 0..1.
    """
    values, right = checked_scores(scores), np.asarray(true, dtype=bool)
    fitted = values.copy()
    for fit, judge in folds(image, number, seed):
        maps, _ = fit_maps(names, class_id[fit], values[fit], right[fit], method)
        _apply(names, maps, class_id, values, judge, fitted)
    maps, pooled = fit_maps(names, class_id, values, right, method)
    before, after = answer_numbers(values, right), answer_numbers(fitted, right)
    notes = _worse(before, after)
    if pooled:
        notes.append(
            f"{len(pooled)} of {len(names)} classes have fewer than {FEW} right or wrong answers"
            " and take the map of all classes together"
        )
    bare = [name for name in names if name not in maps]
    if bare:
        notes.append(f"{len(bare)} of {len(names)} classes keep their scores: no rising map fits")
    return ScoreCalibration(maps, pooled, before, after, len(values), tuple(notes))


def apply_maps(
    names: Sequence[str],
    maps: dict[str, ScoreMap],
    class_id: NDArray[np.int64],
    scores: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Calibrated scores, float64 (N,); arguments as in `calibrate_scores`."""
    values = checked_scores(scores)
    result = values.copy()
    _apply(names, maps, class_id, values, np.ones(len(values), bool), result)
    return result


def _apply(
    names: Sequence[str],
    maps: dict[str, ScoreMap],
    class_id: NDArray[np.int64],
    values: NDArray[np.float64],
    rows: NDArray[np.bool_],
    into: NDArray[np.float64],
) -> None:
    for place, name in enumerate(names):
        chosen = rows & (class_id == place)
        if name in maps and chosen.any():
            into[chosen] = maps[name].apply(values[chosen])


def fit_maps(
    names: Sequence[str],
    class_id: NDArray[np.int64],
    values: NDArray[np.float64],
    right: NDArray[np.bool_],
    method: Method,
) -> tuple[dict[str, ScoreMap], tuple[str, ...]]:
    """The map of each class that gets one, and the classes that share one; see above."""
    together = fit_map(method, values, right)
    maps: dict[str, ScoreMap] = {}
    pooled = []
    for place, name in enumerate(names):
        rows = class_id == place
        positives, total = int(right[rows].sum()), int(rows.sum())
        own = None
        if min(positives, total - positives) >= FEW:
            own = fit_map(method, values[rows], right[rows])
        elif together is not None:
            own = together
            pooled.append(name)
        if own is not None:
            maps[name] = own
    return maps, tuple(pooled)


def row_numbers(rows: NDArray[np.float64], truth: NDArray[np.int64]) -> Numbers:
    """`ece`, `ece_adaptive`, `log_loss` and `brier` of softmax rows (N, C)."""
    best, right = np.minimum(rows.max(axis=1), 1.0), rows.argmax(axis=1) == truth
    return {
        **_errors(best, right),
        "log_loss": log_loss(rows, truth),
        "brier": brier_score(rows, truth),
    }


def answer_numbers(values: NDArray[np.float64], right: NDArray[np.bool_]) -> Numbers:
    """`ece`, `ece_adaptive`, `log_loss` and `brier` of single answers (N,)."""
    return {
        **_errors(values, right),
        "log_loss": binary_log_loss(values, right),
        "brier": binary_brier_score(values, right),
    }


def _errors(values: NDArray[np.float64], right: NDArray[np.bool_]) -> Numbers:
    return {
        "ece": reliability(values, right).ece,
        "ece_adaptive": reliability(values, right, adaptive=True).ece,
    }


def _worse(before: Numbers, after: Numbers) -> list[str]:
    old, new = before["log_loss"], after["log_loss"]
    if old is None or new is None or new <= old:
        return []
    return [
        f"log loss rises from {old:.4f} to {new:.4f} on pictures that were not fitted on: leave the"
        " scores as they are, or calibrate on more pictures"
    ]
