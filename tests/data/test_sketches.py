"""Sketches of training pictures: copies are found, others are not; files of them; bad files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from whatwhere.data import read
from whatwhere.data.near import fingerprints
from whatwhere.data.sketches import BYTES, Prints, Sketches, joined, sketch
from whatwhere.errors import DataError
from whatwhere.images import read_image
from whatwhere.images.appearance import tiny
from whatwhere.types import Image


def scene(seed: int) -> Image:
    """Soft colours and some discs: uint8 (120, 160, 3)."""
    rng = np.random.default_rng(seed)
    soft = rng.uniform(0, 255, (5, 6, 3)).astype(np.float32)
    image = cv2.resize(soft, (160, 120), interpolation=cv2.INTER_CUBIC)
    for _ in range(15):
        place = (int(rng.integers(160)), int(rng.integers(120)))
        cv2.circle(image, place, int(rng.integers(3, 20)), rng.uniform(0, 255, 3).tolist(), -1)
    return np.clip(image, 0, 255).astype(np.uint8)


def recompressed(image: Image) -> Image:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def thumbnails(images: list[Image]) -> NDArray[np.uint8]:
    return np.stack([tiny(image) for image in images])


def prints(images: list[Image]) -> Prints:
    made = Prints.blank(len(images))
    for row, image in enumerate(images):
        made.put(row, tiny(image))
    return made


@pytest.fixture
def seen() -> Sketches:
    """Of scenes 0 to 19, and of one picture with nothing on it."""
    images = [*(scene(seed) for seed in range(20)), np.full((60, 80, 3), 90, np.uint8)]
    names = tuple(f"{row}.jpg" for row in range(21))
    return Sketches(sketch(thumbnails(images)), 21, "of these", names)


def test_copies_are_found_and_other_pictures_are_not(seen: Sketches) -> None:
    wanted = [
        recompressed(scene(3)),
        scene(50),
        cv2.resize(scene(7), (80, 60), interpolation=cv2.INTER_AREA),
        scene(11)[2:-2, 3:-3],
        np.clip(scene(0) * 0.8 + 20, 0, 255).astype(np.uint8),
        np.ascontiguousarray(scene(5)[:, ::-1]),
        np.full((60, 80, 3), 90, np.uint8),
    ]
    twins = seen.find(prints(wanted))
    assert twins.row.tolist() == [3, -1, 7, 11, 0, -1, -1]
    assert (twins.likeness[[0, 2, 4]] > 0.9).all()
    assert twins.likeness[1] == 0


def test_all_pairs_are_compared_as_by_brute_force(seen: Sketches) -> None:
    """The tables of parts of hashes leave no copy out, of hundreds of pictures."""
    rng = np.random.default_rng(1)
    soft = [cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (64, 64)) for _ in range(300)]
    known = Sketches(sketch(thumbnails(soft)), 300)
    noisy = [np.clip(one + rng.normal(0, 6, one.shape), 0, 255).astype(np.uint8) for one in soft]
    assert known.find(prints(noisy)).row.tolist() == list(range(300))


def test_the_most_alike_is_named(seen: Sketches) -> None:
    both = joined([seen, Sketches(sketch(thumbnails([recompressed(scene(4))])), 1, "", ("b.jpg",))])
    assert (len(both), both.total, both.digest) == (22, 22, "of these")
    twins = both.find(prints([scene(4), recompressed(scene(4))]))
    assert [both.names[row] for row in twins.row] == ["4.jpg", "b.jpg"]


def test_things_of_a_kind_are_not_taken_for_copies(shared: Path) -> None:
    """Handwritten digits look alike; only those that were in the training count."""
    data = read(shared / "mnist").split_named("test")
    digits = [read_image(path) for path in data.paths[:800]]
    seen = Sketches(sketch(thumbnails(digits[:500])), 500)
    twins = seen.find(prints(digits[490:]))
    assert twins.row[:10].tolist() == list(range(490, 500))
    assert (twins.row[10:] >= 0).sum() <= 3


def test_nothing_known_and_nothing_wanted(seen: Sketches) -> None:
    none = Sketches(np.zeros((0, BYTES), np.uint8), 0)
    assert none.find(prints([scene(0)])).row.tolist() == [-1]
    assert seen.find(Prints.blank(2)).row.tolist() == [-1, -1]
    assert seen.find(Prints.blank(0)).row.tolist() == []
    hidden = Sketches(np.zeros((3, BYTES), np.uint8), 3)
    assert hidden.find(Prints(*fingerprints(thumbnails([scene(0)])))).row.tolist() == [-1]


def test_a_file_and_a_text_hold_all_of_it(seen: Sketches) -> None:
    read = Sketches.from_file(seen.to_file(), "seen.npz")
    assert (read.bits == seen.bits).all()
    assert (read.total, read.digest, read.names) == (21, "of these", seen.names)
    text = Sketches.from_text(seen.to_text(), "model.onnx")
    assert (text.bits == seen.bits).all()
    assert text.names == ()


def test_a_model_file_holds_a_sample_of_many(seen: Sketches) -> None:
    part = Sketches.from_text(seen.to_text(most=5), "model.onnx")
    assert (len(part), part.total) == (5, 21)
    everything = {row.tobytes() for row in seen.bits}
    assert all(row.tobytes() in everything for row in part.bits)
    assert seen.to_text(most=5) == seen.to_text(most=5)


@pytest.mark.parametrize("damage", ["cut", "other", "newer", "rows", "kind"])
def test_damaged_files_are_refused(seen: Sketches, damage: str) -> None:
    file, text = seen.to_file(), seen.to_text()
    about = json.loads(text)
    if damage == "cut":
        file, text = file[:-30], text[:-10]
    elif damage == "other":
        file, text = b"[]", "[]"
    elif damage == "newer":
        text = json.dumps({**about, "format": 2})
        file = b""
    elif damage == "rows":
        text = json.dumps({**about, "total": 3})
        file = Sketches(seen.bits, 3).to_file()
    else:
        text = json.dumps({**about, "sketches": "AAAA"})
        file = Sketches(seen.bits[:, :9], 21).to_file()
    with pytest.raises(DataError, match=r"model\.onnx are damaged"):
        Sketches.from_text(text, "model.onnx")
    with pytest.raises(DataError, match=r"seen\.npz are damaged"):
        Sketches.from_file(file, "seen.npz")
