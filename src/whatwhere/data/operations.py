"""New data sets from old ones: choose labels and pictures, rename classes.

`Dataset.filter`, `.rename` and `.as_classify` call these. None of them changes its
data set or reads a picture. Findings belong to what was read: `rename`, which keeps every
record, keeps them; a part of the pictures or labels has none, as with `Dataset.select`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import and_
from typing import Any, Literal

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.expressions import Column, Condition, parse
from whatwhere.data.tables import FLAGS
from whatwhere.errors import UsageError
from whatwhere.types import Labels

Rest = Literal["remove", "ignore"]

_IMAGE_COLUMNS: dict[str, Column] = {
    "path": Column("text", "image"),
    "width": Column("number", "image"),
    "height": Column("number", "image"),
    "split": Column("text", "image"),
    "group": Column("text", "image"),
    "labels": Column("number", "image"),
}
_LABEL_COLUMNS: dict[str, Column] = {
    "name": Column("text", "label"),
    "x1": Column("number", "label"),
    "y1": Column("number", "label"),
    "x2": Column("number", "label"),
    "y2": Column("number", "label"),
    "box_width": Column("number", "label"),
    "box_height": Column("number", "label"),
    "area": Column("number", "label"),
    **{flag: Column("bool", "label") for flag in FLAGS},
    "score": Column("number", "label"),
    "source": Column("text", "label"),
    "track": Column("text", "label"),
    "attributes": Column("text", "label"),
    "record": Column("text", "label"),
}

COLUMNS: dict[str, Column] = {**_IMAGE_COLUMNS, **_LABEL_COLUMNS}
"""What an expression may name: `path` is relative to the data set's folder, `labels` is the
number of labels of the picture, `area` the object's own or the box's, in square pixels."""


def filter_dataset(
    dataset: Dataset,
    where: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    without: Sequence[str] = (),
    min_size: float | None = None,
    max_size: float | None = None,
    flags: Sequence[str] = (),
    split: str | Sequence[str] | None = None,
    keep_empty: bool = False,
    rest: Rest = "remove",
) -> Dataset:
    """See `Dataset.filter`."""
    names = _chosen_names(dataset.names, classes, without)
    about_images: list[pl.Expr] = []
    # What chooses by class is apart: a class that is gone cannot be ignored either.
    of_class: list[pl.Expr] = []
    about_labels = _size_conditions(min_size, max_size) + _flag_conditions(flags)
    if split is not None:
        wanted = [split] if isinstance(split, str) else list(split)
        unknown = [name for name in wanted if name not in dataset.splits]
        if unknown:
            known = ", ".join(dataset.splits) or "none"
            raise UsageError(f"there is no split {unknown[0]!r}, only {known}")
        about_images.append(pl.col("split").is_in(wanted))
    if len(names) < len(dataset.names):
        of_class.append(pl.col("name").is_in(list(names)))
    if where is not None:
        for condition in _parsed(dataset, where):
            only_image = "label" not in condition.tables
            (about_images if only_image else about_labels).append(condition.expr)
    images = _image_frame(dataset)
    image_kept = np.ones(len(dataset), np.bool_)
    if about_images:
        image_kept = images.select(_all(about_images)).to_series().to_numpy().astype(np.bool_)
    labels = dataset.labels
    rows = _label_frame(dataset, images) if of_class or about_labels else None
    if rows is not None and about_labels:
        good = rows.select(_all(about_labels)).to_series()
        if rest == "ignore":
            labels = labels.with_columns(ignore=pl.col("ignore") | ~good)
        else:
            labels, rows = labels.filter(good), rows.filter(good)
    if rows is not None and of_class:
        labels = labels.filter(rows.select(_all(of_class)).to_series())
    if rows is not None and not keep_empty:
        counted = labels if rest == "remove" else labels.filter(~pl.col("ignore"))
        filled = np.zeros(len(dataset), np.bool_)
        filled[counted["image"].to_numpy()] = True
        image_kept &= filled
    whole = dataset._like(dataset.images, labels)
    part = whole.select(np.flatnonzero(image_kept))
    return part if len(names) == len(dataset.names) else _with_names(part, names)


def _parsed(dataset: Dataset, where: str) -> list[Condition]:
    columns = dict(COLUMNS)
    columns["name"] = Column("text", "label", tuple(dataset.names))
    if dataset.splits:
        columns["split"] = Column("text", "image", tuple(dataset.splits))
    return parse(where, columns)


def _all(conditions: Sequence[pl.Expr]) -> pl.Expr:
    # What is not known does not hold.
    return reduce(and_, (condition.fill_null(False) for condition in conditions)).alias("keep")


def _chosen_names(
    names: Labels, classes: Sequence[str] | None, without: Sequence[str]
) -> list[str]:
    """The class names that stay, in their old order; an unknown one is an error."""
    chosen = range(len(names)) if classes is None else [names.id(name) for name in classes]
    dropped = {names.id(name) for name in without}
    kept = [str(names[place]) for place in sorted(set(chosen) - dropped)]
    if not kept:
        raise UsageError("no class is left: choose at least one")
    return kept


def _size_conditions(low: float | None, high: float | None) -> list[pl.Expr]:
    sides = (pl.col("box_width"), pl.col("box_height"))
    found = []
    for limit, name in ((low, "min_size"), (high, "max_size")):
        if limit is not None and not limit >= 0:
            raise UsageError(f"{name} is a side in pixels, at least 0, not {limit}")
    if low is not None:
        found.append(pl.min_horizontal(sides) >= low)
    if high is not None:
        found.append(pl.max_horizontal(sides) <= high)
    return found


def _flag_conditions(flags: Sequence[str]) -> list[pl.Expr]:
    """ "difficult" for labels that are, "no-difficult" for those that are not."""
    found = []
    for flag in flags:
        wanted = not flag.startswith("no-")
        name = flag if wanted else flag[3:]
        name = {"crowd": "iscrowd", "ignored": "ignore"}.get(name, name)
        if name not in FLAGS:
            known = ", ".join([*FLAGS[:-1], "crowd"])
            raise UsageError(f"unknown flag {flag!r}: use {known}, or no- before one of them")
        value = pl.col(name).fill_null(False)
        found.append(value if wanted else ~value)
    return found


def _image_frame(dataset: Dataset) -> pl.DataFrame:
    counts = np.bincount(dataset.labels["image"].to_numpy(), minlength=len(dataset))
    return dataset.images.select("width", "height", "split", "group").with_columns(
        pl.Series("path", dataset.relative_paths(), pl.String),
        pl.Series("labels", counts, pl.Float64),
    )


def _label_frame(dataset: Dataset, images: pl.DataFrame) -> pl.DataFrame:
    """A row a label with every column that an expression may name."""
    of = dataset.labels["image"].cast(pl.Int64)
    ids = dataset.labels["class_id"].cast(pl.Int64)
    names = pl.Series("name", list(dataset.names), pl.String)
    labels = dataset.labels.select(
        names.gather(ids),
        *("x1", "y1", "x2", "y2"),
        box_width=pl.col("x2").cast(pl.Float64) - pl.col("x1"),
        box_height=pl.col("y2").cast(pl.Float64) - pl.col("y1"),
    )
    rest = dataset.labels.select(*FLAGS, "score", "source", "track", "attributes", "record")
    area = dataset.labels["area"]
    return pl.concat([labels, rest, images[of]], how="horizontal").with_columns(
        area=pl.coalesce(area, pl.col("box_width") * pl.col("box_height"))
    )


def _with_names(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The same pictures and labels with some of the classes, none of which has other labels."""
    place = {name: number for number, name in enumerate(names)}
    old = [place.get(name) for name in dataset.names]
    numbers = pl.Series("class_id", old, pl.Int32)
    labels = dataset.labels.with_columns(numbers.gather(dataset.labels["class_id"].cast(pl.Int64)))
    ids = dataset.category_ids
    kept = [number for number, name in enumerate(dataset.names) if name in place]
    images = dataset.images.with_columns(
        pl.col(column).list.eval(pl.element().filter(pl.element().is_in(list(names))))
        for column in ("labelled", "complete")
    )
    return dataset._like(
        images,
        labels,
        names=names,
        category_ids=[ids[number] for number in kept] if ids else (),
        class_info={name: known for name, known in dataset.class_info.items() if name in place},
    )


