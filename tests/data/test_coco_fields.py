"""Everything that COCO's relatives add: key points, masks, LVIS, CVAT, results, our own fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pycocotools import mask as masks

from data_samples import detection
from whatwhere.data import Dataset, read
from whatwhere.data.formats._coco_shapes import box_of
from whatwhere.errors import DataError
from whatwhere.images import write_image

OUTLINE = [[1, 2.5, 30, 2.5, 30, 20]]


def image(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.png", "width": 60, "height": 40, **more}


def label(number: int, picture: int = 1, category: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": picture,
        "category_id": category,
        "bbox": [1, 2.5, 29, 17.5],
        **more,
    }


def make(
    root: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    file: str = "annotations/instances_train.json",
    categories: list[dict[str, Any]] | None = None,
    folder: str = "train",
    **more: Any,
) -> Path:
    for number in {one["id"] for one in images}:
        path = root / folder / f"{number}.png"
        if not path.exists():
            write_image(path, np.full((40, 60, 3), number, np.uint8))
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 5, "name": "bird"}]
    content = {"images": images, "annotations": annotations, "categories": categories or names}
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | more), "utf-8")
    return root


def again(dataset: Dataset, folder: Path) -> Dataset:
    assert dataset.write(folder, "coco") == ()
    return read(folder)


def column(dataset: Dataset, name: str) -> list[Any]:
    return [None if one is None else json.loads(one) for one in dataset.labels[name]]


def test_outlines_masks_and_key_points_are_kept_to_the_letter(tmp_path: Path) -> None:
    runs = {"counts": [5, 10, 2385], "size": [40, 60]}
    packed = {"counts": "0\\b`", "size": [40, 60]}
    labels = [
        label(1, segmentation=OUTLINE, keypoints=[3, 4, 2, 0, 0, 0, 5, 6, 1], num_keypoints=2),
        label(2, segmentation=runs, iscrowd=1),
        label(3, segmentation=packed, num_keypoints=7),
        label(4, segmentation=[]),
    ]
    before = read(make(tmp_path / "a", [image(1)], labels))
    for dataset in (before, again(before, tmp_path / "b")):
        assert column(dataset, "segmentation") == [OUTLINE, runs, packed, None]
        assert column(dataset, "keypoints") == [[3, 4, 2, 0, 0, 0, 5, 6, 1], None, None, None]
        # A number that does not follow from the key points is kept.
        assert column(dataset, "extra") == [None, None, {"coco": {"num_keypoints": 7}}, None]
    text = next((tmp_path / "b" / "annotations").iterdir()).read_text("utf-8")
    assert '"num_keypoints": 2' in text


def test_key_points_join_the_instances_of_the_same_pictures(tmp_path: Path) -> None:
    body = {"keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}
    make(tmp_path, [image(1), image(2)], [label(1), label(2, 2), label(3)])
    make(
        tmp_path,
        [image(1), image(2)],
        [
            label(3, keypoints=[1, 2, 2, 3, 4, 2]),
            label(2, 2, keypoints=[0, 0, 0, 5, 6, 1]),
            label(9),
        ],
        "annotations/person_keypoints_train.json",
        [{"id": 1, "name": "cat", **body}],
    )
    dataset = read(tmp_path)
    assert dataset.labels.height == 3
    assert dataset.splits == {"train": 2}
    assert column(dataset, "keypoints") == [None, [1, 2, 2, 3, 4, 2], [0, 0, 0, 5, 6, 1]]
    assert dataset.class_info["cat"] == body
    assert dataset.findings == ()
    alone = read(tmp_path / "annotations" / "person_keypoints_train.json")
    assert alone.labels.height == 3


def test_key_points_of_no_label_are_said(tmp_path: Path) -> None:
    make(tmp_path, [image(1)], [label(1)])
    points = [label(8, keypoints=[1, 2, 2])]
    make(tmp_path, [image(1)], points, "annotations/person_keypoints_train.json")
    (finding,) = read(tmp_path).findings
    assert (finding.kind, finding.where) == (
        "unmatched-keypoints",
        "annotations/person_keypoints_train.json",
    )


def test_genuine_key_points(shared: Path) -> None:
    dataset = read(shared / "coco_tiny")
    assert dataset.labels.height == 470
    with_points = dataset.labels.filter(pl.col("keypoints").is_not_null())
    assert with_points.height == 99
    assert {dataset.names[one] for one in with_points["class_id"]} == {"person"}
    assert len(dataset.class_info["person"]["keypoints"]) == 17


def test_fields_that_nobody_else_knows(tmp_path: Path) -> None:
    images = [image(1, license=3, date_captured="2013-11-14 11:18:45"), image(2)]
    labels = [label(1, utility=0.5, note='a "b" ü', list=[1, {"x": None}]), label(2)]
    categories = [{"id": 7, "name": "cat", "supercategory": "animal", "synonyms": ["puss"]}]
    root = make(
        tmp_path / "a",
        images,
        [one | {"category_id": 7} for one in labels],
        categories=categories,
        info={"year": 2017},
        licenses=[{"id": 3}],
        type="instances",
    )
    before = read(root)
    for dataset in (before, again(before, tmp_path / "b")):
        assert [json.loads(one or "null") for one in dataset.images["extra"]] == [
            {"coco": {"license": 3, "date_captured": "2013-11-14 11:18:45"}},
            None,
        ]
        assert column(dataset, "extra") == [
            {"coco": {"utility": 0.5, "note": 'a "b" ü', "list": [1, {"x": None}]}},
            None,
        ]
        assert dataset.class_info == {"cat": {"supercategory": "animal", "synonyms": ["puss"]}}
        assert dataset.category_ids == (7,)
        assert dataset.info == {
            "info": {"year": 2017},
            "licenses": [{"id": 3}],
            "type": "instances",
        }


def test_what_files_of_splits_say_differently_is_kept(tmp_path: Path) -> None:
    make(tmp_path / "a", [image(1)], [label(1)], info="of train", licenses=[1])
    file = "annotations/instances_val.json"
    more: dict[str, Any] = {"folder": "val", "info": "of val", "licenses": [1]}
    make(tmp_path / "a", [image(2)], [label(1, 2)], file, **more)
    before = read(tmp_path / "a")
    assert before.info == {
        "info": "of train",
        "licenses": [1],
        "splits": {"val": {"info": "of val"}},
    }
    assert again(before, tmp_path / "b").info == before.info
    val = json.loads((tmp_path / "b" / file).read_text("utf-8"))
    assert val["info"] == "of val"


def test_cvat_says_occluded_among_the_attributes(tmp_path: Path) -> None:
    labels = [
        label(1, attributes={"occluded": True, "colour": "red"}),
        label(2, attributes={"occluded": False}),
        label(3, attributes={"occluded": "who knows"}),
        label(4, attributes={"occluded": True}, occluded=0),
        label(5, attributes={}),
    ]
    dataset = read(make(tmp_path, [image(1)], labels))
    assert dataset.labels["occluded"].to_list() == [True, False, None, False, None]
    assert column(dataset, "attributes")[0] == {"occluded": True, "colour": "red"}
    assert column(dataset, "attributes")[4] is None


def test_lvis(tmp_path: Path) -> None:
    url = "http://images.cocodataset.org/train/1.png"
    fields = {"neg_category_ids": [2], "not_exhaustive_category_ids": [5]}
    one = {"id": 1, "coco_url": url, "width": 60, "height": 40, **fields}
    none = image(2, neg_category_ids=[], not_exhaustive_category_ids=[])
    root = make(tmp_path / "a", [one, none], [label(1, category=5), label(2)])
    before = read(root)
    assert before.findings == ()
    assert before.relative_paths() == ["train/1.png", "train/2.png"]
    for dataset in (before, again(before, tmp_path / "b")):
        assert dataset.images["labelled"].to_list() == [["bird", "cat", "dog"], []]
        assert dataset.images["complete"].to_list() == [["cat", "dog"], []]
    text = json.loads(next((tmp_path / "b" / "annotations").iterdir()).read_text("utf-8"))
    written = text["images"][0]
    assert {key: written[key] for key in fields} == fields


@pytest.mark.parametrize("name", ["fold 2", "a/b", "..", "default", "Größe", "x" * 300, "valid"])
def test_splits_of_any_name(name: str, tmp_path: Path) -> None:
    before = detection(tmp_path)
    split = pl.Series("split", [name, name, "train", None, None, "a_b"], pl.String)
    before.images = before.images.with_columns(split)
    dataset = again(before, tmp_path / "copy")
    found = dict(
        zip((Path(path).name for path in dataset.paths), dataset.images["split"], strict=True)
    )
    wanted = dict(zip((Path(path).name for path in before.paths), split, strict=True))
    assert found == wanted
    assert dataset.findings == ()


def test_an_area_that_nobody_gave_stays_unsaid(tmp_path: Path) -> None:
    before = detection(tmp_path)
    areas = pl.Series("area", [None, 12.25, None, None, 1 / 3, None, None], pl.Float64)
    before.labels = before.labels.with_columns(areas)
    dataset = again(before, tmp_path / "copy")
    assert set(dataset.labels["area"]) == {12.25, 1 / 3, None}
    assert dataset.labels["area"].null_count() == 5
    for file in (tmp_path / "copy" / "annotations").iterdir():
        for one in json.loads(file.read_text("utf-8"))["annotations"]:
            assert one["area"] > 0


def test_areas_of_other_programs_are_kept_as_they_are(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, [image(1)], [label(1, area=29 * 17.5), label(2, area=3)]))
    assert dataset.labels["area"].to_list() == [29 * 17.5, 3.0]


def test_what_other_formats_said_comes_back(tmp_path: Path) -> None:
    before = detection(tmp_path)
    extra = '{"kitti": {"alpha": -1.5}, "coco": {"utility": 1, "bbox": "not this"}}'
    before.labels = before.labels.with_columns(pl.lit(extra).alias("extra"))
    dataset = again(before, tmp_path / "copy")
    assert column(dataset, "extra") == [{"kitti": {"alpha": -1.5}, "coco": {"utility": 1}}] * 7


def test_pictures_in_a_folder_that_the_user_names(shared: Path) -> None:
    database = shared / "many_formats" / "data" / "database"
    for part in ("coco_format_v1", "coco_format_v2"):
        dataset = read(database / "gts" / part, images=database / "images")
        assert (len(dataset), dataset.labels.height) == (100, 273)
        assert "missing-image" not in {one.kind for one in dataset.findings}
        assert {Path(path).parent for path in dataset.paths} == {database / "images"}
    assert dataset.labels["segmentation"].null_count() == 0


def test_a_suffix_in_capitals(shared: Path) -> None:
    folder = shared / "many_formats" / "toyexample"
    dataset = read(folder / "gts_coco_format", images=folder / "images")
    assert (len(dataset), dataset.labels.height) == (10, 12)


def results(folder: Path, *records: dict[str, Any], name: str = "results.json") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(json.dumps(records), "utf-8")
    return folder / name


FOUND = {"image_id": 2, "category_id": 5, "bbox": [1, 2.5, 29, 17.5], "score": 0.25}


def test_results_with_the_ground_truth_beside_them(tmp_path: Path) -> None:
    make(tmp_path, [image(1), image(2)], [label(1), label(2, 7)])
    dataset = read(results(tmp_path, FOUND, {**FOUND, "image_id": 3}))
    assert (len(dataset), dataset.labels.height) == (2, 1)
    row = dataset.labels.row(0, named=True)
    assert (row["image"], row["score"], row["source"]) == (1, 0.25, "model")
    assert dataset.names[row["class_id"]] == "bird"
    assert [(one.kind, one.where) for one in dataset.findings] == [
        ("unknown-image", "results.json#results[1]")
    ]


def test_results_with_a_folder_of_pictures(tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / "pictures" / f"COCO_val2014_{number:012d}.png"
        write_image(path, np.zeros((40, 60, 3), np.uint8))
    file = results(tmp_path / "answers", FOUND)
    dataset = read(file, images=tmp_path / "pictures")
    assert [Path(path).name for path in dataset.paths] == ["COCO_val2014_000000000002.png"]
    assert list(dataset.names) == ["class 5"]
    assert dataset.images.select("width", "height").row(0) == (60, 40)
    assert "unnamed-class" in {one.kind for one in dataset.findings}


def test_results_of_unknown_pictures_are_refused(tmp_path: Path) -> None:
    file = results(tmp_path / "answers", FOUND)
    with pytest.raises(DataError, match="put the ground truth file beside it"):
        read(file)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="other pictures"):
        read(file, images=tmp_path / "pictures")


def test_genuine_results(shared: Path) -> None:
    boxes = read(shared / "coco_eval" / "instances_val2014_fakebbox100_results.json")
    assert boxes.labels.height == 734
    assert boxes.labels["score"].null_count() == 0
    shapes = read(shared / "coco_eval" / "instances_val2014_fakesegm100_results.json")
    assert shapes.labels.height + shapes.kept_out == 734
    for text, *box in shapes.labels.select("segmentation", "x1", "y1", "x2", "y2").iter_rows():
        x, y, width, height = masks.toBbox(json.loads(text))
        assert box == [x, y, x + width, y + height]


@pytest.mark.parametrize(
    "name",
    [
        "coco_tiny/annotations/captions_train2017.json",
        "coco_eval/captions_val2014_fakecap_results.json",
    ],
)
def test_captions_are_refused(name: str, shared: Path) -> None:
    with pytest.raises(DataError, match="holds captions"):
        read(shared / name)


def test_panoptic_segments_are_refused(tmp_path: Path) -> None:
    annotations = [{"image_id": 1, "file_name": "1.png", "segments_info": [{"id": 3}]}]
    make(tmp_path, [image(1)], annotations, "panoptic.json")
    with pytest.raises(DataError, match="panoptic"):
        read(tmp_path / "panoptic.json")


@pytest.mark.parametrize("seed", range(5))
def test_the_box_around_a_mask(seed: int) -> None:
    """pycocotools is the oracle, of packed and of plain run lengths."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((37, 23), np.uint8)
    y, x = rng.integers(0, 18, 2)
    mask[y : y + 9, x : x + 4] = rng.random((9, mask[y : y + 9, x : x + 4].shape[1])) < 0.6
    packed = masks.encode(np.asfortranarray(mask))
    flat = np.concatenate([[0], mask.T.reshape(-1), [2]])
    counts = np.diff(np.flatnonzero(np.diff(flat)), prepend=0).tolist()
    for said in (
        {**packed, "counts": packed["counts"].decode()},
        {"counts": counts, "size": [37, 23]},
    ):
        assert box_of(json.dumps(said)) == masks.toBbox(packed).tolist()


