"""How a data set is divided: which classes are balanced and what is kept together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.near import Progress, groups_of, see
from whatwhere.data.splitting import group_numbers, split_rows
from whatwhere.errors import UsageError
from whatwhere.images import shown_path

if TYPE_CHECKING:
    from whatwhere.data.dataset import Dataset

Near = bool | NDArray[np.int64]


def near_groups(dataset: Dataset, progress: Progress | None = None) -> NDArray[np.int64]:
    """A number for each picture, equal for near duplicates: int64 (N,).

    Pictures that cannot be read are like no other. See `whatwhere.data.near`.
    """
    return groups_of(len(dataset), see(dataset.paths, progress).pairs())


def parts(
    dataset: Dataset,
    fractions: Sequence[float],
    *,
    seed: int = 0,
    group: str | None = None,
    near: Near = True,
) -> list[NDArray[np.int64]]:
    """Row numbers of each part; see `Dataset.split`."""
    groups = _groups(dataset, group, near)
    rows = dataset.labels["image"].to_numpy().astype(np.int64)
    ids = dataset.labels["class_id"].to_numpy().astype(np.int64)
    count = len(dataset)
    if dataset.task == "classify" and len(ids) == count:
        return split_rows(count, fractions, seed=seed, strata=ids, groups=groups)
    return split_rows(count, fractions, seed=seed, labels=(rows, ids), groups=groups)


def split_names(
    dataset: Dataset,
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    group: str | None = None,
    near: Near = True,
    keep: Sequence[str] = (),
) -> list[str | None]:
    """The split of each picture; see `Dataset.with_splits`."""
    splits = dataset.images["split"]
    check_kept(dataset, fractions, keep)
    names = np.array(splits.to_list(), dtype=object)
    free = np.flatnonzero(~splits.is_in(list(keep)).fill_null(False).to_numpy())
    rest = dataset if free.size == len(dataset) else dataset.select(free)
    near = near[free] if isinstance(near, np.ndarray) else near
    shares = list(fractions.values())
    chosen = parts(rest, shares, seed=seed, group=group, near=near)
    for name, rows in zip(fractions, chosen, strict=True):
        names[free[rows]] = name
    return list(names)


def check_kept(dataset: Dataset, fractions: Collection[str], keep: Sequence[str]) -> None:
    """Whether these splits can be left as they are.

    Raises:
        UsageError: there is no such split, or it is to be divided anew, too.
    """
    missing = [name for name in keep if name not in dataset.splits]
    if missing:
        known = ", ".join(dataset.splits) or "none"
        raise UsageError(f"there is no split {missing[0]!r} to keep, only {known}")
    clash = [name for name in keep if name in fractions]
    if clash:
        raise UsageError(f"{clash[0]!r} cannot both be kept and get a share")


def group_column(dataset: Dataset, group: str | None) -> NDArray[np.int64] | None:
    """A number for each picture, equal where the column is: int64 (N,); None for no column.

    Raises:
        UsageError: there is no such column.
    """
    if group is None:
        return None
    if group == "folder":
        folders: list[str | None] = [str(Path(shown_path(path)).parent) for path in dataset.paths]
        return group_numbers(folders)
    if group not in dataset.images.columns:
        known = ", ".join(["folder", *dataset.images.columns])
        raise UsageError(f"there is no column {group!r} to group by, only {known}")
    return group_numbers(dataset.images[group].cast(pl.String).to_list())


def _groups(dataset: Dataset, group: str | None, near: Near) -> NDArray[np.int64] | None:
    """What stays together: pictures of one group, and near duplicates, and both joined."""
    numbers = group_column(dataset, group)
    if near is False:
        return numbers
    alike = near_groups(dataset) if near is True else group_numbers(near)
    if numbers is None:
        return alike
    rows = np.arange(len(dataset))
    links = [np.stack([one[one != rows], rows[one != rows]], axis=1) for one in (numbers, alike)]
    return groups_of(len(dataset), np.concatenate(links))
