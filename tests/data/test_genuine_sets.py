"""Every genuine data set is recognised and read; the counts were made without our readers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from whatwhere.data import Dataset, read

GTS = "many_formats/data/database/gts"
MANY = "many_formats/data/database/images"


@dataclass(frozen=True)
class Genuine:
    """A data set and what is in it.

    Args:
        path: below the folder of the genuine sets.
        format: what it is to be recognised as.
        images, labels, classes: how many there are.
        kept_out: labels that are there, but cannot be used.
        pictures: a folder to be given as `images`.
    """

    path: str
    format: str
    images: int
    labels: int
    classes: int
    kept_out: int = 0
    pictures: str | None = None

    def read(self, shared: Path, format: str | None = None) -> Dataset:
        folder = None if self.pictures is None else shared / self.pictures
        return read(shared / self.path, format, images=folder)


NINE = [
    Genuine(f"{GTS}/coco_format_v1", "coco", 100, 273, 20, 0, MANY),
    Genuine(f"{GTS}/coco_format_v2", "coco", 100, 273, 20, 0, MANY),
]
"""The same 100 photos with the same boxes in nine formats."""

SETS = [
    # bccd has two boxes of zero size among 4,888.
    Genuine("bccd", "voc", 364, 4886, 3, 2),
    Genuine("voc2012_mini", "voc", 100, 273, 20),
    Genuine("coco_tiny", "coco", 50, 470, 80),
    # Two label files without a photo have 9 and 3 boxes.
    Genuine("coco128", "yolo", 256, 1827, 80, 12),
    # Of 3,204 photos, 1,522 are listed.
    Genuine("photos", "coco", 1522, 3186, 80),
    Genuine("photos_machine_boxes", "coco", 700, 1097, 80),
    Genuine("coco_eval/sampled_gts_bbox_area.json", "coco", 100, 830, 80),
    Genuine("cifar10_folders", "folders", 12000, 12000, 10),
    *NINE,
]


@pytest.mark.parametrize("how", ["recognised", "given"])
@pytest.mark.parametrize("genuine", SETS, ids=lambda one: one.path)
def test_counts(genuine: Genuine, how: Literal["recognised", "given"], shared: Path) -> None:
    dataset = genuine.read(shared, None if how == "recognised" else genuine.format)
    assert dataset.format == genuine.format
    counts = (len(dataset), dataset.labels.height, dataset.kept_out, len(dataset.names))
    assert counts == (genuine.images, genuine.labels, genuine.kept_out, genuine.classes)
    assert dataset.labels["record"].null_count() == 0
    assert dataset.labels["record"].n_unique() == dataset.labels.height
    if dataset.task == "detect":
        boxes = dataset.labels.select("x1", "y1", "x2", "y2").to_numpy()
        assert np.isfinite(boxes).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def _by_picture(dataset: Dataset) -> dict[str, list[tuple[str, NDArray[np.float32]]]]:
    found = {}
    for row, path in enumerate(dataset.paths):
        targets = dataset.targets(row)
        assert targets.boxes is not None
        names = [dataset.names[number] for number in targets.class_ids]
        found[Path(path).stem] = list(zip(names, targets.boxes, strict=True))
    return found


def _worst_distance(one: Dataset, two: Dataset) -> float:
    """Largest difference of a coordinate after each box was given its nearest of the class."""
    first, second = _by_picture(one), _by_picture(two)
    assert first.keys() == second.keys()
    worst = 0.0
    for stem, boxes in first.items():
        left = list(second[stem])
        assert len(left) == len(boxes), stem
        for name, box in boxes:
            distances = [
                float(np.abs(other - box).max()) if name == other_name else np.inf
                for other_name, other in left
            ]
            nearest = int(np.argmin(distances))
            worst = max(worst, distances[nearest])
            left.pop(nearest)
    return worst


@pytest.fixture(scope="module")
def kit(shared: Path) -> Dataset:
    """The photos with their annotations as the VOC2012 kit has them."""
    return read(shared / "voc2012_mini")


@pytest.mark.parametrize("genuine", NINE, ids=lambda one: Path(one.path).name)
def test_the_nine_formats_say_the_same(genuine: Genuine, kit: Dataset, shared: Path) -> None:
    dataset = genuine.read(shared)
    assert sorted(dataset.names) == sorted(kit.names)
    assert _worst_distance(kit, dataset) <= 1.0
    # Pictures lie where the user said, and are as large as the kit says.
    assert {Path(path).parent for path in dataset.paths} == {shared / MANY}
    sizes = {Path(path).stem: size for path, size in zip(kit.paths, _sizes(kit), strict=True)}
    for path, size in zip(dataset.paths, _sizes(dataset), strict=True):
        assert sizes[Path(path).stem] == size


def _sizes(dataset: Dataset) -> list[tuple[int, int]]:
    return dataset.images.select("width", "height").rows()


def test_the_nine_are_nine() -> None:
    assert len(NINE) == 9
