"""Every genuine data set is recognised and read; the counts were made without our readers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from whatwhere.data import Dataset, read
from whatwhere.data.tables import BOX
from whatwhere.errors import DataError
from whatwhere.types import Labels

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
    Genuine(f"{GTS}/{folder}", format, 100, 273, 20, 0, MANY)
    for folder, format in {
        "coco_format_v1": "coco",
        "coco_format_v2": "coco",
        "cvat_format": "cvat",
        "imagenet_format": "voc",
        "labelme_format": "labelme",
        "openimages_format": "open_images",
        "pascalvoc_format": "voc",
        "tfrecord_format": "tfrecord",
        "yolo_format": "yolo",
    }.items()
]
"""The same 100 photos with the same boxes in nine formats."""

TOY = "many_formats/toyexample"

DETECTIONS = [
    Genuine(f"many_formats/data/database/dets/{folder}", format, 98, 452, 20, 0, MANY)
    for folder, format in {
        "coco_format": "coco",
        "abs_xywh": "text_boxes",
        "abs_xyx2y2": "text_boxes",
        "rel_xywh": "text_boxes",
    }.items()
]
"""The answers of one detector in four files."""

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
    Genuine("coco_eval/instances_val2014_fakebbox100_results.json", "coco", 100, 734, 80),
    Genuine("cifar10_folders", "folders", 12000, 12000, 10),
    # The pictures of the 60,000 training labels are absent.
    Genuine("mnist", "mnist", 10000, 10000, 10, 60000),
    # DontCare is among the classes; 4 of the labels are such regions.
    Genuine("kitti", "kitti", 3, 10, 6),
    # 71 and 179 frames; those of results are not ground truth.
    Genuine("mot15_tud", "mot", 250, 1515, 1),
    # 998 lines, 14 of them headers.
    Genuine("dota", "dota", 7, 984, 12),
    Genuine("cartucho_txt", "text_boxes", 85, 686, 30),
    Genuine("neon_trees/example.csv", "csv_boxes", 1, 79, 1),
    Genuine("neon_trees/testfile_multi.csv", "csv_boxes", 1, 37, 2),
    Genuine("neon_trees/testfile_deepforest.csv", "csv_boxes", 1, 61, 1),
    Genuine("neon_trees/OSBS_029.csv", "csv_boxes", 1, 61, 1),
    Genuine("neon_trees/OSBS_029.xml", "voc", 1, 61, 1),
    Genuine("neon_trees/SOAP_061.xml", "voc", 1, 37, 2),
    # Its picture is absent.
    Genuine("neon_trees/2019_YELL_2_528000_4978000_image_crop2.xml", "voc", 1, 574, 1),
    Genuine("neon_trees/2019_YELL_2_541000_4977000_image_crop.xml", "voc", 1, 279, 1),
    Genuine("neon_trees/2018_SJER_3_252000_4107000_image_477.csv", "csv_boxes", 1, 7, 1),
    # Its columns are in another order.
    Genuine("neon_trees/2018_SJER_3_252000_4107000_image_477_truth.csv", "csv_boxes", 1, 7, 1),
    Genuine("neon_trees/2019_BLAN_3_751000_4330000_image_crop_bbox.csv", "csv_boxes", 1, 4, 1),
    Genuine("neon_trees/2019_BLAN_3_751000_4330000_image_crop_polygon.csv", "csv_boxes", 1, 4, 1),
    Genuine("neon_trees/coco_sample_file.json", "coco", 2, 6, 1),
    *(
        Genuine(f"{TOY}/{folder}", format, 10, 12, 1, 0, f"{TOY}/images")
        for folder, format in {
            "gts_coco_format": "coco",
            "gts_vocpascal_format": "voc",
            "dets_coco_format": "coco",
        }.items()
    ),
    *NINE,
    *DETECTIONS,
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
    # One pixel, and what float32 rounds.
    assert _worst_distance(kit, dataset) <= 1.001
    # Pictures lie where the user said, and are as large as the kit says.
    assert {Path(path).parent for path in dataset.paths} == {shared / MANY}
    sizes = {Path(path).stem: size for path, size in zip(kit.paths, _sizes(kit), strict=True)}
    for path, size in zip(dataset.paths, _sizes(dataset), strict=True):
        assert sizes[Path(path).stem] == size


@pytest.mark.parametrize("genuine", DETECTIONS[1:], ids=lambda one: Path(one.path).name)
def test_the_detections_say_the_same(genuine: Genuine, shared: Path) -> None:
    one, two = DETECTIONS[0].read(shared), genuine.read(shared)
    # The text files have numbers of classes, which voc.names gives their names.
    names = (shared / "many_formats/data/database/voc.names").read_text().split()
    two.names = Labels([names[int(number)] for number in two.names])
    assert _worst_distance(one, two) <= 1.001


def test_a_folder_of_several_formats_lists_them(shared: Path) -> None:
    with pytest.raises(DataError, match=r"looks like coco .* and csv_boxes .*name one"):
        read(shared / "neon_trees")


def test_detections_are_told_apart_by_what_makes_sense(shared: Path) -> None:
    """Twelve boxes are enough: as corners, two of those of xywh would end before they begin."""
    toys = shared / TOY
    boxes = [
        read(toys / f"dets_classid_abs_{order}", images=toys / "images").labels.select(BOX)
        for order in ("xywh", "xyx2y2")
    ]
    assert boxes[0].height == 12
    assert boxes[0].equals(boxes[1])


@pytest.mark.parametrize("folder", ["video", "teacher", "open_images"])
def test_what_is_no_data_set_is_said_to_be_none(folder: str, shared: Path) -> None:
    with pytest.raises(DataError, match="not a data set of a known format"):
        read(shared / folder)


def test_the_decimal_commas_are_told(shared: Path) -> None:
    findings = NINE[5].read(shared).findings
    assert [one.severity for one in findings if one.kind == "decimal-comma"] == ["warning"]


def test_the_known_faults_are_found(shared: Path) -> None:
    """Those that the README of the genuine sets names."""

    def kinds(folder: str) -> Counter[str]:
        return Counter(finding.kind for finding in read(shared / folder).findings)

    assert kinds("bccd")["zero-size-box"] == 2
    coco128 = kinds("coco128")
    assert (coco128["missing-labels"], coco128["missing-image"]) == (2, 2)
    assert kinds("dota")["missing-image"] == 5
    assert kinds("kitti")["missing-labels"] == 1
    (absent,) = [one for one in read(shared / "mnist").findings if one.kind == "missing-image"]
    assert absent.boxes == 60000
    kitti = read(shared / "kitti").labels
    assert (kitti["ignore"].sum(), kitti["iscrowd"].sum()) == (4, 4)
    crowds = read(shared / "coco_tiny").labels
    assert crowds["iscrowd"].sum() == crowds["ignore"].sum() == 5


def _sizes(dataset: Dataset) -> list[tuple[int, int]]:
    return dataset.images.select("width", "height").rows()


def test_the_nine_are_nine() -> None:
    assert len(NINE) == 9
