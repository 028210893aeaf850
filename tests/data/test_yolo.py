"""YOLO text labels and the YAML beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.data.formats._yaml import YamlError, parse_yaml
from whatwhere.errors import DataError
from whatwhere.images import write_image

SETTINGS = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"


def make(
    root: Path, labels: dict[str, str | None], settings: str = SETTINGS, pictures: bool = True
) -> Path:
    for number, (name, text) in enumerate(labels.items()):
        if pictures:
            picture = np.full((40, 60, 3), number, np.uint8)
            write_image(root / "images" / f"{name}.png", picture)
        if text is not None:
            file = root / "labels" / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(settings, "utf-8")
    return root


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in dataset.findings]


def test_what_is_read(tmp_path: Path) -> None:
    labels = {"train/a": "1 0.5 0.5 1 0.5\n0 0.25 0.25 0.5 0.5\n\n", "val/b": ""}
    dataset = read(make(tmp_path, labels))
    assert dataset.findings == ()
    assert dataset.splits == {"train": 1, "val": 1}
    assert dataset.targets(0).class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(dataset.targets(0).boxes, [[0, 10, 60, 30], [0, 0, 30, 20]])
    assert dataset.labels["record"].to_list() == ["labels/train/a.txt:1", "labels/train/a.txt:2"]
    assert read(tmp_path / "data.yaml").digest() == dataset.digest()


def test_outlines_become_boxes(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"train/a": "0 0.5 0.25 1 0.5 0.5 0.75 0.25 0.5\n"}))
    np.testing.assert_allclose(dataset.targets(0).boxes, [[15, 10, 60, 30]])


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("2 0.5 0.5 0.1 0.1", "unknown-class"),
        ("-1 0.5 0.5 0.1 0.1", "unknown-class"),
        ("0.5 0.5 0.5 0.1 0.1", "unknown-class"),
        ("0 0.5 0.5 0.1", "bad-box"),
        ("0 0.5 0.5 0.1 0.1 9", "bad-value"),
        ("cat 0.5 0.5 0.1 0.1", "bad-box"),
        ("0 nan 0.5 0.1 0.1", "bad-box"),
        ("0 0.5 0.5 0 0.1", "zero-size-box"),
        ("0 0.5 0.5 -0.1 0.1", "inverted-box"),
        ("0 1.5 0.5 0.1 0.1", "outside-box"),
    ],
)
def test_bad_lines_are_kept_out(line: str, kind: str, tmp_path: Path) -> None:
    good = "0 0.5 0.5 0.1 0.1\n"
    dataset = read(make(tmp_path, {"train/a": f"{good}{line}\n{good}"}))
    assert found(dataset) == [(kind, "labels/train/a.txt:2")]
    assert (dataset.labels.height, dataset.kept_out) == (2, 1)


def test_missing_label_files_and_missing_pictures(tmp_path: Path) -> None:
    root = make(tmp_path, {"train/a": "0 0.5 0.5 0.1 0.1\n", "train/b": None})
    (root / "labels" / "train" / "c.txt").write_text("0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n")
    dataset = read(root)
    assert found(dataset) == [
        ("missing-labels", "images/train/b.png"),
        ("missing-image", "labels/train/c.txt"),
    ]
    assert (len(dataset), dataset.kept_out) == (2, 2)
    assert dataset.targets(1).class_ids.size == 0


def test_labels_of_an_unreadable_picture_are_kept_out(tmp_path: Path) -> None:
    root = make(tmp_path, {"train/a": "0 0.5 0.5 0.1 0.1\n", "train/b": ""})
    (root / "images" / "train" / "a.png").write_bytes(b"")
    dataset = read(root)
    assert found(dataset) == [
        ("unreadable-image", "images/train/a.png"),
        ("unreadable-image", "labels/train/a.txt:1"),
    ]
    assert dataset.kept_out == 1


def test_classes_of_one_name_are_one(tmp_path: Path) -> None:
    settings = SETTINGS.replace("[cat, dog]", "[cat, cat, dog]")
    dataset = read(make(tmp_path, {"train/a": "1 0.5 0.5 1 1\n2 0.5 0.5 1 1\n"}, settings))
    assert list(dataset.names) == ["cat", "dog"]
    assert dataset.targets(0).class_ids.tolist() == [0, 1]
    assert [kind for kind, _ in found(dataset)] == ["duplicate-class"]


def test_lists_of_pictures(tmp_path: Path) -> None:
    settings = SETTINGS.replace("images/train", "train.txt").replace("images/val", "lists/val.txt")
    root = make(tmp_path, {"train/a": "", "train/b": ""}, settings)
    (root / "train.txt").write_text("./images/train/a.png\nimages/train/gone.png\n../x.png\n")
    (root / "lists").mkdir()
    (root / "lists" / "val.txt").write_text("images/train/b.png\nimages/train/a.png\n")
    dataset = read(root)
    assert dataset.splits == {"train": 1, "val": 1}
    assert found(dataset) == [
        ("path-outside", "train.txt:3"),
        ("two-splits", "images/train/a.png"),
        ("missing-image", "train.txt:2"),
    ]


@pytest.mark.parametrize("prefix", ["", "../", "../../"])
def test_exports_that_count_from_elsewhere(prefix: str, tmp_path: Path) -> None:
    settings = f"train: {prefix}train/images\nval: {prefix}valid/images\nnc: 1\nnames: ['cat']\n"
    for part in ("train", "valid"):
        write_image(tmp_path / part / "images" / "a.png", np.zeros((40, 60, 3), np.uint8))
        (tmp_path / part / "labels").mkdir()
        (tmp_path / part / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text(settings)
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 1, "val": 1}
    assert dataset.labels.height == 2
    assert {finding.severity for finding in dataset.findings} <= {"info"}


def test_folders_outside_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "secret" / "a.png", np.zeros((40, 60, 3), np.uint8))
    settings = f"path: {tmp_path}/secret\ntrain: ../secret\nval: images/val\nnames: [cat]\n"
    dataset = read(make(tmp_path / "set", {"val/b": ""}, settings))
    assert [kind for kind, _ in found(dataset)] == ["path-outside", "missing-split"]
    assert dataset.relative_paths() == ["images/val/b.png"]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ("train: images/train\nnames: []\n", "no list of class names"),
        ("train: images/train\nnames: cat\n", "no list of class names"),
        ("train: images/train\nnames: {999999999: cat}\n", "no list of class names"),
        ("train: images/train\nnames: [cat\n", "not closed"),
        ("train: nowhere\nnames: [cat]\n", "holds no pictures"),
    ],
)
def test_settings_that_are_not_understood(settings: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=word):
        read(make(tmp_path, {"train/a": ""}, settings))


def test_yaml() -> None:
    text = """# a comment
