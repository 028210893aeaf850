"""The faults that the README of the genuine data sets lists: each is found, each is named."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from whatwhere.data import Dataset, Finding, read

_Cache = dict[tuple[str, str | None], tuple[Dataset, list[Finding]]]


class Fault(NamedTuple):
    """What is to be found.

    Args:
        place: the data set below the shared folder.
        kind, count: of the findings.
        words: what the place and message of some of them hold, together.
        severity: of all of them.
        format: if it is not to be recognised.
        images: folder of the pictures below the shared folder.
    """

    place: str
    kind: str
    count: int
    words: tuple[str, ...]
    severity: str = "error"
    format: str | None = None
    images: str | None = None


FAULTS = [
    Fault("bccd", "zero-size-box", 2, ("BloodImage_00338.xml:158", "BloodImage_00343.xml:50")),
    Fault(
        "bccd",
        "leaked-near-duplicate",
        1,
        ("BloodImage_00037", "BloodImage_00038", "in val and here in train"),
        "warning",
    ),
    Fault("coco128", "missing-labels", 2, ("000000000250.jpg", "000000000508.jpg"), "warning"),
    Fault("coco128", "missing-image", 2, ("000000000656.txt", "000000000659.txt")),
    Fault("coco128", "grey-image", 1, ("14 of 256", "000000000086.jpg"), "info"),
    Fault("coco_tiny", "no-labels", 1, ("1 of 50 pictures",), "info"),
    Fault("dota", "missing-image", 5, ("P0770", "P1088", "P1234", "P2598", "P2709")),
    Fault("mnist", "missing-image", 1, ("60000 labels", "train-images-idx3-ubyte.gz")),
    Fault("kitti", "missing-labels", 1, ("000008.png",), "warning"),
    Fault("mot15_tud", "missing-image", 1, ("none of 250 pictures",)),
    Fault(
        "neon_trees",
        "missing-image",
        1,
        ("2019_YELL_2_528000_4978000_image_crop2.png",),
        format="voc",
    ),
    Fault("cartucho_txt/ground-truth", "missing-image", 1, ("none of the 85 pictures",)),
    Fault(
        "many_formats/data/database/gts/openimages_format",
        "decimal-comma",
        1,
        ("273 rows", "all_bounding_boxes.csv"),
        "warning",
        images="many_formats/data/database/images",
    ),
    Fault(
        "many_formats/data/database/gts/openimages_format",
        "unknown-class",
        1,
        ("names, not MIDs",),
        "info",
        images="many_formats/data/database/images",
    ),
    Fault("photos", "unlisted-image", 1, ("1682 pictures",), "info"),
    Fault("photos_machine_boxes", "contradicting-labels", 15, ("'pizza' and 'bowl'",), "warning"),
]


@pytest.fixture(scope="module")
def checked() -> _Cache:
    """Each set is read and checked once."""
    return {}


def _look(shared: Path, checked: _Cache, fault: Fault) -> tuple[Dataset, list[Finding]]:
    key = (fault.place, fault.format)
    if key not in checked:
        images = shared / fault.images if fault.images else None
        dataset = read(shared / fault.place, fault.format, images=images)
        checked[key] = dataset, dataset.check()
    return checked[key]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.place}-{fault.kind}")
def test_a_known_fault_is_found(fault: Fault, shared: Path, checked: _Cache) -> None:
    dataset, findings = _look(shared, checked, fault)
    same = [one for one in findings if one.kind == fault.kind]
    assert len(same) == fault.count
    assert {one.severity for one in same} == {fault.severity}
    text = "\n".join(f"{one.where}: {one.message}" for one in same)
    for word in fault.words:
        assert word in text
    assert all(one.do for one in same)
    assert len(dataset) > 0


@pytest.mark.parametrize(
    "place", ["voc2012_mini", "coco_tiny", "cifar10_folders", "photos", "photos_machine_boxes"]
)
def test_sets_without_broken_records_have_no_errors(
    place: str, shared: Path, checked: _Cache
) -> None:
    _, findings = _look(shared, checked, Fault(place, "", 0, ()))
    assert not [str(one) for one in findings if one.severity == "error"]


def test_what_is_to_be_left_alone_is_ignored_not_reported(shared: Path, checked: _Cache) -> None:
    """KITTI's DontCare rows and COCO's crowds are flags, not faults."""
    kitti, findings = _look(shared, checked, Fault("kitti", "", 0, ()))
    assert int(kitti.labels["ignore"].sum()) == 4
    assert not [one for one in findings if one.severity == "error"]
    coco, _ = _look(shared, checked, Fault("coco_tiny", "", 0, ()))
    assert int(coco.labels["iscrowd"].fill_null(False).sum()) > 0
    assert coco.labels.filter(coco.labels["iscrowd"].fill_null(False))["ignore"].all()


def test_test_pictures_of_cifar_that_are_in_train_too(shared: Path, checked: _Cache) -> None:
    """Known of CIFAR-10: Barz and Denzler, "Do we train on test data?", 2020."""
    _, findings = _look(shared, checked, Fault("cifar10_folders", "", 0, ()))
    leaks = [one for one in findings if one.kind == "leaked-near-duplicate"]
    assert 5 <= len(leaks) <= 30
