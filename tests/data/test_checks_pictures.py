"""Checks that open pictures: missing, damaged, oversized, of another size, there twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

import bad_pictures
from data_samples import NAMES, classification, detection
from whatwhere.data import Dataset, Finding
from whatwhere.data.checks import examine
from whatwhere.data.checks.duplicates import exact_groups
from whatwhere.images import encode_image, write_image


def scene(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A soft picture with some shapes, as photographs are: uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    soft = rng.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    image = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        place = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(image, place, int(rng.integers(8, 50)), rng.uniform(0, 255, 3).tolist(), -1)
    return np.clip(image, 0, 255).astype(np.uint8)


def photos(folder: Path, pictures: list[bytes], **columns: object) -> Dataset:
    """JPEG files 0.jpg, 1.jpg ..., each with one label of a class of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, content in enumerate(pictures):
        path = folder / f"{number}.jpg"
        path.write_bytes(content)
        paths.append(str(path))
    count = len(paths)
    return Dataset(
        {"path": paths, **columns},
        {"image": range(count), "class_id": range(count)},
        [f"thing {chr(97 + number)}" for number in range(count)],
        root=str(folder),
        task="classify",
    )


def found(dataset: Dataset, kind: str, **options: object) -> list[Finding]:
    return [one for one in dataset.check(**options) if one.kind == kind]  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["hole", "zeros", "early end"])
