"""What the ways of asking other programs share; see `foreign_formats`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _foreign_facts import Facts

from whatwhere.data import Dataset

Reader = Callable[[Path], Facts]
Writer = Callable[[Dataset, Path], dict[str, str] | None]
"""May return the new keys of pictures that it had to rename."""


def rows_of(dataset: Dataset) -> Iterator[tuple[int, Path, str, list[dict[str, Any]]]]:
    """Number, path, split and labels of each picture."""
    labels: list[list[dict[str, Any]]] = [[] for _ in range(len(dataset))]
    for row in dataset.labels.iter_rows(named=True):
        labels[row["image"]].append(row | {"name": dataset.names[row["class_id"]]})
    splits = dataset.images["split"].to_list()
    for number, (path, split) in enumerate(zip(dataset.paths, splits, strict=True)):
        yield number, Path(path), split or "", labels[number]


def corners(row: dict[str, Any]) -> tuple[float, float, float, float]:
    return row["x1"], row["y1"], row["x2"], row["y2"]


def copy(dataset: Dataset, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in dataset.paths:
        shutil.copy(path, folder)


def below(folder: Path, pattern: str) -> list[Path]:
    """Files of a pattern, in order; there must be one."""
    found = sorted(folder.rglob(pattern))
    if not found:
        raise FileNotFoundError(f"no {pattern} was written")
    return found


def read_names(folder: Path) -> list[str]:
    """Class names of data.yaml, by a YAML reader of others."""
    import yaml

    names = yaml.safe_load((folder / "data.yaml").read_text("utf-8"))["names"]
    return [names[number] for number in range(len(names))]


SIDES = ("xmin", "ymin", "xmax", "ymax")
