"""Sets of classes that hold the right one with a stated chance: split conformal prediction.

Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005; Angelopoulos & Bates, A
Gentle Introduction to Conformal Prediction, 2021. LAC: Sadinle, Lei & Wasserman, JASA 2019.
APS: Romano, Sesia & Candès, NeurIPS 2020. The chance is over pictures like those of the
calibration set, all classes together: not for each class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.binomial import beta_binomial_cdf, share_interval
from whatwhere.metrics.reliability import checked_scores
from whatwhere.scoremaps import Conformal, Kind, nonconformity

__all__ = [
    "Conformal",
    "CoverageCheck",
    "Kind",
    "check_coverage",
    "fit_conformal",
    "nonconformity",
]


@dataclass(frozen=True, slots=True)
class CoverageCheck:
    """Do sets hold what they promise on other pictures?

    Args:
        coverage: share of pictures whose set holds the right class; None without pictures.
        interval: Clopper-Pearson interval of it.
        expected: the coverage that was promised, 1 - alpha.
        chance: of a coverage as low as this or lower if the promise is kept, over the choice
            of both sets of pictures (a beta-binomial distribution; Angelopoulos & Bates, 2021,
            appendix C). More coverage than promised is no fault.
        holds: whether that is not less than 1 - confidence.
        mean_size: mean number of classes in a set.
        single: share of sets with one class.
        by_class: coverage by class name; None for a class without pictures.
        by_size: (size, pictures, coverage) for each size of set that occurs.
        pictures: number of pictures.
    """

    coverage: float | None
    interval: tuple[float, float] | None
    expected: float
    chance: float | None
    holds: bool | None
    mean_size: float | None
    single: float | None
    by_class: dict[str, float | None]
    by_size: tuple[tuple[int, int, float], ...]
    pictures: int


def fit_conformal(
    probabilities: NDArray[np.floating],
    truth: NDArray[np.int64],
    alpha: float = 0.1,
    kind: Kind = "lac",
) -> Conformal:
    """The rule whose sets hold the right class with a chance of at least 1 - alpha.

    The limit is the ceil((n + 1)(1 - alpha))-th smallest nonconformity of the right classes. On
    new pictures the coverage spreads around its mean, by about sqrt(alpha (1 - alpha) / n).

    Args:
        probabilities: float (n, C), of pictures that the model was not trained on.
        truth: int64 (n,).
        alpha: share of pictures whose set may miss, inside 0..1.
        kind: see `Conformal`.

    Raises:
        UsageError: `alpha` or `kind` is impossible, or the arrays do not fit together.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, not {alpha}")
    values = checked_scores(probabilities)
    if values.ndim != 2 or len(values) != len(truth):
        raise UsageError(f"{len(truth)} pictures need scores (N, C), not {values.shape}")
    worst = nonconformity(values, kind)[np.arange(len(truth)), truth]
    place = _place(len(truth), alpha)
    limit = math.inf if place > len(truth) else float(np.sort(worst)[place - 1])
    return Conformal(kind, alpha, limit, len(truth))


def check_coverage(
    rule: Conformal,
    probabilities: NDArray[np.floating],
    truth: NDArray[np.int64],
    names: Sequence[str],
    *,
    confidence: float = 0.95,
) -> CoverageCheck:
    """Coverage and size of a rule's sets on pictures that it was not fitted on.

    Args:
        rule: as fitted.
        probabilities: float (N, C). truth: int64 (N,).
        names: the classes, C of them.
        confidence: of the interval and of the verdict.
    """
    inside = rule.sets(checked_scores(probabilities))
    hit = inside[np.arange(len(truth)), truth]
    size = inside.sum(axis=1)
    by_class: dict[str, float | None] = {}
    for place, name in enumerate(names):
        rows = truth == place
        by_class[name] = float(hit[rows].mean()) if rows.any() else None
    some = len(hit) > 0
    chance = _chance(rule, int(hit.sum()), len(hit)) if some else None
    return CoverageCheck(
        coverage=float(hit.mean()) if some else None,
        interval=share_interval(int(hit.sum()), len(hit), confidence),
        expected=1 - rule.alpha,
        chance=chance,
        holds=None if chance is None else chance >= 1 - confidence,
        mean_size=float(size.mean()) if some else None,
        single=float((size == 1).mean()) if some else None,
        by_class=by_class,
        by_size=tuple(
            (int(one), int((size == one).sum()), float(hit[size == one].mean()))
            for one in np.unique(size)
        ),
        pictures=len(hit),
    )


def _place(pictures: int, alpha: float) -> int:
    # A little less, or (n + 1)(1 - alpha) that should be whole is rounded up.
    return math.ceil((pictures + 1) * (1 - alpha) - 1e-9)


def _chance(rule: Conformal, hits: int, pictures: int) -> float:
    place = _place(rule.pictures, rule.alpha)
    if place > rule.pictures:
        return 1.0
    return beta_binomial_cdf(hits, pictures, place, rule.pictures + 1 - place)
