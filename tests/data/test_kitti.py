"""KITTI: the line and the calibration digit by digit, DontCare, lists, faults."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from whatwhere.data import Dataset, read
from whatwhere.images import write_image

CAR = "Car 0.35 2 -1.57 10.00 5.50 30.25 20.00 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
DONT_CARE = "DontCare -1 -1 -10 1.00 2.00 9.50 8.25 -1 -1 -1 -1000 -1000 -1000 -10"


def make(root: Path, files: dict[str, str | None], base: str = "training") -> Path:
    for stem, text in files.items():
        write_image(root / base / "image_2" / f"{stem}.png", np.full((40, 60, 3), 9, np.uint8))
        if text is not None:
            (root / base / "label_2").mkdir(parents=True, exist_ok=True)
            (root / base / "label_2" / f"{stem}.txt").write_text(text)
    return root


def test_the_line(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"0": f"{CAR}\n{DONT_CARE}\n"}))
    car, region = dataset.labels.to_dicts()
    assert [car[side] for side in ("x1", "y1", "x2", "y2")] == [10, 5.5, 30.25, 20]
    assert (car["truncated"], car["occluded"], car["ignore"]) == (True, True, False)
    assert json.loads(car["extra"])["kitti"] == {
        "truncated": 0.35,
        "occluded": 2,
        "alpha": -1.57,
        "dimensions": [1.67, 1.87, 3.69],
        "location": [-16.53, 2.39, 58.49],
        "rotation_y": 1.57,
    }
    # A region that nobody labelled is a class of its own of which everything is ignored.
    assert list(dataset.names) == ["Car", "DontCare"]
    assert (region["ignore"], region["iscrowd"], region["extra"]) == (True, True, None)
    assert (region["truncated"], region["occluded"]) == (None, None)


def test_it_is_written_again_to_the_byte(tmp_path: Path) -> None:
    calibration = "P0: 7.070493000000e+02 0.000000000000e+00\nR0_rect: 1 0 0\n"
    text = f"{CAR}\n{DONT_CARE}\n{CAR} 0.75\n{CAR} -3.20\n"
    make(tmp_path / "one", {"0": text})
    (tmp_path / "one" / "training" / "calib").mkdir()
    (tmp_path / "one" / "training" / "calib" / "0.txt").write_text(calibration + "\n")
    dataset = read(tmp_path / "one")
    assert dataset.labels["score"].to_list() == [None, None, 0.75, None]
    lost = dataset.write(tmp_path / "two", "kitti")
    assert [one.message.split("'")[1] for one in lost] == ["source"]
    assert (tmp_path / "two" / "training" / "label_2" / "0.txt").read_text() == text
    assert (tmp_path / "two" / "training" / "calib" / "0.txt").read_text() == calibration


def test_changed_columns_win_over_what_was_kept(tmp_path: Path) -> None:
    dataset = read(make(tmp_path / "one", {"0": CAR}))
    labels = dataset.labels.with_columns(
        pl.lit(12.5).cast(pl.Float32).alias("x1"), pl.lit(False).alias("truncated")
    )
    Dataset(dataset.images, labels, dataset.names).write(tmp_path / "two", "kitti")
    line = (tmp_path / "two" / "training" / "label_2" / "0.txt").read_text().split()
    assert line[1:8] == ["0.00", "2", "-1.57", "12.50", "5.50", "30.25", "20.00"]


def test_what_another_format_drops_is_said(tmp_path: Path) -> None:
    dataset = read(make(tmp_path / "one", {"0": f"{CAR}\n{DONT_CARE}\n"}))
    lost = dataset.write(tmp_path / "two", "open_images")
    (message,) = {one.message for one in lost if "extra" in one.message}
    assert message == "Open Images has no place for 'extra of kitti', which 1 labels have"
    assert dataset.write(tmp_path / "three", "kitti") == ()
    # Crowds are regions of their own class in KITTI, and of any in Open Images.
    kinds = {one.message.split("'")[1] for one in dataset.write(tmp_path / "four", "dota")}
    assert kinds == {"extra of kitti", "ignore", "iscrowd", "truncated", "occluded"}


def test_lists_divide_and_contradict(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys("abcd", CAR))
    make(tmp_path, {"e": None}, "testing")
    (tmp_path / "ImageSets").mkdir()
    for name, text in {"train": "a\nb\na\n", "val": "b\nc\nx\n", "test": "e\n"}.items():
        (tmp_path / "ImageSets" / f"{name}.txt").write_text(text)
    dataset = read(tmp_path)
    assert dict(zip(dataset.relative_paths(), dataset.images["split"], strict=True)) == {
        "testing/image_2/e.png": "test",
        "training/image_2/a.png": "train",
        "training/image_2/b.png": "train",
        "training/image_2/c.png": "val",
        "training/image_2/d.png": None,
    }
    assert sorted((one.kind, one.where) for one in dataset.findings) == [
        ("duplicate-entry", "ImageSets/train.txt:3"),
        ("missing-image", "ImageSets/val.txt:3"),
        ("missing-labels", "testing"),
        ("missing-split", "ImageSets"),
        ("two-splits", "ImageSets/val.txt:1"),
    ]
    # Nobody looked for anything in a picture of testing/.
    assert dataset.images["labelled"].to_list() == [[], None, None, None, None]


def test_faults_are_named_by_line(tmp_path: Path) -> None:
    bad = f"Car 0 0\n{CAR.replace('10.00', 'ten')}\n{CAR.replace('1.87', 'inf')}\n{CAR} 1 2\n"
    dataset = read(make(tmp_path, {"0": bad, "1": None}))
    assert [(one.kind, one.where) for one in dataset.findings] == [
        *(("bad-box", f"training/label_2/0.txt:{line}") for line in (1, 2, 3, 4)),
        ("missing-labels", "training/image_2/1.png"),
    ]
    assert dataset.kept_out == 4


def test_the_genuine_frames(shared: Path, tmp_path: Path) -> None:
    dataset = read(shared / "kitti")
    found = {(one.kind, one.where) for one in dataset.findings}
    assert ("missing-labels", "000008.png") in found
    assert dataset.labels.filter(pl.col("ignore")).height == 4
    assert dataset.write(tmp_path / "copy", "kitti", pictures="reference") == ()
    for kind in ("label_2", "calib"):
        for file in (shared / "kitti" / "object" / "training" / kind).iterdir():
            again = (tmp_path / "copy" / "training" / kind / file.name).read_text()
            assert again.split() == file.read_text().split()
            if kind == "label_2":
                assert again == file.read_text()
