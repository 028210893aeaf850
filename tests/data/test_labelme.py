"""labelme: shapes of every kind, groups, flags, and where pictures are looked for."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import Dataset, read
from whatwhere.errors import DataError
from whatwhere.images import encode_image


def shape(kind: str, points: list[list[float]], label: str = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None} | more


def file(folder: Path, shapes: list[Any], name: str = "a", **more: Any) -> Path:
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png"}
    content |= {"imageData": None, "imageHeight": 100, "imageWidth": 200}
    return store(folder / f"{name}.json", content | more)


def test_shapes_of_every_kind(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shapes = [
        shape("rectangle", [[30, 40], [10, 20]]),
        shape("rectangle", [[1, 2], [5, 2], [5, 8], [1, 8]]),
        shape("polygon", [[10, 10], [40, 12.5], [20, 60]], "dog"),
        shape("circle", [[50, 50], [53, 54]]),
        shape("oriented_rectangle", [[50, 10], [60, 20], [50, 30], [40, 20]]),
        shape("line", [[1, 1], [9, 9]]),
        shape("point", [[1, 1]]),
        shape("polygon", [[1, 1], [2, 2]]),
        shape("rectangle", [[1, 1], ["x", 2]]),
        "no shape",
    ]
    file(tmp_path, shapes)
    data = read(tmp_path)
    assert boxes(data) == [
        ("cat", 10, 20, 30, 40),
        ("cat", 1, 2, 5, 8),
        ("dog", 10, 10, 40, 60),
        ("cat", 45, 45, 55, 55),
        ("cat", 40, 10, 60, 30),
    ]
    assert kinds(data) == ["bad-box", "bad-box", "bad-record", "no-box", "no-box"]
    assert data.kept_out == 5
    outlines = column(data, "segmentation")
    assert outlines[2] == [[10, 10, 40, 12.5, 20, 60]]
    assert outlines[4] == [[50, 10, 60, 20, 50, 30, 40, 20]]
    again(data, tmp_path / "copy", "labelme")
    kept = json.loads((tmp_path / "copy" / "a.json").read_text())["shapes"]
    assert [one["shape_type"] for one in kept] == [
        "rectangle",
        "rectangle",
        "polygon",
        "circle",
        "oriented_rectangle",
    ]


def test_polygons_of_one_class_and_group_are_one_object(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    parts = [[[1, 1], [5, 1], [5, 5]], [[10, 1], [20, 1], [20, 9]]]
    shapes = [shape("polygon", points, group_id=3) for points in parts]
    shapes += [shape("polygon", parts[0], "dog", group_id=3), shape("polygon", parts[0])]
    file(tmp_path, shapes)
    data = read(tmp_path)
    assert boxes(data) == [("cat", 1, 1, 20, 9), ("dog", 1, 1, 5, 5), ("cat", 1, 1, 5, 5)]
    assert column(data, "extra") == [{"labelme": {"group_id": 3}}] * 2 + [None]
    again(data, tmp_path / "copy", "labelme")


def test_a_box_that_is_not_that_of_its_outline_survives(tmp_path: Path) -> None:
    picture(tmp_path / "source" / "a.png")
    labels = {"image": [0], "class_id": [0], "x1": [1.0], "y1": [1.0], "x2": [90.0], "y2": [80.0]}
    outlines = [[[3, 3, 50, 3, 50, 50]], [[3, 3, 9, 3, 9, 9], [60, 60, 70, 60, 70, 70]]]
    for number, one in enumerate(outlines):
        images = {"path": [str(tmp_path / "source" / "a.png")], "width": [200], "height": [100]}
        data = Dataset(images, labels | {"segmentation": [json.dumps(one)]}, ["cat"])
        again(data, tmp_path / f"copy{number}", "labelme")


def test_masks_become_run_lengths(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    part = np.zeros((3, 4, 3), np.uint8)
    part[1:, 2:] = 255
    mask = base64.b64encode(encode_image(part, ".png")).decode()
    file(
        tmp_path, [shape("mask", [[10, 20], [13, 22]], mask=mask), shape("mask", [[1, 1], [2, 2]])]
    )
    data = read(tmp_path)
    assert boxes(data) == [("cat", 10, 20, 14, 23), ("cat", 1, 1, 3, 3)]
    assert column(data, "segmentation")[0]["size"] == [100, 200]
    pycocotools = pytest.importorskip("pycocotools.mask")
    x, y, width, height = pycocotools.toBbox(column(data, "segmentation")[0])
    assert (x, y, width, height) == (12, 21, 2, 2)


def test_flags_of_a_shape_are_columns_or_attributes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    flags = {"occluded": True, "truncated": False, "blurred": True}
    more = {"flags": flags, "difficult": True, "score": 0.25, "attributes": {"colour": "red"}}
    file(tmp_path, [shape("rectangle", [[1, 1], [9, 9]], **more, kie_linking=[], note="x")])
    data = read(tmp_path)
    assert column(data, "occluded") == [True]
    assert column(data, "truncated") == [False]
    assert column(data, "difficult") == [True]
    assert column(data, "ignore") == [False]
    assert column(data, "score") == [0.25]
    assert column(data, "attributes") == [{"colour": "red", "blurred": True}]
    assert column(data, "extra") == [{"labelme": {"note": "x"}}]


def test_flags_of_the_file_are_labels_of_the_picture(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    file(tmp_path, [], "a", flags={"cat": True, "dog": False})
    file(tmp_path, [], "b", flags={"cat": False, "dog": True, "bird": True})
    data = read(tmp_path)
    assert data.task == "multilabel"
    assert list(data.names) == ["cat", "dog", "bird"]
    assert data.labels.select("image", "class_id").rows() == [(0, 0), (1, 1), (1, 2)]
    assert data.images["labelled"].to_list() == [["cat", "dog"], None]


def test_flags_beside_shapes_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    file(tmp_path, [shape("rectangle", [[1, 1], [9, 9]])], flags={"night": True})
    data = read(tmp_path)
    assert data.task == "detect"
    assert kinds(data) == ["image-label"]
    data.write(tmp_path / "copy", "labelme")
    assert json.loads((tmp_path / "copy" / "a.json").read_text())["flags"] == {"night": True}


@pytest.mark.parametrize("path", ["..\\images\\a.png", "/home/me/a.png", "C:\\me\\a.png", "b.png"])
def test_pictures_are_found_where_they_are_now(path: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    file(tmp_path, [shape("rectangle", [[1, 1], [9, 9]])], imagePath=path)
    assert read(tmp_path).paths[0] == str(tmp_path / "a.png")


def test_a_picture_outside_is_not_read(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    file(tmp_path / "set", [shape("rectangle", [[1, 1], [9, 9]])], imagePath="../secret.png")
    with pytest.raises(DataError, match="holds no pictures"):
        read(tmp_path / "set")


def test_an_absent_picture_has_the_size_of_the_one_inside_the_file(tmp_path: Path) -> None:
    pixels = base64.b64encode(encode_image(np.zeros((30, 40, 3), np.uint8), ".png")).decode()
    more = {"imageWidth": None, "imageHeight": None, "imageData": pixels}
    file(tmp_path, [shape("rectangle", [[1, 1], [90, 9]])], **more)
    data = read(tmp_path)
    assert data.images.select("width", "height").rows() == [(40, 30)]
    assert kinds(data) == ["clipped-box", "missing-image"]
    assert not Path(data.paths[0]).exists()


def test_a_damaged_file_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    file(tmp_path, [shape("rectangle", [[1, 1], [9, 9]])])
    store(tmp_path / "b.json", '{"imagePath": "b.png", "shapes": [')
    store(tmp_path / "config.json", {"mode": "dark"})
    data = read(tmp_path)
    assert len(data) == 1
    assert kinds(data) == ["damaged-annotation", "stray-file", "unlisted-image"]


def test_the_shared_set(shared: Path) -> None:
    place = shared / "many_formats" / "data" / "database"
    data = read(place / "gts" / "labelme_format", images=place / "images")
    assert (len(data), data.labels.height, len(data.names)) == (100, 273, 20)
    assert data.findings == ()
    other = read(place / "gts" / "cvat_format", images=place / "images")
    assert _by_picture(data) == _by_picture(other)


def _by_picture(data: Dataset) -> list[Any]:
    paths = data.relative_paths()
    rows = data.labels.select("image", "class_id", "x1", "y1", "x2", "y2").rows()
    return sorted((Path(paths[image]).name, data.names[one], *box) for image, one, *box in rows)


def test_values_of_another_type_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    odd = {"score": 1.7, "difficult": "yes", "attributes": ["a"], "flags": ["b"], "mask": "c"}
    file(tmp_path, [shape("rectangle", [[1, 1], [9, 9]], **odd)])
    data = read(tmp_path)
    assert column(data, "extra") == [{"labelme": odd}]
    assert column(data, "score") == [None]
    again(data, tmp_path / "copy", "labelme")


def test_a_mask_that_is_lost_and_parts_that_differ_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    corners = [[1, 1], [9, 1], [9, 9]]
    parts = [shape("polygon", corners, group_id=1, score=score) for score in (0.5, 0.75)]
    file(tmp_path, [shape("mask", [[1, 1], [2, 2]], mask="no picture"), *parts])
    data = read(tmp_path)
    assert boxes(data) == [("cat", 1, 1, 3, 3), ("cat", 1, 1, 9, 9)]
    assert [(one.kind, one.where, one.severity) for one in data.findings] == [
        ("lost-mask", "a.json#shapes[0]", "warning"),
        ("left-out-field", "a.json#shapes[1]", "warning"),
    ]


def test_a_mask_is_placed_in_a_picture_whose_size_the_file_does_not_tell(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    mask = base64.b64encode(encode_image(np.full((3, 4, 3), 255, np.uint8), ".png")).decode()
    shapes = [shape("mask", [[10, 20], [13, 22]], mask=mask)]
    file(tmp_path, shapes, imageWidth=None, imageHeight=None)
    data = read(tmp_path)
    assert kinds(data) == []
    assert column(data, "segmentation")[0]["size"] == [100, 200]
