"""A detection set as a set of crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_samples import NAMES, SIZES, classification, detection
from whatwhere.data import Dataset, read
from whatwhere.errors import UsageError
from whatwhere.images import read_image


def test_each_box_is_a_picture(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    crops = dataset.as_crops()
    assert crops.task == "classify"
    assert len(crops) == crops.labels.height == 6
    assert crops.names == dataset.names
    assert [Path(path).name for path in crops.relative_paths()] == [
        "bild 0 ü-1.png",
        "bild 1 ü-1.png",
        "bild 2 ü-1.png",
        "bild 3 ü-1.png",
        "bild 4 ü-1.png",
        "bild 4 ü-2.png",
    ]
    assert crops.images["split"].to_list() == ["train"] * 3 + ["val"] + ["test"] * 2
    # Crops of one picture must not be divided.
    assert crops.images["group"].to_list()[-2:] == ["bild 4 ü.png"] * 2
    (finding,) = crops.findings
    assert (finding.kind, finding.boxes) == ("no-crop", 1)
    # The box 0.5..63.5, 7.25..41.75 ends inside pixels: it gets all of them.
    whole = read_image(dataset.paths[3])
    np.testing.assert_array_equal(read_image(crops.paths[3]), whole[7:42, 0:64])
    for row, path in enumerate(crops.paths):
        assert read_image(path).shape[:2] == tuple(crops.images.select("height", "width").row(row))


def test_a_margin_ends_at_the_edge(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    crops = dataset.as_crops(margin=0.5)
    assert crops.images.select("width", "height").row(0) == (60, 40)
    # 10..30, 5..20 grows by 10 and 7.5 on each side.
    np.testing.assert_array_equal(
        read_image(crops.paths[1]), read_image(dataset.paths[1])[0:28, 0:40]
    )


def test_crops_are_written_as_files(tmp_path: Path) -> None:
    crops = detection(tmp_path).as_crops()
    crops.write(tmp_path / "out", "folders")
    back = read(tmp_path / "out")
    assert (len(back), back.task, back.splits) == (6, "classify", crops.splits)
    assert back.stats()["classes"] == crops.stats()["classes"]
    by_name = {Path(path).name: path for path in back.paths}
    np.testing.assert_array_equal(read_image(by_name["bild 3 ü-1.png"]), read_image(crops.paths[3]))


def test_sizes_that_are_not_known_are_looked_up(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    images = dataset.images.drop("width", "height")
    bare = Dataset(images, dataset.labels, NAMES, root=dataset.root)
    assert bare.as_crops(9).images["width"].to_list()[0] == SIZES[0][0]
    Path(dataset.paths[4]).unlink()
    crops = bare.as_crops()
    assert len(crops) == 4
    lost = [finding for finding in crops.findings if finding.kind == "unreadable-image"]
    assert [(finding.where, finding.boxes) for finding in lost] == [("bild 4 ü.png", 2)]


def test_thin_boxes_are_a_pixel_at_least(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    box = {"x1": [59.5, 59.9999], "y1": [0.0, 39.9999], "x2": [60.0, 60.0], "y2": [1e-3, 40.0]}
    thin = Dataset(dataset.images, {"image": [0, 0], "class_id": [0, 0], **box}, NAMES)
    crops = thin.as_crops()
    assert crops.images.select("width", "height").rows() == [(1, 1), (1, 1)]
    for path in crops.paths:
        assert read_image(path).shape == (1, 1, 3)


def test_what_has_no_crops(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="classify"):
        classification(tmp_path).as_crops()
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="margin"):
            detection(tmp_path / "b").as_crops(margin)
    none = detection(tmp_path / "c").select([5]).as_crops()
    assert (len(none), none.task) == (0, "classify")
