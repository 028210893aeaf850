"""Windows of pictures against a reference, at a stated rate of false alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.drift import statistics
from whatwhere.drift.features import Measured
from whatwhere.drift.reference import (
    OTHER,
    PIXELS,
    SCALARS,
    SCORE_BINS,
    SIZE_EDGES,
    Reference,
    Rows,
    scalar_of,
)
from whatwhere.drift.statistics import Floats, shares
from whatwhere.errors import UsageError

WINDOW = 100
"""Pictures in a window, unless told."""
RATE = 0.001
"""Share of windows without any change that give an alarm, unless told."""
LEAST_WINDOW = 20

_DRAWS = 2000
_TAIL = 0.05
# Below these distances beyond what is usual, nothing is worth an alarm, however constant the
# reference is: a difference of distributions, a stability index, a discrepancy.
_FLOORS = {"ks": 0.05, "psi": 0.05, "mmd": 0.002}

_WORDS = {
    "brightness": ("brighter", "darker"),
    "contrast": ("more contrast", "less contrast"),
    "sharpness": ("sharper", "blurred"),
    "objects": ("more answers a picture", "fewer answers a picture"),
    "score": ("surer", "less sure"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison of a window with the reference.

    Args:
        name: one of `SCALARS`, "sizes", "scores", "classes", or "look" for the embedding.
        statistic: "ks", "psi" or "mmd".
        value: its value.
        limit: from which there is an alarm.
        drifted: whether it is reached.
        words: what changed most, for people.
    """

    name: str
    statistic: str
    value: float
    limit: float
    drifted: bool
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "statistic": self.statistic,
            "value": round(self.value, 6),
            "limit": round(self.limit, 6),
            "drifted": self.drifted,
            "words": self.words,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a window says.

    Args:
        pictures: in the window.
        parts: all comparisons.
    """

    pictures: int
    parts: tuple[Part, ...]

    @property
    def drifted(self) -> bool:
        """Whether any part reaches its limit."""
        return any(part.drifted for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "pictures": self.pictures,
            "drifted": self.drifted,
            "parts": [part.to_dict() for part in self.parts],
        }

    def sentence(self) -> str:
        """Such as "drift: darker (median 0.21, 0.47 in the reference)"."""
        found = [part.words for part in self.parts if part.drifted]
        return "drift: " + "; ".join(found) if found else "no drift"


class Judge:
    """Compares windows of one size with a reference.

    Limits come from the reference itself: of `_DRAWS` pairs of bootstrap samples, one of its size
    and one of the window's, all statistics are computed, pictures keeping their answers together.
    Each statistic is put on one scale (its excess over the median by that of its 99th percentile);
    the limit of all is where the largest of them exceeds in only `rate` of the pairs (Westfall
    and Young's max-T, 1993), so that the rate holds for the family, not for each. Beyond the
    95th percentile the tail of the maximum is taken as exponential, which is wider than that of
    these statistics.

    It is as true as its assumption: pictures of a window are independent draws. Frames of a video
    are not; measure few of them.

    Args:
        reference: what to compare with.
        window: pictures in a window.
        rate: of false alarms, a window.
        answers: compare answers too; False where the model's thresholds are others than those
            that the reference was made with.
        seed: of the draws.

    Raises:
        UsageError: the window is too small, or the rate is not between 0 and 0.05.
    """

    def __init__(
        self,
        reference: Reference,
        window: int = WINDOW,
        rate: float = RATE,
        *,
        answers: bool = True,
        seed: int = 0,
    ) -> None:
        if window < LEAST_WINDOW:
            raise UsageError(
                f"a window of {window} pictures says nothing: take at least {LEAST_WINDOW}"
            )
        if not 0 < rate <= _TAIL:
            raise UsageError(f"the rate of false alarms must lie in 0..{_TAIL}, not {rate}")
        self.reference = reference
        self.window = window
        self.answers = answers
        points = reference.rows.embeddings.astype(np.float64)
        spread = points.std(axis=0)
        self._scale = 1 / np.where(spread > 0, spread, 1.0)
        apart = statistics.squared_distances(points * self._scale)
        median = float(np.median(apart[np.triu_indices(len(apart), 1)]))
        self._width = math.sqrt(median) if median > 0 else 1.0
        self._calibrate(rate, statistics.gaussian(apart, self._width), seed)

    def _calibrate(self, rate: float, kernel: Floats, seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = len(self.reference.rows)
        a, b = _samples(rng, count, count), _samples(rng, count, self.window)
        null = self._statistics(a, b, self.reference.rows, kernel)
        values = np.stack(list(null.values()))
        middle = np.median(values, axis=1)
        floors = np.array([_FLOORS[_kind(name)] for name in null])
        unit = np.maximum(np.quantile(values, 0.99, axis=1) - middle, floors)
        worst = ((values - middle[:, None]) / unit[:, None]).max(axis=0)
        start = float(np.quantile(worst, 1 - _TAIL))
        excess = float((worst[worst >= start] - start).mean())
        limit = start + excess * math.log(_TAIL / rate)
        # Of a constant reference nothing varies; the floors are its limits.
        self._limits = middle + np.maximum(limit * unit, floors)

    def _statistics(self, a: Floats, b: Floats, rows: Rows, kernel: Floats) -> dict[str, Floats]:
        kept = len(SCALARS) if self.answers else PIXELS
        found = {
            name: statistics.ks(a, b, rows.scalars[:, place])
            for place, name in enumerate(SCALARS[:kept])
        }
        found["look"] = statistics.mmd(a, b, kernel)
        if self.answers:
            sizes = (len(self.reference.rows), self.window)
            for name in ("sizes", "scores", "classes"):
                found[name] = statistics.psi(a, b, _counts(rows, name), sizes)
        return found

    def judge(self, measured: Sequence[Measured]) -> Verdict:
        """Compare a window.

        Args:
            measured: `window` pictures.

        Raises:
            UsageError: there are more or fewer.
        """
        if len(measured) != self.window:
            raise UsageError(f"a window has {self.window} pictures, not {len(measured)}")
        ours, theirs = self.reference.rows, self.reference.code(measured)
        count, total = len(ours), len(ours) + self.window
        a, b = np.zeros((1, total)), np.zeros((1, total))
        a[0, :count], b[0, count:] = 1 / count, 1 / self.window
        both = Rows(
            *(
                np.concatenate([getattr(ours, name), getattr(theirs, name)])
                for name in ("scalars", "embeddings", "sizes", "scores", "classes")
            )
        )
        points = both.embeddings.astype(np.float64) * self._scale
        kernel = statistics.gaussian(statistics.squared_distances(points), self._width)
        values = self._statistics(a, b, both, kernel)
        return Verdict(
            self.window,
            tuple(
                Part(
                    name,
                    _kind(name),
                    float(value[0]),
                    float(limit),
                    bool(value[0] > limit),
                    self._words(name, theirs, measured),
                )
                for (name, value), limit in zip(values.items(), self._limits, strict=True)
            ),
        )

    def _words(self, name: str, window: Rows, measured: Sequence[Measured]) -> str:
        ours = self.reference.rows
        if name in SCALARS:
            place = SCALARS.index(name)
            # Of the window as it was measured: codes end where the reference's scale does.
            value = _central(np.array([scalar_of(one, name) for one in measured]))
            codes = ours.scalars[:, place].tolist()
            before = _central(np.array([self.reference.scalar(place, code) for code in codes]))
            word = _WORDS[name][value < before]
            return f"{word} ({name} {value:.3g}, {before:.3g} in the reference)"
        if name == "look":
            return "pictures look different as a whole (colours, layout or texture)"
        counts = [
            _counts(rows, name).sum(axis=0, dtype=np.float64)[None] for rows in (ours, window)
        ]
        p, q = (shares(count)[0] for count in counts)
        gain = (q - p) * np.log(q / p)
        ends = (
            int(np.argmax(np.where(q > p, gain, -1))),
            int(np.argmax(np.where(q < p, gain, -1))),
        )
        return " and ".join(
            f"{word} {self._bin(name, end)} ({q[end]:.0%}, {p[end]:.0%} in the reference)"
            for word, end in zip(("more", "fewer"), ends, strict=True)
        )

    def _bin(self, name: str, place: int) -> str:
        if name == "classes":
            return (*self.reference.classes, OTHER)[place]
        if name == "scores":
            return f"scores from {place / SCORE_BINS:.1f} to {(place + 1) / SCORE_BINS:.1f}"
        edges = (0.0, *SIZE_EDGES, 1.0)
        return f"boxes of {edges[place]:.2g} to {edges[place + 1]:.2g} of the picture's side"


def _counts(rows: Rows, name: str) -> NDArray[np.uint8]:
    """What is counted in each picture; a class once, since a crowd would drown all others."""
    table: NDArray[np.uint8] = getattr(rows, name)
    return np.minimum(table, 1) if name == "classes" else table


def _kind(name: str) -> str:
    return "ks" if name in SCALARS else "mmd" if name == "look" else "psi"


def _samples(rng: np.random.Generator, rows: int, size: int) -> Floats:
    """Bootstrap samples as weights, (draws, rows)."""
    weights: Floats = rng.multinomial(size, np.full(rows, 1 / rows), _DRAWS) / size
    return weights


def _central(values: Floats) -> float:
    """Mean of the middle half, which moves also where the median of few values does not."""
    ordered = np.sort(values)
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())
