"""Write COCO object instances, with all that our tables hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._coco_fields import IMAGES, OURS
from whatwhere.data.formats._coco_labels import json_text, label_texts, own_and_others
from whatwhere.data.formats._files import add_sizes, split_name, unique_names
from whatwhere.data.formats._pictures import Pictures

_BLOCK = 50_000
_DEFAULT = "default"
"""What other tools call the one file of an undivided data set."""


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: annotations/instances_<split>.json, images/<split>/."""
    images, findings = add_sizes(dataset.images, Path(dataset.root))
    files = _file_names(images["split"].unique(maintain_order=True).to_list())
    splits = [files[split] for split in images["split"]]
    names = unique_names(dataset.paths, splits)
    targets = [f"{folder}/images/{split}/{name}" for split, name in zip(splits, names, strict=True)]
    there = pictures.place(dataset.paths, targets)
    ids = images["id"]
    if ids.null_count() or ids.n_unique() < ids.len():
        ids = pl.int_range(1, len(dataset) + 1, dtype=pl.Int64, eager=True)
    categories = list(dataset.category_ids)
    # Classes stand in the order of their ids, so other ids would be other class numbers.
    if len(categories) != len(dataset.names) or any(np.diff(categories) <= 0):
        categories = list(range(1, len(dataset.names) + 1))
    images = images.with_columns(ids.alias("id"), pl.Series("file_name", names))
    labels = label_texts(dataset.labels, ids, categories)
    rows = dataset.labels["image"].to_numpy()
    (folder / "annotations").mkdir()
    for split, name in files.items():
        chosen = there & np.array([one == name for one in splits], np.bool_)
        with (folder / "annotations" / f"instances_{name}.json").open("wb") as file:
            _array(file, '{"images"', _images(dataset, images, np.flatnonzero(chosen), categories))
            _array(file, ',\n"annotations"', _blocks(labels.filter(chosen[rows])))
            _array(file, ',\n"categories"', _categories(dataset, categories))
            for key, value in _info(dataset, split, name).items():
                file.write(f",\n{json_text(key)}: {json_text(value)}".encode())
            file.write(b"}\n")
    return findings


def _file_names(splits: Sequence[str | None]) -> dict[str | None, str]:
    """A name for the files of each split that all file systems can have."""
    names: dict[str | None, str] = {}
    taken: set[str] = set()
    for split in splits:
        first = re.sub(r"[^\w .-]", "_", split or _DEFAULT).strip(" .")
        first = first.encode()[:100].decode(errors="ignore") or "split"
        name, number = first, 1
        while name.lower() in taken:
            number += 1
            name = f"{first}-{number}"
        taken.add(name.lower())
        names[split] = name
    return names


def _array(file: BinaryIO, key: str, texts: Iterable[str]) -> None:
    file.write(f"{key}: [".encode())
    between = "\n"
    for text in texts:
        file.write((between + text).encode())
        between = ",\n"
    file.write(b"\n]")


def _blocks(texts: pl.Series) -> Iterator[str]:
    for start in range(0, texts.len(), _BLOCK):
        yield texts.slice(start, _BLOCK).str.join(",\n").item()


def _info(dataset: Dataset, split: str | None, name: str) -> dict[str, Any]:
    """Everything at the top of a file but its three lists."""
    info = dict(dataset.info)
    by_split = info.get("splits")
    if isinstance(by_split, dict) and isinstance(own := by_split.get(split or _DEFAULT), dict):
        info |= own
    taken = {"images", "annotations", "categories", "splits", OURS}
    hidden = {key: value for key, value in info.items() if key in taken}
    ours: dict[str, Any] = {"info": hidden} if hidden else {}
    words = re.split(r"[_\-.]", name)
    if split != next((one for word in reversed(words) if (one := split_name(word))), None):
        ours["split"] = split
    if dataset.labels["area"].null_count():
        ours["area"] = "box"
    info = {key: value for key, value in info.items() if key not in hidden}
    return info | ({OURS: ours} if ours else {})


def _categories(dataset: Dataset, ids: Sequence[int]) -> Iterator[str]:
    for number, name in zip(ids, dataset.names, strict=True):
        info = dataset.class_info.get(name, {})
        hidden = {key: value for key, value in info.items() if key in ("id", "name", OURS)}
        shown = {key: value for key, value in info.items() if key not in hidden}
        ours = {OURS: hidden} if hidden else {}
        yield json_text({"id": number, "name": name, **shown, **ours})


def _images(
    dataset: Dataset, images: pl.DataFrame, rows: NDArray[np.int64], categories: Sequence[int]
) -> Iterator[str]:
    number = dict(zip(dataset.names, categories, strict=True))
    partly = images["labelled"].null_count() < images.height
    classes = dataset.labels["class_id"].to_list() if partly else []
    for row, image in zip(rows.tolist(), images[rows].iter_rows(named=True), strict=True):
        record: dict[str, Any] = {"id": image["id"], "file_name": image["file_name"]}
        if image["width"] is not None and image["height"] is not None:
            record |= {"width": image["width"], "height": image["height"]}
        if image["group"] is not None:
            record["group"] = image["group"]
        if image["labelled"] is not None:
            record["labelled_classes"] = image["labelled"]
            start, end = dataset.rows_of(row)
            seen = {dataset.names[one] for one in classes[start:end]}
            known = [one for one in image["labelled"] if one in number]
            # The same for programs that know LVIS.
            record["neg_category_ids"] = [number[one] for one in known if one not in seen]
            complete = image["complete"] if image["complete"] is not None else known
            some = [one for one in known if one in seen and one not in complete]
            record["not_exhaustive_category_ids"] = [number[one] for one in some]
        if image["complete"] is not None:
            record["complete_classes"] = image["complete"]
        text = json_text(record)
        if image["extra"] is not None:
            more = own_and_others(image["extra"], IMAGES)
            text = text[:-1] + more + "}"
        yield text
