"""One table of labels: its columns, and the classes of each row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.formats._label_columns import NO, UNKNOWN, YES, Roles, key_of
from whatwhere.data.formats._label_tables import Table


class Part:
    """One table: its columns and, for each row, the labels.

    Args:
        loaded: the table.
        roles: what its columns are.
        split: what the file's name says.

    Attributes:
        classes: the names in the header, if each class has a column.
        codes: int8 (rows, classes): 1, 0, -1 for unknown, -2 for what is none of these.
        names: the classes of each row.
    """

    def __init__(self, loaded: Table, roles: Roles, split: str | None) -> None:
        self.table, self.roles, self.split = loaded, roles, split
        self.codes = _codes([loaded.columns[at] for at in roles.classes], len(loaded.records))
        self.classes = [loaded.header[at] for at in roles.classes]
        if roles.label is not None:
            self.names = _names_in_cells(loaded, roles)
        else:
            self.names = [[] for _ in loaded.records]
            for row, at in zip(*(one.tolist() for one in np.nonzero(self.codes == 1)), strict=True):
                self.names[row].append(self.classes[at])

    @property
    def single(self) -> bool:
        """Whether each row has one class, and is known to have no other."""
        if self.roles.task is not None:
            return self.roles.task == "classify"
        if self.roles.label is None:
            return self.codes.shape[1] > 1 and bool(
                ((self.codes == 1).sum(1) == 1).all() and (self.codes >= 0).all()
            )
        if self.roles.separator is not None or self.roles.label in self.table.lists:
            return all(len(one) == 1 for one in self.names)
        plural = key_of(self.table.header[self.roles.label]).endswith("s")
        return not (plural and any(not one for one in self.names))


def _codes(columns: Sequence[Sequence[str]], rows: int) -> NDArray[np.int8]:
    """int8 (rows, columns): 1 and 0, -1 for unknown, -2 for anything else."""
    out = np.empty((rows, len(columns)), np.int8)
    for at, column in enumerate(columns):
        code = {}
        for value in set(column):
            cell = value.strip().lower()
            code[value] = 1 if cell in YES else 0 if cell in NO else -1 if cell in UNKNOWN else -2
        out[:, at] = [code[value] for value in column]
    return out


def _names_in_cells(loaded: Table, roles: Roles) -> list[list[str]]:
    at = roles.label or 0
    if at in loaded.lists:
        return [list(dict.fromkeys(one)) for one in loaded.lists[at]]
    if roles.verbatim:
        return [[value] if value.strip() else [] for value in loaded.columns[at]]
    sign = roles.separator
    known: dict[str, list[str]] = {}
    for value in set(loaded.columns[at]):
        parts = [value] if sign is None else value.split(sign)
        known[value] = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    return [known[value] for value in loaded.columns[at]]
