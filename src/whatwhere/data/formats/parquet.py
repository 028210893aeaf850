"""The two tables themselves: dataset.json, images.parquet, labels.parquet, images/.

Nothing is lost in this format. The columns are those of `whatwhere.data.tables`, with paths
from the folder of dataset.json; Arrow IPC files (.arrow, .feather) are read as well.
dataset.json has: format "whatwhere", schema_version, task, names, category_ids, class_info,
info.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import (
    Places,
    missing_images,
    own_file,
    parse_json,
    read_text,
    tidy_some_boxes,
)
from whatwhere.data.formats._files import head, unique_names
from whatwhere.data.formats._frames import ARROW, PARQUET, is_frame, read_frame, write_frame
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import BOX, IMAGE_COLUMNS, LABEL_COLUMNS, SCHEMA_VERSION
from whatwhere.errors import DataError, UsageError
from whatwhere.images import member, write_atomic
from whatwhere.types import TASKS as EVERY_TASK
from whatwhere.types import Labels, Task

NAME = "parquet"
TITLE = "Parquet tables"
TASKS: frozenset[Task] = frozenset(EVERY_TASK)
HOLDS = frozenset(
    {"split", "group", "id", "labelled", "complete", "image_extra", "ignore", "difficult"}
    | {"truncated", "occluded", "iscrowd", "area", "score", "source", "track", "segmentation"}
    | {"keypoints", "attributes", "extra", "class_info", "info"}
)
LOOKS_FOR = "dataset.json beside images.parquet and labels.parquet"

_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_FLAT = rf"\[[ \n]*(?:{_NUMBER}[ \n]*(?:,[ \n]*{_NUMBER}[ \n]*)*)?\]"
_LISTS = rf"^(?:{_FLAT}|\[[ \n]*{_FLAT}[ \n]*(?:,[ \n]*{_FLAT}[ \n]*)*\])$"
_JSON = ("segmentation", "keypoints", "attributes", "extra")


def _table_file(folder: Path, stem: str) -> Path | None:
    files = (folder / f"{stem}{suffix}" for suffix in PARQUET + ARROW)
    return next((file for file in files if own_file(file, folder) and is_frame(file)), None)


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() and path.name == "dataset.json" else path


def recognise(path: Path) -> str | None:
    """See `formats`."""
    folder = _folder(path)
    if not folder.is_dir() or b'"schema_version"' not in head(folder / "dataset.json", 1 << 12):
        return None
    tables = [_table_file(folder, stem) for stem in ("images", "labels")]
    found = " and ".join(table.name for table in tables if table is not None)
    return f"dataset.json and {found}" if found else None


def read(path: Path, images: Path | None = None) -> Dataset:
    """See `formats`; `path` may be dataset.json, too."""
    folder = _folder(path)
    text = read_text(folder / "dataset.json", folder)
    tables = [_table_file(folder, stem) for stem in ("images", "labels")]
    if text is None or tables[0] is None or tables[1] is None:
        raise DataError(f"{path} is not a data set of Parquet tables: looked for {LOOKS_FOR}")
    said = _said(folder / "dataset.json", text)
    findings: list[Finding] = []
    pictures = _fitted(tables[0], IMAGE_COLUMNS, findings)
    labels = _fitted(tables[1], LABEL_COLUMNS, findings)
    records = pl.format(f"{tables[1].name}#{{}}", pl.int_range(pl.len()))
    labels = labels.with_columns(records.alias("record"))
    labels = _sound(labels, pictures.height, len(said["names"]), findings)
    names = [name or "" for name in pictures["path"].to_list()]
    kept = np.array([not _outside(folder, name) for name in names], dtype=np.bool_)
    pictures, labels = _without(pictures, labels, kept, names, tables[0].name, findings)
    pictures = _placed(pictures, folder, images, tables[0].name, findings)
    labels = _boxes(labels, pictures, said["task"], findings)
    return Dataset(
        pictures,
        labels,
        said["names"],
        findings=findings,
        root=str(folder),
        task=said["task"],
        category_ids=said["category_ids"],
        class_info=said["class_info"],
        info=said["info"],
    )


def _said(file: Path, text: str) -> dict[str, Any]:
    """What dataset.json says, checked."""
    try:
        found = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not valid JSON ({error}): get it again") from None
    if not isinstance(found, dict):
        raise DataError(f"{file} is not an object: looked for {LOOKS_FOR}")
    version = found.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise DataError(f"{file} has no schema_version: it must be 1 to {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{file} has schema_version {version}, this program knows up to {SCHEMA_VERSION}:"
            " update whatwhere"
        )
    names, ids = found.get("names"), found.get("category_ids") or []
    try:
        labels = Labels(names if isinstance(names, list) else [])
    except UsageError as error:
        raise DataError(f"{file}: {error}") from None
    if not len(labels) or not all(isinstance(name, str) for name in names or []):
        raise DataError(f"{file} has no list of class names: names must be texts")
    listed = isinstance(ids, list) and all(isinstance(one, int) for one in ids)
    if not listed or len(ids) not in (0, len(labels)):
        raise DataError(f"{file}: category_ids must be {len(labels)} numbers, one for each name")
    info, known = found.get("info") or {}, found.get("class_info") or {}
    sound = isinstance(info, dict) and isinstance(known, dict)
    if not sound or not all(isinstance(one, dict) for one in known.values()):
        raise DataError(f"{file}: info and class_info must be objects")
    task = found.get("task")
    if task not in EVERY_TASK:
        raise DataError(f"{file} has the task {task!r}: it must be one of {', '.join(EVERY_TASK)}")
    return {
        "names": labels,
        "category_ids": ids,
        "info": info,
        "class_info": known,
        "task": task,
    }


def _fitted(file: Path, columns: dict[str, Any], findings: list[Finding]) -> pl.DataFrame:
    """The table with our columns; values of a wrong type are null and found."""
    frame = read_frame(file)
    needed = ("path",) if "path" in columns else ("image", "class_id")
    lacking = [name for name in needed if name not in frame.columns]
    if lacking:
        raise DataError(f"{file} has no column {lacking[0]!r}: looked for {', '.join(columns)}")
    for name in frame.columns:
        if name not in columns:
            message = f"the column {name!r} is not one of ours"
            findings.append(Finding("bad-value", message, file.name, "warning", "left out"))
    out = []
    for name, kind in columns.items():
        if name not in frame.columns:
            out.append(pl.Series(name, [None] * frame.height, kind))
            continue
        before = frame[name]
        try:
            after = before.cast(kind, strict=False)
        except pl.exceptions.PolarsError:
            after = pl.Series(name, [None] * frame.height, kind)
        lost = int((after.is_null() & before.is_not_null()).sum())
        if lost:
            message = f"{lost} values of {name!r} are of the wrong kind ({before.dtype})"
            findings.append(Finding("bad-value", message, file.name, "error", "left out"))
        out.append(after)
    frame = pl.DataFrame(out)
    names = ("extra",) if "path" in columns else _JSON
    return frame.with_columns(_parsed(frame[name], file.name, findings) for name in names)


def _parsed(values: pl.Series, where: str, findings: list[Finding]) -> pl.Series:
    """The column without texts that are not JSON, which others would stumble over."""
    lists = values.name in ("segmentation", "keypoints")
    suspects = values.is_not_null()
    if lists:
        # Outlines are long, and most of such a file; parsing them all takes ten times as long.
        suspects &= ~values.str.contains(_LISTS).fill_null(True)
    rows = suspects.arg_true().to_list()
    if not rows:
        return values
    texts = values.to_list()
    for row in rows:
        text = texts[row]
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, (dict, list) if lists else dict):
            texts[row] = None
            message = f"{values.name!r} is {text[:40]!r}, not the JSON that it should be"
            findings.append(Finding("bad-value", message, f"{where}#{row}", "warning", "left out"))
    return pl.Series(values.name, texts, pl.String)


def _sound(
    labels: pl.DataFrame, images: int, classes: int, findings: list[Finding]
) -> pl.DataFrame:
    """The labels whose picture and class there are."""
    good = (
        (pl.col("image") < images) & (pl.col("class_id") >= 0) & (pl.col("class_id") < classes)
    ).fill_null(False)
    for row in labels.filter(~good).select("record", "image", "class_id").iter_rows():
        record, image, number = row
        message = f"there is no picture {image} of {images}, or no class {number} of {classes}"
        findings.append(Finding("bad-record", message, record, "error", KEPT_OUT, 1))
    return labels.filter(good)


def _outside(folder: Path, name: str) -> bool:
    inner = member(name)
    return Places(folder).outside(name if inner is None else inner.file)


def _without(
    images: pl.DataFrame,
    labels: pl.DataFrame,
    kept: Any,
    names: list[str],
    where: str,
    findings: list[Finding],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables without the pictures that are not kept."""
    if kept.all():
        return images, labels
    counts = np.bincount(labels["image"].to_numpy(), minlength=images.height)
    for row in np.flatnonzero(~kept).tolist():
        message = f"the path {names[row]!r} leaves the data set's folder"
        place, boxes = f"{where}#{row}", int(counts[row])
        findings.append(Finding("path-outside", message, place, "error", KEPT_OUT, boxes))
    new = np.cumsum(kept) - 1
    labels = labels.filter(pl.Series(kept[labels["image"].to_numpy()]))
    image = pl.Series("image", new[labels["image"].to_numpy()], pl.UInt32)
    return images.filter(pl.Series(kept)), labels.with_columns(image)


