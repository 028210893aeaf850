"""Cityscapes: polygons, groups, stuff, boxes in space, CityPersons, withheld labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.images import write_image

CAR = {"label": "car", "polygon": [[10, 5], [30, 6], [20, 25]]}
STEM = "aachen_000173_000019"


def make(
    root: Path,
    objects: list[Any],
    kind: str = "gtFine",
    ending: str = "_gtFine_polygons",
    place: str = "train/aachen",
    stem: str = STEM,
    **more: Any,
) -> Path:
    content = {"imgWidth": 60, "imgHeight": 40, "objects": objects, **more}
    folder = root / kind / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}{ending}.json").write_text(json.dumps(content))
    picture = root / "leftImg8bit" / place / f"{stem}_leftImg8bit.png"
    write_image(picture, np.full((40, 60, 3), 9, np.uint8))
    return root


def kinds(dataset: Dataset) -> list[tuple[str, str]]:
    return [(one.kind, one.where) for one in dataset.findings]


def test_polygons_and_groups(tmp_path: Path) -> None:
    square = [[1, 1], [5, 1], [5, 5], [1, 5]]
    objects = [
        CAR,
        {"label": "cargroup", "polygon": square},
        {"label": "trailer", "polygon": square},
        {"label": "sky", "polygon": square},
        {"label": "polegroup", "polygon": square},
        {"label": "license plate", "polygon": square},
        {"label": "car", "polygon": square, "deleted": 1},
        {"label": "robot", "polygon": square},
    ]
    dataset = read(make(tmp_path, objects))
    rows = dataset.labels.select("class_id", "ignore", "iscrowd").rows()
    assert [(dataset.names[one[0]], *one[1:]) for one in rows] == [
        ("car", False, False),
        ("car", True, True),
        ("trailer", True, False),
        ("robot", False, False),
    ]
    car = dataset.labels.row(0, named=True)
    assert [car[side] for side in ("x1", "y1", "x2", "y2")] == [10, 5, 30, 25]
    assert json.loads(car["segmentation"]) == [[10, 5, 30, 6, 20, 25]]
    assert dataset.images.select("split", "group").row(0) == ("train", "aachen/000173")
    (finding,) = dataset.findings
    said = "4 objects are no single things: (deleted) 1, license plate 1, polegroup 1, sky 1"
    assert (finding.kind, finding.message) == ("left-out-class", said)


def test_polygons_are_written_as_they_were(tmp_path: Path) -> None:
    group = {"label": "persongroup", "polygon": [[1, 1], [5, 1], [5, 5]], "user": "x"}
    dataset = read(make(tmp_path / "one", [CAR, group]))
    assert dataset.write(tmp_path / "two", "cityscapes") == ()
    name = f"gtFine/train/aachen/{STEM}_gtFine_polygons.json"
    files = [json.loads((tmp_path / one / name).read_text()) for one in ("one", "two")]
    assert files[0] == files[1]
    assert read(tmp_path / "two").digest() == dataset.digest()


def test_a_box_in_space(tmp_path: Path) -> None:
    car = {
        "label": "car",
        "2d": {"modal": [10, 5, 20, 10], "amodal": [8, 5, 24, 12]},
        "3d": {"center": [20.5, 1.25, 0.5], "dimensions": [4, 2, 1.5], "rotation": [1, 0, 0, 0]},
        "instanceId": 26000,
        "occlusion": 0.25,
        "truncation": 0.0,
        "score": 1.0,
    }
    region = {"2d": [1, 1, 5, 5], "label": "train"}
    more = {"ignore": [region], "sensor": {"fx": 2262.5}}
    dataset = read(make(tmp_path / "one", [car], "gtBbox3d", "_gtBbox3d", **more))
    rows = dataset.labels.select("x1", "y1", "x2", "y2", "ignore", "truncated", "occluded").rows()
    assert rows == [(10, 5, 30, 15, False, False, True), (1, 1, 6, 6, True, None, None)]
    assert json.loads(dataset.labels["extra"][0])["cityscapes"]["3d"] == car["3d"]
    assert json.loads(dataset.images["extra"][0]) == {"cityscapes": {"sensor": {"fx": 2262.5}}}
    dataset.write(tmp_path / "two", "cityscapes")
    name = f"gtBbox3d/train/aachen/{STEM}_gtBbox3d.json"
    files = [json.loads((tmp_path / one / name).read_text()) for one in ("one", "two")]
    assert files[0] == files[1]


def test_people_of_citypersons(tmp_path: Path) -> None:
    objects = [
        {"label": "pedestrian", "bbox": [10, 5, 20, 30], "bboxVis": [10, 5, 20, 9]},
        {"label": "person group", "bbox": [1, 1, 5, 5], "bboxVis": [1, 1, 5, 5]},
        {"label": "ignore", "bbox": [1, 1, 9, 9], "bboxVis": [1, 1, 9, 9]},
    ]
    ending = ("gtBboxCityPersons", "_gtBboxCityPersons")
    dataset = read(make(tmp_path / "one", objects, *ending))
    rows = dataset.labels.select("class_id", "ignore", "iscrowd").rows()
    assert [(dataset.names[one[0]], *one[1:]) for one in rows] == [
        ("pedestrian", False, False),
        ("person", True, True),
        ("ignore", True, True),
    ]
    assert dataset.write(tmp_path / "two", "cityscapes") == ()
    name = f"gtBboxCityPersons/train/aachen/{STEM}_gtBboxCityPersons.json"
    files = [json.loads((tmp_path / one / name).read_text()) for one in ("one", "two")]
    assert files[0] == files[1]


def test_one_kind_is_read_and_the_other_is_said(tmp_path: Path) -> None:
    make(tmp_path, [CAR])
    make(tmp_path, [], "gtBbox3d", "_gtBbox3d")
    dataset = read(tmp_path)
    assert (dataset.labels.height, kinds(dataset)) == (1, [("left-out-folder", "gtBbox3d")])
    other = read(tmp_path / "gtBbox3d", images=tmp_path / "leftImg8bit")
    assert (other.labels.height, other.findings, len(other)) == (0, (), 1)


def test_withheld_labels_and_pictures_without(tmp_path: Path) -> None:
    frame = [{"label": "ego vehicle", "polygon": [[0, 0], [9, 0], [9, 9]]}]
    make(tmp_path, frame, place="test/berlin", stem="berlin_000000_000019")
    make(tmp_path, [CAR])
    for place in ("train/aachen/aachen_000174_000019", "val/bonn/bonn_000001_000019"):
        picture = tmp_path / "leftImg8bit" / f"{place}_leftImg8bit.png"
        write_image(picture, np.full((40, 60, 3), 8, np.uint8))
    dataset = read(tmp_path)
    known = dict(dataset.images.select("group", "labelled").iter_rows())
    assert known == {
        "aachen/000173": None,
        "aachen/000174": None,
        "bonn/000001": [],
        "berlin/000000": [],
    }
    found = {(one.kind, one.severity) for one in dataset.findings}
    assert found == {
        ("missing-annotation", "warning"),
        ("missing-annotation", "info"),
        ("missing-labels", "info"),
        ("left-out-class", "info"),
    }


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (7, "bad-record"),
        ({"polygon": [[1, 1]]}, "no-class"),
        ({"label": "car", "polygon": [[1, "x"], [2, 2]]}, "bad-box"),
        ({"label": "car", "polygon": [[1], [2, 2]]}, "bad-box"),
        ({"label": "car"}, "bad-box"),
        ({"label": "car", "polygon": [[1e400, 1], [2, 2]]}, "bad-box"),
        ({"label": "car", "polygon": [[10**400, 1], [2, 2]]}, "bad-box"),
        ({"label": "car", "polygon": [[3, 1], [3, 2]]}, "zero-size-box"),
    ],
)
def test_faults_of_objects(tmp_path: Path, one: Any, kind: str) -> None:
    dataset = read(make(tmp_path, [CAR, one]))
    where = f"gtFine/train/aachen/{STEM}_gtFine_polygons.json#1"
    assert kinds(dataset) == [(kind, where)]
    assert (dataset.labels.height, dataset.kept_out) == (1, 1)


@pytest.mark.parametrize("text", ["[1]", "{", '{"objects"', "[" * 100_000])
def test_damaged_files(tmp_path: Path, text: str) -> None:
    make(tmp_path, [CAR])
    file = tmp_path / "gtFine" / "train" / "aachen" / "aachen_000175_000019_gtFine_polygons.json"
    file.write_text(text)
    dataset = read(tmp_path)
    where = "gtFine/train/aachen/aachen_000175_000019_gtFine_polygons.json"
    assert kinds(dataset) == [("damaged-annotation", where)]


def test_own_classes_and_groups_come_back(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((40, 60, 3), 9, np.uint8))
    names = ["sky", "newsgroup", "cargroup", "caravan", "car"]
    rows = {
        "image": [0] * 6,
        "class_id": [0, 1, 2, 3, 4, 1],
        "x1": [1.5] * 6,
        "y1": [2] * 6,
        "x2": [9.1] * 6,
        "y2": [8.3, 9, 10, 11, 12, 13],
        "iscrowd": [False, False, False, False, True, True],
        "ignore": [False, False, False, False, True, True],
    }
    images = {"path": [str(tmp_path / "a.png")], "group": ["../odd: name"], "split": ["train"]}
    before = Dataset(images, rows, names)
    before.write(tmp_path / "copy", "cityscapes")
    after = read(tmp_path / "copy")
    assert list(after.names) == names
    for column in ("class_id", "x1", "y2", "iscrowd", "ignore"):
        assert after.labels[column].equals(before.labels[column])
    assert after.images["group"].to_list() == ["../odd: name"]
    assert after.findings == ()
