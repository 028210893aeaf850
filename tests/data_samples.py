"""Small generated data sets for the tests of `whatwhere.data`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from whatwhere.data import Dataset
from whatwhere.images import write_image

SIZES = [(60, 40), (50, 30), (40, 40), (64, 48), (30, 20), (33, 22)]
NAMES = ["ant", "bee & <wasp>", "käfer"]


def pictures(folder: Path, count: int = 6) -> list[str]:
    """PNG files of different content and size, with a space and an umlaut in their names."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        path = folder / f"bild {number} ü.png"
        write_image(path, rng.integers(0, 255, (height, width, 3), np.uint8))
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