def _placed(
    images: pl.DataFrame, folder: Path, named: Path | None, where: str, findings: list[Finding]
) -> pl.DataFrame:
    """The pictures with absolute paths; those that are not there are found."""
    places = Places(folder, named)
    paths, gone = [], []
    for row, name in enumerate(images["path"].to_list()):
        inner = member(name)
        file, there = places.find(name if inner is None else inner.file, [folder])
        paths.append(file if inner is None else file + name[len(inner.file) :])
        if not there:
            gone.append((f"{where}#{row}", name))
    findings += missing_images(gone, len(paths), ".")
    return images.with_columns(pl.Series("path", paths, pl.String))


def _boxes(
    labels: pl.DataFrame, images: pl.DataFrame, task: Task, findings: list[Finding]
) -> pl.DataFrame:
    if task != "detect":
        return labels.with_columns(pl.lit(None, pl.Float32).alias(name) for name in BOX)
    tidy, faults = tidy_some_boxes(labels, images)
    findings += faults
    return tidy


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`."""
    names = unique_names(dataset.paths)
    there = pictures.place(dataset.paths, [f"{folder}/images/{name}" for name in names])
    if not there.all():
        dataset = dataset.select(np.flatnonzero(there))
        names = [name for name, kept in zip(names, there, strict=True) if kept]
    paths = pl.Series("path", [f"images/{name}" for name in names], pl.String)
    write_frame(folder / "images.parquet", dataset.images.with_columns(paths))
    write_frame(folder / "labels.parquet", dataset.labels)
    said = {
        "format": "whatwhere",
        "schema_version": SCHEMA_VERSION,
        "task": dataset.task,
        "names": list(dataset.names),
        "category_ids": list(dataset.category_ids),
        "class_info": dataset.class_info,
        "info": dataset.info,
    }
    write_atomic(folder / "dataset.json", json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    return []
