"""Fitting of maps that make scores mean what they say, and what they change.

Temperature: Guo et al., On Calibration of Modern Neural Networks, ICML 2017. Sigmoid: Platt,
1999, with the targets and Newton steps of Lin, Lin & Weng, Machine Learning 2007. Isotonic:
Zadrozny & Elkan, KDD 2002, centred as Oron & Flournoy, Statistics in Biopharmaceutical
Research 2017, so that scores keep their order.

Fit on pictures that the model was not trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.isotonic import isotonic_blocks
from whatwhere.metrics.reliability import checked_scores
from whatwhere.scoremaps import Broken, Platt, ScoreMap, logit

COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures lie within; a fit that ends at a border has found no best one."""

_STEPS = 100

Method = Literal["platt", "isotonic"]


@dataclass(frozen=True, slots=True)
class Temperature:
    """A fitted temperature.

    Args:
        value: logits are to be divided by it.
        at_border: no temperature within 0.05 … 20 is best: (nearly) every answer is right, or
            scores say nothing. Do not use it without a look.
    """

    value: float
    at_border: bool


def fit_temperature(
    probabilities: NDArray[np.floating], truth: NDArray[np.int64]
) -> Temperature | None:
    """The temperature of least log loss of softmax rows; None without pictures.

    Log loss is convex in 1 / temperature, so there is one best value.

    Args:
        probabilities: float (N, C), rows that sum to 1. Zeros, from rounding, are taken as half
            of the smallest score that occurs.
        truth: int64 (N,), the right class.
    """
    values = checked_scores(probabilities)
    if values.ndim != 2 or len(values) != len(truth):
        raise UsageError(f"{len(truth)} pictures need scores (N, C), not {values.shape}")
    if not len(truth) or not (values > 0).any():
        return None
    logits = np.log(np.maximum(values, values[values > 0].min() / 2))
    rows = np.arange(len(truth))
    right = logits[rows, truth]

    def slopes(beta: float) -> tuple[float, float]:
        scaled = beta * logits
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * logits).sum(axis=1)
        spread = (weights * (logits - mean[:, None]) ** 2).sum(axis=1)
        return float((mean - right).mean()), float(spread.mean())

    beta, at_border = _least(slopes, 1 / HOTTEST, 1 / COLDEST)
    return Temperature(1 / beta, at_border)


def fit_binary_temperature(
    scores: NDArray[np.floating], true: NDArray[np.bool_]
) -> Temperature | None:
    """The temperature of least log loss of sigmoid scores (N,); None without any."""
    values = checked_scores(scores)
    return fit_temperature(np.stack([1 - values, values], axis=1), np.asarray(true, np.int64))


