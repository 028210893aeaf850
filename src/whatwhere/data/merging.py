"""Several data sets as one: class names united, the same picture kept once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.contents import shared_contents
from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.errors import UsageError
from whatwhere.types import Task

_Row: TypeAlias = tuple[str, tuple[float, ...] | None]


def merge(
    datasets: Sequence[Dataset], *, prefixes: Sequence[str] | None = None, same: bool = True
) -> Dataset:
    """One data set of several; class names are what they have in common.

    A class name means the same in all of them. Splits and groups are kept. Where a detection
    or multi-label set does not have all the classes, its pictures say so in `labelled` and
    `complete`: a class that nobody looked for is not absent.

    A picture that is in an earlier set, byte for byte, is kept once. It gets its labels of
    classes that the earlier set does not have; of the classes that both have, the labels of
    the earlier set stay, and if the others differ that is a finding "contradicting-labels".
    If the two are in different splits, that of the earlier set stays, with a finding
    "two-splits".

    Args:
        datasets: the first has precedence.
        prefixes: a word for each set, put before its groups and tracks with a slash between,
            for sets that have groups of one name by accident.
        same: look for pictures that are the same, which reads all those of equal file size.

    Returns:
        The merged set, with the findings of all and of merging.

    Raises:
        UsageError: there is no data set, or one has boxes and another has none.
    """
    if not datasets:
        raise UsageError("there is nothing to merge: give at least one data set")
    if prefixes is not None and len(prefixes) != len(datasets):
        raise UsageError(f"{len(datasets)} data sets need {len(datasets)} prefixes")
    task, root = _task(datasets), _common_root(datasets)
    work = _Merged(
        list(dict.fromkeys(str(name) for one in datasets for name in one.names)), task, root
    )
    keys = shared_contents(datasets) if same else [{} for _ in datasets]
    for number, dataset in enumerate(datasets):
        work.add(dataset, keys[number], prefixes[number] if prefixes else None)
    if prefixes is None:
        work.findings += _shared_groups(datasets)
    ids = _category_ids(datasets, work)
    info = _info(datasets, work)
    class_info: dict[str, dict[str, Any]] = {}
    for dataset in datasets:
        for name, known in dataset.class_info.items():
            class_info[name] = dict(known) | class_info.get(name, {})
    merged = Dataset(
        work.table(),
        pl.concat(work.labels),
        work.names,
        findings=work.findings,
        source=" + ".join(dataset.source for dataset in datasets),
        root=root,
        format=datasets[0].format,
        recognised="; ".join(dict.fromkeys(dataset.recognised for dataset in datasets)),
        task=task,
        category_ids=ids,
        class_info=class_info,
        info=info,
    )
    merged.images_folder = datasets[0].images_folder
    return merged


def _task(datasets: Sequence[Dataset]) -> Task:
    tasks = {dataset.task for dataset in datasets}
    if "detect" in tasks and len(tasks) > 1:
        other = next(dataset for dataset in datasets if dataset.task != "detect")
        raise UsageError(
            f"{other.source or 'a data set'} has no boxes and another one has: use as_multilabel"
            " (--as multilabel) on all of them first"
        )
    if tasks == {"classify"}:
        return "classify"
    return "detect" if "detect" in tasks else "multilabel"


def _common_root(datasets: Sequence[Dataset]) -> str:
    roots = [dataset.root for dataset in datasets]
    if not all(os.path.isabs(root) for root in roots):  # noqa: PTH117
        return ""
    try:
        return os.path.commonpath(roots)
    except ValueError:
        # Two drives of Windows have nothing in common.
        return ""


@dataclass
class _Seen:
    """A picture that is in several sets: its place, and what the sets so far say of it."""

    place: int
    where: str
    split: str | None
    names: set[str]
    rows: list[_Row]
    labelled: set[str]
    complete: set[str]


class _Merged:
    """What is merged so far."""

    def __init__(self, names: list[str], task: Task, root: str) -> None:
        self.names, self.task, self.root = names, task, root
        self.images: list[pl.DataFrame] = []
        self.labels: list[pl.DataFrame] = []
        self.findings: list[Finding] = []
        self.seen: dict[bytes, _Seen] = {}
        self.count = 0
        self.ids: set[int] = set()

    def add(self, dataset: Dataset, keys: Mapping[int, bytes], prefix: str | None) -> None:
        """Add a set; `keys` are the contents of those pictures that other sets have, too."""
        images, labels = self._images(dataset, prefix), self._labels(dataset, prefix)
        relative = dataset.relative_paths() if keys else []
        twins: list[int] = []
        keep = np.ones(labels.height, np.bool_)
        target = np.full(len(dataset), -1, np.int64)
        new: dict[bytes, int] = {}
        for row, key in keys.items():
            known = self.seen.get(key)
            if known is None:
                new.setdefault(key, row)
                continue
            twins.append(row)
            target[row] = known.place
            start, end = dataset.rows_of(row)
            keep[start:end] = self._twin(dataset, row, relative[row], known)
        fresh = target < 0
        target[fresh] = self.count + np.arange(int(fresh.sum()))
        for key, row in new.items():
            self.seen[key] = self._first(dataset, row, relative[row], int(target[row]))
        image = pl.Series("image", target[labels["image"].to_numpy()], pl.UInt32)
        self.images.append(images.filter(pl.Series(fresh)))
        self.labels.append(labels.with_columns(image).filter(pl.Series(keep)))
        self.count += int(fresh.sum())
        self.findings += dataset.findings
        if twins:
            message = f"{len(twins)} of its pictures are in an earlier data set, too: kept once"
            self.findings.append(
                Finding("duplicate-image", message, dataset.source, "info", "merged")
            )

    def _first(self, dataset: Dataset, row: int, where: str, place: int) -> _Seen:
        image = dataset.images.row(row, named=True)
        names = set(dataset.names)
        labelled = names if image["labelled"] is None else set(image["labelled"])
        complete = labelled if image["complete"] is None else set(image["complete"])
        rows = _rows(dataset, row)
        return _Seen(place, where, image["split"], names, rows, set(labelled), set(complete))

    def _twin(self, dataset: Dataset, row: int, where: str, known: _Seen) -> NDArray[np.bool_]:
        """Which labels of a picture that is there already are added to it."""
        other = self._first(dataset, row, where, known.place)
        # One label a picture: each class stands for the absence of all others.
        shared = other.names if self.task == "classify" else known.names & other.names
        here = [one for one in known.rows if one[0] in shared or self.task == "classify"]
        there = [one for one in other.rows if one[0] in shared]
        adds = np.array([one[0] not in shared for one in other.rows], np.bool_)
        if other.split != known.split:
            message = (
                f"{known.where} is the same picture, in {known.split or 'no split'} and here in"
                f" {other.split or 'no split'}"
            )
            self.findings.append(
                Finding("two-splits", message, where, "warning", f"kept in {known.split or 'none'}")
            )
        if not _alike(here, there):
            message = (
                f"{known.where} is the same picture, labelled {_said(here)} there and"
                f" {_said(there)} here"
            )
            self.findings.append(
                Finding("contradicting-labels", message, where, "error", KEPT_OUT, len(there))
            )
        known.names |= other.names
        known.labelled |= other.labelled
        known.complete |= other.complete
        known.rows += [one for one, new in zip(other.rows, adds, strict=True) if new]
        return adds

    def table(self) -> pl.DataFrame:
        """All pictures; those of several sets with what all of them looked for."""
        images = pl.concat(self.images)
        if (
            self.task == "classify"
            or not self.seen
            or images["labelled"].null_count() == len(images)
        ):
            return images
        everything = set(self.names)
        lists: dict[str, list[list[str] | None]] = {"labelled": [], "complete": []}
        for one in self.seen.values():
            whole = one.labelled >= everything and one.complete >= everything
            lists["labelled"].append(None if whole else sorted(one.labelled))
            lists["complete"].append(None if whole else sorted(one.complete))
        kind = pl.List(pl.String)
        new = pl.DataFrame(
            {
                "row": pl.Series([one.place for one in self.seen.values()], dtype=pl.UInt32),
                **{f"new {name}": pl.Series(rows, dtype=kind) for name, rows in lists.items()},
            }
        ).with_columns(seen=pl.lit(True))
        joined = images.with_columns(row=pl.int_range(images.height, dtype=pl.UInt32)).join(
            new, on="row", how="left", maintain_order="left"
        )
        return joined.select(
            pl.when("seen").then(f"new {name}").otherwise(name).alias(name)
            if name in lists
            else pl.col(name)
            for name in images.columns
        )

    def _images(self, dataset: Dataset, prefix: str | None) -> pl.DataFrame:
        images = dataset.images
        if prefix is not None:
            images = images.with_columns(group=pl.lit(f"{prefix}/") + pl.col("group"))
        # A number that two pictures have names neither of them.
        own = set(images["id"].drop_nulls().to_list())
        clash = sorted(own & self.ids)
        self.ids |= own
        if clash:
            unique = ~pl.col("id").is_in(clash).fill_null(False)
            images = images.with_columns(pl.when(unique).then("id"))
        if self.task != "classify" and set(self.names) - set(dataset.names):
            everything = pl.lit(pl.Series([list(dataset.names)], dtype=pl.List(pl.String)))
            labelled = pl.coalesce("labelled", everything.first())
            images = images.with_columns(
                labelled=labelled, complete=pl.coalesce("complete", labelled)
            )
        return images

    def _labels(self, dataset: Dataset, prefix: str | None) -> pl.DataFrame:
        place = {name: number for number, name in enumerate(self.names)}
        numbers = pl.Series("class_id", [place[name] for name in dataset.names], pl.Int32)
        labels = dataset.labels.with_columns(
            numbers.gather(dataset.labels["class_id"].cast(pl.Int64))
        )
        if prefix is not None:
            labels = labels.with_columns(track=pl.lit(f"{prefix}/") + pl.col("track"))
        below = _below(dataset.root, self.root)
        if below:
            # Records are told from the folder of the whole, so none occurs twice.
            labels = labels.with_columns(record=pl.lit(f"{below}/") + pl.col("record"))
        return labels


def _below(folder: str, root: str) -> str:
    """The folder's path from the root, with forward slashes; empty if they are one."""
    if not root or not folder or folder == root:
        return ""
    return Path(os.path.relpath(folder, root)).as_posix()


