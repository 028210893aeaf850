"""Repaired copies: what is left out, put right, joined; the source is never touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

import bad_pictures
from whatwhere.data import Dataset, read
from whatwhere.data.checks import examine
from whatwhere.data.repair import Repaired, repair, turned_boxes
from whatwhere.errors import DataError
from whatwhere.images import encode_image


def noise(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    return encode_image(rng.integers(0, 255, (40, 60, 3), np.uint8), ".jpg")


def boxes(
    folder: Path, pictures: list[bytes], *rows: tuple[float, ...], **columns: object
) -> Dataset:
    """Pictures of 60 x 40 with boxes (picture, class, x1, y1, x2, y2)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.jpg" for number in range(len(pictures))]
    for path, content in zip(paths, pictures, strict=True):
        path.write_bytes(content)
    names = ("image", "class_id", "x1", "y1", "x2", "y2")
    labels = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    labels["record"] = [f"boxes.json#{number}" for number in range(len(rows))]
    count = len(pictures)
    images = {"path": list(map(str, paths)), "width": [60] * count, "height": [40] * count}
    return Dataset(
        images | columns, labels, ["Ant", "bee", "ant "], root=str(folder), source="boxes"
    )


def fixed(dataset: Dataset, **options: bool) -> Repaired:
    return repair(examine(dataset), **options)


def actions(repaired: Repaired) -> list[tuple[str | None, str | None, str]]:
    return [(one["file"], one["record"], one["action"]) for one in repaired.quarantine]


def test_nothing_is_changed_in_a_sound_set(tmp_path: Path) -> None:
    dataset = boxes(tmp_path, [noise(0), noise(1)], (0, 0, 1, 1, 9, 9), (1, 1, 1, 1, 9, 9))
    repaired = fixed(dataset)
    assert repaired.quarantine == []
    assert repaired.dataset.digest() == dataset.digest()


