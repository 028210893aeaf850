"""What a head's scores mean: calibration, and the thresholds that go with it.

Thresholds of a spec are calibrated scores. For boxes they are carried back to scores as the
model gives them, so that only boxes that are kept need to be calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.scoremaps import Platt, ScoreMap
from whatwhere.specs import AnswerSpec, ModelSpec
from whatwhere.types import Scores

# The bits of 1.0: those of float32 numbers from 0 to 1 rise with them.
_ONE = 0x3F800000


def read_scores(
    scores: NDArray[Any], class_ids: NDArray[np.int64], names: Sequence[str], answers: AnswerSpec
) -> Scores:
    """Calibrated scores of single answers, float32 (N,) in 0..1.

    Args:
        scores: (N,), as the model gives them after the sigmoid.
        class_ids: (N,), place in `names`.
        answers: temperature and maps.
    """
    result = _read(scores, answers.temperature, None)
    if answers.maps:
        for class_id in np.unique(class_ids).tolist():
            one = answers.maps.get(names[class_id])
            if one is not None:
                rows = class_ids == class_id
                result[rows] = _read(scores[rows], answers.temperature, one)
    return result


def mapped_table(
    scores: NDArray[np.float64], names: Sequence[str], maps: Mapping[str, ScoreMap]
) -> NDArray[np.float64]:
    """Scores (N, C) with the map of each class applied to its column."""
    if not maps:
        return scores
    result = scores.copy()
    for column, name in enumerate(names):
        if name in maps:
            result[:, column] = maps[name].apply(scores[:, column])
    return result


def unsure_rows(
    answers: AnswerSpec, names: Sequence[str], first: NDArray[np.int64], best: Scores
) -> NDArray[np.bool_]:
    """Which pictures of a single-label head are answered "not sure", bool (N,).

    Args:
        first: (N,), the best class, place in `names`.
        best: float32 (N,), its calibrated score.
    """
    common = answers.abstain or 0.0
    needs = np.array([max(common, answers.thresholds.get(name, 0.0)) for name in names], np.float32)
    below: NDArray[np.bool_] = best < needs[first]
    return below


def class_limits(
    answers: AnswerSpec, names: Sequence[str], usual: float, threshold: float | None
) -> NDArray[np.float64]:
    """The calibrated score that each class needs, (C,).

    Args:
        usual: for classes without a threshold of their own.
        threshold: replaces all of them.
    """
    if threshold is not None:
        return np.full(len(names), threshold, dtype=np.float64)
    return np.array([answers.thresholds.get(name, usual) for name in names], dtype=np.float64)


def object_limits(spec: ModelSpec, threshold: float | None, evaluation: bool) -> Scores:
    """The score, as the model gives it, that an object of each class needs, float32 (C,).

    Infinite for a class that its map never lets reach its threshold.
    """
    if evaluation:
        # Not calibrated: the same boxes are scored, however their scores are read.
        return np.full(len(spec.names), spec.postprocess.evaluation_threshold, dtype=np.float32)
    limits = class_limits(spec.answers, spec.names, spec.postprocess.score_threshold, threshold)
    raw = [
        lowest_raw(spec.temperature, spec.maps.get(name), limit)
        for name, limit in zip(spec.names, limits.tolist(), strict=True)
    ]
    return np.array(raw, dtype=np.float32)


def lowest_score(spec: ModelSpec, threshold: float | None, evaluation: bool) -> float:
    """The score, as the model gives it, below which no object of any class is kept."""
    return float(object_limits(spec, threshold, evaluation).min())


@lru_cache(maxsize=8192)
def lowest_raw(temperature: float, one: ScoreMap | None, limit: float) -> float:
    """The least float32 score whose calibrated one reaches a limit; infinite if none does."""
    if temperature == 1.0 and one is None:
        # Limits and scores are compared in float32: a threshold equal to a score keeps it.
        return float(np.float32(limit))
    wanted = np.float32(limit)

    def reaches(bits: int) -> bool:
        score = np.array([bits], np.uint32).view(np.float32)
        return bool(_read(score, temperature, one)[0] >= wanted)

    low, high = 0, _ONE
    if not reaches(high):
        return float("inf")
    if reaches(low):
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return float(np.array([high], np.uint32).view(np.float32)[0])


def _read(scores: NDArray[Any], temperature: float, one: ScoreMap | None) -> Scores:
    values = scores
    if temperature != 1.0:
        values = Platt(1 / temperature, 0.0).apply(values)
    if one is not None:
        values = one.apply(np.clip(values, 0, 1))
    result: Scores = np.clip(values, 0, 1).astype(np.float32)
    return result
