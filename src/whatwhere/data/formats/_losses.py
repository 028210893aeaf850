"""What a data set has that a format cannot hold."""

from __future__ import annotations

import json
from collections import Counter

import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.tables import FLAGS

_IMAGE = {"split": "split", "group": "group", "id": "id", "extra": "image_extra"}
_IMAGE |= {"labelled": "labelled", "complete": "complete"}
_LABEL = ("area", "score", "source", "track", "segmentation", "keypoints", "attributes", "extra")


def lost_columns(
    dataset: Dataset,
    holds: frozenset[str],
    title: str,
    ignored: frozenset[str] = frozenset(),
    own: str | None = None,
) -> list[Finding]:
    """One finding for each column that has values and no place in the format.

    An `area` that is the box's own is not lost, since it follows from the box; neither are
    `id`s, which are names for the machine, nor an `ignore` that follows from another flag,
    or from a class in `ignored`, of which the format has nothing but regions to ignore.
    With `own`, the format's name, the columns `extra` are lost where they are of another.
    """
    findings = []
    always = [place for place, name in enumerate(dataset.names) if name in ignored]
    others = dataset.labels.filter(~pl.col("class_id").is_in(always))

    def lost(column: str, count: int, what: str) -> None:
        if count:
            message = f"{title} has no place for {column!r}, which {count} {what} have"
            findings.append(Finding("lost-column", message, dataset.source, "warning", "left out"))

    for column, name in _IMAGE.items():
        if name not in holds and name != "id":
            values = dataset.images[column]
            lost(column, values.len() - values.null_count(), "pictures")
    for column in FLAGS:
        if column not in holds:
            lost(column, _lost_flags(others, column, holds), "labels")
    for column in _LABEL:
        if column in holds:
            continue
        values = dataset.labels[column]
        if column == "area" and values.null_count() < values.len():
            values = _own_areas(dataset.labels)
        lost(column, values.len() - values.null_count(), "labels")
    for name, what, rows in (
        ("extra", "labels", dataset.labels),
        ("image_extra", "pictures", dataset.images),
    ):
        if own is not None and name in holds:
            for other, count in _others_extra(rows["extra"], own).items():
                lost(f"extra of {other}", count, what)
    if "class_info" not in holds:
        lost("class_info", len(dataset.class_info), "classes")
    if "info" not in holds and dataset.info:
        message = f"{title} has no place for {', '.join(sorted(dataset.info))} of the whole"
        findings.append(Finding("lost-column", message, dataset.source, "info", "left out"))
    return findings


def _lost_flags(labels: pl.DataFrame, column: str, holds: frozenset[str]) -> int:
    """Rows with this flag; `ignore` follows from crowds and, mostly, from difficult labels."""
    lost = pl.col(column).fill_null(False)
    if column == "ignore":
        for other in {"iscrowd", "difficult"} & holds:
            lost = lost & ~pl.col(other).fill_null(False)
    return int(labels.select(lost.sum()).item())


def _others_extra(values: pl.Series, own: str) -> Counter[str]:
    """How many rows have something of each other format in their JSON."""
    found: Counter[str] = Counter()
    for text, count in values.drop_nulls().value_counts().iter_rows():
        try:
            known = json.loads(text)
        except (ValueError, RecursionError):
            known = {"unknown": text}
        for name in known if isinstance(known, dict) else ["unknown"]:
            if name != own:
                found[name] += count
    return found


def _own_areas(labels: pl.DataFrame) -> pl.Series:
    """The areas that differ from their box's by more than rounding."""
    box = (pl.col("x2") - pl.col("x1")).cast(pl.Float64) * (pl.col("y2") - pl.col("y1"))
    own = (pl.col("area") - box).abs() > 0.01 * box + 0.01
    return labels.select(pl.when(own).then(pl.col("area"))).to_series()
