"""Label Studio: percents, rotation, several annotators, predictions, and JSON_MIN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import Dataset, read
from whatwhere.errors import DataError


def region(kind: str = "rectanglelabels", label: str = "car", **value: Any) -> dict[str, Any]:
    """A result of a picture of 200 by 100 pixels."""
    if not value:
        value = {"x": 10, "y": 10, "width": 20, "height": 30}
    return {
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": 200,
        "original_height": 100,
        "image_rotation": 0,
        "value": {"rotation": 0, **value, kind: [label]},
    }


def task(number: int, *results: Any, image: str = "a.png", **more: Any) -> dict[str, Any]:
    done = [{"id": number, "result": list(results), "was_cancelled": False}]
    return {"id": number, "data": {"image": image}, "annotations": done} | more


def test_regions_of_every_kind(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    results = [
        region(),
        region("polygonlabels", "dog", points=[[10, 10], [20, 10], [20, 50]]),
        region("ellipselabels", "dog", x=50, y=50, radiusX=10, radiusY=20),
        region("keypointlabels", "nose", x=1, y=2, width=0.3),
        region("brushlabels", "road", rle=[1, 2], format="rle"),
        region(x=10, y="?", width=20, height=30),
        {"type": "relation", "from_id": "a", "to_id": "b"},
        7,
    ]
    store(tmp_path / "export.json", [task(1, *results)])
    data = read(tmp_path)
    assert boxes(data) == [
        ("car", 20, 10, 60, 40),
        ("dog", 20, 10, 40, 50),
        ("dog", 80, 30, 120, 70),
    ]
    assert kinds(data) == ["bad-box", "bad-record", "no-box", "no-box"]
    assert column(data, "segmentation")[1] == [[20, 10, 40, 10, 40, 50]]
    again(data, tmp_path / "copy", "label_studio")
    results = json.loads((tmp_path / "copy" / "tasks.json").read_text())[0]["annotations"][0][
        "result"
    ]
    assert [one["type"] for one in results] == [
        "rectanglelabels",
        "polygonlabels",
        "ellipselabels",
    ]


@pytest.mark.parametrize("degrees", [30, 90, 359, -45.5])
def test_a_box_turns_clockwise_about_its_top_left_corner(degrees: float, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    value = {"x": 40, "y": 40, "width": 10, "height": 10, "rotation": degrees}
    store(tmp_path / "export.json", [task(1, region(**value))])
    data = read(tmp_path)
    angle = np.radians(degrees)
    # 80, 40 is the corner; 20 pixels to the right and 10 down, both turned.
    right = np.array([np.cos(angle), np.sin(angle)]) * 20
    down = np.array([-np.sin(angle), np.cos(angle)]) * 10
    corners = np.array([80, 40]) + np.stack([0 * right, right, right + down, down])
    outline = np.reshape(column(data, "segmentation")[0], (4, 2))
    np.testing.assert_allclose(outline, corners, atol=1e-9)
    expected = [*corners.min(axis=0), *corners.max(axis=0)]
    np.testing.assert_allclose(boxes(data)[0][1:], expected, atol=0.006)
    again(data, tmp_path / "copy", "label_studio")
    written = json.loads((tmp_path / "copy" / "tasks.json").read_text())
    assert written[0]["annotations"][0]["result"][0]["value"]["rotation"] == degrees


def test_of_several_annotations_one_counts(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    near, far = region(x=1, y=1, width=5, height=5), region(x=50, y=50, width=5, height=5)

    def done(result: Any, date: str, **more: Any) -> dict[str, Any]:
        return {"result": [result], "updated_at": date, "was_cancelled": False} | more

    pairs = [
        [done(near, "2024-05-01"), done(far, "2024-04-01")],
        [done(near, "2024-05-01"), done(far, "2024-04-01", ground_truth=True)],
        [done(near, "2024-05-01", was_cancelled=True), done(far, "2024-04-01")],
    ]
    tasks = [
        task(number, image=f"{name}.png", annotations=pair)
        for number, (name, pair) in enumerate(zip("abc", pairs, strict=True))
    ]
    data = read(store(tmp_path / "export.json", tasks))
    assert [box[1] for box in boxes(data)] == [2, 100, 100]
    assert kinds(data) == ["several-annotations"]


def test_predictions_count_where_nobody_annotated(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    guess = {"predictions": [{"result": [region() | {"score": 0.5}], "score": 0.9}]}
    skipped = {"annotations": [{"result": [], "was_cancelled": True}]}
    tasks = [
        task(1, region(label="dog"), **guess),
        task(2, image="b.png") | {"annotations": []} | guess,
        task(3, image="c.png") | skipped | guess,
    ]
    data = read(store(tmp_path / "export.json", tasks))
    assert column(data, "source") == [None, "model"]
    assert column(data, "score") == [None, 0.5]
    assert [data.names[one] for one in data.labels["class_id"]] == ["dog", "car"]
    assert kinds(data) == ["missing-annotation"]
    data.write(tmp_path / "copy", "label_studio")
    written = json.loads((tmp_path / "copy" / "tasks.json").read_text())
    assert ["predictions" in one for one in written] == [False, True]
    assert written[1]["predictions"][0]["result"][0]["score"] == 0.5


def test_choices_are_classes_of_the_picture(tmp_path: Path) -> None:
    def choice(*names: str) -> dict[str, Any]:
        return {"type": "choices", "from_name": "c", "value": {"choices": list(names)}}

    for name in "ab":
        picture(tmp_path / f"{name}.png")
    tasks = [task(1, choice("cat")), task(2, choice("dog"), image="b.png")]
    data = read(store(tmp_path / "export.json", tasks))
    assert data.task == "classify"
    tasks[1]["annotations"][0]["result"] = [choice("dog", "cat")]
    data = read(store(tmp_path / "export.json", tasks))
    assert data.task == "multilabel"
    assert [data.names[one] for one in data.labels["class_id"]] == ["cat", "dog", "cat"]


def test_what_is_said_of_a_region_is_an_attribute(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    box = {"x": 10, "y": 10, "width": 20, "height": 30}
    size = {"original_width": 200, "original_height": 100}
    results = [
        {"id": "r", "type": "rectangle", "value": box} | size,
        {"id": "r", "type": "labels", "value": box | {"labels": ["car"]}},
        {"id": "r", "type": "choices", "from_name": "colour", "value": box | {"choices": ["red"]}},
    ]
    data = read(store(tmp_path / "export.json", [task(1, *results)]))
    assert boxes(data) == [("car", 20, 10, 60, 40)]
    assert column(data, "attributes") == [{"colour": ["red"]}]


def test_json_min(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    label = region()["value"] | {"original_width": 200, "original_height": 100}
    known = {"annotator": 1, "lead_time": 2.5, "created_at": "2024", "updated_at": "2024"}
    export = [
        {"image": "/data/upload/1/a.png", "id": 1, "label": [label], "annotation_id": 1} | known,
        {"image": "/data/upload/1/b.png", "id": 2, "city": "Ulm", "annotation_id": 2} | known,
    ]
    data = read(store(tmp_path / "export.json", export))
    assert boxes(data) == [("car", 20, 10, 60, 40)]
    assert len(data) == 2
    assert json.loads(data.images["extra"][1]) == {"label_studio": {"data": {"city": "Ulm"}}}
    chosen = [{"image": "a.png", "id": 1, "choice": "cat", "annotation_id": 1} | known]
    assert read(store(tmp_path / "export.json", chosen)).task == "classify"


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/7/0a1b2c3d-a.png",
        "/data/local-files/?d=photos/a.png",
        "/data/local-files/?d=a%2Epng",
        "http://host:8080/data/local-files/?d=x/y/a.png",
        "s3://bucket/deep/a.png",
        "https://host/a.png?token=1",
        "../../a.png",
    ],
)
def test_pictures_are_found_by_what_they_were_called(address: str, tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png")
    data = read(store(tmp_path / "set" / "export.json", [task(1, region(), image=address)]))
    assert data.paths[0] == str(tmp_path / "set" / "a.png")


def test_sizes_come_from_the_file_or_the_picture(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 50, 40)
    bare = region()
    del bare["original_width"], bare["original_height"]
    tasks = [task(1, bare), task(2, bare, image="absent.png")]
    data = read(store(tmp_path / "export.json", tasks))
    assert boxes(data) == [("car", 5, 4, 15, 16)]
    assert data.kept_out == 1
    assert kinds(data) == ["missing-image", "missing-image"]


def test_kept_columns_do_not_outlive_a_box_that_was_moved(tmp_path: Path) -> None:
    picture(tmp_path / "source" / "a.png")
    images = {"path": [str(tmp_path / "source" / "a.png")], "width": [200], "height": [100]}
    outline = json.dumps([[12, 12, 30, 12, 30, 30], [40, 40, 50, 40, 50, 50]])
    labels = {"image": [0], "class_id": [0], "x1": [10], "y1": [10], "x2": [60], "y2": [60]}
    more = {"segmentation": [outline], "area": [77.0], "difficult": [True]}
    data = Dataset(images, labels | more, ["cat"])
    again(data, tmp_path / "copy", "label_studio")
    tasks = json.loads((tmp_path / "copy" / "tasks.json").read_text())
    tasks[0]["annotations"][0]["result"][0]["value"]["x"] = 30
    store(tmp_path / "copy" / "tasks.json", tasks)
    moved = read(tmp_path / "copy")
    assert boxes(moved) == [("cat", 60, 10, 110, 60)]
    assert column(moved, "segmentation") == [None]
    assert column(moved, "area") == [None]
    assert column(moved, "difficult") == [True]


def test_exports_with_pictures_of_their_own_are_one_data_set(tmp_path: Path) -> None:
    for name in ("train", "val"):
        picture(tmp_path / f"{name}.png")
        store(tmp_path / f"{name}.json", [task(1, region(), image=f"{name}.png")])
    store(tmp_path / "test.json", '[{"id": 5, "data": {"image": "c.png"}, "annotations": [')
    store(tmp_path / "notes.json", {"by": "nobody"})
    data = read(tmp_path)
    assert data.splits == {"train": 1, "val": 1}
    assert boxes(data) == [("car", 20, 10, 60, 40)] * 2
    assert kinds(data) == ["damaged-annotation", "not-read"]
    # Both exports count from 1.
    assert data.images["id"].to_list() == [None, None]
    assert data.labels["record"].n_unique() == 2
    assert read(tmp_path / "val.json").images["id"].to_list() == [1]


def test_exports_of_the_same_pictures_are_not_guessed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for name in ("one.json", "two.json"):
        store(tmp_path / name, [task(1, region())])
    with pytest.raises(DataError, match=r"a\.png.*give one of one\.json, two\.json"):
        read(tmp_path)
    assert len(read(tmp_path / "one.json")) == 1


def test_own_fields_called_as_ours_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    own: dict[str, Any] = {
        "task": "count the cars",
        "split": True,
        "group": {"a": 1},
        "width": "wide",
    }
    own |= {"labelled": True, "complete": [1]}
    store(tmp_path / "export.json", [task(1, region(), data={"image": "a.png", **own})])
    data = read(tmp_path)
    (extra,) = data.images["extra"]
    assert json.loads(extra) == {"label_studio": {"data": own}}
    assert data.images["split"].to_list() == data.images["group"].to_list() == [None]
    (lost,) = data.write(tmp_path / "copy", "label_studio")
    assert lost.kind == "left-out-field"
    assert lost.message == "1 own fields are replaced by ours of the same name: width"
    (extra,) = read(tmp_path / "copy").images["extra"]
    del own["width"]
    assert json.loads(extra) == {"label_studio": {"data": own}}
