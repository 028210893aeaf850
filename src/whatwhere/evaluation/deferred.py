"""Predictions that are made when they are first looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from whatwhere.types import Prediction


class Deferred(Sequence[Prediction]):
    """A sequence of known length; scoring boxes from arrays needs no object for each picture.

    Args:
        count: how many there are.
        make: gives all of them.
    """

    def __init__(self, count: int, make: Callable[[], Sequence[Prediction]]) -> None:
        self._count, self._make = count, make
        self._made: Sequence[Prediction] | None = None

    def _all(self) -> Sequence[Prediction]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Prediction: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Prediction]: ...

    def __getitem__(self, place: int | slice) -> Prediction | Sequence[Prediction]:
        return self._all()[place]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self._all())
