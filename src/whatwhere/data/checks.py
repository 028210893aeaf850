"""A closer look at a data set than reading takes: picture headers, doubles, contradictions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import probe_all
from whatwhere.data.tables import BOX
from whatwhere.errors import ImageError
from whatwhere.images import picture_exists


def check(dataset: Dataset) -> list[Finding]:
    """See `Dataset.check`."""
    return [
        *dataset.findings,
        *_pictures(dataset),
        *_doubles(dataset),
        *_labels(dataset),
        *_unused(dataset),
    ]


def _pictures(dataset: Dataset) -> list[Finding]:
    """Pictures that cannot be read, or are not of the size that the annotation says."""
    known = {one.where for one in dataset.findings if one.kind == "unreadable-image"}
    absent = any(one.kind == "missing-image" for one in dataset.findings)
    names = dataset.relative_paths()
    found = []
    sizes = dataset.images.select("width", "height").iter_rows()
    for name, path, size, answer in zip(
        names, dataset.paths, sizes, probe_all(dataset.paths), strict=True
    ):
        if isinstance(answer, ImageError):
            if name not in known and not (absent and not picture_exists(path)):
                found.append(Finding("unreadable-image", str(answer), name, "error"))
        elif None not in size and tuple(size) != answer:
            hint = ""
            if tuple(size) == answer[::-1]:
                hint = "; the labels seem to be of the picture before EXIF turned it"
            message = (
                f"the picture is {answer[0]}x{answer[1]} pixels, its annotation says"
                f" {size[0]}x{size[1]}{hint}"
            )
            found.append(Finding("wrong-size", message, name, "error"))
    return found


def _doubles(dataset: Dataset) -> list[Finding]:
    """Pictures with the same bytes, by their size and then by their SHA-256."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, path in enumerate(dataset.paths):
        try:
            by_size[Path(path).stat().st_size].append(row)
        except OSError:
            continue
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for size, rows in by_size.items():
        if size and len(rows) > 1:
            for row in rows:
                with Path(dataset.paths[row]).open("rb") as file:
                    by_content[hashlib.file_digest(file, "sha256").digest()].append(row)
    names, splits = dataset.relative_paths(), dataset.images["split"]
    found = []
    for first, *others in by_content.values():
        for row in others:
            if dataset.paths[row] == dataset.paths[first]:
                continue
            pair = f"{names[first]} is the same picture"
            if splits[first] != splits[row]:
                message = f"{pair}, in {splits[first]} and here in {splits[row]}"
                found.append(Finding("leaked-image", message, names[row]))
            else:
                found.append(Finding("duplicate-image", pair, names[row]))
            ids = [dataset.targets(one).class_ids.tolist() for one in (first, row)]
            if dataset.task == "classify" and ids[0] != ids[1]:
                classes = [dataset.names[one[0]] if one else "nothing" for one in ids]
                message = f"{pair}, called {classes[0]!r} there and {classes[1]!r} here"
                found.append(Finding("contradicting-labels", message, names[row], "error"))
    return found


def _labels(dataset: Dataset) -> list[Finding]:
    """The same label twice, or one box with two classes."""
    rows = dataset.labels.with_row_index("row")
    if dataset.task == "detect":
        rows = rows.filter(pl.col("x1").is_not_null())
        same = ["image", *BOX]
    else:
        same = ["image", "class_id"]
    later = rows.join(
        rows.group_by(same).agg(
            pl.col("row").min().alias("first"), pl.col("class_id").first().alias("class")
        ),
        on=same,
    ).filter(pl.col("row") != pl.col("first"))
    found = []
    for row in later.sort("row").iter_rows(named=True):
        where = row["record"] or dataset.relative_paths()[row["image"]]
        name, before = dataset.names[row["class_id"]], dataset.names[row["class"]]
        if name == before:
            message = f"this label of {name!r} is there twice"
            found.append(Finding("duplicate-label", message, where))
        else:
            message = f"the same box is called {before!r} and {name!r}"
            found.append(Finding("contradicting-labels", message, where))
    return found


def _unused(dataset: Dataset) -> list[Finding]:
    """Classes without labels and pictures without labels, one finding each."""
    found = []
    counts = dataset.stats()["classes"]
    unused = [name for name, count in counts.items() if count == 0]
    if unused:
        shown = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        message = f"{len(unused)} of {len(counts)} classes have no labels: {shown}"
        found.append(Finding("unused-class", message, dataset.source, "info"))
    empty = len(dataset) - dataset.labels["image"].n_unique()
    if empty:
        message = f"{empty} of {len(dataset)} pictures have no labels"
        found.append(Finding("no-labels", message, dataset.source, "info"))
    return found
