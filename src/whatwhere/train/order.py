"""Which pictures an epoch shows, and in which order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset


def repeat_factors(data: Dataset, rows: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """How much more often than a common picture each is to be shown, (len(rows),), at least 1.

    A class in the share f of the pictures gets the factor (f_most / f) ** power, where f_most
    belongs to the most frequent class; a picture gets the largest factor of its classes, and
    1 if it has none. This is repeat factor sampling (Gupta et al., LVIS, CVPR 2019, section
    4.1: the power 1/2 and a fixed share in place of f_most), without a threshold to choose.
    With power 1 each class of a single-label set is shown equally often.

    Args:
        data: pictures with labels; those to be ignored do not count.
        rows: the pictures that are used.
        power: 0..1; 0 shows all equally often.
    """
    factors = np.ones(len(rows))
    if power == 0:
        return factors
    place = np.full(len(data), -1)
    place[rows] = np.arange(len(rows))
    real = ~data.labels["ignore"].to_numpy()
    pictures = place[data.labels["image"].to_numpy()[real]]
    classes = data.labels["class_id"].to_numpy()[real]
    # A class counts once a picture, however many objects of it there are.
    pairs = np.unique(np.stack([pictures, classes], 1)[pictures >= 0], axis=0)
    counts = np.bincount(pairs[:, 1], minlength=len(data.names))
    rare = (counts.max(initial=1) / np.maximum(counts, 1)) ** power
    np.maximum.at(factors, pairs[:, 0], rare[pairs[:, 1]])
    return factors


def epoch_order(
    rows: NDArray[np.int64],
    factors: NDArray[np.float64],
    repeats: int,
    seed: int,
    epoch: int,
) -> NDArray[np.int64]:
    """The rows of an epoch in random order, (len(rows),): a function of its arguments.

    With `repeats` above 1 each picture stands that many times in a row (Hoffer et al., Augment
    Your Batch, CVPR 2020): a batch holds it in several augmentations. An epoch keeps its
    length, so it shows a part of the pictures, and so many epochs together show all.

    Args:
        rows: the pictures.
        factors: of each, from `repeat_factors`.
        repeats: how often each picture comes in a row.
        seed: of the run.
        epoch: counted from 0.
    """
    rng = np.random.default_rng([seed, epoch // repeats])
    order = rng.permutation(rows) if (factors == factors[0]).all() else _drawn(rows, factors, rng)
    if repeats == 1:
        return order
    count = len(rows)
    distinct = -(-count // repeats)
    first = (epoch % repeats) * distinct
    return np.repeat(np.take(order, range(first, first + distinct), mode="wrap"), repeats)[:count]


def _drawn(
    rows: NDArray[np.int64], factors: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """As many rows as there are, each as often as its share wants, rounded up or down at random.

    Systematic sampling: equal steps along the sum of the shares. It varies less than drawing
    each by itself, and the number of rows is exact.
    """
    shuffled = rng.permutation(len(rows))
    ends = np.cumsum(factors[shuffled])
    steps = (np.arange(len(rows)) + rng.random()) * (ends[-1] / len(rows))
    # Rounding may put the last step at the very end.
    found = np.minimum(np.searchsorted(ends, steps, side="right"), len(rows) - 1)
    drawn: NDArray[np.int64] = rng.permutation(rows[shuffled[found]])
    return drawn