def _rows(dataset: Dataset, row: int) -> list[_Row]:
    targets = dataset.targets(row)
    names = [str(dataset.names[number]) for number in targets.class_ids]
    if targets.boxes is None:
        return [(name, None) for name in names]
    boxes = [tuple(box) for box in targets.boxes.tolist()]
    return list(zip(names, boxes, strict=True))


def _alike(one: list[_Row], two: list[_Row]) -> bool:
    """The same classes and, within a pixel, the same boxes; formats round."""
    if len(one) != len(two):
        return False
    left = list(two)
    for name, box in one:
        for place, (other, its) in enumerate(left):
            if name == other and _near(box, its):
                del left[place]
                break
        else:
            return False
    return True


def _near(one: tuple[float, ...] | None, two: tuple[float, ...] | None) -> bool:
    if one is None or two is None:
        return one is two
    # Labels without a box have NaN for it.
    return bool(np.allclose(one, two, rtol=0, atol=1, equal_nan=True))


def _said(rows: list[_Row]) -> str:
    counts = Counter(name for name, _ in rows)
    return ", ".join(f"{count} x {name!r}" for name, count in counts.items()) or "nothing"


def _shared_groups(datasets: Sequence[Dataset]) -> list[Finding]:
    """Groups that two sets have: perhaps one thing, perhaps two of one name."""
    owners: dict[str, str] = {}
    found = []
    for dataset in datasets:
        groups = dataset.images["group"].drop_nulls().unique(maintain_order=True).to_list()
        shared = [name for name in groups if name in owners]
        if shared:
            message = (
                f"{len(shared)} groups have the name of a group in {owners[shared[0]]}, such as"
                f" {shared[0]!r}, and are taken for the same"
            )
            found.append(Finding("shared-group", message, dataset.source, "info"))
        owners |= {name: dataset.source for name in groups if name not in owners}
    return found


def _category_ids(datasets: Sequence[Dataset], work: _Merged) -> list[int]:
    """The sets' numbers of the classes if every class has one and they agree; else none."""
    ids: dict[str, int] = {}
    agree = True
    for dataset in datasets:
        for name, number in zip(dataset.names, dataset.category_ids, strict=False):
            agree &= ids.setdefault(str(name), number) == number
    agree &= len(set(ids.values())) == len(ids)
    if not agree:
        message = "the data sets number their classes differently: the classes get new numbers"
        where = " + ".join(dataset.source for dataset in datasets)
        work.findings.append(Finding("contradicting-ids", message, where, "info", "left out"))
    return [ids[name] for name in work.names] if agree and len(ids) == len(work.names) else []


def _info(datasets: Sequence[Dataset], work: _Merged) -> dict[str, Any]:
    """What is known of each whole; where they differ, what the first says."""
    info: dict[str, Any] = {}
    for dataset in datasets:
        other = [key for key, value in dataset.info.items() if info.get(key, value) != value]
        if other:
            message = f"its {', '.join(sorted(other))} differ from those of an earlier data set"
            work.findings.append(
                Finding("differing-info", message, dataset.source, "info", "left out")
            )
        info = dict(dataset.info) | info
    return info