@pytest.mark.parametrize(
    "text",
    [
        *('{"counts": [5, 1], "size": [2, 2]}', '{"counts": [-1, 5], "size": [2, 2]}', "[[1]]"),
        *('{"counts": "", "size": [2, 2]}', '{"size": [2, 2]}', "[1, 2]", '[["a", 2]]', "5"),
        *('{"counts": [4], "size": [2, 2]}', '{"counts": [0, 4], "size": [0, 0]}', "{", "null"),
    ],
)
def test_masks_that_cannot_be_understood(text: str) -> None:
    assert box_of(text) is None


def test_labels_without_a_box_get_one_around_their_outline(tmp_path: Path) -> None:
    labels = [label(1, segmentation=OUTLINE, bbox=None), label(2, bbox=None)]
    dataset = read(make(tmp_path, [image(1)], labels))
    np.testing.assert_array_equal(dataset.targets(0).boxes, [[1, 2.5, 30, 20]])
    assert [(one.kind, one.boxes) for one in dataset.findings] == [("bad-box", 1)]


def test_sizes_that_no_picture_has(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, [{**image(1), "width": 0}], [label(1)]))
    assert dataset.images.select("width", "height").row(0) == (60, 40)
    assert [(one.kind, one.where.split("#")[1]) for one in dataset.findings] == [
        ("bad-value", "images[0]")
    ]


def test_other_programs_read_what_is_written(tmp_path: Path) -> None:
    """pycocotools takes the file, with its key points, crowds and areas."""
    from pycocotools.coco import COCO

    labels = [
        label(1, segmentation=OUTLINE, keypoints=[3, 4, 2], attributes={"a": 1}, track="7"),
        label(2, segmentation={"counts": [5, 10, 2385], "size": [40, 60]}, iscrowd=1),
    ]
    read(make(tmp_path / "a", [image(1)], labels)).write(tmp_path / "b", "coco")
    coco = COCO(str(tmp_path / "b" / "annotations" / "instances_train.json"))
    assert masks.area(coco.annToRLE(coco.anns[1])) > 0
    assert [one["iscrowd"] for one in coco.loadAnns([1, 2])] == [0, 1]
    assert coco.anns[1]["keypoints"] == [3, 4, 2]
    assert coco.anns[1]["num_keypoints"] == 1
