"""Write Hugging Face's `imagefolder`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._class_sets import single_classes, unlabelled
from whatwhere.data.formats._files import unique_names
from whatwhere.data.formats._label_json import image_columns, label_columns
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import BOX
from whatwhere.images import write_atomic

FOLDERS = {"train": "train", "val": "validation", "test": "test"}


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: metadata.jsonl in the folder of each split, and README.md with the names."""
    findings: list[Finding] = []
    bare: set[int] = set()
    if dataset.task == "classify":
        bare = {row for row, number in enumerate(single_classes(dataset)) if number is None}
        findings += [unlabelled(dataset, row) for row in sorted(bare)]
    rows = [row for row in range(len(dataset)) if row not in bare]
    splits = dataset.images["split"].to_list()
    places = [FOLDERS.get(splits[row] or "", "") for row in rows]
    paths = [dataset.paths[row] for row in rows]
    names = [re.sub(r"[\r\n]", "_", name) for name in unique_names(paths, places)]
    pairs = zip(places, names, strict=True)
    targets = [f"{folder}/{place}/{name}" if place else f"{folder}/{name}" for place, name in pairs]
    there = pictures.place(paths, targets)
    image = image_columns(dataset)
    sizes = dataset.images.select("width", "height").rows()
    labels = _Labels(dataset)
    lines: dict[str, list[str]] = {}
    for at, row in enumerate(rows):
        if not there[at]:
            continue
        record: dict[str, Any] = {"file_name": names[at]}
        if None not in sizes[row]:
            record |= {"width": sizes[row][0], "height": sizes[row][1]}
        if splits[row] and not places[at]:
            record["split"] = splits[row]
        record |= {name: values[row] for name, values in image.items()}
        record |= labels.of(row)
        lines.setdefault(places[at], []).append(json.dumps(record, ensure_ascii=False) + "\n")
    for place, written in lines.items():
        write_atomic(folder / place / "metadata.jsonl", "".join(written))
    write_atomic(folder / "README.md", _readme(dataset))
    return findings


class _Labels:
    """The labels of each picture as JSON."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.names = [dataset.names[number] for number in dataset.labels["class_id"]]
        self.boxes = dataset.labels.select(BOX).rows()
        self.columns = label_columns(dataset)

    def of(self, row: int) -> dict[str, Any]:
        start, end = self.dataset.rows_of(row)
        more = {name: values[start:end] for name, values in self.columns.items()}
        names = self.names[start:end]
        if self.dataset.task == "detect":
            boxes = [
                None if None in box else [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                for box in self.boxes[start:end]
            ]
            return {"objects": {"bbox": boxes, "category": names, **more}}
        found: dict[str, Any] = {"labels": names}
        if self.dataset.task == "classify":
            found = {"label": names[0]}
        return found | ({"label_columns": more} if more else {})


def _readme(dataset: Dataset) -> str:
    """The names of the classes where Hugging Face Datasets has them: YAML before the text."""
    names = "".join(
        f"          '{number}': {json.dumps(name, ensure_ascii=False)}\n"
        for number, name in enumerate(dataset.names)
    )
    return (
        "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n"
        f"        names:\n{names}---\n"
    )
