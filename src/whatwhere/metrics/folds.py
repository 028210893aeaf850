"""Parts of a set, so that what is fitted on some pictures is judged on others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError

FOLDS = 5


def folds(
    groups: NDArray[np.int64], number: int = FOLDS, seed: int = 0
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Masks (N,) of the rows to fit on and of the rest to judge, `number` times.

    Rows of one group, such as the boxes of a picture, stay together. Each row is judged once.

    Args:
        groups: int64 (N,).
        number: number of parts; with fewer groups, as many as groups.
        seed: of the shuffle.

    Raises:
        UsageError: `number` is below 2, or there are fewer than 2 groups.
    """
    distinct, place = np.unique(groups, return_inverse=True)
    if number < 2:
        raise UsageError(f"folds must be at least 2, not {number}")
    if len(distinct) < 2:
        raise UsageError(f"{len(distinct)} pictures cannot be split into folds: give at least 2")
    part = np.random.default_rng(seed).permutation(len(distinct)) % min(number, len(distinct))
    of_row = part[place]
    for one in range(int(part.max()) + 1):
        yield of_row != one, of_row == one
