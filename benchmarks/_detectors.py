"""Generated pictures and detectors of known skill, for trials of intervals and tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.coco import FoundBoxes, TrueBoxes

NAMES = {0: "common", 1: "usual", 2: "rare"}
_SHARES = (0.7, 0.25, 0.05)
_CELL, _ACROSS = 200.0, 4


@dataclass(frozen=True)
class Pictures:
    """Pictures, some harder than others: what they show, and how hard each is, (images,)."""

    count: int
    truth: TrueBoxes
    hard: NDArray[np.float64]


def pictures(rng: np.random.Generator, count: int) -> Pictures:
    """About five objects a picture, each in a cell of its own, and no two in the same."""
    number = np.minimum(rng.poisson(5, count), _ACROSS**2)
    image = np.repeat(np.arange(count), number)
    first = np.repeat(np.cumsum(number) - number, number)
    shuffled = rng.random((count, _ACROSS**2)).argsort(axis=1)
    cell = shuffled[image, np.arange(len(image)) - first]
    xywh = _boxes(rng, cell)
    area = xywh[:, 2] * xywh[:, 3]
    truth = TrueBoxes(
        image, rng.choice(3, len(image), p=_SHARES), xywh, area, np.zeros(len(image), dtype=bool)
    )
    return Pictures(count, truth, rng.normal(0, 1, count))


def detector(rng: np.random.Generator, shown: Pictures, skill: float = 0.0) -> FoundBoxes:
    """What a detector finds; `skill` is added to the log-odds of finding and to right scores."""
    truth, ease = shown.truth, -0.7 * shown.hard
    odds = 2.0 + skill + ease[truth.image]
    found = np.flatnonzero(rng.random(len(odds)) < 1 / (1 + np.exp(-odds)))
    near = truth.xywh[found]
    spread = np.exp(rng.normal(-2.8, 0.5, (len(found), 1)))
    shaken = near + spread * rng.normal(0, 1, near.shape) * near[:, [2, 3, 2, 3]]
    shaken[:, 2:] = np.maximum(shaken[:, 2:], 2)
    of = truth.class_id[found].copy()
    wrong = rng.random(len(of)) < 0.05
    of[wrong] = (of[wrong] + 1) % 3
    surely = 1.5 + skill + ease[truth.image[found]] + rng.normal(0, 1, len(found))
    extra = np.repeat(np.arange(shown.count), rng.poisson(4, shown.count))
    invented = _boxes(rng, rng.integers(0, _ACROSS**2, len(extra)))
    doubtfully = -1.5 - ease[extra] / 2 + rng.normal(0, 1, len(extra))
    logit = np.concatenate([surely, doubtfully])
    return FoundBoxes(
        np.concatenate([truth.image[found], extra]),
        np.concatenate([of, rng.choice(3, len(extra), p=_SHARES)]),
        np.concatenate([shaken, invented]),
        1 / (1 + np.exp(-logit)),
    )


def _boxes(rng: np.random.Generator, cell: NDArray[np.int64]) -> NDArray[np.float64]:
    size = rng.uniform(30, 140, (len(cell), 2))
    corner = np.stack([cell % _ACROSS, cell // _ACROSS], axis=1) * _CELL
    return np.concatenate([corner + rng.uniform(0, 1, size.shape) * (190 - size), size], axis=1)
