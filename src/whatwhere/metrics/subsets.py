"""Numbers of several parts of the data, in the same samples of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.bootstrap import Key, Weighted, Weights


class SubsetNumbers:
    """A number of parts of the pictures; a `bootstrap.Weighted`.

    Since all parts are computed from the same weights, tests of them can be corrected together
    (`paired.differences`), even where parts overlap.

    Args:
        images: number of pictures M of the whole.
        name: which number of each part.
        parts: by the part's name, its pictures (int64, rows of the whole) and its numbers as a
            function of those pictures' weights, in that order.
    """

    def __init__(
        self, images: int, name: str, parts: Mapping[str, tuple[NDArray[np.int64], Weighted]]
    ) -> None:
        self.images = images
        self.keys: tuple[Key, ...] = tuple((name, part) for part in parts)
        self._parts = [
            (rows, numbers, numbers.keys.index((name, None))) for rows, numbers in parts.values()
        ]
        ends = [numbers.bounds for _, numbers in parts.values()]
        self.bounds = (min(low for low, _ in ends), max(high for _, high in ends))

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `bootstrap.Weighted`."""
        return np.array(
            [numbers.support(units[rows])[at] for rows, numbers, at in self._parts], dtype=np.int64
        )

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """See `bootstrap.Weighted`."""
        columns = [
            numbers(np.ascontiguousarray(weights[:, rows]))[:, at]
            for rows, numbers, at in self._parts
        ]
        return np.stack(columns, axis=1)


class ChosenNumbers:
    """Some numbers of several `bootstrap.Weighted` of the same pictures, under one name.

    Numbers of one name are tested together, so tests of all of them are corrected as one family.

    Args:
        name: of all of them.
        parts: numbers, and which of their keys to take; the class of a key stays.
    """

    def __init__(self, name: str, parts: Sequence[tuple[Weighted, Sequence[Key]]]) -> None:
        self._parts = [
            (numbers, [numbers.keys.index(key) for key in chosen]) for numbers, chosen in parts
        ]
        self.images = parts[0][0].images
        self.keys: tuple[Key, ...] = tuple((name, key[1]) for _, chosen in parts for key in chosen)
        ends = [numbers.bounds for numbers, _ in parts]
        self.bounds = (min(low for low, _ in ends), max(high for _, high in ends))

    def support(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `bootstrap.Weighted`."""
        return np.concatenate([numbers.support(units)[at] for numbers, at in self._parts])

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """See `bootstrap.Weighted`."""
        return np.concatenate([numbers(weights)[:, at] for numbers, at in self._parts], axis=1)