def test_a_jpeg_damaged_in_its_middle_is_found(
    damage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encode_image(scene(0), ".jpg")
    middle = len(whole) // 2
    broken = {
        "hole": whole[:middle] + whole[middle + 600 :],
        "zeros": whole[:middle] + bytes(1500) + whole[middle + 1500 :],
        "early end": whole[:middle] + b"\xff\xd9",
    }[damage]
    dataset = photos(tmp_path, [whole, broken])
    (finding,) = found(dataset, "damaged-image")
    assert finding.where == "1.jpg"
    assert finding.severity == "error"
    assert "Corrupt JPEG data" in finding.message
    # The header and the end are sound.
    assert not found(dataset, "damaged-image", depth="headers")
    # The decoder's own complaint has no place in the terminal.
    assert capfd.readouterr().err == ""


def test_bytes_too_many_are_a_warning(tmp_path: Path) -> None:
    whole = encode_image(scene(0), ".jpg")
    dataset = photos(tmp_path, [whole[:-2] + b"\x12\x34\x56" + whole[-2:]])
    (finding,) = found(dataset, "damaged-image")
    assert finding.severity == "warning"
    assert examine(dataset).left_out == {}


@pytest.mark.parametrize("depth", ["headers", "pixels"])
def test_missing_cut_and_oversized_pictures(
    depth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode_image(scene(0), ".jpg")
    huge = bad_pictures.encoded(".png")
    # A header may say anything: 40,000 x 40,000 pixels.
    huge = huge[:16] + (40_000).to_bytes(4, "big") * 2 + huge[24:]
    dataset = photos(tmp_path, [whole, whole[: len(whole) // 2], b"", huge, whole + b" "])
    Path(dataset.paths[4]).unlink()
    report = examine(dataset, depth=depth)  # type: ignore[arg-type]
    kinds = {one.where: one.kind for one in report.findings if one.severity == "error"}
    assert kinds == {
        "1.jpg": "unreadable-image",
        "2.jpg": "unreadable-image",
        "3.jpg": "oversized-image",
        "4.jpg": "missing-image",
    }
    assert sorted(report.left_out) == [1, 2, 3, 4]


def test_a_size_of_before_exif_turned_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bad_pictures.with_orientation(bad_pictures.encoded(".jpg"), 6))
    dataset = Dataset(
        {"path": [str(path)], "width": [60], "height": [40]},
        {"image": [0], "class_id": [0], "x1": [1], "y1": [1], "x2": [50], "y2": [30]},
        ["thing"],
    )
    report = examine(dataset)
    (finding,) = [one for one in report.findings if one.kind == "wrong-size"]
    assert "EXIF orientation 6" in finding.message
    assert report.turned[0][0] == 6
    assert report.left_out == {}


def test_a_wrong_size_shifts_boxes_but_no_class(tmp_path: Path) -> None:
    boxes, one_class = detection(tmp_path / "a"), classification(tmp_path / "b")
    for dataset, left_out in ((boxes, [0]), (one_class, [])):
        wrong = dataset.images.with_columns(
            pl.when(pl.col("path") == dataset.paths[0]).then(value).otherwise(name).alias(name)
            for name, value in (("width", 999), ("height", 40))
        )
        changed = Dataset(wrong, dataset.labels, NAMES, root=dataset.root, task=dataset.task)
        report = examine(changed)
        assert [one.kind for one in report.findings if one.severity == "error"] == ["wrong-size"]
        assert sorted(report.left_out) == left_out
        assert sorted(report.resized) == ([] if left_out else [0])


def test_blank_pictures_are_noted_and_not_taken_for_copies(tmp_path: Path) -> None:
    grey = [np.full((200, 300, 3), value, np.uint8) for value in (0, 128, 128)]
    grey[2][0, 0] = 140
    dataset = photos(tmp_path, [encode_image(one, ".jpg") for one in grey])
    assert len(found(dataset, "blank-image")) == 3
    assert not found(dataset, "near-duplicate")


def test_copies_in_one_split_and_in_two(tmp_path: Path) -> None:
    one, two = encode_image(scene(1), ".jpg"), encode_image(scene(2), ".jpg")
    splits = ["train", "train", "train", "test"]
    dataset = photos(tmp_path, [one, one, two, two], split=splits)
    report = examine(dataset)
    kinds = {
        finding.where: finding.kind for finding in report.findings if finding.kind.endswith("image")
    }
    assert kinds == {"1.jpg": "duplicate-image", "3.jpg": "leaked-image"}
    # Of two the first is kept, but never at the cost of test.
    assert {row: kept for row, (kept, _) in report.same.items()} == {1: 0, 2: 3}
    assert not [finding for finding in report.findings if "near" in finding.kind]
    assert [one.severity for one in found(dataset, "contradicting-labels")] == ["error", "error"]


def test_near_duplicates_in_one_split_and_in_two(tmp_path: Path) -> None:
    pictures = []
    for seed in (1, 2):
        image = scene(seed)
        pictures += [encode_image(image, ".jpg"), encode_image(image, ".jpg", quality=40)]
    splits = ["train", "train", "train", "val"]
    dataset = photos(tmp_path, pictures, split=splits)
    (near,) = found(dataset, "near-duplicate")
    assert (near.where, near.severity) == ("1.jpg", "info")
    (leak,) = found(dataset, "leaked-near-duplicate")
    assert (leak.where, leak.severity) == ("3.jpg", "warning")
    assert "in train and here in val" in leak.message
    # Each picture has a class of its own here.
    doubts = found(dataset, "contradicting-labels")
    assert [one.severity for one in doubts] == ["warning", "warning"]
    assert not found(dataset, "near-duplicate", near=False)
    assert not found(dataset, "near-duplicate", depth="headers")


def test_a_path_that_is_there_twice_is_not_its_own_copy(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", scene(3))
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    first, second = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    assert exact_groups([first, first]) == []
    assert exact_groups([first, first, second, str(tmp_path / "absent.png")]) == [[0, 2]]


def test_copies_of_raw_pixels_inside_a_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 28, 28), np.uint8)
    pixels[2] = pixels[0]
    file = tmp_path / "digits"
    file.write_bytes(pixels.tobytes())
    paths = [f"{file}!/{784 * number}+28x28/{number}.png" for number in range(3)]
    dataset = Dataset(
        {"path": paths}, {"image": [0, 1, 2], "class_id": [0, 0, 0]}, ["digit"], root=str(tmp_path)
    )
    (finding,) = found(dataset, "duplicate-image")
    assert finding.where == "digits!/2.png"


def test_progress_is_told(tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    classification(tmp_path).check(
        progress=lambda what, done, count: told.setdefault(what, []).append((done, count))
    )
    assert {what: steps[-1] for what, steps in told.items()} == {
        "headers": (6, 6),
        "pixels": (6, 6),
    }
