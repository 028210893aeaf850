"""Find the picture that a file of predictions means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whatwhere.errors import DataError


class ByName:
    """Rows of pictures by path, or by as much of its end as it takes to tell them apart."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._exact = {path: row for row, path in enumerate(paths)}
        self._parts = [Path(path).parts for path in paths]
        self._by_file: dict[str, list[int]] = {}
        for row, parts in enumerate(self._parts):
            self._by_file.setdefault(parts[-1] if parts else "", []).append(row)

    def row(self, name: str, where: str) -> int | None:
        """The row of a picture, None if it is not there.

        Raises:
            DataError: several pictures fit equally well.
        """
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        # Forward slashes and backslashes, whichever system wrote the file.
        parts = Path(name.replace("\\", "/")).parts
        rows = self._by_file.get(parts[-1], []) if parts else []
        if len(rows) < 2:
            return rows[0] if rows else None
        lengths = [_same_end(parts, self._parts[row]) for row in rows]
        best = max(lengths)
        fitting = [row for row, length in zip(rows, lengths, strict=True) if length == best]
        if len(fitting) > 1:
            raise DataError(
                f"{where}: {name} can be {len(fitting)} pictures of the data: predict with paths"
                " that tell them apart"
            )
        return fitting[0]


def _same_end(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        count += 1
    return count
