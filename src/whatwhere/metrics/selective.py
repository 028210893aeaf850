"""Saying "not sure": what is gained by leaving the least sure answers out.

El-Yaniv & Wiener, JMLR 2010; Geifman & El-Yaniv, Selective Classification for Deep Neural
Networks, NeurIPS 2017; the area: Geifman, Uziel & El-Yaniv, ICLR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.binomial import binomial_cdf, share_interval
from whatwhere.metrics.curves import LEVELS, Steps, steps
from whatwhere.metrics.operating import between

_FEWEST = 30
"""A promise about the risk is tried from this many answers on."""

_STARTS = (0.1, 0.25, 0.5, 0.75)
_MOST_TESTS = 1000


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Share of wrong answers among the surest, over the share of pictures that are answered.

    Args:
        risk: at coverage 0.01, 0.02, … 1 (100 values), each of the surest pictures that make
            up at least that share.
        aurc: mean risk over all coverages 1/n … 1, smaller is better.
        eaurc: what of it a perfect order of the same answers would save.
        answers: number of pictures. Everything is None without any.
    """

    risk: list[float] | None
    aurc: float | None
    eaurc: float | None
    answers: int


@dataclass(frozen=True, slots=True)
class Abstention:
    """A score below which the answer is "not sure".

    Args:
        threshold: answers with this score or more are given; None if none keeps the risk.
        coverage: share of pictures that are answered.
        risk: share of those answers that are wrong; None if none is given.
        risk_interval: Clopper-Pearson interval of it at 95 %, on these pictures; optimistic if
            they chose the threshold.
        answered, wrong, pictures: counts.
    """

    threshold: float | None
    coverage: float | None
    risk: float | None
    risk_interval: tuple[float, float] | None
    answered: int
    wrong: int
    pictures: int


def risk_coverage(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> RiskCoverage:
    """The curve of risk over coverage and its area.

    Within equal scores the mean over all orders is taken.

    Args:
        confidence: float (N,), for example the best class's score. A picture without an answer
            has 0, and is not right.
        right: bool (N,).
    """
    total = len(right)
    if not total:
        return RiskCoverage(None, None, None, 0)
    counts = steps(right, confidence)
    place = np.arange(1, total + 1, dtype=np.float64)
    said = np.append(0.0, counts.said)
    wrong = np.interp(place, said, said - np.append(0.0, counts.hits))
    risk = wrong / place
    at = np.maximum(np.ceil(np.arange(1, LEVELS) / (LEVELS - 1) * total - 1e-9), 1).astype(int) - 1
    errors = total - int(counts.hits[-1])
    best = np.maximum(place - (total - errors), 0.0) / place
    area = float(risk.mean())
    return RiskCoverage([float(v) for v in risk[at]], area, area - float(best.mean()), total)


def abstain_threshold(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    risk: float,
    *,
    confidence_level: float | None = None,
) -> Abstention:
    """The lowest threshold at which no more than a wanted share of answers is wrong.

    Args:
        confidence, right: as in `risk_coverage`.
        risk: the share of wrong answers that is accepted, inside 0..1.
        confidence_level: None: the share on these pictures must not exceed `risk`. 0.95: the
            share on new pictures of the same kind does not exceed it, with that confidence.
            From the thresholds that leave 10, 25, 50 and 75 % of the pictures, and at least
            30, ever lower ones are tested, each by an exact binomial test, until one fails
            (fixed sequence testing from several starts, which share the chance of an error;
            Angelopoulos et al., Learn then Test, 2021).

    Raises:
        UsageError: `risk` or `confidence_level` is not inside 0..1.
    """
    for name, value in (("risk", risk), ("confidence_level", confidence_level)):
        if value is not None and not 0 < value < 1:
            raise UsageError(f"{name} must lie between 0 and 1, not {value}")
    counts = steps(right, confidence)
    if confidence_level is None:
        enough = np.flatnonzero(counts.said - counts.hits <= risk * counts.said * (1 + 1e-12))
        place = int(enough[-1]) if len(enough) else None
    else:
        place = _promised(counts, risk, 1 - confidence_level)
    if place is None:
        return _abstention(None, 0, 0, len(right))
    said, hits = int(counts.said[place]), int(counts.hits[place])
    threshold = float(between(counts.threshold)[place])
    return _abstention(threshold, said, said - hits, len(right))


def abstention_at(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], threshold: float
) -> Abstention:
    """What a given threshold does, for example one that was chosen on other pictures."""
    given = np.asarray(confidence, dtype=np.float64) >= threshold
    wrong = int((given & ~np.asarray(right, dtype=bool)).sum())
    return _abstention(threshold, int(given.sum()), wrong, len(right))


def _promised(counts: Steps, risk: float, chance: float) -> int | None:
    """The last step at which the risk is proven to be low, as are all since a start."""
    if not len(counts.said):
        return None
    # Starts and steps depend on the scores alone, not on what is right.
    least = np.maximum(np.array(_STARTS) * counts.said[-1], _FEWEST)
    found = None
    for start in np.unique(np.searchsorted(counts.said, least)).tolist():
        rows = np.arange(start, len(counts.said))
        if len(rows) > _MOST_TESTS:
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, _MOST_TESTS).astype(int))]
        for row in rows.tolist():
            said = int(counts.said[row])
            wrong = said - int(counts.hits[row])
            if binomial_cdf(wrong, said, risk) > chance / len(_STARTS):
                break
            found = row if found is None else max(found, row)
    return found


def _abstention(threshold: float | None, answered: int, wrong: int, pictures: int) -> Abstention:
    return Abstention(
        threshold=threshold,
        coverage=answered / pictures if pictures else None,
        risk=wrong / answered if answered else None,
        risk_interval=share_interval(wrong, answered),
        answered=answered,
        wrong=wrong,
        pictures=pictures,
    )
