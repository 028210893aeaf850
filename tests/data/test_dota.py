"""DOTA: oriented boxes, header lines, difficulty, versions side by side, faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from whatwhere.data import Dataset, read
from whatwhere.images import write_image

HEADER = "imagesource:GoogleEarth\r\ngsd:0.25\r\n"


def make(root: Path, files: dict[str, str], labels: str = "labelTxt") -> Path:
    for stem, text in files.items():
        write_image(root / "images" / f"{stem}.png", np.full((40, 60, 3), 9, np.uint8))
        (root / labels).mkdir(parents=True, exist_ok=True)
        (root / labels / f"{stem}.txt").write_text(text, newline="")
    return root


def kinds(dataset: Dataset) -> list[tuple[str, str]]:
    return [(one.kind, one.where) for one in dataset.findings]


def test_corners_are_kept_and_enclosed(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"a": HEADER + "10 5 20 10 15 20 5 15 ship 1\r\n"}))
    row = dataset.labels.row(0, named=True)
    assert [row[side] for side in ("x1", "y1", "x2", "y2")] == [5, 5, 20, 20]
    assert json.loads(row["segmentation"]) == [[10, 5, 20, 10, 15, 20, 5, 15]]
    assert (row["difficult"], row["ignore"], row["record"]) == (True, True, "labelTxt/a.txt:3")
    extra = json.loads(dataset.images["extra"][0])
    assert extra == {"dota": {"imagesource": "GoogleEarth", "gsd": 0.25}}


def test_a_set_of_upright_boxes_has_no_segmentation(tmp_path: Path) -> None:
    upright = "1 2 9 2 9 7 1 7 ship 0\n"
    plain = read(make(tmp_path / "one", {"a": upright}))
    assert plain.labels["segmentation"].null_count() == 1
    mixed = read(make(tmp_path / "two", {"a": upright + "10 5 20 10 15 20 5 15 ship 0\n"}))
    assert mixed.labels["segmentation"].null_count() == 0


def test_difficulties_above_one_come_back(tmp_path: Path) -> None:
    text = "10 5 20 10 15 20 5 15 ship 2\n1 1 5 2 5 6 1 5 plane\n"
    first = read(make(tmp_path / "one", {"a": text}))
    assert first.labels["difficult"].to_list() == [True, None]
    first.write(tmp_path / "two", "dota")
    lines = (tmp_path / "two" / "labelTxt" / "a.txt").read_text().splitlines()
    assert lines == ["10 5 20 10 15 20 5 15 ship 2", "1 1 5 2 5 6 1 5 plane 0"]


def test_faults_are_named_by_line(tmp_path: Path) -> None:
    text = "1 2 3 4 ship 0\n1 1 5 2 5 6 1 nan plane 0\n1 1 5 2 5 6 1 5\n\n3 3 3 9 3 9 3 3 ship 0\n"
    dataset = read(make(tmp_path, {"a": "1 1 5 2 5 6 1 5 plane 0\n", "b": text}))
    assert kinds(dataset) == [
        ("bad-box", "labelTxt/b.txt:1"),
        ("bad-box", "labelTxt/b.txt:2"),
        ("no-class", "labelTxt/b.txt:3"),
        ("zero-size-box", "labelTxt/b.txt:5"),
    ]
    assert dataset.kept_out == 4


def test_the_newest_of_two_versions_is_read(tmp_path: Path) -> None:
    make(tmp_path, {"a": "1 1 5 2 5 6 1 5 old 0\n"}, "labelTxt-v1.0")
    make(tmp_path, {"a": "1 1 5 2 5 6 1 5 new 0\n"}, "labelTxt-v1.5")
    dataset = read(tmp_path)
    assert list(dataset.names) == ["new"]
    (finding,) = dataset.findings
    assert finding.message == "labelTxt-v1.5 is read, not labelTxt-v1.0 beside it"


def test_a_folder_of_damaged_files_is_not_passed_over(tmp_path: Path) -> None:
    make(tmp_path / "train", {"a": "1 1 5 2 5 6 1 5 plane 0\n"})
    make(tmp_path / "val", {"b": "1;1;5;2;5;6;1;5;plane;0\n"})
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 1, "val": 1}
    assert kinds(dataset) == [("bad-box", "val/labelTxt/b.txt:1")]


def test_other_outlines_are_written_as_boxes_and_said_to_be(tmp_path: Path) -> None:
    dataset = read(make(tmp_path / "one", {"a": "10 5 20 10 15 20 5 15 ship 0\n"}))
    outline = json.dumps([[5, 5, 20, 5, 20, 20]])
    labels = dataset.labels.with_columns(segmentation=np.array([outline], dtype=object))
    lost = Dataset(dataset.images, labels, dataset.names).write(tmp_path / "two", "dota")
    assert [one.kind for one in lost] == ["lost-column"]
    text = (tmp_path / "two" / "labelTxt" / "a.txt").read_text()
    assert text.endswith("5 5 20 5 20 20 5 20 ship 0\n")


def test_the_genuine_pictures(shared: Path, tmp_path: Path) -> None:
    dataset = read(shared / "dota")
    missing = [one for one in dataset.findings if one.kind == "missing-image"]
    assert len(missing) == 5
    assert dataset.labels["segmentation"].null_count() == 0
    here = dataset.select([0, 4])
    here.write(tmp_path / "copy", "dota", pictures="reference")
    for name in ("P0706.txt", "P1888.txt"):
        original = (shared / "dota" / "labelTxt" / name).read_text()
        assert (tmp_path / "copy" / "labelTxt" / name).read_text() == original
