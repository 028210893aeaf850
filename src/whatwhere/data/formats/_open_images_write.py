"""Write Open Images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._files import add_sizes, unique_names
from whatwhere.data.formats._label_files import folder_name, shortest
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.formats._records import own
from whatwhere.data.tables import BOX
from whatwhere.errors import UsageError
from whatwhere.images import write_atomic

SOURCES = {
    "xclick": "human",
    "freeform": "human",
    "human": "human",
    "activemil": "verified",
    "verification": "verified",
    "crowdsource-verification": "verified",
    "machine": "model",
}
"""What the words of the column Source mean."""

BOX_SOURCES = {"human": "xclick", "verified": "activemil", "model": "machine"}
IMAGE_SOURCES = {"human": "human", "verified": "verification", "model": "machine"}
"""Words for the column Source, in tables of boxes and in those of whole pictures."""


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: tables of boxes, labels and pictures for each split, and the classes."""
    for name in dataset.names:
        # Everybody's readers take these tables line by line.
        if len(name.splitlines()) > 1:
            raise UsageError(
                f"class {name!r} has a line break, which Open Images has no place for: rename it"
            )
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    splits = [None if one is None else folder_name(one, "split") for one in images["split"]]
    words = ["" if one is None else "validation" if one == "val" else one for one in splits]
    names = unique_names(dataset.paths, words)
    targets = [folder / (word or "images") / name for word, name in zip(words, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    if dataset.task == "detect":
        there &= images["width"].is_not_null().to_numpy()
    frame = images.select("width", "height", "labelled", "extra").with_columns(
        pl.Series("ImageID", [Path(name).stem for name in names], pl.String),
        pl.Series("word", words, pl.String),
        pl.Series("there", there),
        pl.int_range(images.height, dtype=pl.UInt32).alias("image"),
    )
    frame = frame.filter("there")
    mids = _mids(dataset)
    labels = dataset.labels.join(frame, on="image", how="inner", maintain_order="left")
    labels = labels.with_columns(pl.Series("LabelName", [mids[one] for one in labels["class_id"]]))
    for word in frame["word"].unique(maintain_order=True):
        start = f"{word}-" if word else ""
        here = frame.filter(pl.col("word") == word)
        rows = labels.filter(pl.col("word") == word)
        write_atomic(folder / f"{start}images-with-rotation.csv", _list(here, word))
        if dataset.task == "detect":
            write_atomic(folder / f"{start}annotations-bbox.csv", _boxes(rows))
        if dataset.task != "detect" or here["labelled"].null_count() < here.height:
            text = _labels(here, rows, list(dataset.names), mids, dataset.task == "detect")
            kind = "human-imagelabels-boxable" if dataset.task == "detect" else "human-imagelabels"
            write_atomic(folder / f"{start}annotations-{kind}.csv", text)
    pairs = zip(mids, dataset.names, strict=True)
    write_atomic(folder / "class-descriptions-boxable.csv", _csv(pairs))
    if "hierarchy" in dataset.info:
        text = json.dumps(dataset.info["hierarchy"], ensure_ascii=False)
        write_atomic(folder / "bbox_labels_600_hierarchy.json", text)
    return findings + _lost(dataset)


def _lost(dataset: Dataset) -> list[Finding]:
    """Knowledge for which there is no file; flags of labels of whole pictures."""
    found = []
    flags = ("ignore", "truncated", "occluded", "iscrowd") if dataset.task != "detect" else ()
    for column in flags:
        count = int(dataset.labels[column].fill_null(False).sum())
        if count:
            message = f"Open Images has {column!r} for boxes only, not for {count} labels"
            found.append(Finding("lost-column", message, dataset.source, "warning", "left out"))
    if dataset.task != "detect" and (none := int((dataset.labels["score"] == 0).sum())):
        message = f"a score of 0 means in Open Images that the class is not there: {none} labels"
        found.append(
            Finding("zero-score", message, dataset.source, "warning", "written as absent", none)
        )
    more = {key for one in dataset.class_info.values() for key in one} - {"mid"}
    for column, keys in (("class_info", more), ("info", dataset.info.keys() - {"hierarchy"})):
        if keys:
            message = f"Open Images has no place for {', '.join(sorted(keys))} of {column!r}"
            found.append(Finding("lost-column", message, dataset.source, "warning", "left out"))
    return found


def _mids(dataset: Dataset) -> list[str]:
    """The MID of each class, or its name where it has none."""
    mids: list[str] = []
    for name in dataset.names:
        mid = dataset.class_info.get(name, {}).get("mid")
        good = isinstance(mid, str) and mid.strip() != "" and mid not in mids
        mids.append(str(mid) if good else name)
    return mids if len(set(mids)) == len(mids) else list(dataset.names)


def _csv(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _owns(extras: Sequence[str | None]) -> list[dict[str, Any]]:
    return [own(extra, "open_images") for extra in extras]


def _list(images: pl.DataFrame, word: str) -> str:
    """The list of pictures, with the columns of the original that we know."""
    turned = [one.get("Rotation") for one in _owns(images["extra"].to_list())]
    rows = [
        (name, word, "", one if isinstance(one, int) and not isinstance(one, bool) else "")
        for name, one in zip(images["ImageID"], turned, strict=True)
    ]
    return _csv([("ImageID", "Subset", "OriginalURL", "Rotation"), *rows])


def _flag(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int8).fill_null(-1)


def _confidence() -> pl.Expr:
    """A score with a point; 1 for people, nothing for a model that gave none."""
    plain = pl.when(pl.col("source") == "model").then(pl.lit("")).otherwise(pl.lit("1"))
    return pl.col("score").cast(pl.Float32).cast(pl.String).fill_null(plain)


def _source(rows: pl.DataFrame, usual: dict[str, str]) -> pl.Series:
    """The word that was read, where it still means the source; else the usual one."""
    own = [one.get("Source") for one in _owns(rows["extra"].to_list())]
    words = [
        kept
        if isinstance(kept, str) and SOURCES.get(kept.strip().lower()) == source
        else usual.get(source or "")
        for kept, source in zip(own, rows["source"], strict=True)
    ]
    return pl.Series("Source", words, pl.String)


def _boxes(rows: pl.DataFrame) -> str:
    """The table of boxes: fractions with as few digits as give the same float32 pixels."""
    boxes = rows.select(BOX).to_numpy().astype(np.float32).reshape(-1, 4)
    sides = rows.select("width", "height").to_numpy().astype(np.float64)
    scale = np.concatenate([sides, sides], axis=1)
    parts = shortest(
        boxes.astype(np.float64) / scale, lambda one: (one * scale).astype(np.float32) == boxes
    )
    own = _owns(rows["extra"].to_list())
    inner = {
        name: [one[name] if one.get(name) in (1, -1) else 0 for one in own]
        for name in ("IsDepiction", "IsInside")
    }
    frame = rows.select(
        "ImageID",
        _source(rows, BOX_SOURCES),
        "LabelName",
        _confidence().alias("Confidence"),
        *(
            pl.Series(name, parts[:, place], pl.Float64)
            for place, name in ((0, "XMin"), (2, "XMax"), (1, "YMin"), (3, "YMax"))
        ),
        _flag("occluded").alias("IsOccluded"),
        _flag("truncated").alias("IsTruncated"),
        _flag("iscrowd").alias("IsGroupOf"),
        *(pl.Series(name, values, pl.Int8) for name, values in inner.items()),
    )
    return frame.write_csv()


def _labels(
    images: pl.DataFrame, rows: pl.DataFrame, names: list[str], mids: list[str], detect: bool
) -> str:
    """The table of whole pictures: 1 for what is there, 0 for what is verified not to be."""
    header = ("ImageID", "Source", "LabelName", "Confidence")
    shown: dict[str, dict[str, tuple[str | None, str]]] = {}
    frame = rows.select(
        "ImageID", _source(rows, IMAGE_SOURCES), "LabelName", _confidence().alias("Confidence")
    )
    found: list[tuple[str | None, ...]] = []
    for name, source, mid, confidence in frame.iter_rows():
        shown.setdefault(name, {})[mid] = (source, confidence)
        if not detect:
            found.append((name, source, mid, confidence))
    mid_of = dict(zip(names, mids, strict=True))
    for name, labelled in images.select("ImageID", "labelled").iter_rows():
        present = shown.get(name, {})
        for mid in mids if labelled is None else [mid_of[one] for one in labelled if one in mid_of]:
            if mid not in present:
                found.append((name, "verification", mid, "0"))
            elif detect:
                found.append((name, "verification", mid, "1"))
    return _csv([header, *found])
