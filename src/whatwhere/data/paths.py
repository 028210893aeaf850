"""Many paths in few objects.

A list of a million strings is a million Python objects, and each has a reference count. A
process that was forked to load pictures writes into the page of every string that it looks
at, so page after page is copied, and each worker ends with a list of its own. Here all
characters lie in one `bytes` object: looking at one path writes nothing into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

# Rows that are taken out of the table, or turned into text, at a time.
_BLOCK = 1 << 16


class PathTable(Sequence[str]):
    """Strings behind one another in UTF-8; equal to a list of the same strings.

    Args:
        data: all of them; a view of a mapped file cannot be pickled.
        starts: int64 (N + 1,); string i is at starts[i]:starts[i + 1] of the bytes.
    """

    __slots__ = ("_data", "_starts")

    def __init__(self, data: bytes | memoryview, starts: NDArray[np.int64]) -> None:
        self._data, self._starts = data, starts

    @classmethod
    def of(cls, paths: pl.Series | Sequence[str]) -> PathTable:
        """The strings of a column or another sequence; null counts as empty."""
        column = paths if isinstance(paths, pl.Series) else pl.Series(list(paths), dtype=pl.String)
        column = column.fill_null("")
        lengths = column.str.len_bytes().to_numpy()
        starts = np.zeros(len(column) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        # In blocks, for a short while there is a second copy of one of them only.
        blocks = (column[at : at + _BLOCK].str.join("")[0] for at in range(0, len(column), _BLOCK))
        return cls(b"".join(block.encode() for block in blocks), starts)

    def __len__(self) -> int:
        return self._starts.size - 1

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        count = len(self)
        if not -count <= place < count:
            raise IndexError(f"there is no path {place} of {count}")
        i = place + count if place < 0 else place
        return str(self._data[self._starts[i] : self._starts[i + 1]], "utf-8")

    def __iter__(self) -> Iterator[str]:
        for at in range(0, len(self), _BLOCK):
            starts = self._starts[at : at + _BLOCK + 1].tolist()
            block = bytes(self._data[starts[0] : starts[-1]])
            first = starts[0]
            if block.isascii():
                text = block.decode()
                for i in range(len(starts) - 1):
                    yield text[starts[i] - first : starts[i + 1] - first]
            else:
                for i in range(len(starts) - 1):
                    yield block[starts[i] - first : starts[i + 1] - first].decode()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PathTable):
            same = np.array_equal(self._starts, other._starts)
            return same and self._data == other._data
        if isinstance(other, list):
            return len(self) == len(other) and all(map(str.__eq__, self, other))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"PathTable([{shown}{', ...' if len(self) > 3 else ''}], {len(self)} paths)"

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return len(self._data) + int(self._starts.nbytes)
