"""IDX files: packed and plain, with and without their other half, and damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.errors import DataError, UsageError
from whatwhere.images import read_image, write_image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
LABELS = np.array([7, 2, 1, 0, 9], np.uint8)


def idx(array: np.ndarray[Any, Any], count: int | None = None) -> bytes:
    shape = (len(array) if count is None else count, *array.shape[1:])
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *shape) + array.tobytes()


def make(folder: Path, stem: str, *, packed: bool = False, rows: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    suffix, pack = (".gz", gzip.compress) if packed else ("", bytes)
    (folder / f"{stem}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(PIXELS[:rows])))
    (folder / f"{stem}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(LABELS[:rows])))
    return folder


def found(dataset: Dataset) -> list[tuple[str, str, int]]:
    return [(one.kind, one.where, one.boxes) for one in dataset.findings]


@pytest.mark.parametrize("packed", [True, False])
def test_digits(packed: bool, tmp_path: Path) -> None:
    make(tmp_path, "train", packed=packed)
    make(tmp_path, "t10k", packed=packed, rows=2)
    dataset = read(tmp_path)
    assert dataset.format == "mnist"
    assert dataset.findings == ()
    assert dataset.splits == {"train": 5, "test": 2}
    assert list(dataset.names) == list("0123456789")
    ids = [int(dataset.targets(row).class_ids[0]) for row in range(7)]
    assert ids == [7, 2, 1, 0, 9, 7, 2]
    for row, path in enumerate(dataset.paths):
        assert (read_image(path) == PIXELS[row % 5][..., None]).all()
    suffix = ".gz" if packed else ""
    assert dataset.labels["record"][5] == f"t10k-labels-idx1-ubyte{suffix}#0"
    assert dataset.relative_paths()[1] == f"train-images-idx3-ubyte{suffix}!/00001.png"


def test_where_torchvision_puts_it(tmp_path: Path) -> None:
    make(tmp_path / "FashionMNIST" / "raw", "train")
    dataset = read(tmp_path)
    assert dataset.names[7] == "Sneaker"
    assert dataset.root == str(tmp_path / "FashionMNIST" / "raw")


def test_the_dots_of_other_mirrors_and_a_plain_file_first(tmp_path: Path) -> None:
    make(tmp_path, "train")
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.replace("-idx", ".idx"))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    dataset = read(tmp_path)
    assert dataset.findings == ()
    assert len(dataset) == 5


def test_labels_without_pictures(tmp_path: Path) -> None:
    make(tmp_path, "train", packed=True)
    make(tmp_path, "t10k", packed=True, rows=2)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    dataset = read(tmp_path)
    assert dataset.splits == {"test": 2}
    assert found(dataset) == [("missing-image", "train-labels-idx1-ubyte.gz", 5)]
    assert dataset.findings[0].message == (
        "5 labels have no pictures, because train-images-idx3-ubyte.gz is not there"
    )
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match="holds no pictures"):
        read(tmp_path)


def test_pictures_without_labels(tmp_path: Path) -> None:
    make(tmp_path, "train")
    make(tmp_path, "t10k", rows=3)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    dataset = read(tmp_path)
    assert found(dataset) == [("missing-labels", "t10k-images-idx3-ubyte", 0)]
    assert dataset.findings[0].message == "3 pictures have no labels"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("labels", "kind", "lost", "message"),
    [
        (LABELS[:3], "missing-labels", 0, "3 labels for 5 pictures: 2 pictures no label"),
        (np.tile(LABELS, 2), "missing-image", 5, "10 labels for 5 pictures: 5 labels have no"),
    ],
)
def test_counts_that_differ(
    labels: Any, kind: str, lost: int, message: str, packed: bool, tmp_path: Path
) -> None:
    make(tmp_path, "train", packed=packed)
    file = next(tmp_path.glob("*labels*"))
    file.write_bytes(gzip.compress(idx(labels)) if packed else idx(labels))
    dataset = read(tmp_path)
    assert found(dataset) == [(kind, file.name, lost)]
    assert message in dataset.findings[0].message
    assert len(dataset) == min(5, len(labels))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("images", idx(PIXELS)[:-1], "it ends after 4 of 5 pictures"),
        ("images", idx(PIXELS) + b"more", "it goes on after its 5 pictures"),
        ("images", idx(PIXELS, 4_000_000_000), "it ends after 5 of 4000000000 pictures"),
        ("images", idx(PIXELS)[:9], "it ends in its header"),
        ("images", idx(LABELS) + bytes(8), "begins with 0x00000801, not 0x00000803"),
        ("images", idx(PIXELS.reshape(5, 784, 1)[:, :0]), "would be 1x0 pixels"),
        ("labels", idx(LABELS)[:-2], "it ends after 3 of 5 labels"),
        ("labels", idx(LABELS) + b"x", "it goes on after its 5 labels"),
        ("labels", idx(LABELS, 4_000_000_000), "it says that it has 4000000000 labels"),
        ("labels", b"\x00\x00\x09\x01" + bytes(9), "begins with 0x00000901"),
        ("labels", b"", "it ends in its header"),
    ],
)
def test_damaged_files(name: str, data: bytes, message: str, packed: bool, tmp_path: Path) -> None:
    make(tmp_path, "train", packed=packed)
    make(tmp_path, "t10k", packed=packed)
    file = next(tmp_path.glob(f"train-{name}*"))
    file.write_bytes(gzip.compress(data) if packed else data)
    dataset = read(tmp_path)
    errors = [one for one in dataset.findings if one.where == file.name]
    assert message in errors[0].message
    assert errors[0].severity == "error"
    assert dataset.splits["test"] == 5
    for path in dataset.paths:
        read_image(path)


def test_damaged_gzip(tmp_path: Path) -> None:
    make(tmp_path, "train", packed=True)
    make(tmp_path, "t10k", packed=True)
    for file in tmp_path.glob("train*"):
        file.write_bytes(file.read_bytes()[:-20])
    dataset = read(tmp_path)
    assert dataset.splits == {"test": 5}
    assert {one.severity for one in dataset.findings} == {"error"}


def test_labels_that_no_class_has(tmp_path: Path) -> None:
    make(tmp_path, "train")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    dataset = read(tmp_path)
    assert found(dataset) == [
        ("unknown-class", f"train-labels-idx1-ubyte#{row}", 1) for row in (0, 4)
    ]
    assert [dataset.names[int(dataset.targets(row).class_ids[0])] for row in range(3)] == list(
        "cba"
    )


def test_more_than_ten_classes_have_their_numbers(tmp_path: Path) -> None:
    make(tmp_path, "emnist-letters-train")
    (tmp_path / "emnist-letters-train-labels-idx1-ubyte").write_bytes(idx(LABELS + 17))
    dataset = read(tmp_path)
    assert dataset.names[26] == "26"
    assert dataset.splits == {"train": 5}


def grey(folder: Path, *shapes: tuple[int, ...]) -> Dataset:
    for number, shape in enumerate(shapes):
        pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
        colours = pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2)
        write_image(folder / f"{number}.png", colours)
    return Dataset(
        {
            "path": [str(folder / f"{number}.png") for number in range(len(shapes))],
            "split": [None, "test", "fold 1", "t10k", "TRAIN"][: len(shapes)],
        },
        {"image": list(range(len(shapes))), "class_id": [0] * len(shapes)},
        ["cat"],
    )


def test_splits_survive_or_are_said_to_be_lost(tmp_path: Path) -> None:
    dataset = grey(tmp_path, *[(20, 30)] * 5)
    lost = dataset.write(tmp_path / "copy", "mnist")
    assert [one.kind for one in lost] == ["lost-split", "lost-split"]
    assert sorted(one.name for one in (tmp_path / "copy").glob("*ubyte")) == [
        "fold 1-images-idx3-ubyte",
        "fold 1-labels-idx1-ubyte",
        "images-idx3-ubyte",
        "labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ]
    after = read(tmp_path / "copy")
    by_name = dict(zip(after.relative_paths(), after.images["split"], strict=True))
    assert by_name == {
        "images-idx3-ubyte!/0.png": None,
        "images-idx3-ubyte!/3.png": None,
        "images-idx3-ubyte!/4.png": None,
        "t10k-images-idx3-ubyte!/1.png": "test",
        "fold 1-images-idx3-ubyte!/2.png": "fold 1",
    }
    assert set(after.images["width"]) == {30}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(28, 28), (28, 29)], r"1\.png is 29x28, the first 28x28"),
        ([(28, 28, 3)], r"0\.png has colours"),
    ],
)
def test_other_pictures_are_refused(shapes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        grey(tmp_path, *shapes).write(tmp_path / "copy", "mnist")


def test_genuine_digits(shared: Path) -> None:
    dataset = read(shared / "mnist")
    assert dataset.splits == {"test": 10_000}
    assert found(dataset) == [("missing-image", "train-labels-idx1-ubyte.gz", 60_000)]
    # The published counts of the test digits.
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert list(dataset.stats()["classes"].values()) == counts
    image = read_image(dataset.paths[0])
    assert image.shape == (28, 28, 3)
    assert 20 < image.mean() < 40


def test_as_torchvision_reads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    make(tmp_path / "MNIST" / "raw", "train")
    make(tmp_path / "MNIST" / "raw", "t10k", rows=2)
    theirs = datasets.MNIST(str(tmp_path), train=True)
    dataset = read(tmp_path)
    for path, (image, label) in zip(dataset.paths, theirs, strict=False):
        assert (read_image(path)[..., 0] == np.asarray(image)).all()
        assert label == dataset.labels["class_id"][dataset.paths.index(path)]
