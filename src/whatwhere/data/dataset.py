"""The data set: a table of pictures and a table of labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.findings import Finding
from whatwhere.data.paths import PathTable
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, LABEL_COLUMNS, table
from whatwhere.errors import UsageError
from whatwhere.images import shown_path
from whatwhere.types import Boxes, Labels, Task


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The labels of one picture.

    Args:
        class_ids: int64 (N,), positions in `Dataset.names`.
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels after EXIF turning; None if the data
            set has no boxes. NaN where a label of a detection set has none: the class is
            in the picture, nobody said where.
        ignore: bool (N,); such a row is never a miss and never makes a false positive.
    """

    class_ids: NDArray[np.int64]
    boxes: Boxes | None
    ignore: NDArray[np.bool_]

    def located(self) -> Targets:
        """Only the labels that have a box; all of them where the data set has no boxes."""
        if self.boxes is None or np.isfinite(self.boxes).all():
            return self
        there = np.isfinite(self.boxes).all(axis=1)
        return Targets(self.class_ids[there], self.boxes[there], self.ignore[there])


class Dataset:
    """Labelled pictures. Not changed after it is made; each method gives a new one.

    Args:
        images: one row a picture, columns as in `IMAGE_COLUMNS`; missing ones become null.
        labels: one row a label, columns as in `LABEL_COLUMNS`; `image` is the row number
            in `images`. Rows are sorted by picture.
        names: the class names; `class_id` is a position here.
        findings: what was wrong when it was read.
        source: the path that was read, as given.
        root: folder that relative names of pictures start from.
        format: short name of the format.
        recognised: one phrase that says what the format was recognised by.
        task: by default read off the rows.
        category_ids: the format's own number of each name; empty if it has none.
        class_info: what else is known of a class, by its name: {"cat": {"supercategory":
            "animal", "mid": "/m/01yrx"}}.
        info: what is known of the whole: licences, description, hierarchy of classes.

    Attributes:
        images_folder: folder of the pictures that the reader was given; "" for none.
    """

    def __init__(
        self,
        images: pl.DataFrame | Mapping[str, Sequence[Any]],
        labels: pl.DataFrame | Mapping[str, Sequence[Any]],
        names: Labels | Sequence[str],
        *,
        findings: Sequence[Finding] = (),
        source: str = "",
        root: str = "",
        format: str = "",
        recognised: str = "",
        task: Task | None = None,
        category_ids: Sequence[int] = (),
        class_info: Mapping[str, Mapping[str, Any]] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.images = table(images, IMAGE_COLUMNS)
        self.labels = table(labels, LABEL_COLUMNS).sort("image", maintain_order=True)
        self.names = names if isinstance(names, Labels) else Labels(names)
        self.findings = tuple(findings)
        self.source, self.root = source, root
        self.format, self.recognised = format, recognised
        self.images_folder = ""
        self.category_ids = tuple(category_ids)
        self.class_info = {name: dict(known) for name, known in (class_info or {}).items()}
        self.info = dict(info or {})
        self._task: Task | None = task
        if self.labels.height:
            last = int(self.labels["image"][-1])
            low, high = self.labels["class_id"].min(), self.labels["class_id"].max()
            if last >= self.images.height:
                raise UsageError(f"a label names picture {last} of {self.images.height}")
            if not (isinstance(low, int) and isinstance(high, int) and 0 <= low <= high):
                raise UsageError("every label needs a class_id of at least 0")
            if high >= len(self.names) or self.labels["class_id"].null_count():
                raise UsageError(f"a label names class {high} of {len(self.names)}")

    def __len__(self) -> int:
        """Number of pictures."""
        return self.images.height

    def __repr__(self) -> str:
        return (
            f"Dataset({self.source!r}, format={self.format!r}, task={self.task!r},"
            f" images={len(self)}, labels={self.labels.height}, classes={len(self.names)})"
        )

    @cached_property
    def task(self) -> Task:
        """Read off the rows: boxes mean "detect", one label a picture means "classify"."""
        if self._task is not None:
            return self._task
        if self.labels["x1"].null_count() < self.labels.height:
            return "detect"
        return "classify" if (np.diff(self._offsets) == 1).all() else "multilabel"

    @cached_property
    def paths(self) -> PathTable:
        """Absolute path of each picture, as a sequence that forked processes can share."""
        return PathTable.of(self.images["path"])

    @property
    def splits(self) -> dict[str, int]:
        """Number of pictures of each named split, train, val and test first."""
        counts = dict(
            self.images.filter(pl.col("split").is_not_null())
            .group_by("split", maintain_order=True)
            .len()
            .iter_rows()
        )
        first = [name for name in ("train", "val", "test") if name in counts]
        return {name: counts[name] for name in first + sorted(counts.keys() - set(first))}

    @property
    def kept_out(self) -> int:
        """Number of labels that are not in the table; each has its finding."""
        return sum(finding.boxes for finding in self.findings)

    # targets() is called by training's worker processes; polars may hang after a fork, so
    # it reads these arrays only.
    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        counts = np.bincount(self.labels["image"].to_numpy(), minlength=len(self))
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def _columns(self) -> tuple[NDArray[np.int64], Boxes | None, NDArray[np.bool_]]:
        ids = self.labels["class_id"].to_numpy().astype(np.int64)
        ignore = self.labels["ignore"].to_numpy().astype(np.bool_)
        boxes = None
        if self.task == "detect":
            columns = [self.labels[name].to_numpy() for name in BOX]
            boxes = np.stack(columns, axis=1).astype(np.float32).reshape(-1, 4)
        return ids, boxes, ignore

    def rows_of(self, i: int) -> tuple[int, int]:
        """First row of picture `i` in `labels`, and the one after its last."""
        return int(self._offsets[i]), int(self._offsets[i + 1])

    def targets(self, i: int) -> Targets:
        """The labels of picture `i`, in constant time; the arrays must not be changed.

        Raises:
            UsageError: there is no such picture.
        """
        if not 0 <= i < len(self):
            raise UsageError(f"there is no picture {i}: the data set has {len(self)}")
        rows = slice(self._offsets[i], self._offsets[i + 1])
        ids, boxes, ignore = self._columns
        return Targets(ids[rows], None if boxes is None else boxes[rows], ignore[rows])

    def _like(self, images: pl.DataFrame, labels: pl.DataFrame, **changes: Any) -> Dataset:
        kept: dict[str, Any] = {
            "source": self.source,
            "root": self.root,
            "format": self.format,
            "recognised": self.recognised,
            "task": self.task,
            "category_ids": self.category_ids,
            "class_info": self.class_info,
            "info": self.info,
            "names": self.names,
        }
        made = Dataset(images, labels, **(kept | changes))
        made.images_folder = self.images_folder
        return made

    def select(self, rows: Sequence[int] | NDArray[Any]) -> Dataset:
        """The pictures at these row numbers, in this order, with their labels.

        The class names and the task stay; findings stay with the whole.

        Raises:
            UsageError: a row number is outside the data set.
        """
        chosen = np.asarray(rows)
        if chosen.dtype == np.bool_ and chosen.shape == (len(self),):
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64).reshape(-1)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise UsageError(f"rows must be in 0..{len(self) - 1}")
        starts, counts = self._offsets[chosen], np.diff(self._offsets)[chosen]
        ends = np.cumsum(counts)
        inner = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
        labels = self.labels[np.repeat(starts, counts) + inner]
        image = pl.Series("image", np.repeat(np.arange(chosen.size), counts), pl.UInt32)
        return self._like(self.images[chosen], labels.with_columns(image))

    def split_named(self, name: str) -> Dataset:
        """The pictures of one split.

        Raises:
            UsageError: there is no such split; the message lists those that there are.
        """
        rows = np.flatnonzero((self.images["split"] == name).fill_null(False).to_numpy())
        if rows.size == 0:
            known = ", ".join(self.splits) or "none"
            raise UsageError(f"{self.source or 'the data set'} has no split {name!r}, only {known}")
        return self.select(rows)

    def split(
        self,
        *fractions: float,
        seed: int = 0,
        group: str | None = None,
        near_duplicates: bool | NDArray[np.int64] = True,
    ) -> tuple[Dataset, ...]:
        """Divide into parts, such as 0.8, 0.1, 0.1; the same on every machine.

        Each part gets its share of each class, as far as what stays together allows it.

        Args:
            fractions: share of each part; they add up to 1.
            seed: another seed gives other parts.
            group: column of `images` whose equal values stay together, or "folder" for the
                folder of the picture.
            near_duplicates: keep pictures together that are nearly the same, for which each
                is decoded; or int64 (N,), equal for those that stay together, as
                `whatwhere.data.partition.near_groups` gives it.

        Raises:
            UsageError: the fractions do not add up to 1, or there is no such column.
        """
        from whatwhere.data.partition import parts

        chosen = parts(self, fractions, seed=seed, group=group, near=near_duplicates)
        return tuple(self.select(rows) for rows in chosen)

    def with_splits(
        self,
        fractions: Mapping[str, float],
        *,
        seed: int = 0,
        group: str | None = None,
        near_duplicates: bool | NDArray[np.int64] = True,
        keep: Sequence[str] = (),
    ) -> Dataset:
        """The same pictures and findings with new split names, divided as by `split`.

        Pictures of the splits named by `keep` stay there; the others are divided.
        """
        from whatwhere.data.partition import split_names

        names = split_names(
            self, fractions, seed=seed, group=group, near=near_duplicates, keep=keep
        )
        images = self.images.with_columns(pl.Series("split", names, pl.String))
        return self._like(images, self.labels, findings=self.findings)

    def folds(
        self,
        count: int,
        *,
        seed: int = 0,
        group: str | None = None,
        near_duplicates: bool | NDArray[np.int64] = True,
        keep: Sequence[str] = (),
    ) -> list[Dataset]:
        """For cross-validation: as many copies of the table, each with another part as "val".

        Every picture is in "val" once and in "train" otherwise; see `with_splits`.

        Raises:
            UsageError: fewer than two folds, or more than pictures or groups of them.
        """
        if not 2 <= count <= len(self):
            raise UsageError(
                f"{len(self)} pictures can be divided into 2 or more folds, not {count}"
            )
        names = [f"fold{number}" for number in range(count)]
        divided = self.with_splits(
            dict.fromkeys(names, 1 / count),
            seed=seed,
            group=group,
            near_duplicates=near_duplicates,
            keep=keep,
        )
        empty = count - len(divided.splits.keys() & set(names))
        if empty:
            raise UsageError(
                f"what stays together leaves {empty} of {count} folds without pictures: ask for at"
                f" most {count - empty}"
            )
        column = pl.col("split")
        return [
            self._like(
                divided.images.with_columns(
                    pl.when(column == name)
                    .then(pl.lit("val"))
                    .when(column.is_in(names))
                    .then(pl.lit("train"))
                    .otherwise(column)
                    .alias("split")
                ),
                self.labels,
                findings=self.findings,
            )
            for name in names
        ]

    def as_multilabel(self) -> Dataset:
        """Which classes each picture shows: boxes dropped, each class once a picture.

        A class is ignored in a picture if all its labels there are.
        """
        labels = self.labels.group_by("image", "class_id", maintain_order=True).agg(
            pl.col("ignore").all(),
            pl.col("score").max(),
            pl.col("source").first(),
            pl.col("record").first(),
        )
        return self._like(self.images, labels, task="multilabel")

    def relative_paths(self) -> list[str]:
        """Name of each picture from the data set's folder, with forward slashes."""
        paths = [shown_path(path) for path in self.paths]
        if not self.root:
            return [Path(path).as_posix() for path in paths]
        start = self.root.rstrip("/\\") + os.sep
        return [
            (
                path[len(start) :] if path.startswith(start) else os.path.relpath(path, self.root)
            ).replace(os.sep, "/")
            for path in paths
        ]

    def digest(self) -> str:
        """SHA-256 over class names and, by picture, its relative name, size, split and labels.

        The same after the folder was moved, and whatever order pictures and labels had.
        """
        names = self.relative_paths()
        order = np.array(sorted(range(len(self)), key=names.__getitem__), dtype=np.int64)
        rank = np.empty(len(self), dtype=np.int64)
        rank[order] = np.arange(len(self))
        digest = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape"))
        digest.update("\0".join(names[i] for i in order).encode("utf-8", "surrogateescape"))
        images = self.images[order]
        digest.update("\0".join(split or "" for split in images["split"]).encode())
        for name in ("width", "height"):
            digest.update(images[name].fill_null(0).to_numpy().astype("<i4").tobytes())
        columns = [
            rank[self.labels["image"].to_numpy().astype(np.int64)].astype("<f8"),
            self.labels["class_id"].to_numpy().astype("<f8"),
            *(self.labels[name].fill_null(-1).to_numpy().astype("<f8") for name in BOX),
            self.labels["ignore"].to_numpy().astype("<f8"),
        ]
        rows = np.stack(columns, axis=1)
        digest.update(np.ascontiguousarray(rows[np.lexsort(rows.T[::-1])]).tobytes())
        return digest.hexdigest()

    def stats(self, *, full: bool = False) -> dict[str, Any]:
        """Counts: `images`, `labels`, `boxes`, `classes` (name: labels), `splits`.

        Args:
            full: all that `whatwhere.data.statistics.statistics` counts, too.
        """
        if full:
            from whatwhere.data.statistics import statistics

            return statistics(self)
        counts = np.bincount(self._columns[0], minlength=len(self.names))
        return {
            "images": len(self),
            "labels": self.labels.height,
            "boxes": self.labels.height - self.labels["x1"].null_count(),
            "classes": {name: int(count) for name, count in zip(self.names, counts, strict=True)},
            "splits": self.splits,
        }

    def check(
        self,
        *,
        depth: Literal["labels", "headers", "pixels"] = "pixels",
        near: bool = True,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> list[Finding]:
        """Everything that is wrong: what reading found, and a closer look.

        Args:
            depth: "labels" opens no picture; "headers" compares sizes and finds what is cut
                off and what is there twice; "pixels" decodes each picture, too, and finds
                damage inside and near duplicates.
            near: whether to look for near duplicates.
            progress: called with what is done, the number of pictures done, and of all.
        """
        from whatwhere.data.checks import check

        return check(self, depth=depth, near=near, progress=progress)

    def write(
        self,
        folder: str | os.PathLike[str],
        format: str,
        *,
        pictures: Literal["copy", "link", "reference", "none"] = "copy",
    ) -> tuple[Finding, ...]:
        """Write the data set to a new folder; whole or not at all.

        Args:
            folder: must not exist, or be empty.
            format: such as "coco"; `whatwhere.data.formats.formats()` has all of them. A
                format that can be written in two ways takes its name with one ("cvat:video").
            pictures: "copy" the files; hard "link" them (a copy where the file system cannot);
                "reference" the originals by symbolic links; or write "none", labels only.

        Returns:
            What the format cannot hold, so is not in the copy: one finding a column.

        Raises:
            UsageError: the folder has content, or the format is unknown or for another task.
            WhatwhereError: the disk is full.
        """
        from whatwhere.data.formats import write

        return write(self, folder, format, pictures)

    def filter(
        self,
        where: str | None = None,
        *,
        classes: Sequence[str] | None = None,
        without: Sequence[str] = (),
        min_size: float | None = None,
        max_size: float | None = None,
        flags: Sequence[str] = (),
        split: str | Sequence[str] | None = None,
        keep_empty: bool = False,
        rest: Literal["remove", "ignore"] = "remove",
    ) -> Dataset:
        """The labels and pictures for which all conditions hold.

        Conditions on labels choose labels, and then the pictures that have one; conditions on
        pictures alone (`split`, and parts of `where` that name no column of labels) choose
        pictures with all their labels. Findings stay with the whole, as with `select`.

        Args:
            where: an expression such as 'width > 500 and name in ("car", "bus") and not
                truncated'; `whatwhere.data.expressions` says what is allowed, and
                `whatwhere.data.operations.COLUMNS` has the names.
            classes: only these; the data set then has no others.
            without: all classes but these.
            min_size, max_size: the shorter side of a box is at least, the longer at most so
                many pixels.
            flags: "difficult" for labels that are, "no-difficult" for those that are not;
                also truncated, occluded, crowd and ignore.
            split: pictures of this split, or of these.
            keep_empty: keep pictures of which no label is left, as background.
            rest: what becomes of labels that sizes, flags and `where` do not choose. An
                object that is "remove"d is in the picture still, so a model is trained not to
                find it; to "ignore" it counts neither way.

        Raises:
            UsageError: an unknown class, split, flag or column; an expression that is none.
        """
        from whatwhere.data.operations import filter_dataset

        return filter_dataset(
            self,
            where,
            classes=classes,
            without=without,
            min_size=min_size,
            max_size=max_size,
            flags=flags,
            split=split,
            keep_empty=keep_empty,
            rest=rest,
        )

    def sample(
        self, count: int | None = None, *, share: float | None = None, seed: int = 0
    ) -> Dataset:
        """Some of the pictures, the same ones for the same seed, on every machine.

        Each class is in it if `count` allows that; beyond it, splits and classes keep their
        shares, rare classes above all.

        Args:
            count: number of pictures; or
            share: their share, more than 0 and at most 1.
            seed: another seed gives another sample.

        Raises:
            UsageError: neither or both are given, or there are not so many pictures.
        """
        from whatwhere.data.sampling import sample

        return sample(self, count, share=share, seed=seed)

    def rename(self, mapping: Mapping[str, str]) -> Dataset:
        """Other class names; classes that get one name become one class.

        All names change at once, so two can be exchanged. Of classes that become one, the one
        that had the name keeps its number and what is known of it. Records and findings stay.

        Args:
            mapping: new name by old name; classes that are not in it stay.

        Raises:
            UsageError: there is no such class; the message proposes near ones.
        """
        from whatwhere.data.operations import rename

        return rename(self, mapping)

    def as_classify(self) -> Dataset:
        """A set of which each picture has exactly one class, as single-label classification.

        Boxes are dropped and a class counts once; ignored labels do not count.

        Raises:
            UsageError: a picture has no class or several; the message names the first.
        """
        from whatwhere.data.operations import as_classify

        return as_classify(self)

    def as_crops(self, margin: float = 0.0) -> Dataset:
        """Each box as a picture with its class: a single-label set.

        Nothing is written: the pictures are paths such as `street.jpg!/crop+10,20,110,220/
        street-1.jpg`, decoded from the whole picture each time. `write` makes them files (JPEG
        of quality 95 for crops of JPEG, PNG for others), which is quicker to train on. Crops
        of one picture are of one group. Ignored labels give no crop; a finding counts them.

        Args:
            margin: what is added on each side, as a share of the box's width and height; cut
                at the picture's edge. Boxes that end inside a pixel get all of it.

        Raises:
            UsageError: the data set has no boxes, or the margin is negative.
        """
        from whatwhere.data.crops import as_crops

        return as_crops(self, margin)
