"""Whether a number is of pictures that the model has seen, and whether splits share pictures."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.data.sketches import SEEN, Prints, Sketches
from whatwhere.runtime import Predictor

SHOWN = 100
"""Pairs that are kept, the most alike first."""

_TAIL = 4096
_MOST_FILES = 200_000
"""Of larger data sets files are not compared: looking at each of them takes too long here."""


@dataclass(frozen=True, slots=True)
class LeakedPair:
    """A picture, and the training picture that it nearly is.

    Args:
        image: its name in the data.
        twin: the training picture's file at the time; None where only fingerprints were kept.
        likeness: agreement of their fine structure; 1 for a copy, 0.5 or more for near ones.
    """

    image: str
    twin: str | None
    likeness: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"image": self.image, "twin": self.twin, "likeness": round(self.likeness, 3)}


@dataclass(frozen=True, slots=True, eq=False)
class Leaks:
    """Which of the pictures a model was trained on, or on near copies of them.

    Args:
        images: pictures that were looked for.
        rows: int64, which of them were found, as rows of the data.
        trained: pictures that the model was trained on.
        compared: those of them whose fingerprints are at hand; fewer where the model file holds a
            sample.
        pairs: the most alike, at most `SHOWN`.
        without: numbers without the found pictures, by standard name; None if no picture was
            found, or none is left.
        left_out: whether the result itself is without them.
    """

    images: int
    rows: NDArray[np.int64]
    trained: int
    compared: int
    pairs: tuple[LeakedPair, ...]
    without: Mapping[str, float | None] | None = None
    left_out: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "images": self.images,
            "leaked": len(self.rows),
            "trained": self.trained,
            "compared": self.compared,
            "left_out": self.left_out,
            "without": None if self.without is None else dict(self.without),
            "pairs": [pair.to_dict() for pair in self.pairs],
        }

    def note(self, name: str, value: float | None) -> str | None:
        """A sentence; None if nothing was found.

        Args:
            name: of the main number.
            value: of all pictures.
        """
        found = len(self.rows)
        if not found:
            return None
        first = self.pairs[0]
        such = f"such as {first.image}" + (f", which is {first.twin}" if first.twin else "")
        said = (
            f"{found} of {self.images} pictures are nearly the same as pictures that the model was"
            f" trained on ({such})"
        )
        if self.compared < self.trained:
            said += (
                f", by a sample of {self.compared:,} of its {self.trained:,} training pictures, so"
                " that there may be more"
            )
        if self.left_out:
            return f"{said}; they are left out"
        if self.without is None:
            return f"{said}: the numbers say how well it remembers, not how good it is"
        return (
            f"{said}; without them {name} is {_number(self.without[name])} in place of"
            f" {_number(value)} (--without-leaks leaves them out)"
        )


def seen_by(predictor: Predictor) -> Sketches | None:
    """What is known of the pictures that a model was trained on; None if nothing is.

    All of them with their names from the run's folder, if the model file lies there; else what
    the file itself holds.

    Raises:
        DataError: it is damaged.
    """
    file, about = predictor.file, predictor.spec.data
    if file is not None and about is not None:
        beside = file.parent / SEEN
        if beside.is_file():
            whole = Sketches.from_file(beside.read_bytes(), str(beside))
            if whole.digest == about.digest:
                return whole
    return Sketches.from_text(predictor.seen, str(file or "model")) if predictor.seen else None


def find_leaks(seen: Sketches, prints: Prints, names: Sequence[str]) -> Leaks:
    """Look for pictures among those of a training.

    Args:
        seen: of the training pictures.
        prints: of the pictures in question, and their `names`.
    """
    twins = seen.find(prints)
    rows = np.flatnonzero(twins.row >= 0)
    order = rows[np.argsort(-twins.likeness[rows], kind="stable")][:SHOWN]
    pairs = tuple(
        LeakedPair(
            names[row],
            seen.names[int(twins.row[row])] if seen.names else None,
            float(twins.likeness[row]),
        )
        for row in order.tolist()
    )
    return Leaks(len(names), rows, seen.total, len(seen), pairs)


def split_notes(data: Dataset, split: str | None) -> list[str]:
    """What a split shares with others: the same files, and groups. No picture is decoded.

    Near copies are found by `Dataset.check`, which takes longer.

    Args:
        data: all of it.
        split: the one that is scored; None for all, which share nothing with others.
    """
    if split is None or len(data.splits) < 2:
        return []
    splits = data.images["split"].to_list()
    advice = f"see  whatwhere data check {data.source}"
    notes = []
    same = _same_files(data.paths, splits, split) if len(splits) <= _MOST_FILES else {}
    if same:
        names = data.relative_paths()
        row, other = min(same.items())
        notes.append(
            f"{len(same)} pictures of the split {split} are in other splits, too (such as"
            f" {names[row]}, which is {names[other]} in {splits[other]}): {advice}"
        )
    grouped = data.images.select("group", "split").drop_nulls()
    mine = grouped.filter(pl.col("split") == split)
    others = grouped.filter(pl.col("split") != split)
    torn = mine.filter(pl.col("group").is_in(others["group"].unique().to_list()))
    if torn.height:
        notes.append(
            f"{torn.height} pictures of the split {split} belong to groups of which other splits"
            f" have pictures (such as {torn['group'][0]}): {advice}"
        )
    return notes


def _same_files(paths: Sequence[str], splits: Sequence[str | None], split: str) -> dict[int, int]:
    """A row of another split with the same bytes, by row; only files of their own."""
    mine = {row for row, name in enumerate(splits) if name == split}
    theirs = [row for row, name in enumerate(splits) if name not in (None, split)]
    sized = _grouped(((row, _size(paths[row])) for row in [*mine, *theirs]), mine)
    # The ends of pictures differ where their beginnings, written by one camera, do not.
    ended = _grouped(((row, (key, _tail(paths[row]))) for key, row in sized), mine)
    whole = _grouped(((row, _digest(paths[row])) for _, row in ended), mine)
    groups: dict[Any, list[int]] = defaultdict(list)
    for key, row in whole:
        groups[key].append(row)
    return {
        row: next(other for other in rows if other not in mine)
        for rows in groups.values()
        for row in rows
        if row in mine
    }


def _grouped(keyed: Iterable[tuple[int, Any]], mine: set[int]) -> list[tuple[Any, int]]:
    """Keys and rows of what both sides have; a key of None is like no other."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for row, key in keyed:
        if key is not None:
            groups[key].append(row)
    return [
        (key, row)
        for key, rows in groups.items()
        if any(row in mine for row in rows) and any(row not in mine for row in rows)
        for row in rows
    ]


def _size(path: str) -> int | None:
    try:
        # Pictures inside other files are no files, and are left to the check of the data.
        return Path(path).stat().st_size or None
    except (OSError, ValueError):
        return None


def _tail(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            return file.read(_TAIL)
    except OSError:
        return None


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
