"""COCO: sparse ids, crowds, several files, faults with their records, both ways of loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.data.formats import _coco_tables
from whatwhere.errors import DataError
from whatwhere.images import write_image

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}]


def image(number: int, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name or f"{number}.png", "width": 60, "height": 40, **more}


def label(number: int, picture: int = 1, category: int = 3, **more: Any) -> dict[str, Any]:
    box = [10.5, 5, 20, 30.25]
    base = {"id": number, "image_id": picture, "category_id": category, "bbox": box}
    return {**base, "area": 321.5, "iscrowd": 0, "segmentation": [[1, 2, 3, 4, 5, 6]], **more}


def make(
    root: Path,
    images: list[Any],
    annotations: list[Any],
    file: str = "annotations/instances_train2017.json",
    folder: str = "train2017",
    categories: list[Any] | None = None,
) -> Path:
    for number, one in enumerate(images):
        name = one.get("file_name") if isinstance(one, dict) else None
        if isinstance(name, str) and not name.startswith(("/", ".", "C:", "gone")):
            write_image(root / folder / name, np.full((40, 60, 3), number, np.uint8))
    content = {
        "images": images,
        "annotations": annotations,
        "categories": CATEGORIES if categories is None else categories,
    }
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(content), "utf-8")
    return root


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where.split("#")[-1]) for finding in dataset.findings]


@pytest.fixture(params=["quick", "slow"])
def loading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read the JSON must tell the same."""
    if request.param == "slow":
        scan = _coco_tables.scan

        def exactly(*args: Any, **how: Any) -> Any:
            return scan(*args, **{**how, "exact": True})

        monkeypatch.setattr(_coco_tables, "scan", exactly)
    return str(request.param)


def test_what_is_read(loading: str, tmp_path: Path) -> None:
    labels = [label(7), label(8, category=90, iscrowd=1), label(9, picture=5, ignore=1)]
    dataset = read(make(tmp_path, [image(5), image(1), image(4)], labels))
    assert dataset.findings == ()
    assert list(dataset.names) == ["car", "toothbrush"]
    assert dataset.category_ids == (3, 90)
    assert dataset.images["id"].to_list() == [5, 1, 4]
    assert dataset.splits == {"train": 3}
    assert dataset.labels["record"].to_list() == [
        f"annotations/instances_train2017.json#{number}" for number in (9, 7, 8)
    ]
    assert dataset.labels["ignore"].to_list() == [True, False, True]
    assert dataset.labels["iscrowd"].to_list() == [False, False, True]
    assert dataset.labels["area"].to_list() == [321.5] * 3
    np.testing.assert_array_equal(dataset.targets(0).boxes, [[10.5, 5, 30.5, 35.25]])
    assert dataset.targets(1).class_ids.tolist() == [0, 1]
    assert dataset.targets(2).class_ids.tolist() == []


def test_partly_labelled_pictures(loading: str, tmp_path: Path) -> None:
    images = [
        image(1, labelled_classes="car(main),unicorn", complete_classes=["car"]),
        image(2, labelled_classes="all80", complete_classes=[]),
        image(3),
    ]
    dataset = read(make(tmp_path, images, [label(1)]))
    assert dataset.images["labelled"].to_list() == [["car"], None, None]
    assert dataset.images["complete"].to_list() == [["car"], [], None]


def test_scores_are_kept_and_called_a_models(loading: str, tmp_path: Path) -> None:
    dataset = read(make(tmp_path, [image(1)], [label(1, score=0.5), label(2)]))
    assert dataset.labels["score"].to_list() == [0.5, None]
    assert dataset.labels["source"].to_list() == ["model", None]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"image_id": 9}, "unknown-image"),
        ({"image_id": None}, "unknown-image"),
        ({"category_id": 4}, "unknown-class"),
        ({"bbox": None, "segmentation": []}, "bad-box"),
        ({"bbox": []}, "bad-box"),
        ({"bbox": [1, 2, 3]}, "bad-box"),
        ({"bbox": [1, 2, 3, None]}, "bad-box"),
        ({"bbox": [1, 2, 0, 4]}, "zero-size-box"),
        ({"bbox": [10, 2, -5, 4]}, "inverted-box"),
        ({"bbox": [70, 2, 5, 4]}, "outside-box"),
    ],
)
def test_bad_annotations_are_kept_out(
    loading: str, changes: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    dataset = read(make(tmp_path, [image(1)], [label(1), label(2, **changes)]))
    kinds = [(name, place) for name, place in found(dataset) if name != "bad-value"]
    assert kinds == [(kind, "2")]
    assert (dataset.labels.height, dataset.kept_out) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [{"bbox": ["a", 1, 2, 3]}, {"bbox": "1 2 3 4"}, {"bbox": {"x": 1}}, {"image_id": "one"}],
)
def test_values_of_the_wrong_kind(changes: dict[str, Any], tmp_path: Path) -> None:
    dataset = read(make(tmp_path, [image(1)], [label(1), label(2, **changes)]))
    assert (dataset.labels.height, dataset.kept_out) == (1, 1)
    assert any("annotations" in where or where == "2" for _, where in found(dataset))


