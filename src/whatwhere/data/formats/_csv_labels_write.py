"""Write a table of labels, so that reading it again gives the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._class_sets import names_text, single_classes, unlabelled
from whatwhere.data.formats._files import split_name, unique_names
from whatwhere.data.formats._label_columns import AmbiguousError, Roles, roles_of
from whatwhere.data.formats._label_tables import Table, csv_text
from whatwhere.data.formats._pictures import Pictures
from whatwhere.images import write_atomic

_ALL = "all"


def natural(names: Iterable[str]) -> list[str]:
    """Sorted; numbers by their value."""
    texts = list(names)
    if texts and all(re.fullmatch(r"\d{1,18}", name) for name in texts):
        return sorted(texts, key=lambda name: (int(name), name))
    return sorted(texts)


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: labels.csv and images/."""
    findings: list[Finding] = []
    if dataset.task == "classify":
        classes = single_classes(dataset)
        bare = [row for row, number in enumerate(classes) if number is None]
        findings += [unlabelled(dataset, row) for row in bare]
        if bare:
            dataset = dataset.select([row for row, one in enumerate(classes) if one is not None])
    names = [re.sub(r"[\r\n]", "_", name) for name in unique_names(dataset.paths)]
    there = pictures.place(dataset.paths, [f"{folder}/images/{name}" for name in names])
    if not there.all():
        dataset = dataset.select(np.flatnonzero(there))
        names = [name for name, kept in zip(names, there, strict=True) if kept]
    header, columns = _pictures(dataset, names)
    one_column = dataset.task == "classify" and not dataset.images["labelled"].count()
    if one_column:
        used = [dataset.names[number or 0] for number in single_classes(dataset)]
        if list(dataset.names) != natural(set(used)):
            write_atomic(folder / "classes.txt", names_text(dataset.names))
        classes_header, classes_columns = ["label"], [used]
    else:
        classes_header = list(dataset.names)
        classes_columns = _cells(dataset)
        explicit = _explicit(dataset)
        if any(explicit):
            header.append("labelled")
            columns.append(explicit)
    plain = ([*header, *classes_header], [*columns, *classes_columns])
    if _reads_as(plain, dataset, one_column=one_column):
        text = csv_text(*plain)
    else:
        marked = [dataset.task] * len(dataset)
        if one_column:
            text = csv_text(
                [*header, *classes_header, "task"], [*columns, *classes_columns, marked]
            )
        else:
            text = csv_text(
                [*header, "task", *classes_header], [*columns, marked, *classes_columns]
            )
    write_atomic(folder / "labels.csv", text)
    return findings


def _pictures(dataset: Dataset, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The columns file, split, group and extra, as far as they have values."""
    header = ["file"]
    columns = [[f"images/{name}" for name in names]]
    for name in ("split", "group", "extra"):
        values = dataset.images[name]
        if values.null_count() < len(values):
            header.append(name)
            columns.append(values.fill_null("").to_list())
    return header, columns


def _cells(dataset: Dataset) -> list[list[str]]:
    """For each class 1, 0, or nothing where it was not looked for."""
    count = len(dataset.names)
    place = {name: number for number, name in enumerate(dataset.names)}
    codes = np.zeros((len(dataset), count), np.int8)
    for row, known in enumerate(dataset.images["labelled"].to_list()):
        if known is not None:
            codes[row] = -1
            codes[row, [place[name] for name in known if name in place]] = 0
    labels = dataset.labels
    codes[labels["image"].to_numpy(), labels["class_id"].to_numpy()] = 1
    text = {0: "0", 1: "1", -1: ""}
    return [[text[code] for code in codes[:, at].tolist()] for at in range(count)]


def _explicit(dataset: Dataset) -> list[str]:
    """Where all classes are listed as looked for, which is not the same as no list."""
    count = len(dataset.names)
    lists = dataset.images["labelled"].to_list()
    return [_ALL if known is not None and len(set(known)) == count else "" for known in lists]


def _reads_as(
    content: tuple[list[str], list[list[str]]], dataset: Dataset, *, one_column: bool
) -> bool:
    """Whether the table without a mark would be read as what it is."""
    header, columns = content
    if "extra" in header or "labelled" in header or not len(dataset):
        return False
    if any(split_name(name) not in (None, name) or name != name.strip() for name in dataset.splits):
        return False
    if any(name != name.strip() for name in dataset.names):
        return False
    end = len(header) - (1 if one_column else len(dataset.names))
    place = {name: at for at, name in enumerate(header[:end])}
    wanted = Roles(
        0,
        split=place.get("split"),
        group=place.get("group"),
        label=end if one_column else None,
        classes=() if one_column else tuple(range(end, len(header))),
    )
    try:
        found = roles_of(Table("", header, list(columns), {}, [""] * len(dataset)))
    except AmbiguousError:
        return False
    if found != wanted:
        return False
    if one_column:
        return True
    # One class in each row, and all known: without a mark that is a set of single labels.
    ones = np.bincount(dataset.labels["image"].to_numpy(), minlength=len(dataset))
    single = len(dataset.names) > 1 and bool((ones == 1).all())
    unknown = bool(dataset.images["labelled"].count())
    return (single and not unknown) == (dataset.task == "classify")