def fit_platt(scores: NDArray[np.floating], true: NDArray[np.bool_]) -> Platt | None:
    """Slope and shift of least log loss of sigmoid scores.

    Targets are drawn in a little, (n+ + 1) / (n+ + 2) and 1 / (n- + 2), so that few answers do
    not make scores of 0 and 1.

    Args:
        scores: float (N,) in 0..1.
        true: bool (N,).

    Returns:
        None unless there are both true and false answers, or where higher scores are right no
        more often, since a map must not turn the order round.
    """
    values, right = checked_scores(scores), np.asarray(true, dtype=bool)
    high, low = smooth_targets(right)
    if right.all() or not right.any():
        return None
    # Rounded scores of 0 and 1 are no infinite logits: they lie half-way to the next real one.
    inner = values[(values > 0) & (values < 1)]
    if not len(inner):
        return None
    x = logit(np.clip(values, inner.min() / 2, (1 + inner.max()) / 2))
    y = np.where(right, high, low)
    centre, scale = float(x.mean()), float(x.std())
    if scale == 0:
        return None
    design = np.stack([(x - centre) / scale, np.ones_like(x)], axis=1)
    answer = np.array([1.0, float(np.log(y.mean() / (1 - y.mean())))])
    loss = _logistic_loss(design, y, answer)
    for _ in range(_STEPS):
        guess = 1 / (1 + np.exp(-np.clip(design @ answer, -700, 700)))
        gradient = design.T @ (guess - y)
        curve = (design * (guess * (1 - guess))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        share = 1.0
        while share > 1e-10 and _logistic_loss(design, y, answer - share * step) > loss:
            share /= 2
        answer = answer - share * step
        loss = _logistic_loss(design, y, answer)
        if np.abs(share * step).max() < 1e-12:
            break
    slope = float(answer[0]) / scale
    return Platt(slope, float(answer[1]) - slope * centre) if slope > 1e-9 else None


def fit_isotonic(
    scores: NDArray[np.floating],
    true: NDArray[np.bool_],
    *,
    centred: bool = True,
    smooth: bool = True,
) -> Broken | None:
    """The rising map of least squared error.

    Args:
        scores: float (N,) in 0..1.
        true: bool (N,).
        centred: draw lines between the centres of level stretches, so that different scores
            stay different and rankings, thus AP, stay as they are. Otherwise the usual map
            with level stretches, as scikit-learn's.
        smooth: draw values in as Platt's targets are, so that none is 0 or 1.

    Returns:
        None unless there are both true and false answers.
    """
    values, right = checked_scores(scores), np.asarray(true, dtype=bool)
    if not len(right) or right.all() or not right.any():
        return None
    level, first, last, centre = isotonic_blocks(values, right.astype(np.float64))
    high, low = smooth_targets(right) if smooth else (1.0, 0.0)
    level = low + (high - low) * level
    if not centred:
        x, places = np.unique(np.stack([first, last], axis=1).ravel(), return_index=True)
        y = np.repeat(level, 2)[places]
        return Broken(tuple(x.tolist()), tuple(y.tolist()))
    # Beyond the outermost centres the line goes half-way on towards 0 and 1, so that it rises.
    x = np.concatenate([[0.0], centre, [1.0]])
    y = np.concatenate([[level[0] / 2], level, [(1 + level[-1]) / 2]])
    keep = np.concatenate([[centre[0] > 0], np.ones(len(centre), bool), [centre[-1] < 1]])
    return Broken(tuple(x[keep].tolist()), tuple(y[keep].tolist()))


def fit_map(
    method: Method, scores: NDArray[np.floating], true: NDArray[np.bool_]
) -> ScoreMap | None:
    """`fit_platt` or `fit_isotonic`, by name."""
    if method not in ("platt", "isotonic"):
        raise UsageError(f"unknown calibration {method!r}: use platt or isotonic")
    return fit_platt(scores, true) if method == "platt" else fit_isotonic(scores, true)


def smooth_targets(true: NDArray[np.bool_]) -> tuple[float, float]:
    """Platt's targets of true and of false answers: their Laplace estimates."""
    positives = int(true.sum())
    return (positives + 1) / (positives + 2), 1 / (len(true) - positives + 2)


def _logistic_loss(
    design: NDArray[np.float64], y: NDArray[np.float64], answer: NDArray[np.float64]
) -> float:
    value = design @ answer
    return float(np.sum(np.logaddexp(0.0, value) - y * value))


def _least(
    slopes: Callable[[float], tuple[float, float]], low: float, high: float
) -> tuple[float, bool]:
    """Where a convex function is least, by Newton steps kept inside a shrinking bracket.

    `slopes` gives its first and second derivative. The flag says that a border is least.
    """
    if slopes(low)[0] >= 0:
        return low, True
    if slopes(high)[0] <= 0:
        return high, True
    place = 1.0
    for _ in range(_STEPS):
        first, second = slopes(place)
        if first == 0:
            return place, False
        low, high = (place, high) if first < 0 else (low, place)
        following = place - first / second if second > 0 else low
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - place) < 1e-12 * place:
            return following, False
        place = following
    return place, False
