"""YOLO text labels: what is written comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from whatwhere.data import Dataset, read
from whatwhere.data.tables import BOX
from whatwhere.errors import UsageError
from whatwhere.images import write_image


def boxes(
    folder: Path, splits: list[str | None], names: tuple[str, ...] = ("cat",), **labels: Any
) -> Dataset:
    """Pictures of 61 x 43 pixels, one for each split, and these labels."""
    paths = []
    for number in range(len(splits)):
        write_image(folder / f"{number}.png", np.full((43, 61, 3), number, np.uint8))
        paths.append(str(folder / f"{number}.png"))
    count = len(next(iter(labels.values())))
    columns = {"image": [0] * count, "class_id": [0] * count, **labels}
    images = {
        "path": paths,
        "split": splits,
        "width": [61] * len(paths),
        "height": [43] * len(paths),
    }
    return Dataset(images, columns, names, root=str(folder), task="detect")


def sides(*values: tuple[float, float, float, float]) -> dict[str, list[float]]:
    return dict(zip(BOX, map(list, zip(*values, strict=True)), strict=True))


def test_sides_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 40, (500, 2))
    high = np.minimum(low + rng.uniform(1e-3, 40, (500, 2)), [61, 43])
    values = np.concatenate([low, high], axis=1)
    values[:3] = [[0, 0, 61, 43], [0.25, 1 / 3, 60.99, 42.5], [1e-3, 2e-3, 0.01, 0.01]]
    dataset = boxes(tmp_path, ["train"], **sides(*values.tolist()))
    assert dataset.write(tmp_path / "copy", "yolo") == ()
    copy = read(tmp_path / "copy")
    assert copy.findings == ()
    assert copy.labels.select(BOX).equals(dataset.labels.select(BOX))


def test_fractions_are_short_where_they_can_be(tmp_path: Path) -> None:
    root = tmp_path / "set"
    dataset = boxes(tmp_path, ["train"], **sides((0, 0, 61, 21.5), (10, 10, 20, 20)))
    dataset.write(root, "yolo")
    file = root / "labels" / "train" / "0.txt"
    assert file.read_text().splitlines()[0] == "0 0.5 0.25 1.0 0.5"
    # What others wrote with six decimals stays as it is.
    lines = "0 0.538066 0.452000 0.360082 0.500001\n0 0.333333 0.123457 0.111111 0.1\n"
    file.write_text(lines)
    read(root).write(tmp_path / "again", "yolo")
    again = (tmp_path / "again" / "labels" / "train" / "0.txt").read_text()
    np.testing.assert_array_equal(np.array(again.split(), float), np.array(lines.split(), float))


OUTLINES = ["[[1.5, 2, 30.123456, 2, 10, 40]]", "[[0, 0, 61, 0, 61, 43.0, 0, 43]]"]
AROUND = sides((1.5, 2, np.float32(30.123456), 40), (0, 0, 61, 43))
POINTS = ["[1, 2, 2, 0, 0, 0]", "[3.25, 4.5, 1, 60.999999, 42, 2]"]


def test_outlines_come_back_if_every_label_has_one(tmp_path: Path) -> None:
    dataset = boxes(tmp_path, ["train"], segmentation=OUTLINES, **AROUND)
    assert dataset.write(tmp_path / "copy", "yolo") == ()
    copy = read(tmp_path / "copy")
    assert [json.loads(one) for one in copy.labels["segmentation"]] == list(
        map(json.loads, OUTLINES)
    )
    assert copy.labels.select(BOX).equals(dataset.labels.select(BOX))


def test_key_points_come_back_if_every_label_has_them(tmp_path: Path) -> None:
    dataset = boxes(tmp_path, ["train"], keypoints=POINTS, segmentation=OUTLINES, **AROUND)
    lost = dataset.write(tmp_path / "copy", "yolo")
    assert [(one.kind, "segmentation" in one.message) for one in lost] == [("lost-column", True)]
    copy = read(tmp_path / "copy")
    assert [json.loads(one) for one in copy.labels["keypoints"]] == list(map(json.loads, POINTS))
    assert "kpt_shape: [2, 3]" in (tmp_path / "copy" / "data.yaml").read_text()


@pytest.mark.parametrize(
    "second",
    [
        None,
        "[[0, 0, 61, 0, 61, 43], [0, 0, 61, 43, 0, 43]]",
        "[[0, 0, 61, 0, 61, 42]]",
        "[[0, 0, 61, 0, 61, 43, 0.12345678, 5]]",
        '{"size": [43, 61], "counts": "abc"}',
        "[[0, 0, 61, 43]]",
        "[]",
    ],
)
def test_outlines_that_cannot_be_held_are_said_to_be_lost(
    second: str | None, tmp_path: Path
) -> None:
    dataset = boxes(tmp_path, ["train"], segmentation=[OUTLINES[0], second], **AROUND)
    lost = dataset.write(tmp_path / "copy", "yolo")
    assert [(one.kind, "segmentation" in one.message) for one in lost] == [("lost-column", True)]
    copy = read(tmp_path / "copy")
    assert copy.labels.select(BOX).equals(dataset.labels.select(BOX))


@pytest.mark.parametrize(
    "splits",
    [
        ["train", "val", "test"],
        ["train", None],
        [None, None],
        ["fold-1", "fold-2", None],
        ["test"],
    ],
)
def test_splits_come_back(splits: list[str | None], tmp_path: Path) -> None:
    dataset = boxes(tmp_path, splits, **sides((1, 2, 3, 4)))
    lost = dataset.write(tmp_path / "copy", "yolo")
    odd = "fold-1" in splits
    assert [(one.kind, one.severity) for one in lost] == [("other-split", "info")] * odd
    copy = read(tmp_path / "copy")
    found = sorted(
        zip(copy.relative_paths(), copy.images["split"], strict=True), key=lambda p: p[0][-5]
    )
    assert [split for _, split in found] == splits
    assert copy.findings == ()


@pytest.mark.parametrize("split", ["names", "path", "a b", "../up", "", "unsplit", "-x"])
def test_splits_that_are_no_key_are_refused(split: str, tmp_path: Path) -> None:
    dataset = boxes(tmp_path, [split], **sides((1, 2, 3, 4)))
    with pytest.raises(UsageError, match="rename the split"):
        dataset.write(tmp_path / "copy", "yolo")
    assert not (tmp_path / "copy").exists()


def test_names_come_back(tmp_path: Path) -> None:
    names = ("it's", " cat ", "a: b # c", "1", '"x"', "tab\tand\nline", "käfer", "[a, b]", "-")
    dataset = boxes(tmp_path, ["train"], names, **sides((1, 2, 3, 4)))
    dataset.write(tmp_path / "copy", "yolo")
    assert tuple(read(tmp_path / "copy").names) == names


def test_other_keys_come_back(tmp_path: Path) -> None:
    more = {"yolo": {"flip_idx": ["0", "2", "1"], "roboflow": {"license": "CC BY 4.0"}, "n": "x"}}
    dataset = boxes(tmp_path, ["train"], **sides((1, 2, 3, 4)))
    dataset.info = more
    assert dataset.write(tmp_path / "copy", "yolo") == ()
    assert read(tmp_path / "copy").info == more
    dataset.info = {"coco": {"version": "1"}}
    assert [one.kind for one in dataset.write(tmp_path / "other", "yolo")] == ["lost-column"]


def test_labels_without_box_or_size_are_said_to_be_lost(tmp_path: Path) -> None:
    dataset = boxes(tmp_path, ["train"] * 2, **sides((1, 2, 3, 4), (1, 2, 3, 4)))
    Path(dataset.paths[0]).write_bytes(b"")
    images = dataset.images.with_columns(width=pl.Series([None, 61], dtype=pl.Int32))
    dataset = Dataset(images, dataset.labels, ["cat"], root=str(tmp_path), task="detect")
    lost = dataset.write(tmp_path / "copy", "yolo")
    assert ("unreadable-image", "0.png", 2) in [(one.kind, one.where, one.boxes) for one in lost]
    assert not (tmp_path / "copy" / "labels" / "train" / "0.txt").exists()