def test_records_that_are_no_objects(tmp_path: Path) -> None:
    root = make(tmp_path, [image(1), 5], [label(1), [1, 2]])
    assert found(read(root)) == [("bad-record", "images[1]"), ("bad-record", "annotations[1]")]


def test_numbers_written_as_texts_are_understood(tmp_path: Path) -> None:
    labels = [label(1, image_id="1", bbox=["10.5", 5, 20, 30.25])]
    dataset = read(make(tmp_path, [image(1, width="60")], labels))
    np.testing.assert_array_equal(dataset.targets(0).boxes, [[10.5, 5, 30.5, 35.25]])


def test_bad_images(loading: str, tmp_path: Path) -> None:
    images = [image(1), image(1, "other.png"), {"id": 2}, {"file_name": "x.png"}, image(3, "1.png")]
    dataset = read(make(tmp_path, images, [label(1), label(2, picture=2)]))
    kinds = [kind for kind, _ in found(dataset)]
    assert kinds.count("bad-record") == 2
    assert kinds.count("duplicate-id") == 1
    assert kinds.count("duplicate-entry") == 1
    assert kinds.count("unknown-image") == 1
    assert dataset.labels.height == 1


def test_doubtful_categories(loading: str, tmp_path: Path) -> None:
    categories = [
        {"id": 3, "name": "car"},
        {"id": 4, "name": "car"},
        {"id": 4, "name": "bus"},
        {"id": 6, "name": " "},
        {"id": None, "name": "boat"},
    ]
    labels = [label(1), label(2, category=4), label(3, category=6)]
    dataset = read(make(tmp_path, [image(1)], labels, categories=categories))
    assert list(dataset.names) == ["car", "class 6"]
    assert dataset.targets(0).class_ids.tolist() == [0, 0, 1]
    kinds = sorted(kind for kind, _ in found(dataset))
    assert kinds == ["bad-record", "duplicate-class", "duplicate-class"]


def test_missing_pictures_stay_and_are_reported(tmp_path: Path) -> None:
    root = make(tmp_path, [image(1), image(2, "gone.png")], [label(1), label(2, picture=2)])
    dataset = read(root)
    assert found(dataset) == [("missing-image", "images[1]")]
    assert (len(dataset), dataset.labels.height) == (2, 2)


def test_no_picture_at_all_is_one_finding(tmp_path: Path) -> None:
    root = make(tmp_path, [image(n, f"gone{n}.png") for n in range(5)], [label(1)])
    dataset = read(root / "annotations" / "instances_train2017.json")
    assert [finding.kind for finding in dataset.findings] == ["missing-image"]
    assert "none of 5 pictures" in dataset.findings[0].message


def test_pictures_of_which_the_file_does_not_speak(tmp_path: Path) -> None:
    root = make(tmp_path, [image(1)], [label(1)])
    write_image(root / "train2017" / "more.png", np.zeros((4, 4, 3), np.uint8))
    (finding,) = read(root).findings
    assert (finding.kind, finding.where, finding.severity) == (
        "unlisted-image",
        "train2017",
        "info",
    )


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "C:\\a.png", "..\\..\\a.png"])
def test_file_names_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", np.zeros((40, 60, 3), np.uint8))
    root = make(tmp_path / "set", [image(1), image(2, name)], [label(1), label(2, picture=2)])
    dataset = read(root)
    assert found(dataset) == [("path-outside", "images[1]"), ("unknown-image", "2")]
    assert len(dataset) == 1


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("annotations/instances_train2017.json", "images/train2017"),
        ("annotations/instances_train.json", "images"),
        ("annotations/instances_default.json", "images"),
        ("labels.json", "."),
        ("labels.json", "images"),
        ("annotations/train.json", "train"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_where_pictures_are_looked_for(file: str, folder: str, tmp_path: Path) -> None:
    dataset = read(make(tmp_path, [image(1)], [label(1)], file, folder))
    assert dataset.findings == ()
    assert Path(dataset.paths[0]) == tmp_path / folder / "1.png"
    assert dataset.splits == ({"train": 1} if "train" in file else {})


def test_file_names_with_folders(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, [image(1, "deep/er/1.png")], [label(1)]))
    assert dataset.relative_paths() == ["train2017/deep/er/1.png"]


