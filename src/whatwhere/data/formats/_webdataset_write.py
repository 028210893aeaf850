"""Write WebDataset shards: the same bytes each time, none larger than it should be."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whatwhere.data.dataset import Dataset
from whatwhere.data.findings import Finding
from whatwhere.data.formats._class_sets import (
    is_plain_name,
    names_text,
    need_pictures,
    say_copied,
    single_classes,
    unlabelled,
    unreadable,
)
from whatwhere.data.formats._files import picture_name, split_name, unique_names
from whatwhere.data.formats._label_json import image_columns, label_columns
from whatwhere.data.formats._pictures import Pictures
from whatwhere.data.tables import BOX
from whatwhere.errors import ImageError
from whatwhere.images import IMAGE_SUFFIXES, member, picture_bytes, write_atomic

MAX_SHARD = 256 << 20
"""Bytes of pictures and labels after which a new shard is begun."""

MAX_SAMPLES = 10_000


def write(dataset: Dataset, folder: Path, pictures: Pictures) -> list[Finding]:
    """See `formats`: SPLIT-000000.tar and so on, and classnames.txt."""
    need_pictures(pictures, "WebDataset")
    say_copied(dataset, pictures)
    findings: list[Finding] = []
    classes = single_classes(dataset) if dataset.task == "classify" else None
    samples = _Samples(dataset)
    parts: dict[str, list[int]] = {}
    for row, split in enumerate(dataset.images["split"].to_list()):
        if classes is not None and classes[row] is None:
            findings.append(unlabelled(dataset, row))
        else:
            parts.setdefault(_stem(split), []).append(row)
    for stem, rows in parts.items():
        number = 0
        while rows:
            rows = _shard(folder / f"{stem}-{number:06d}.tar", rows, samples, pictures)
            number += 1
    write_atomic(folder / "classnames.txt", names_text(dataset.names))
    renamed = sum(picture_name(path) != _file_name(path) for path in dataset.paths)
    if renamed:
        message = f"{renamed} pictures got a name in which the only dot is before the ending"
        findings.append(Finding("renamed-image", message, dataset.source, "info", "renamed"))
    return findings


def _stem(split: str | None) -> str:
    """How the shards of a split begin; a split that names no shard stands in the samples."""
    plain = split is not None and split_name(split) == split and is_plain_name(split)
    return split if plain and split is not None else "data"


def _shard(file: Path, rows: Sequence[int], samples: _Samples, pictures: Pictures) -> list[int]:
    """Write one shard; the rows that it has no room for."""
    size = count = 0
    with tarfile.open(file, "x", format=tarfile.PAX_FORMAT) as tar:
        for at, row in enumerate(rows):
            if count and (size >= MAX_SHARD or count >= MAX_SAMPLES):
                return list(rows[at:])
            try:
                data = picture_bytes(samples.dataset.paths[row])
            except ImageError as error:
                pictures.findings.append(unreadable(samples.dataset.paths[row], error))
                continue
            for name, content in samples.of(row, data):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))
                size += len(content)
            count += 1
    return []


class _Samples:
    """The files of each picture."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.files = unique_names([_file_name(path) for path in dataset.paths])
        self.splits = dataset.images["split"].to_list()
        self.sizes = dataset.images.select("width", "height").rows()
        self.names = [dataset.names[number] for number in dataset.labels["class_id"]]
        self.boxes = dataset.labels.select(BOX).rows()
        self.labels, self.images = label_columns(dataset), image_columns(dataset)

    def of(self, row: int, picture: bytes) -> list[tuple[str, bytes]]:
        """Name and content of the picture's file and of those with its labels."""
        start, end = self.dataset.rows_of(row)
        names = self.names[start:end]
        said: dict[str, Any] = {"task": self.dataset.task, "names": names}
        if self.dataset.task == "detect":
            said["boxes"] = [None if None in box else list(box) for box in self.boxes[start:end]]
        if None not in self.sizes[row]:
            said |= {"width": self.sizes[row][0], "height": self.sizes[row][1]}
        if self.splits[row] is not None and _stem(self.splits[row]) == "data":
            said["split"] = self.splits[row]
        if self.labels:
            columns = {name: values[start:end] for name, values in self.labels.items()}
            said["columns"] = columns
        said |= {name: values[row] for name, values in self.images.items()}
        file = self.files[row]
        key = os.path.splitext(file)[0]  # noqa: PTH122
        found = [(file, picture), (f"{key}.json", json.dumps(said, ensure_ascii=False).encode())]
        if self.dataset.task == "classify":
            found.append((f"{key}.cls", str(self.dataset.names.id(names[0])).encode()))
        return found


def _file_name(path: str) -> str:
    """A name in which the only dot is before the ending, as WebDataset needs it."""
    inner = member(path)
    stem, suffix = os.path.splitext(picture_name(path))  # noqa: PTH122
    if suffix.lower() not in IMAGE_SUFFIXES or (inner is not None and len(inner.shape) > 1):
        suffix = ".png" if inner is not None and inner.crop is None else suffix
    return re.sub(r"[.\r\n\\]", "_", stem) + suffix
