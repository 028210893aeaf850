"""Hugging Face's imagefolder: kinds of labels, numbers with names, and faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data_samples import detection
from whatwhere.data import Dataset, read
from whatwhere.errors import DataError
from whatwhere.images import write_image

README = """---
license: mit
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '1': "say \\"dog\\""
          '2': 'it''s'
  splits:
  - name: train
---
# A data set
"""


def pictures(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        write_image(folder / name, np.full((40, 50, 3), number, np.uint8))


def lines(file: Path, *records: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def labels(dataset: Dataset) -> dict[str, list[str]]:
    return {
        Path(path).stem: [dataset.names[number] for number in dataset.targets(row).class_ids]
        for row, path in enumerate(dataset.paths)
    }


def found(dataset: Dataset) -> list[tuple[str, str, int]]:
    return [(one.kind, one.where, one.boxes) for one in dataset.findings]


def test_objects(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a.jpg", "train/b.jpg", "validation/c.jpg")
    objects = {"id": [7, 8], "area": [50.0, 6.0], "bbox": [[1, 2, 10, 5], [0.5, 0, 2, 3]]}
    first = {
        "image_id": 15,
        "width": 50,
        "height": 40,
        "objects": {**objects, "category": [1, 0]},
    }
    lines(
        tmp_path / "train" / "metadata.jsonl",
        {"file_name": "a.jpg", **first},
        {"file_name": "b.jpg", "objects": {"bbox": [], "category": []}},
    )
    lines(
        tmp_path / "validation" / "metadata.jsonl",
        {"file_name": "c.jpg", "objects": [{"bbox": [3, 3, 4, 4], "label": "emu"}]},
    )
    (tmp_path / "README.md").write_text(README)
    dataset = read(tmp_path)
    assert dataset.recognised == (
        "Hugging Face imagefolder: train/metadata.jsonl, validation/metadata.jsonl"
    )
    assert dataset.findings == ()
    assert (dataset.task, dataset.splits) == ("detect", {"train": 2, "val": 1})
    assert list(dataset.names) == ["cat", 'say "dog"', "it's", "emu"]
    assert labels(dataset) == {"a": ['say "dog"', "cat"], "b": [], "c": ["emu"]}
    boxes = dataset.targets(0).boxes
    assert boxes is not None
    assert boxes.tolist() == [[1, 2, 11, 7], [0.5, 0, 2.5, 3]]
    assert dataset.labels["area"].to_list() == [50.0, 6.0, None]
    assert json.loads(dataset.labels["extra"][1]) == {"hf_imagefolder": {"id": 8}}
    assert dataset.images["id"].to_list() == [15, None, None]
    assert dataset.images["width"].to_list() == [50, 50, 50]
    assert dataset.labels["record"][1] == "train/metadata.jsonl:1#1"


@pytest.mark.parametrize(
    ("records", "task", "expected"),
    [
        ([{"label": "cat"}, {"label": "dog"}], "classify", [["cat"], ["dog"]]),
        ([{"label": 10}, {"label": 9}], "classify", [["class 10"], ["class 9"]]),
        ([{"labels": ["cat", "dog"]}, {"labels": []}], "multilabel", [["cat", "dog"], []]),
        ([{"label": [1, 0]}, {"label": [1]}], "multilabel", [["class 1", "class 0"], ["class 1"]]),
        ([{"text": "hi", "category": "a"}, {"category": "b"}], "classify", [["a"], ["b"]]),
    ],
)
def test_labels_of_pictures(
    records: list[dict[str, Any]], task: str, expected: list[list[str]], tmp_path: Path
) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    named = [{"file_name": name, **one} for name, one in zip(("a.jpg", "b.jpg"), records)]  # noqa: B905
    lines(tmp_path / "metadata.jsonl", *named)
    dataset = read(tmp_path)
    assert dataset.task == task
    assert list(labels(dataset).values()) == expected
    assert dataset.findings == ()


def test_numbers_stand_in_their_order(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    named = [{"file_name": "a.jpg", "label": 10}, {"file_name": "b.jpg", "label": 9}]
    lines(tmp_path / "metadata.jsonl", *named)
    assert list(read(tmp_path).names) == ["class 9", "class 10"]


def test_folders_are_the_classes_where_records_have_none(tmp_path: Path) -> None:
    pictures(tmp_path, "train/cat/a.jpg", "train/dog/b.jpg")
    records = [{"file_name": f"{name}.jpg", "text": name} for name in ("cat/a", "dog/b")]
    lines(tmp_path / "train" / "metadata.jsonl", *records)
    dataset = read(tmp_path)
    assert (dataset.format, dataset.task) == ("hf_imagefolder", "classify")
    assert labels(dataset) == {"a": ["cat"], "b": ["dog"]}
    assert json.loads(dataset.images["extra"][0]) == {"hf_imagefolder": {"text": "cat/a"}}


def test_csv_and_parquet(tmp_path: Path) -> None:
    pictures(tmp_path / "csv", "a.jpg", "b.jpg")
    text = 'file_name,label,source\na.jpg,cat,"web, old"\nb.jpg,3,\n'
    (tmp_path / "csv" / "metadata.csv").write_text(text)
    dataset = read(tmp_path / "csv")
    assert labels(dataset) == {"a": ["cat"], "b": ["3"]}
    assert dataset.images["extra"].to_list() == [
        '{"hf_imagefolder": {"source": "web, old"}}',
        None,
    ]
    pictures(tmp_path / "parquet", "a.jpg", "b.jpg")
    frame = pl.DataFrame(
        {
            "file_name": ["a.jpg", "b.jpg"],
            "objects": [
                {"bbox": [[1.0, 2.0, 3.0, 4.0]], "categories": ["cat"]},
                {"bbox": [], "categories": []},
            ],
        }
    )
    frame.write_parquet(tmp_path / "parquet" / "metadata.parquet")
    dataset = read(tmp_path / "parquet")
    assert labels(dataset) == {"a": ["cat"], "b": []}
    assert dataset.task == "detect"


def test_every_fault_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"{letter}.jpg" for letter in "abcdefgh"))
    box = [1, 2, 3, 4]
    records = [
        {"file_name": "a.jpg", "objects": {"bbox": [box, [1, 2, 3], None], "category": [1, 2]}},
        {"file_name": "a.jpg", "objects": {"bbox": [box], "category": ["cat"]}},
        {"objects": {"bbox": [box], "category": ["cat"]}},
        {"file_name": "../b.jpg", "objects": {"bbox": [box, box], "category": ["cat"] * 2}},
        {"file_name": "gone.jpg", "objects": {"bbox": [box], "category": ["cat"]}},
        {"file_name": "b.jpg", "objects": {"bbox": [[90, 90, 3, 4]], "category": ["cat"]}},
        {"file_name": "c.jpg", "objects": {"bbox": [[True, 1, 1, "x"]], "category": ["cat"]}},
        {"file_name": "d.jpg", "objects": {"bbox": [box], "category": [{}]}},
        {"file_name": "e.jpg", "objects": {"bbox": [box], "category": ["cat"], "score": ["?"]}},
        {"file_name": "f.jpg", "labelled": "cat"},
        {"file_name": "g.jpg", "objects": {"category": ["cat"]}},
        {"file_name": "h.jpg", "objects": {"bbox": [[1, 1, float("nan"), 1e999]]}},
    ]
    lines(tmp_path / "metadata.jsonl", *records)
    with (tmp_path / "metadata.jsonl").open("a") as file:
        file.write("{half\n\n[1]\n" + "[" * 100_000 + "\n")
    dataset = read(tmp_path)
    where = "metadata.jsonl"
    assert sorted(found(dataset)) == sorted(
        [
            ("bad-box", f"{where}:1#1", 1),
            ("no-class", f"{where}:1#2", 1),
            ("duplicate-entry", f"{where}:2", 1),
            ("bad-record", f"{where}:3", 1),
            ("path-outside", f"{where}:4", 2),
            ("outside-box", f"{where}:6#0", 1),
            ("bad-box", f"{where}:7#0", 1),
            ("no-class", f"{where}:8#0", 1),
            ("bad-value", f"{where}:9#0", 0),
            ("bad-value", f"{where}:10", 0),
            ("bad-record", f"{where}:11", 1),
            ("bad-box", f"{where}:12#0", 1),
            ("bad-record", f"{where}:13", 0),
            ("bad-record", f"{where}:15", 0),
            ("bad-record", f"{where}:16", 0),
            ("missing-labels", f"{where}:10", 0),
            ("missing-image", f"{where}:5", 0),
        ]
    )
    assert labels(dataset)["a"] == ["class 1"]
    assert labels(dataset)["gone"] == ["cat"]


def test_a_class_is_missing_in_a_single_label_set(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    lines(
        tmp_path / "metadata.jsonl",
        {"file_name": "a.jpg", "label": "cat"},
        {"file_name": "b.jpg", "label": None},
    )
    dataset = read(tmp_path)
    assert labels(dataset) == {"a": ["cat"]}
    assert found(dataset) == [("no-class", "metadata.jsonl:2", 0)]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metadata.csv", 'file_name,label\na.jpg,"cat\n', r"metadata\.csv:2 is not a row"),
        ("metadata.csv", "file_name,label\n", "no records with file_name"),
        ("metadata.jsonl", "nothing\n", "is no Hugging Face imagefolder"),
        ("metadata.csv", "file_name,xmin,label\na.jpg,1,cat\n", "is no Hugging Face imagefolder"),
    ],
)
def test_what_is_refused(file: str, text: str, message: str, tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path, format="hf_imagefolder")


def test_what_is_written(tmp_path: Path) -> None:
    before = detection(tmp_path)
    before.write(tmp_path / "copy", "hf_imagefolder")
    assert sorted(one.name for one in (tmp_path / "copy").iterdir()) == [
        "README.md",
        "test",
        "train",
        "validation",
    ]
    first = (tmp_path / "copy" / "train" / "metadata.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {
        "file_name": "bild 0 ü.png",
        "width": 60,
        "height": 40,
        "objects": {
            "bbox": [[0, 0, 60, 40], [3, 4, 17, 21]],
            "category": ["ant", "bee & <wasp>"],
            "ignore": [False, True],
        },
    }
    assert "\n          '1': \"bee & <wasp>\"\n" in (tmp_path / "copy" / "README.md").read_text()


def test_a_label_of_the_whole_picture_survives_in_a_set_of_boxes(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    none = pl.when(dataset.labels["image"] != 1)
    columns = {name: none.then(pl.col(name)) for name in ("x1", "y1", "x2", "y2")}
    dataset.labels = dataset.labels.with_columns(**columns)
    dataset.write(tmp_path / "copy", "hf_imagefolder")
    after = read(tmp_path / "copy")
    assert after.findings == ()
    assert after.labels["x1"].to_list() == dataset.labels["x1"].to_list()


def test_splits_of_other_names_survive(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    splits = ["train", "Train", None, "a/b", "validation", "val"]
    dataset.images = dataset.images.with_columns(split=pl.Series(splits))
    dataset.write(tmp_path / "copy", "hf_imagefolder")
    after = read(tmp_path / "copy")
    by_name = {
        Path(path).stem: split
        for path, split in zip(after.paths, after.images["split"])  # noqa: B905
    }
    assert [by_name[f"bild {number} ü"] for number in range(6)] == splits


def test_a_readme_of_spaces_takes_no_time(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    lines(tmp_path / "metadata.jsonl", {"file_name": "a.jpg", "label": 0})
    (tmp_path / "README.md").write_text("---\nnames:\n" + " " * 1_000_000 + "x\n---\n")
    assert list(read(tmp_path).names) == ["class 0"]


def test_half_a_character_is_no_trap(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    text = '{"file_name": "a.jpg", "label": "\\ud800x", "note": {"\\udfff": ["\\ud83d\\ude00"]}}'
    (tmp_path / "metadata.jsonl").write_text(text)
    dataset = read(tmp_path)
    assert list(dataset.names) == ["?x"]
    assert json.loads(dataset.images["extra"][0]) == {"hf_imagefolder": {"note": {"?": ["😀"]}}}


def test_lists_of_objects_of_another_length_are_said(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    objects = {"bbox": [[1, 2, 3, 4]], "category": ["cat", "dog", "cow"], "area": 3, "id": [1, 2]}
    lines(tmp_path / "metadata.jsonl", {"file_name": "a.jpg", "objects": objects})
    dataset = read(tmp_path)
    assert labels(dataset) == {"a": ["cat"]}
    assert found(dataset) == [
        ("bad-record", "metadata.jsonl:1", 2),
        ("bad-record", "metadata.jsonl:1", 0),
        ("bad-record", "metadata.jsonl:1", 0),
    ]
    assert dataset.findings[0].message == "'category' has 3 values for 1 labels"
    assert dataset.findings[1].message == "'area' is '3', not a list of 1 values"
    lines(tmp_path / "metadata.jsonl", {"file_name": "a.jpg", "objects": [1, 2]})
    assert ("bad-record", "metadata.jsonl:1", 2) in found(read(tmp_path))


def test_other_keys_with_labels_are_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "in", "a.jpg", "b.jpg")
    one = {"file_name": "a.jpg", "label": "cat", "tags": ["x", "y"], "category": "pet"}
    lines(tmp_path / "in/metadata.jsonl", one, {"file_name": "b.jpg", "label": "dog"})
    dataset = read(tmp_path / "in")
    extra = {"hf_imagefolder": {"tags": ["x", "y"], "category": "pet"}}
    assert json.loads(dataset.images["extra"][0]) == extra
    dataset.write(tmp_path / "out", "hf_imagefolder")
    assert json.loads(read(tmp_path / "out").images["extra"][0]) == extra
    objects = {"bbox": [[1, 2, 3, 4]], "category": ["cat"]}
    lines(tmp_path / "in/metadata.jsonl", {"file_name": "a.jpg", "objects": objects, "label": 3})
    dataset = read(tmp_path / "in")
    assert json.loads(dataset.images["extra"][0]) == {"hf_imagefolder": {"label": 3}}


def test_known_keys_of_a_wrong_kind_are_said(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    wrong = {"image_id": "abc", "width": "100", "height": -1, "split": 3}
    lines(tmp_path / "metadata.jsonl", {"file_name": "a.jpg", "label": "cat", **wrong})
    messages = sorted(one.message for one in read(tmp_path).findings if one.kind == "bad-value")
    assert messages == [
        "'height' is '-1', which is of the wrong kind",
        "'image_id' is 'abc', which is of the wrong kind",
        "'split' is '3', which is of the wrong kind",
        "'width' is '100', which is of the wrong kind",
    ]


def test_a_crowd_is_ignored_unless_it_says_otherwise(tmp_path: Path) -> None:
    pictures(tmp_path / "in", "a.jpg")
    boxes = {"bbox": [[1, 2, 3, 4], [5, 6, 7, 8]], "category": ["cat", "cat"]}
    objects = boxes | {"iscrowd": [1, 0]}
    lines(tmp_path / "in/metadata.jsonl", {"file_name": "a.jpg", "objects": objects})
    assert read(tmp_path / "in").labels["ignore"].to_list() == [True, False]
    objects["ignore"] = [False, None]
    lines(tmp_path / "in/metadata.jsonl", {"file_name": "a.jpg", "objects": objects})
    dataset = read(tmp_path / "in")
    for form in ("hf_imagefolder", "webdataset"):
        dataset.write(tmp_path / form, form)
        again = read(tmp_path / form)
        assert again.labels["ignore"].to_list() == [False, False]
        assert again.labels["iscrowd"].to_list() == [True, False]