def test_one_file_a_split(tmp_path: Path) -> None:
    make(tmp_path, [image(1)], [label(1)])
    swapped = [{"id": 3, "name": "toothbrush"}, {"id": 7, "name": "van"}]
    make(
        tmp_path,
        [image(1, "other.png")],
        [label(1), label(2, category=7)],
        "annotations/instances_val2017.json",
        "val2017",
        swapped,
    )
    (tmp_path / "annotations" / "captions_val2017.json").write_text('{"caption": 1, "images": []}')
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 1, "val": 1}
    names = [[dataset.names[i] for i in dataset.targets(row).class_ids] for row in (0, 1)]
    assert names == [["car"], ["toothbrush", "van"]]
    assert [kind for kind, _ in found(dataset)] == ["contradicting-ids"]


def test_a_picture_in_two_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        make(tmp_path, [image(1)], [label(1)], f"annotations/instances_{split}.json", "images")
    assert [kind for kind, _ in found(read(tmp_path))] == ["two-splits"]


def test_several_files_of_one_split_are_not_guessed(tmp_path: Path) -> None:
    for name in ("first", "second"):
        make(tmp_path, [image(1)], [label(1)], f"{name}.json", "images")
    with pytest.raises(DataError, match=r"give one of first\.json, second\.json"):
        read(tmp_path)
    assert len(read(tmp_path / "first.json")) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"images": [\n', "line 2"),
        ('{"images": {}, "annotations": []}', "lists"),
        ('{"annotations": []}', "lists"),
        ('{"images": [], "annotations": [], "categories": []}', "no pictures"),
        ('{"images": ' + "[" * 100_000, "not valid JSON"),
    ],
)
def test_files_that_are_not_understood(text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(DataError, match=word) as caught:
        read(tmp_path)
    assert "labels.json" in str(caught.value)


def test_a_json_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('{"version": "5.0", "shapes": []}')
    with pytest.raises(DataError, match="not a data set"):
        read(tmp_path / "labels.json")


def test_sizes_are_taken_from_the_file_without_opening_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path, [image(1), image(2, width=None)], [label(1)])

    def probe(path: str) -> None:
        assert path.endswith("2.png")
        raise AssertionError("opened")

    monkeypatch.setattr("whatwhere.data.formats._files.probe_image", probe)
    with pytest.raises(AssertionError, match="opened"):
        read(root)


def test_coco_tiny(shared: Path) -> None:
    dataset = read(shared / "coco_tiny")
    assert (len(dataset), dataset.labels.height, len(dataset.names)) == (50, 470, 80)
    assert dataset.labels["iscrowd"].sum() == dataset.labels["ignore"].sum() == 5
    assert dataset.findings == ()
    assert dataset.stats()["splits"] == {"train": 50}


def test_photos(shared: Path) -> None:
    human = read(shared / "photos" / "human_boxes.json")
    assert (len(human), human.labels.height) == (1522, 3186)
    assert human.images["labelled"].null_count() == 79
    machine = read(shared / "photos_machine_boxes")
    assert (len(machine), machine.labels.height) == (700, 1097)
    assert set(machine.labels["source"]) == {"model"}


@pytest.mark.parametrize("part", ["coco_format_v1", "coco_format_v2"])
def test_the_same_boxes_in_every_format(part: str, shared: Path) -> None:
    """The same photos and boxes as in `voc2012_mini`, written by two other tools."""
    voc = read(shared / "voc2012_mini")
    coco = read(shared / "many_formats" / "data" / "database" / "gts" / part)
    rows = {Path(path).name: row for row, path in enumerate(coco.paths)}
    assert coco.labels.height == voc.labels.height == 273
    names = {Path(path).name for path in voc.paths}
    assert len(names & rows.keys()) > 0
    shift = []
    for row, path in enumerate(voc.paths):
        if Path(path).name in rows:
            mine = voc.targets(row)
            theirs = coco.targets(rows[Path(path).name])
            assert sorted(voc.names[i] for i in mine.class_ids) == sorted(
                coco.names[i] for i in theirs.class_ids
            )
            shift.append(
                np.abs(np.sort(mine.boxes, axis=0) - np.sort(theirs.boxes, axis=0)).max(initial=0)
            )
    # The two tools do not agree on where a pixel begins.
    assert max(shift) <= 1
