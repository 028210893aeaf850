"""Files as annotation tools write them, for the tests of their formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.data import Dataset, read
from whatwhere.data.tables import FLAGS
from whatwhere.images import write_image

SIZE = (200, 100)


def picture(path: Path, width: int = SIZE[0], height: int = SIZE[1]) -> Path:
    """A black picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.zeros((height, width, 3), np.uint8))
    return path


def store(path: Path, content: Any) -> Path:
    """A text file, or a JSON file of anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def boxes(dataset: Dataset) -> list[tuple[Any, ...]]:
    """Class and box of each label, rounded to a hundredth of a pixel."""
    rows = dataset.labels.select("class_id", "x1", "y1", "x2", "y2").rows()
    return [(dataset.names[row[0]], *(round(side, 2) for side in row[1:])) for row in rows]


def kinds(dataset: Dataset) -> list[str]:
    """Kinds of the findings, in order."""
    return sorted(finding.kind for finding in dataset.findings)


def column(dataset: Dataset, name: str) -> list[Any]:
    """A column of the labels; JSON ones parsed, flags that nobody set are False."""
    values = dataset.labels[name].to_list()
    if name in FLAGS:
        return [bool(value) for value in values]
    if name in ("segmentation", "keypoints", "attributes", "extra"):
        return [None if value is None else json.loads(value) for value in values]
    return values


def again(dataset: Dataset, folder: Path, format: str) -> Dataset:
    """Written and read; everything but records must be the same."""
    lost = dataset.write(folder, format)
    assert [one.kind for one in lost] == []
    after = read(folder)
    assert after.format == format
    assert list(after.names) == list(dataset.names)
    for name in dataset.labels.columns:
        if name != "record":
            assert column(after, name) == column(dataset, name), name
    return after