def rename(dataset: Dataset, mapping: Mapping[str, str]) -> Dataset:
    """See `Dataset.rename`."""
    for old, new in mapping.items():
        dataset.names.id(old)
        if not new.strip():
            raise UsageError(f"the new name of {old!r} is empty: filter leaves a class out")
    new_names = [mapping.get(name, name) for name in dataset.names]
    names = list(dict.fromkeys(new_names))
    place = {name: number for number, name in enumerate(names)}
    members: dict[str, list[int]] = {}
    for number, name in enumerate(new_names):
        members.setdefault(name, []).append(number)
    # Of several classes that become one, the one that had the name already speaks for it.
    head = {
        name: next((one for one in olds if dataset.names[one] == name), olds[0])
        for name, olds in members.items()
    }
    numbers = pl.Series("class_id", [place[name] for name in new_names], pl.Int32)
    labels = dataset.labels.with_columns(numbers.gather(dataset.labels["class_id"].cast(pl.Int64)))
    if dataset.task != "detect" and len(names) < len(new_names):
        labels = once_each(labels)
    info: dict[str, dict[str, Any]] = {}
    for name, olds in members.items():
        merged: dict[str, Any] = {}
        for one in [head[name], *olds]:
            merged = dict(dataset.class_info.get(dataset.names[one], {})) | merged
        if merged:
            info[name] = merged
    ids = dataset.category_ids
    return dataset._like(
        _renamed_lists(dataset, members),
        labels,
        names=names,
        findings=dataset.findings,
        category_ids=[ids[head[name]] for name in names] if ids else (),
        class_info=info,
    )


