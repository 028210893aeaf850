"""Find the picture that a file of predictions means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whatwhere.errors import DataError
from whatwhere.images import result_name


class ByName:
    """Rows of pictures by path, or by as much of its end as it takes to tell them apart."""

    def __init__(self, paths: Sequence[str]) -> None:
        # Pictures in archives are named without the place of their bytes, by older files with it.
        shown = [result_name(path) for path in paths]
        self._exact = {name: row for names in (shown, paths) for row, name in enumerate(names)}
        self._parts = [Path(name).parts for name in shown]
        self._by_file: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] | None = None
        for row, parts in enumerate(self._parts):
            self._by_file.setdefault(parts[-1] if parts else "", []).append(row)

    def row(self, name: str, where: str, *, stem: bool = False) -> int | None:
        """The row of a picture, None if it is not there.

        Args:
            name: as much of the end of its path as was written.
            where: for messages.
            stem: whether the suffix (`.jpg`) may be missing.

        Raises:
            DataError: several pictures fit equally well.
        """
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        # Forward slashes and backslashes, whichever system wrote the file.
        parts = Path(name.replace("\\", "/")).parts
        rows = self._by_file.get(parts[-1], []) if parts else []
        if not rows and parts and stem:
            rows = self._stems().get(parts[-1], [])
        if len(rows) < 2:
            return rows[0] if rows else None
        lengths = [_same_end(parts[:-1], self._parts[row][:-1]) for row in rows]
        best = max(lengths)
        fitting = [row for row, length in zip(rows, lengths, strict=True) if length == best]
        if len(fitting) > 1:
            raise DataError(
                f"{where}: {name} can be {len(fitting)} pictures of the data: predict with paths"
                " that tell them apart"
            )
        return fitting[0]

    def _stems(self) -> dict[str, list[int]]:
        if self._by_stem is None:
            self._by_stem = {}
            for name, rows in self._by_file.items():
                self._by_stem.setdefault(Path(name).stem, []).extend(rows)
        return self._by_stem


def _same_end(a: Sequence[str], b: Sequence[str]) -> int:
    count = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        count += 1
    return count
