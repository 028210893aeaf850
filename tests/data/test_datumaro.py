"""Datumaro: groups as objects, attributes as flags, damaged items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import Dataset, read
from whatwhere.errors import DataError


def part(kind: str, group: int = 0, label: int = 0, **more: Any) -> dict[str, Any]:
    one = {"id": 0, "type": kind, "attributes": {}, "group": group, "label_id": label, "z_order": 0}
    return one | more


def item(name: str, *annotations: Any, **more: Any) -> dict[str, Any]:
    image = {"path": f"{name}.png", "size": [100, 200]}
    return {"id": name, "annotations": list(annotations), "attr": {}, "image": image} | more


def file(folder: Path, *items: Any, subset: str = "default", **more: Any) -> Path:
    labels = [{"name": "cat", "parent": "animal", "attributes": []}, {"name": "dog", "parent": ""}]
    content = {"info": {}, "categories": {"label": {"labels": labels}}, "items": list(items)}
    return store(folder / "annotations" / f"{subset}.json", content | more)


def test_annotations_of_every_kind(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "default" / "a.png")
    annotations = [
        part("bbox", bbox=[10, 20, 30, 40], attributes={"occluded": True, "score": 0.5, "n": 3}),
        part("polygon", label=1, points=[1, 2, 30, 4, 20, 40], z_order=2),
        part("rotated_bbox", rotated_bbox=[100, 50, 20, 10, 90]),
        part("points", points=[1, 2]),
        part("polyline", points=[1, 2, 3, 4]),
        part("caption", caption="a cat"),
        part("bbox", label=7, bbox=[1, 2, 3, 4]),
        part("bbox", bbox=[1, 2, None, 4]),
        part("bbox", bbox=[1, 2, -3, 4]),
        3,
    ]
    file(tmp_path, item("a", *annotations))
    data = read(tmp_path)
    assert boxes(data) == [("cat", 10, 20, 40, 60), ("dog", 1, 2, 30, 40), ("cat", 95, 40, 105, 60)]
    assert kinds(data) == sorted(
        ["bad-box", "inverted-box", "unknown-class", "no-box", "no-box", "no-box", "no-box"]
    )
    assert column(data, "occluded") == [True, False, False]
    assert column(data, "score") == [0.5, None, None]
    assert column(data, "attributes") == [{"n": 3}, None, None]
    assert data.class_info == {"cat": {"parent": "animal"}}
    again(data, tmp_path / "copy", "datumaro")


def test_a_group_is_one_object(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "default" / "a.png")
    rle = {"counts": "0", "size": [100, 200]}
    annotations = [
        part("polygon", 3, points=[1, 2, 30, 4, 20, 40]),
        part("bbox", 3, bbox=[0, 0, 50, 60], attributes={"truncated": True}),
        part("polygon", 3, points=[5, 5, 9, 5, 9, 9]),
        part("points", 3, points=[1, 2, 3, 4], visibility=[2, 0]),
        part("bbox", 3, 1, bbox=[7, 8, 9, 10]),
        part("bbox", 4, 1, bbox=[1, 1, 2, 2]),
        part("bbox", 4, 1, bbox=[5, 5, 2, 2]),
        part("bbox", 5, bbox=[0, 0, 20, 20]),
        part("mask", 5, rle=rle),
    ]
    file(tmp_path, item("a", *annotations))
    data = read(tmp_path)
    assert data.findings == ()
    assert boxes(data) == [
        ("cat", 0, 0, 50, 60),
        ("dog", 7, 8, 16, 18),
        ("dog", 1, 1, 3, 3),
        ("dog", 5, 5, 7, 7),
        ("cat", 0, 0, 20, 20),
    ]
    assert column(data, "segmentation")[0] == [[1, 2, 30, 4, 20, 40], [5, 5, 9, 5, 9, 9]]
    assert column(data, "keypoints")[0] == [1, 2, 2, 3, 4, 0]
    assert column(data, "segmentation")[4] == rle
    again(data, tmp_path / "copy", "datumaro")


def test_labels_alone(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / "images" / "train" / f"{name}.png")
    file(tmp_path, item("a", part("label")), item("b", part("label", label=1)), subset="train")
    data = read(tmp_path)
    assert data.task == "classify"
    assert data.splits == {"train": 2}
    file(tmp_path, item("a", part("label")), item("b"), subset="train")
    assert read(tmp_path).task == "multilabel"


def test_items_without_an_image_record(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "default" / "a.png")
    one = item("a", part("bbox", bbox=[1, 2, 3, 4]))
    del one["image"]
    file(tmp_path, one, {"annotations": [part("bbox")]}, item("b"), item("../../../b"))
    data = read(tmp_path)
    assert [Path(path).name for path in data.paths] == ["a.png", "b.png"]
    assert kinds(data) == ["bad-record", "missing-image", "path-outside"]


def test_a_damaged_subset_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "train" / "a.png")
    file(tmp_path, item("a", part("bbox", bbox=[1, 2, 3, 4])), subset="train")
    store(tmp_path / "annotations" / "val.json", '{"categories"')
    data = read(tmp_path)
    assert [(one.kind, one.where) for one in data.findings] == [
        ("damaged-annotation", "annotations/val.json")
    ]


def test_damaged_json(tmp_path: Path) -> None:
    whole = file(tmp_path, item("a"))
    whole.write_text(whole.read_text()[:-1])
    with pytest.raises(DataError, match="not valid JSON"):
        read(tmp_path)


def test_ids_of_a_coco_set_survive(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "default" / "a.png")
    file(tmp_path, item("a", attr={"id": 139, "frame": 4}))
    data = read(tmp_path)
    assert data.images["id"].to_list() == [139]
    assert json.loads(data.images["extra"][0]) == {"datumaro": {"frame": 4}}


RUNS = {"counts": [0, 20000], "size": [100, 200]}
MORE = {"counts": [10, 19990], "size": [100, 200]}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            [part("mask", 1, rle=RUNS), part("polygon", 1, points=[1, 2, 30, 4, 20, 40])],
            "an outline beside a mask",
        ),
        ([part("mask", 1, rle=RUNS), part("mask", 1, rle=MORE)], "a second mask"),
        (
            [
                part("bbox", 1, bbox=[0, 0, 200, 100]),
                part("points", 1, points=[1, 2]),
                part("points", 1, points=[3, 4]),
            ],
            "a second list of points",
        ),
        (
            [
                part("bbox", 1, bbox=[0, 0, 200, 100], attributes={"a": 1}),
                part("points", 1, points=[1, 2], attributes={"a": 1, "b": 2}),
            ],
            "the attribute 'b' of a part",
        ),
    ],
)
def test_the_first_part_of_a_kind_counts_and_others_are_named(
    tmp_path: Path, parts: list[Any], said: str
) -> None:
    picture(tmp_path / "images" / "default" / "a.png")
    file(tmp_path, item("a", *parts))
    data = read(tmp_path)
    assert boxes(data) == [("cat", 0, 0, 200, 100)]
    (found,) = data.findings
    assert (found.kind, found.severity) == ("left-out-field", "warning")
    assert said in found.message
    masks = any(one["type"] == "mask" for one in parts)
    assert column(data, "segmentation") == ([RUNS] if masks else [None])
    assert column(data, "keypoints") == ([None] if masks else [[1, 2, 2]])


@pytest.mark.parametrize(
    ("other", "kind"),
    [(part("points", 1, points=[1, None]), "bad-value"), (part("mask", 1, rle=None), "lost-mask")],
)
def test_damaged_parts_beside_a_box_are_named(tmp_path: Path, other: Any, kind: str) -> None:
    picture(tmp_path / "images" / "default" / "a.png")
    file(tmp_path, item("a", part("bbox", 1, bbox=[1, 2, 3, 4]), other))
    data = read(tmp_path)
    assert boxes(data) == [("cat", 1, 2, 4, 6)]
    assert kinds(data) == [kind]


def test_a_split_that_is_read_as_another_is_named(tmp_path: Path) -> None:
    paths = [str(picture(tmp_path / "source" / f"{number}.png")) for number in range(4)]
    splits = ["default", None, "training", "fold 1"]
    data = Dataset({"path": paths, "split": splits}, {}, ["cat"], root=str(tmp_path), task="detect")
    lost = data.write(tmp_path / "copy", "datumaro")
    assert [(one.kind, one.severity) for one in lost] == [("lost-split", "warning")] * 2
    assert "'default' is read again as no split" in lost[0].message
    assert "'training' is read again as train" in lost[1].message
    after = read(tmp_path / "copy").images
    assert sorted(map(str, after["split"])) == ["None", "None", "fold 1", "train"]