def once_each(labels: pl.DataFrame) -> pl.DataFrame:
    """One row for each class of a picture, the first; ignored if all of them are."""
    ignore = pl.col("ignore").all().over("image", "class_id")
    return labels.with_columns(ignore).unique(
        ["image", "class_id"], keep="first", maintain_order=True
    )


def _renamed_lists(dataset: Dataset, members: Mapping[str, Sequence[int]]) -> pl.DataFrame:
    """`labelled` and `complete` in the new names.

    A class of several old ones was looked for only where all of them were, or where it has a
    label; it is complete only where all of them are.
    """
    images = dataset.images
    if images["labelled"].null_count() == images["complete"].null_count() == images.height:
        return images
    parts = {name: {str(dataset.names[one]) for one in olds} for name, olds in members.items()}
    several = [name for name, olds in parts.items() if len(olds) > 1]
    same = {next(iter(olds)): name for name, olds in parts.items() if len(olds) == 1}

    def renamed(known: set[str]) -> list[str]:
        single = [same[name] for name in known if name in same]
        return sorted(single + [name for name in several if parts[name] <= known])

    complete = images.select(pl.coalesce("complete", "labelled")).to_series()
    images = images.with_columns(
        labelled=_each_list(images["labelled"], renamed), complete=_each_list(complete, renamed)
    )
    for name in several:
        there = np.zeros(images.height, np.bool_)
        there[dataset.labels.filter(pl.col("class_id").is_in(members[name]))["image"]] = True
        new = pl.Series(there) & ~pl.col("labelled").list.contains(name)
        added = pl.concat_list("labelled", pl.lit(name)).list.sort()
        images = images.with_columns(labelled=pl.when(new).then(added).otherwise("labelled"))
    return images


def _each_list(lists: pl.Series, change: Callable[[set[str]], list[str]]) -> pl.Series:
    """Change lists of names; each different list once, since millions of pictures share few."""
    keys = lists.list.join("\0").alias("key")
    different = keys.drop_nulls().unique()
    new = [change(set(key.split("\0")) - {""}) for key in different]
    table = pl.DataFrame({"key": different, "new": pl.Series(new, dtype=pl.List(pl.String))})
    return keys.to_frame().join(table, on="key", how="left", maintain_order="left")["new"]


def as_classify(dataset: Dataset) -> Dataset:
    """See `Dataset.as_classify`."""
    if dataset.task == "classify":
        return dataset
    labels = dataset.labels
    if dataset.task == "detect":
        labels = dataset.as_multilabel().labels
    labels = labels.filter(~pl.col("ignore"))
    counts = np.bincount(labels["image"].to_numpy(), minlength=len(dataset))
    wrong = np.flatnonzero(counts != 1)
    if wrong.size:
        row = int(wrong[0])
        ids = labels.filter(pl.col("image") == row)["class_id"].to_list()
        shown = ", ".join(repr(dataset.names[number]) for number in ids[:5]) or "none"
        more = f" and {wrong.size - 1} more pictures have not one either" if wrong.size > 1 else ""
        raise UsageError(
            f"{dataset.relative_paths()[row]} has {counts[row]} classes ({shown}), not one"
            f"{more}: filter the data set first"
        )
    return dataset._like(dataset.images, labels, task="classify")
