"""Small generated training sets: coloured rectangles on grey noise."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

import whatwhere.train.run as run_module
from whatwhere.data import Dataset
from whatwhere.images import write_image
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import Network
from whatwhere.train.recipes import recipe
from whatwhere.types import Task

Loss = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220)}
NAMES = tuple(COLOURS)

# The smallest networks of timm: a fraction of a megabyte, a millisecond a picture.
TINY = "test_efficientnet"
TINY_RESNET = "test_resnet"


def grey(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A picture of grey noise, too dull to be taken for an object."""
    return random.integers(90, 140, (height, width, 1), np.uint8).repeat(3, 2)


def boxes_set(
    folder: Path,
    count: int = 8,
    *,
    size: tuple[int, int] = (64, 96),
    seed: int = 0,
    splits: bool = True,
    names: tuple[str, ...] = NAMES,
) -> Dataset:
    """Pictures with none, one or two filled rectangles of class colours, as PNG.

    The last quarter is the split "val". The first training picture shows nothing.
    """
    random = np.random.default_rng(seed)
    height, width = size
    rows: dict[str, list[Any]] = {key: [] for key in ("image", "class_id", "x1", "y1", "x2", "y2")}
    paths = []
    for i in range(count):
        image = grey(random, height, width)
        for half in range(0 if i == 0 else 1 + i % 2):
            name = int(random.integers(len(names)))
            w, h = int(random.integers(16, width // 2 - 4)), int(random.integers(16, height - 6))
            x = half * width // 2 + int(random.integers(0, width // 2 - w))
            y = int(random.integers(0, height - h))
            image[y : y + h, x : x + w] = COLOURS[names[name]]
            values = (i, name, x, y, x + w, y + h)
            for key, value in zip(rows, values, strict=True):
                rows[key].append(value)
        path = folder / "images" / f"{i:03}.png"
        write_image(path, image)
        paths.append(str(path))
    images: dict[str, Any] = {"path": paths, "width": [width] * count, "height": [height] * count}
    if splits:
        held = max(1, count // 4)
        images["split"] = ["train"] * (count - held) + ["val"] * held
    return Dataset(images, rows, names, root=str(folder))


def classes_folder(
    folder: Path,
    counts: dict[str, int] | None = None,
    *,
    side: int = 40,
    seed: int = 0,
    splits: tuple[str, ...] = ("train", "val"),
) -> Path:
    """Class folders in split folders; a picture is noise around the colour of its class."""
    random = np.random.default_rng(seed)
    for split in splits:
        for name, count in (counts or {"red": 6, "green": 6}).items():
            for i in range(count if split == "train" else min(count, 2)):
                noise = random.normal(COLOURS[name], 40, (side, side, 3))
                image = np.clip(noise, 0, 255).astype(np.uint8)
                write_image(folder / split / name / f"{i}.png", image)
    return folder


class Notes:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done: list[tuple[int, int]] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def steps(self, done: int, total: int, about: str) -> None:
        self.done.append((done, total))


class KilledError(Exception):
    """Stands for the end of the process."""


class Dying(Notes):
    """Ends the process after a step."""

    def __init__(self, moment: int) -> None:
        super().__init__()
        self.moment = moment

    def steps(self, done: int, total: int, about: str) -> None:
        if done == self.moment:
            raise KilledError


def change_loss(monkeypatch: pytest.MonkeyPatch, change: Callable[[Loss], Loss]) -> None:
    """Give each network of a run another loss, made from its own."""
    make = run_module.build

    def changed(*arguments: Any, **options: Any) -> Network:
        net = make(*arguments, **options)
        monkeypatch.setattr(net, "loss", change(net.loss))
        return net

    monkeypatch.setattr(run_module, "build", changed)


def labelled(
    paths: list[str], classes: list[int], splits: list[str | None] | None = None
) -> Dataset:
    """A set for "classify": one class a picture."""
    images: dict[str, Any] = {"path": paths}
    if splits is not None:
        images["split"] = splits
    labels = {"image": list(range(len(classes))), "class_id": classes}
    return Dataset(images, labels, NAMES, task="classify")


def partly_labelled(folder: Path) -> Dataset:
    """Picture 0 shows red twice and blue; 1 nothing; 2 an ignored green; 3 is partly labelled."""
    paths = boxes_set(folder, 4, splits=False).paths
    labels = {
        "image": [0, 0, 0, 2, 3],
        "class_id": [0, 0, 2, 1, 1],
        "ignore": [False, False, False, True, False],
    }
    labelled = [None, None, None, ["red", "green"]]
    data = Dataset({"path": paths, "labelled": labelled}, labels, NAMES, task="multilabel")
    assert data.task == "multilabel"
    return data


def same_runs(one: Path, two: Path) -> bool:
    """Whether two runs ended with the same weights and the same numbers, bit by bit."""
    return all(
        (one / name).read_bytes() == (two / name).read_bytes()
        for name in ("model.safetensors", "metrics.csv")
    )


def metric_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def quick_config(task: Task, **changes: Any) -> TrainConfig:
    """The quickest training there is: a tiny network, 32 pixels, one epoch."""
    plain = {
        "backbone": TINY if task == "detect" else TINY_RESNET,
        "pretrained": False,
        "width_head": 16,
        "size": 32,
        "epochs": 1,
        "batch": 4,
        "precision": "32-true",
        "previews": 0,
    }
    return replace(recipe(task), **(plain | changes))


def detector_config(**changes: Any) -> TrainConfig:
    return replace(recipe("detect"), **{"batch": 4, **changes})  # type: ignore[arg-type]


def classifier_config(**changes: Any) -> TrainConfig:
    return replace(recipe("classify"), **{"batch": 4, **changes})  # type: ignore[arg-type]


def plain_config(**changes: Any) -> TrainConfig:
    """No augmentation: a sample is the picture."""
    return detector_config(mosaic=0.0, flip=0.0, zoom=1.0, colour=0.0, **changes)
