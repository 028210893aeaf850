"""A smaller data set that is like the whole: each class in it, splits and classes in proportion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.dataset import Dataset
from whatwhere.errors import UsageError


def sample(
    dataset: Dataset, count: int | None = None, *, share: float | None = None, seed: int = 0
) -> Dataset:
    """See `Dataset.sample`."""
    if (count is None) == (share is None):
        raise UsageError("a sample needs a count or a share of the pictures, one of them")
    if share is not None:
        if not 0 < share <= 1:
            raise UsageError(
                f"the share of a sample must be more than 0 and at most 1, not {share}"
            )
        count = max(1, round(share * len(dataset)))
    assert count is not None
    if not 0 < count <= len(dataset):
        raise UsageError(
            f"a sample of {count} cannot be taken: ask for 1 to {len(dataset)} pictures"
        )
    return dataset.select(sample_rows(dataset, count, seed))


def sample_rows(dataset: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """Row numbers, ascending: each class once where possible, then even over strata.

    A stratum is a split and the picture's rarest class, so that rare classes keep their share.
    """
    total = len(dataset)
    image = dataset.labels["image"].to_numpy().astype(np.int64)
    classes = dataset.labels["class_id"].to_numpy().astype(np.int64)
    width = len(dataset.names) + 1
    pairs = np.unique(image * width + classes)
    image, classes = pairs // width, pairs % width
    frequency = np.bincount(classes, minlength=width - 1)
    rank = np.empty(width - 1, np.int64)
    by_frequency = np.argsort(frequency, kind="stable")
    rank[by_frequency] = np.arange(width - 1)
    # Pictures without labels are a stratum of their own.
    rarest = np.full(total, width - 1)
    np.minimum.at(rarest, image, rank[classes])
    split = dataset.images["split"].fill_null("").rank("dense").to_numpy().astype(np.int64)
    _, stratum = np.unique(split * width + rarest, return_inverse=True)
    order = np.random.default_rng(seed).permutation(total)
    place = np.empty(total, np.int64)
    place[order] = np.arange(total)

    chosen = np.zeros(total, np.bool_)
    for row in _one_of_each(image, classes, place, by_frequency, frequency, count):
        chosen[row] = True
    sizes = np.bincount(stratum)
    quota = _shares(sizes.astype(np.float64) * (count / total), count, sizes)
    lacking = np.maximum(quota - np.bincount(stratum[chosen], minlength=len(sizes)), 0)
    missing = count - int(chosen.sum())
    if missing:
        scale = missing / max(1, int(lacking.sum()))
        room = sizes - np.bincount(stratum[chosen], minlength=len(sizes))
        lacking = _shares(lacking.astype(np.float64) * scale, missing, room)
        left = order[~chosen[order]]
        left = left[np.argsort(stratum[left], kind="stable")]
        starts = np.searchsorted(stratum[left], np.arange(len(sizes)))
        inner = np.arange(left.size) - starts[stratum[left]]
        chosen[left[inner < lacking[stratum[left]]]] = True
    return np.flatnonzero(chosen)


def _one_of_each(
    image: NDArray[np.int64],
    classes: NDArray[np.int64],
    place: NDArray[np.int64],
    by_frequency: NDArray[np.int64],
    frequency: NDArray[np.int64],
    count: int,
) -> list[int]:
    """A picture of each class, rare classes first, at most `count` pictures."""
    by_class = np.lexsort((place[image], classes))
    first_of = np.searchsorted(classes[by_class], np.arange(len(frequency)))
    starts = np.searchsorted(image, np.arange(len(place) + 1))
    covered = np.zeros(len(frequency), np.bool_)
    rows: list[int] = []
    for number in by_frequency.tolist():
        if covered[number] or not frequency[number] or len(rows) == count:
            continue
        row = int(image[by_class[first_of[number]]])
        rows.append(row)
        covered[classes[starts[row] : starts[row + 1]]] = True
    return rows


def _shares(wanted: NDArray[np.float64], count: int, most: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers near those wanted that add up to `count`, none above its most."""
    given = np.minimum(np.floor(wanted).astype(np.int64), most)
    while (short := count - int(given.sum())) > 0:
        order = np.argsort(-(wanted - given) - (given >= most) * -1e9, kind="stable")
        free = order[given[order] < most[order]][:short]
        given[free] += 1
    return given
