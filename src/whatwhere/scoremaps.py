"""Maps from a model's scores to calibrated ones, and rules for sets of classes.

Small value types that a model file can hold. They are fitted by `metrics.calibration` and
`metrics.conformal`, and applied there and in the runtime by the same code. A map changes no
order: a higher score stays higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError

_EDGE = 1e-12
"""Scores are kept this far from 0 and 1 where a logarithm is taken."""


def logit(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """log(p / (1 - p)), float64, same shape; scores are kept 1e-12 away from 0 and 1."""
    inside = np.clip(np.asarray(scores, dtype=np.float64), _EDGE, 1 - _EDGE)
    value: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return value


def expit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)), never overflows; the same shape."""
    small = np.exp(-np.abs(values))
    result: NDArray[np.float64] = np.where(values >= 0, 1.0, small) / (1.0 + small)
    return result


@dataclass(frozen=True, slots=True)
class Platt:
    """p -> 1 / (1 + exp(-(slope * logit(p) + shift))).

    With shift 0 it divides the logit by the temperature 1 / slope.

    Raises:
        UsageError: a value is not finite, or the slope is not above 0.
    """

    slope: float
    shift: float

    def __post_init__(self) -> None:
        if not (0 < self.slope < np.inf and np.isfinite(self.shift)):
            raise UsageError(
                f"slope {self.slope} and shift {self.shift} are no map of scores: the slope must"
                " be above 0, both finite"
            )

    def apply(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated scores, float64, same shape; `scores` lie in 0..1."""
        return expit(self.slope * logit(scores) + self.shift)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "platt", "slope": self.slope, "shift": self.shift}


@dataclass(frozen=True, slots=True)
class Broken:
    """A line broken at knots: linear between them, level outside.

    Args:
        x: scores in 0..1, rising.
        y: calibrated scores in 0..1, rising or level; as many.

    Raises:
        UsageError: there is no knot, or they do not rise within 0..1.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        x, y = np.array(self.x, dtype=np.float64), np.array(self.y, dtype=np.float64)
        fits = len(x) == len(y) > 0 and np.isfinite(x).all() and np.isfinite(y).all()
        if not (fits and (np.diff(x) > 0).all() and (np.diff(y) >= 0).all()):
            raise UsageError("knots must be finite and rise in x, and not fall in y")
        if x[0] < 0 or x[-1] > 1 or y[0] < 0 or y[-1] > 1:
            raise UsageError("knots must lie in 0..1, in x and in y")

    def apply(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated scores, float64, same shape; `scores` lie in 0..1."""
        values = np.asarray(scores, dtype=np.float64)
        return np.interp(values, self.x, self.y).reshape(values.shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"kind": "broken", "x": list(self.x), "y": list(self.y)}


ScoreMap: TypeAlias = Platt | Broken


def score_map(record: Mapping[str, Any]) -> ScoreMap:
    """A map from what its `to_dict` gave.

    Raises:
        UsageError: it is of an unknown kind, or a value is missing or impossible.
    """
    try:
        if record["kind"] == "platt":
            return Platt(float(record["slope"]), float(record["shift"]))
        if record["kind"] == "broken":
            x, y = (tuple(float(value) for value in record[key]) for key in ("x", "y"))
            return Broken(x, y)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"a map of scores is damaged ({error!r}): calibrate again") from error
    raise UsageError(f"unknown map of scores {record['kind']!r}: use platt or broken")


def temper(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Softmax rows as if the logits had been divided by the temperature.

    Args:
        probabilities: float (N, C), rows that sum to 1.
        temperature: above 0; more than 1 makes the model less sure.

    Returns:
        float64 (N, C), rows that sum to 1. A probability of 0 stays 0.
    """
    if not 0 < temperature < np.inf:
        raise UsageError(f"temperature must be above 0 and finite, not {temperature}")
    values = np.asarray(probabilities, dtype=np.float64)
    top = values.max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(values, top, out=np.zeros_like(values), where=top > 0) ** (1 / temperature)
    total = scaled.sum(axis=1, keepdims=True)
    rows: NDArray[np.float64] = np.divide(scaled, total, out=np.zeros_like(scaled), where=total > 0)
    return rows


Kind: TypeAlias = Literal["lac", "aps"]

_ROUNDING = 1e-9
"""Sums of one row's probabilities in another order differ by less."""


@dataclass(frozen=True, slots=True)
class Conformal:
    """A rule for sets of classes, see `metrics.conformal`.

    Args:
        kind: "lac": classes whose probability is at least 1 - limit, the smallest sets on
            average; "aps": the best classes until their probabilities add up to more than
            `limit`, sets that grow with how hard a picture is.
        alpha: sets miss the right class in at most this share of pictures.
        limit: fitted; infinite if there were too few pictures, so that sets hold every class.
        pictures: pictures that it was fitted on.
    """

    kind: Kind
    alpha: float
    limit: float
    pictures: int

    def sets(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """The classes of each picture's set: bool (N, C).

        The best class is always in it, which can only add to the coverage.

        Args:
            probabilities: float (N, C), rows that sum to 1.
        """
        values = np.asarray(probabilities, dtype=np.float64)
        inside: NDArray[np.bool_] = nonconformity(values, self.kind) <= self.limit + _ROUNDING
        if values.size:
            inside[np.arange(len(values)), values.argmax(axis=1)] = True
        return inside


def nonconformity(probabilities: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """How badly each class fits each picture, float64 (N, C); larger is worse.

    "lac": 1 - p. "aps": the sum of the probabilities of all classes above it. The paper adds a
    random part of the class's own. All of it would leave the best class out where that is sure;
    as sets without it say nothing, it would then be put back, and sets would be far too wide.
    """
    if kind == "lac":
        return 1.0 - probabilities
    if kind != "aps":
        raise UsageError(f"unknown kind of conformal sets {kind!r}: use lac or aps")
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    above = np.concatenate([np.zeros_like(sums[:, :1]), sums[:, :-1]], axis=1)
    result = np.empty_like(sums)
    np.put_along_axis(result, order, above, axis=1)
    return result
