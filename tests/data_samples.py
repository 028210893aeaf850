"""Small generated data sets for the tests of `whatwhere.data`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data import Dataset
from whatwhere.images import write_image
from whatwhere.types import Task

SIZES = [(60, 40), (50, 30), (40, 40), (64, 48), (30, 20), (33, 22)]
NAMES = ["ant", "bee & <wasp>", "käfer"]

ODD_NAMES = [*NAMES, "fly, \"big\" 'n' 100%"]
"""Class names with what markup, tables and shells take for their own."""


def pictures(folder: Path, count: int = 6, shape: tuple[int, ...] | None = None) -> list[str]:
    """PNG files of different content and size, with a space and an umlaut in their names.

    Args:
        folder: where to put them.
        count: how many.
        shape: (height, width), grey, or (height, width, 3) of every picture.
    """
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        path = folder / f"bild {number} ü.png"
        pixels = rng.integers(0, 255, shape or (height, width, 3), np.uint8)
        write_image(path, np.stack([pixels] * 3, axis=2) if pixels.ndim == 2 else pixels)
        paths.append(str(path))
    return paths


def detection(folder: Path) -> Dataset:
    """Six pictures, seven boxes, the last picture without; three splits."""
    paths = pictures(folder / "source")
    boxes = [
        (0, 0, 0, 0, 60, 40, False),
        (0, 1, 3, 4, 20, 25, True),
        (1, 2, 10, 5, 30, 20, False),
        (2, 0, 1, 1, 39, 39, False),
        (3, 1, 0.5, 7.25, 63.5, 41.75, False),
        (4, 2, 5, 5, 25, 15, False),
        (4, 2, 2, 2, 10, 12, False),
    ]
    columns = ("image", "class_id", "x1", "y1", "x2", "y2", "ignore")
    return Dataset(
        {
            "path": paths,
            "width": [width for width, _ in SIZES],
            "height": [height for _, height in SIZES],
            "split": ["train", "train", "train", "val", "test", "test"],
        },
        dict(zip(columns, map(list, zip(*boxes, strict=True)), strict=True)),
        NAMES,
        root=str(folder / "source"),
    )


def classification(folder: Path, count: int = 6) -> Dataset:
    """One label a picture, three classes in turn, half of them in train."""
    return Dataset(
        {
            "path": pictures(folder / "source", count),
            "split": ["train" if number < 3 else "test" for number in range(count)],
        },
        {"image": list(range(count)), "class_id": [number % 3 for number in range(count)]},
        NAMES,
        root=str(folder / "source"),
    )


IMAGE_VALUES: dict[str, list[Any]] = {
    "split": ["train", "train", "train", "val", "test", "test"],
    "group": ["clip a", "clip a", "clip a", "clip b", "clip b", "clip ü"],
    "id": [7, 3, 11, 100000, 42, 5],
    "labelled": [None, ["bee & <wasp>", "käfer"], ODD_NAMES, None, [*ODD_NAMES[2:]], ["ant"]],
    "complete": [["ant"], ["käfer"], ["ant", ODD_NAMES[3]], None, ["käfer"], None],
}
"""Values of each column of pictures; `labelled` has the classes of the picture's labels."""

# image, class, box: float32 values that decimal text of few digits cannot hold, too.
_BOXES = [
    (0, 0, 0, 0, 60, 40),
    (0, 1, 3.1, 4.7, 20.3, 25.9),
    (1, 2, 10, 5, 30, 20),
    (2, 0, 1 / 3, 1, 39, 39.123456),
    (2, 3, 12, 1, 29, 17),
    (3, 1, 0.5, 7.25, 63.5, 41.75),
    (4, 2, 5, 5, 25, 15),
    (4, 2, 2, 2, 10, 12),
]
_CLASSES = [(0, 0), (0, 1), (1, 2), (2, 0), (2, 3), (3, 1), (3, 0), (4, 2)]
_ONE_CLASS = [(0, 0), (1, 2), (2, 3), (3, 1), (4, 2), (5, 0)]


