"""What a data set says, in a form that every program's reading can be brought to.

`Facts` has the pictures by their names, and for each its split and boxes; boxes are corners in
continuous pixels from 0. `differences` compares two of them in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.data import Dataset
from whatwhere.images import write_image

FLAGS = ("difficult", "truncated", "occluded", "iscrowd")
SIZES = [(64, 48), (50, 30), (40, 40), (60, 44), (33, 22), (48, 36)]
PLAIN_NAMES = ["ant", "bee", "wasp"]
ODD_NAMES = ["ant", "bee & <wasp>", "käfer, \"big\" 'n' 100%"]


@dataclass(frozen=True)
class Box:
    """A class, corners in pixels (none for a picture's own label), and the flags that are set."""

    name: str
    corners: tuple[float, ...] = ()
    flags: frozenset[str] = frozenset()


@dataclass
class Facts:
    """Pictures by key: their boxes, and their splits where the reader knows them.

    `said`: flags that the reader reports; others are not compared.
    """

    boxes: dict[str, list[Box]] = field(default_factory=dict)
    split: dict[str, str] | None = None
    said: frozenset[str] = frozenset()

    def add(self, key: str, *boxes: Box) -> None:
        self.boxes.setdefault(key, []).extend(boxes)


def stem(path: str) -> str:
    """The key of a picture: its file name without folders and suffix."""
    return Path(str(path).rpartition("!")[2] or str(path)).stem


def facts_of(dataset: Dataset, key: Callable[[str], str] = stem) -> Facts:
    """What Whatwhere holds. Pictures without a split have the split ""."""
    keys = [key(path) for path in dataset.paths]
    splits = dataset.images["split"].fill_null("").to_list()
    facts = Facts({name: [] for name in keys}, dict(zip(keys, splits, strict=True)))
    facts.said = frozenset(FLAGS)
    for row in dataset.labels.iter_rows(named=True):
        corners = () if row["x1"] is None else tuple(row[one] for one in ("x1", "y1", "x2", "y2"))
        flags = frozenset(flag for flag in FLAGS if row[flag])
        facts.add(keys[row["image"]], Box(dataset.names[row["class_id"]], corners, flags))
    return facts


def sample(
    folder: Path, odd: bool, *, size: tuple[int, int] | None = None, grey: bool = False
) -> Dataset:
    """Six pictures, eight boxes with all flags; the last picture has no box.

    Args:
        folder: gets the pictures.
        odd: names of files and classes with blanks, umlauts and what markup uses.
        size: (width, height) of every picture.
        grey: grey PNG files.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    sizes = [size or one for one in SIZES]
    for number, (width, height) in enumerate(sizes):
        suffix = "png" if grey else "jpg"
        path = folder / (f"bild {number} ü.{suffix}" if odd else f"pic_{number}.{suffix}")
        pixels = rng.integers(0, 255, (height, width, 1 if grey else 3), np.uint8)
        write_image(path, np.broadcast_to(pixels, (height, width, 3)).copy())
        paths.append(str(path))
    rows: list[tuple[float, ...]] = [
        (0, 0, 0, 0, 64, 48),
        (0, 1, 3, 4, 20, 25),
        (1, 2, 10, 5, 30, 20),
        (2, 0, 1, 1, 39, 39),
        (2, 2, 12, 1, 29, 17),
        (3, 1, 0.5, 7.25, 59.5, 41.75),
        (4, 2, 5, 5, 25, 15),
        (4, 2, 2, 2, 10, 12),
    ]
    columns = dict(
        zip(("image", "class_id", "x1", "y1", "x2", "y2"), zip(*rows, strict=True), strict=True)
    )
    labels: dict[str, Any] = {name: list(values) for name, values in columns.items()}
    labels["class_id"] = [int(one) for one in labels["class_id"]]
    if size is not None:
        for axis, limit in ((0, size[0]), (1, size[1])):
            for name in ("xy"[axis] + "1", "xy"[axis] + "2"):
                labels[name] = [min(value, limit) for value in labels[name]]
    labels |= {
        "difficult": [one == 1 for one in range(8)],
        "truncated": [one in (1, 2) for one in range(8)],
        "occluded": [one in (2, 5) for one in range(8)],
        "iscrowd": [one == 4 for one in range(8)],
        "ignore": [one in (1, 4) for one in range(8)],
    }
    images = {
        "path": paths,
        "width": [width for width, _ in sizes],
        "height": [height for _, height in sizes],
        "split": ["train", "train", "train", "val", "test", "test"],
    }
    return Dataset(
        images, labels, ODD_NAMES if odd else PLAIN_NAMES, root=str(folder), task="detect"
    )


def class_sample(
    folder: Path, odd: bool, *, size: tuple[int, int] | None = None, grey: bool = False
) -> Dataset:
    """The same pictures with one class each, and train and test."""
    boxes = sample(folder, odd, size=size, grey=grey)
    images = {
        "path": boxes.paths,
        "width": boxes.images["width"],
        "height": boxes.images["height"],
        "split": ["train"] * 3 + ["test"] * 3,
    }
    labels = {"image": list(range(6)), "class_id": [0, 1, 2, 0, 1, 2]}
    return Dataset(images, labels, boxes.names, root=str(folder), task="classify")


def differences(wanted: Facts, found: Facts, *, tolerance: float = 0.01) -> list[str]:
    """What is not the same, one short sentence each; empty if nothing is.

    Boxes of a picture are matched by class and nearest corners; `tolerance` is in pixels.
    """
    said = []
    missing, more = (
        sorted(wanted.boxes.keys() - found.boxes),
        sorted(found.boxes.keys() - wanted.boxes),
    )
    if missing:
        empty = sum(not wanted.boxes[key] for key in missing)
        said.append(
            f"{len(missing)} pictures missing ({empty} of them without boxes), as {missing[0]!r}"
        )
    if more:
        said.append(f"{len(more)} further pictures, as {more[0]!r}")
    moved: list[np.ndarray] = []
    flags: set[str] = set()
    lost = extra = 0
    names: set[str] = set()
    for key in sorted(wanted.boxes.keys() & found.boxes):
        left = list(found.boxes[key])
        for box in wanted.boxes[key]:
            same = [one for one in left if one.name == box.name]
            if not same:
                lost += 1
                names |= {box.name}
                continue
            best = min(same, key=lambda one: _distance(box, one))
            left.remove(best)
            if _distance(box, best) > tolerance:
                moved.append(np.subtract(best.corners, box.corners))
            flags |= (box.flags ^ best.flags) & wanted.said & found.said
        extra += len(left)
        names |= {one.name for one in left}
    if moved:
        shift = np.array(moved)
        if np.allclose(shift, shift[0], atol=tolerance):
            step = ", ".join(f"{value:+g}" for value in shift[0].round(2))
            said.append(f"{len(moved)} boxes moved by ({step})")
        else:
            said.append(f"{len(moved)} boxes moved by up to {np.abs(shift).max():.3g} pixels")
    if lost or extra:
        said.append(f"{lost} boxes missing, {extra} further ones, of {_words(names)}")
    if flags:
        said.append(f"other flags: {_words(flags)}")
    # Where no split is known, others call them by file names.
    if wanted.split and any(wanted.split.values()) and found.split is not None:
        other = [
            f"{wanted.split[key]!r} became {found.split[key]!r}"
            for key in wanted.split.keys() & found.split.keys()
            if wanted.split[key] != found.split[key]
        ]
        if other:
            said.append(f"{len(other)} other splits: {_words(set(other))}")
    return said


def _distance(one: Box, other: Box) -> float:
    if not one.corners or not other.corners:
        return 0.0 if one.corners == other.corners else float("inf")
    return float(np.abs(np.subtract(one.corners, other.corners)).max())


def _words(values: Iterable[str]) -> str:
    shown = sorted(values)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
