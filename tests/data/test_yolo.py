"""YOLO text labels and the YAML beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import read
from whatwhere.data.formats._yaml import YamlError, parse_yaml, quoted
from whatwhere.errors import DataError
from whatwhere.images import write_image
from yolo_files import SETTINGS, found, make


def test_what_is_read(tmp_path: Path) -> None:
    labels = {"train/a": "1 0.5 0.5 1 0.5\n0 0.25 0.25 0.5 0.5\n\n", "val/b": ""}
    dataset = read(make(tmp_path, labels))
    assert dataset.findings == ()
    assert dataset.splits == {"train": 1, "val": 1}
    assert dataset.targets(0).class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(dataset.targets(0).boxes, [[0, 10, 60, 30], [0, 0, 30, 20]])
    assert dataset.labels["record"].to_list() == ["labels/train/a.txt:1", "labels/train/a.txt:2"]
    assert read(tmp_path / "data.yaml").digest() == dataset.digest()


def test_outlines_have_boxes(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"train/a": "0 0.5 0.25 1 0.5 0.5 0.75 0.25 0.5\n"}))
    np.testing.assert_allclose(dataset.targets(0).boxes, [[15, 10, 60, 30]])
    assert json.loads(dataset.labels["segmentation"][0]) == [[30, 10, 60, 20, 30, 30, 15, 20]]


def test_lines_of_all_kinds_in_their_order(tmp_path: Path) -> None:
    lines = (
        "0 0.5 0.5 0.1 0.1",
        "1 0.1 0.1 0.2 0.1 0.2 0.2",
        "  0\t0.5  0.5 0.1 0.1  ",
        "1 0.5 0.5 0.1 0.1 0.75",
        "0 0.1 0.1 0.2 0.1 0.2 0.2 0.5",
        "1.0 5e-1 .5 +0.1 0.1",
    )
    root = make(tmp_path, {"train/a": ""})
    file = root / "labels" / "train" / "a.txt"
    for newline in ("\n", "\r\n", "\r"):
        file.write_bytes(b"\xef\xbb\xbf" + newline.join(lines).encode())
        labels = read(root).labels
        assert labels["record"].to_list() == [f"labels/train/a.txt:{n}" for n in range(1, 7)]
        assert labels["class_id"].to_list() == [0, 1, 0, 1, 0, 1]
        assert labels["score"].to_list() == [None, None, None, 0.75, 0.5, None]
        outlined = labels["segmentation"].is_not_null().arg_true().to_list()
        assert outlined == [1, 4]


@pytest.mark.parametrize(
    ("shape", "line", "points"),
    [
        ("[2, 3]", "0 0.5 0.5 1 1 0.1 0.25 2 0.5 0.75 1", [6, 10, 2, 30, 30, 1]),
        ("[2, 3]", "0 0.5 0.5 1 1 0.1 0.25 2 0.5 0.75 1 0.5", [6, 10, 2, 30, 30, 1]),
        ("[2, 2]", "0 0.5 0.5 1 1 0.1 0.25 -1 -1", [6, 10, 2, -60, -40, 0]),
    ],
)
def test_key_points(shape: str, line: str, points: list[float], tmp_path: Path) -> None:
    root = make(tmp_path, {"train/a": f"{line}\n"}, SETTINGS + f"kpt_shape: {shape}\n")
    dataset = read(root)
    assert json.loads(dataset.labels["keypoints"][0]) == points
    np.testing.assert_allclose(dataset.targets(0).boxes, [[0, 0, 60, 40]])
    assert dataset.findings == ()


def test_outlines_are_no_key_points(tmp_path: Path) -> None:
    labels = {"train/a": "0 0.5 0.5 1 1 0.1 0.25 2 0.5\n0 0.5 0.5 1 1\n"}
    dataset = read(make(tmp_path, labels, SETTINGS + "kpt_shape: [2, 3]\n"))
    assert found(dataset) == [("bad-box", "labels/train/a.txt:1")]
    assert dataset.labels.height == 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("2 0.5 0.5 0.1 0.1", "unknown-class"),
        ("-1 0.5 0.5 0.1 0.1", "unknown-class"),
        ("0.5 0.5 0.5 0.1 0.1", "unknown-class"),
        ("0 0.5 0.5 0.1", "bad-box"),
        ("0", "bad-box"),
        ("0 0.5 0.5 0.1 0.1 0.5 nan", "bad-box"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 -3", "bad-value"),
        ("\x00 0.5 0.5 0.1 0.1", "bad-box"),
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
quoted: 'it''s # "all" one'
escaped: "a \\"b\\" # c\\u00e4\\n"
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
        "quoted": 'it\'s # "all" one',
        "escaped": 'a "b" # cä\n',
    }


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"k\xE4fer, \"big\" 100%", 'käfer, "big" 100%'),
        (r"\U0001F41C\u00e4\n\e\_a\/b\\x41", "\U0001f41cä\n\x1b\xa0a/b\\x41"),
        (r"\uD800 \UFFFFFFFF \x4 \q", "\\uD800 \\UFFFFFFFF x4 q"),
    ],
)
def test_escapes_of_yaml_that_json_has_not(escaped: str, text: str) -> None:
    """PyYAML writes them for every letter above ASCII, unless it is told otherwise."""
    assert parse_yaml(f'names:\n  0: "{escaped}"\n') == {"names": {"0": text}}
    assert parse_yaml(f'names: ["{escaped}", ant]\n') == {"names": [text, "ant"]}


@pytest.mark.parametrize("text", ["it's", "#1", "a: b # c", "", " x ", "\n\u2028\x07", '"', "\\"])
def test_quoted_yaml_comes_back(text: str) -> None:
    written = f"a: {quoted(text)}\nb:\n  0: {quoted(text)}\nc: [{quoted(text)}, {quoted(text)}]\n"
    assert parse_yaml(written) == {"a": text, "b": {"0": text}, "c": [text, text]}


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: a\ntrain: b\nnames: [x]\n", "'train' of line 2 is there twice"),
        ("train: a\nnames:\n  0: x\n  0: y\n", "'0' is there twice"),
        ("train: a\nnames: {0: x, 0: y}\n", "'0' is there twice"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        read(tmp_path)