def _outline(x1: float, y1: float, x2: float, y2: float) -> str:
    """A five-cornered outline that its box encloses exactly."""
    x1, y1, x2, y2 = (float(np.float32(value)) for value in (x1, y1, x2, y2))
    middle = (x1 + x2) / 2
    return json.dumps([[x1, y1, x2, y1, x2, y2, middle, y2, x1, (y1 + y2) / 2]])


def _keypoints(x1: float, y1: float, x2: float, y2: float) -> str:
    middle, height = round((x1 + x2) / 2, 2), round((y1 + y2) / 2, 2)
    return json.dumps([middle, height, 2, round(x1 + 1, 2), round(y1 + 1, 2), 1, 0, 0, 0])


def _label_values(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Values of each column of labels, in accordance with one another.

    What is a crowd or difficult is ignored, too; what has a score comes from a model.
    """
    count = len(rows)

    def turn(*values: Any) -> list[Any]:
        return [values[number % len(values)] for number in range(count)]

    columns: dict[str, list[Any]] = {
        "difficult": turn(False, True, False, False),
        "truncated": turn(False, True, True, False, False),
        "occluded": turn(True, False, False),
        "iscrowd": turn(False, False, False, False, True),
        "score": turn(None, 0.5, None, 0.123456789, 1.0, None, None),
        "attributes": turn(None, '{"colour": "dark red", "legs": "6"}', None, '{"tag": "ü"}'),
    }
    flags = zip(columns["difficult"], columns["iscrowd"], strict=True)
    columns["ignore"] = [one or other or number == 2 for number, (one, other) in enumerate(flags)]
    columns["source"] = [
        ("human" if number % 2 else "verified") if score is None else "model"
        for number, score in enumerate(columns["score"])
    ]
    if len(rows[0]) > 2:
        boxes = [row[2:] for row in rows]
        columns["area"] = [
            (x2 - x1) * (y2 - y1) * (0.25 + number % 3 / 4)
            for number, (x1, y1, x2, y2) in enumerate(boxes)
        ]
        columns["track"] = turn("1", "2", "3", "1", "4", "9", "17", "21")
        columns["segmentation"] = [
            _outline(*box) if number % 2 else None for number, box in enumerate(boxes)
        ]
        columns["keypoints"] = [
            _keypoints(*box) if number % 3 == 0 else None for number, box in enumerate(boxes)
        ]
    return columns


def rich(
    task: Task, folder: Path, columns: Iterable[str], shape: tuple[int, ...] | None = None
) -> Dataset:
    """Six pictures with values in each of the columns; the last one has no box, or one class.

    Args:
        task: what the labels are.
        folder: its "source" gets the pictures.
        columns: as in a format's HOLDS; extras and infos are left to the caller.
        shape: of every picture, where a format wants it fixed.
    """
    rows: list[tuple[Any, ...]]
    rows = list({"detect": _BOXES, "multilabel": _CLASSES, "classify": _ONE_CLASS}[task])
    names = ("image", "class_id", "x1", "y1", "x2", "y2")
    wanted = set(columns)
    images: dict[str, Any] = {
        "path": pictures(folder / "source", shape=shape),
        "width": [width if shape is None else shape[1] for width, _ in SIZES],
        "height": [height if shape is None else shape[0] for _, height in SIZES],
    }
    images |= {name: values for name, values in IMAGE_VALUES.items() if name in wanted}
    labels: dict[str, Any] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False))
    labels |= {name: one for name, one in _label_values(rows).items() if name in wanted}
    return Dataset(images, labels, ODD_NAMES, root=str(folder / "source"), task=task)


def changed(dataset: Dataset, **changes: pl.Series | pl.Expr) -> Dataset:
    """The same data set with other values in these columns of labels."""
    return Dataset(
        dataset.images,
        dataset.labels.with_columns(**changes),
        dataset.names,
        root=dataset.root,
        task=dataset.task,
        category_ids=dataset.category_ids,
        class_info=dataset.class_info,
        info=dataset.info,
    )