%YAML 1.2
---
path: ../datasets/x  # where
train: ["a b", 'it''s', c#d]   # three
'val' : [
  one,  # first
  two,
]
test:
- images/a
- "images/b"  # quoted
nc: 2
kpt_shape: [17, 3]
names:
    0: person
    1: 'traffic: light'
    2: "hash # tag"
flow: {0: a, 1: 'b, c'}
download: |
  import os
  - not: [a list
empty:
"""
    assert parse_yaml(text) == {
        "path": "../datasets/x",
        "train": ["a b", "it's", "c#d"],
        "val": ["one", "two"],
        "test": ["images/a", "images/b"],
        "nc": "2",
        "kpt_shape": ["17", "3"],
        "names": {"0": "person", "1": "traffic: light", "2": "hash # tag"},
        "flow": {"0": "a", "1": "b, c"},
        "empty": {},
    }


@pytest.mark.parametrize("text", ["a: [b", "- a", "no colon here", "a: [b] c"])
def test_yaml_that_is_refused(text: str) -> None:
    with pytest.raises(YamlError, match="line 1"):
        parse_yaml(text)


def test_coco128(shared: Path) -> None:
    dataset = read(shared / "coco128")
    assert dataset.splits == {"train": 128, "val": 128}
    assert dataset.labels.height + dataset.kept_out == 1839
    assert (dataset.labels.height, dataset.kept_out) == (1827, 12)
    assert found(dataset) == [
        ("missing-labels", "images/train2017/000000000250.jpg"),
        ("missing-labels", "images/train2017/000000000508.jpg"),
        ("missing-image", "labels/train2017/000000000656.txt"),
        ("missing-image", "labels/train2017/000000000659.txt"),
    ]