def test_unusable_pictures_are_left_out_with_their_labels(tmp_path: Path) -> None:
    whole = noise(1)
    broken = whole[: len(whole) // 2] + whole[len(whole) // 2 + 300 :]
    dataset = boxes(
        tmp_path,
        [noise(0), b"", broken, noise(2)],
        *[(row, 0, 1, 1, 20, 20) for row in (0, 1, 1, 2, 3)],
    )
    Path(dataset.paths[3]).unlink()
    repaired = fixed(dataset)
    assert [Path(path).name for path in repaired.dataset.paths] == ["0.jpg"]
    assert repaired.dataset.labels.height == 1
    assert [(one["kind"], one["file"], one["labels"]) for one in repaired.quarantine] == [
        ("unreadable-image", "1.jpg", 2),
        ("damaged-image", "2.jpg", 1),
        ("missing-image", "3.jpg", 1),
    ]


def test_wrong_labels_and_second_copies_are_left_out(tmp_path: Path) -> None:
    dataset = boxes(
        tmp_path,
        [noise(0)],
        (0, 0, 1, 1, 31, 31),
        (0, 0, 1, 1, 31, 31),
        (0, 0, 1, 1, 31, 31.5),
        (0, 1, 1, 1, 31, 31),
        (0, 1, 5, 5, 5, 9),
    )
    repaired = fixed(dataset)
    assert actions(repaired) == [
        ("boxes.json", "1", "label left out"),
        ("boxes.json", "2", "label left out"),
        ("boxes.json", "4", "label left out"),
    ]
    assert repaired.quarantine[2]["class"] == "bee"
    assert repaired.quarantine[2]["box"] == [5, 5, 5, 9]
    # Which of two names is right is for people to say.
    assert repaired.dataset.labels["record"].to_list() == ["boxes.json#0", "boxes.json#3"]


def test_copies_are_joined_and_test_keeps_its_picture(tmp_path: Path) -> None:
    same = noise(0)
    dataset = boxes(
        tmp_path,
        [same, same, noise(1)],
        (0, 0, 1, 1, 20, 20),
        (0, 1, 30, 1, 50, 20),
        (1, 0, 1, 1, 20, 20),
        (2, 0, 1, 1, 20, 20),
        split=["train", "test", "train"],
    )
    repaired = fixed(dataset)
    assert [Path(path).name for path in repaired.dataset.paths] == ["1.jpg", "2.jpg"]
    assert repaired.dataset.targets(0).class_ids.tolist() == [0, 1]
    assert repaired.dataset.splits == {"train": 1, "test": 1}
    joined, double = repaired.quarantine
    assert joined["action"].endswith("joined with those of 1.jpg")
    assert (double["kind"], double["action"]) == ("duplicate-label", "label left out")


def test_copies_of_two_classes_are_both_left_out(tmp_path: Path) -> None:
    for number, content in enumerate([noise(0), noise(0), noise(1), noise(1), noise(2)]):
        (tmp_path / f"{number}.jpg").write_bytes(content)
    dataset = Dataset(
        {"path": [str(tmp_path / f"{number}.jpg") for number in range(5)]},
        {"image": range(5), "class_id": [0, 1, 1, 1, 0]},
        ["ant", "bee"],
        root=str(tmp_path),
    )
    repaired = fixed(dataset)
    assert [Path(path).name for path in repaired.dataset.paths] == ["2.jpg", "4.jpg"]
    assert repaired.dataset.task == "classify"
    assert [(one["file"], one["action"]) for one in repaired.quarantine] == [
        ("0.jpg", "picture left out"),
        ("1.jpg", "picture left out"),
        ("3.jpg", "picture left out, its labels joined with those of 2.jpg"),
    ]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_turned_boxes_cover_the_same_pixels(orientation: int) -> None:
    stored = np.zeros((40, 60, 3), np.uint8)
    x1, y1, x2, y2 = 10, 5, 34, 13
    stored[y1:y2, x1:x2] = 255
    from whatwhere.images import read_image

    done, data = cv2.imencode(".jpg", stored)
    assert done
    shown = read_image(bad_pictures.with_orientation(data.tobytes(), orientation))
    (box,) = turned_boxes(np.array([[x1, y1, x2, y2]]), 60, 40, orientation).astype(int).tolist()
    bright = shown[..., 0] > 128
    assert bright[box[1] : box[3], box[0] : box[2]].mean() > 0.97
    assert bright.sum() == pytest.approx((x2 - x1) * (y2 - y1), rel=0.05)


def test_boxes_from_before_exif_turning_are_turned_but_masks_are_not(tmp_path: Path) -> None:
    turned = bad_pictures.with_orientation(noise(0), 6)
    other = bad_pictures.with_orientation(noise(1), 6)
    dataset = boxes(tmp_path, [turned, other], (0, 0, 10, 5, 30, 15), (1, 0, 10, 5, 30, 15))
    outline = pl.Series("segmentation", [None, "[[10, 5, 30, 5, 30, 15]]"])
    dataset = Dataset(
        dataset.images, dataset.labels.with_columns(outline), dataset.names, root=dataset.root
    )
    repaired = fixed(dataset)
    (image,) = repaired.dataset.images.select("width", "height").rows()
    assert image == (40, 60)
    assert repaired.dataset.targets(0).boxes.tolist() == [[25, 10, 35, 30]]  # type: ignore[union-attr]
    assert [(one["file"], one["action"]) for one in repaired.quarantine] == [
        ("0.jpg", "boxes turned"),
        ("1.jpg", "picture left out"),
    ]
    assert not [one for one in repaired.dataset.check() if one.severity == "error"]


def test_class_names_are_merged_only_if_asked(tmp_path: Path) -> None:
    rows = [(0, 2, 1, 1, 9, 9), (0, 0, 20, 1, 29, 9), (0, 0, 1, 20, 9, 29), (0, 1, 30, 20, 39, 29)]
    dataset = boxes(tmp_path, [noise(0)], *rows)
    assert list(fixed(dataset).dataset.names) == ["Ant", "bee", "ant "]
    repaired = fixed(dataset, merge_names=True)
    assert list(repaired.dataset.names) == ["Ant", "bee"]
    assert repaired.dataset.stats()["classes"] == {"Ant": 3, "bee": 1}
    (record,) = repaired.quarantine
    assert (record["action"], record["labels"]) == ("class renamed", 1)


def test_what_reading_kept_out_is_listed(shelves: Path) -> None:
    path = shelves / "Annotations" / "train00.xml"
    text = path.read_text("utf-8")
    low = text.index("<xmax>") + 6
    path.write_text(text[:low] + "1" + text[text.index("</xmax>") :], "utf-8")
    before = {file: hashlib.sha256(file.read_bytes()).digest() for file in shelves.rglob("*.*")}
    dataset = read(shelves)
    repaired = fixed(dataset)
    (record,) = [one for one in repaired.quarantine if one["file"] == "Annotations/train00.xml"]
    assert record["kind"] == "inverted-box"
    assert (record["line"], record["action"], record["labels"]) == (1, "kept out", 1)
    json.dumps(repaired.quarantine)
    repaired.dataset.write(shelves.parent / "copy", "coco")
    copy = read(shelves.parent / "copy")
    assert not [one for one in copy.check() if one.severity == "error"]
    assert copy.labels.height == dataset.labels.height
    after = {file: hashlib.sha256(file.read_bytes()).digest() for file in shelves.rglob("*.*")}
    assert after == before


def test_a_set_without_any_picture_cannot_be_repaired(tmp_path: Path) -> None:
    dataset = boxes(tmp_path, [b"junk"], (0, 0, 1, 1, 9, 9))
    with pytest.raises(DataError, match="no usable picture"):
        fixed(dataset)


@pytest.mark.parametrize("task", ["detect", "multilabel", "classify"])
def test_a_repaired_set_needs_no_repair(task: str, tmp_path: Path) -> None:
    """Random sets with every fault at once: one pass is enough."""
    rng = np.random.default_rng(0)
    contents = [*(noise(seed) for seed in range(5)), b"", b"junk"]
    repaired_sets = 0
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        count, size = int(rng.integers(2, 8)), int(rng.integers(1, 30))
        paths = [folder / f"{row}.jpg" for row in range(count)]
        for path in paths:
            if rng.random() < 0.9:
                path.write_bytes(contents[int(rng.integers(len(contents)))])
        rows = np.arange(count) if task == "classify" else np.sort(rng.integers(0, count, size))
        labels = {"image": rows, "class_id": rng.integers(0, 3, len(rows))}
        if task == "detect":
            corner = rng.integers(-1, 8, (size, 2)) * 10.0
            sides = rng.integers(-1, 5, (size, 2)) * 10.0 + rng.choice([0, 0.2, 0.4], (size, 2))
            boxes = np.concatenate([corner, corner + sides], axis=1)
            labels |= {name: boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))}
        images = {
            "path": list(map(str, paths)),
            "width": [int(rng.choice([60, 60, 60, 61])) for _ in paths],
            "height": [40] * count,
            "split": rng.choice(["train", "val", "test"], count).tolist(),
        }
        dataset = Dataset(images, labels, ["ant", "Ant ", "bee"], root=str(folder), task=task)  # type: ignore[arg-type]
        try:
            repaired = fixed(dataset, merge_names=True)
        except DataError:
            continue
        repaired_sets += 1
        assert fixed(repaired.dataset, merge_names=True).quarantine == []
        assert not [one for one in repaired.dataset.check() if one.severity == "error"]
    assert repaired_sets > 15
