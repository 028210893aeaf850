"""Class folders, with and without splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import read
from whatwhere.errors import DataError, UsageError
from whatwhere.images import write_image


def make(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_image(root / name, np.full((4, 5, 3), number, np.uint8))
    return root


def test_classes_without_splits(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, "dog/a.png", "cat/b.png", "cat/deeper/c.png"))
    assert list(dataset.names) == ["cat", "dog"]
    assert dataset.task == "classify"
    assert dataset.relative_paths() == ["cat/b.png", "cat/deeper/c.png", "dog/a.png"]
    assert [dataset.targets(row).class_ids.tolist() for row in range(3)] == [[0], [0], [1]]
    assert dataset.splits == {}


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev"])
def test_classes_in_splits(validation: str, tmp_path: Path) -> None:
    make(tmp_path, "train/cat/a.png", "train/dog/b.png", f"{validation}/dog/c.png")
    dataset = read(tmp_path)
    assert list(dataset.names) == ["cat", "dog"]
    assert dataset.splits == {"train": 2, "val": 1}
    assert [(one.kind, one.where) for one in dataset.findings] == [("empty-class", "val")]


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, "train/a.png", "boat/b.png"))
    assert list(dataset.names) == ["boat", "train"]


def test_what_is_not_a_picture_of_a_class_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "dog/b.png", "lost.png")
    (tmp_path / "cat" / "notes.txt").write_text("hm")
    (tmp_path / "cat" / ".hidden").write_text("hm")
    (tmp_path / "bird").mkdir()
    dataset = read(tmp_path)
    assert [(one.kind, one.where, one.severity) for one in dataset.findings] == [
        ("stray-file", "lost.png", "warning"),
        ("empty-class", "bird", "warning"),
        ("stray-file", "cat/notes.txt", "info"),
    ]
    assert list(dataset.names) == ["bird", "cat", "dog"]


def test_pictures_without_folders_are_no_data_set(tmp_path: Path) -> None:
    make(tmp_path / "flat", "a.png", "b.png")
    with pytest.raises(DataError, match="one folder of pictures"):
        read(tmp_path / "flat")
    with pytest.raises(DataError, match="no folders"):
        read(tmp_path / "flat", format="folders")
    make(tmp_path / "splits", "train/a.png", "test/b.png")
    with pytest.raises(DataError, match="one folder of pictures"):
        read(tmp_path / "splits")


def test_one_class_is_read_when_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png")
    assert list(read(tmp_path, format="folders").names) == ["cat"]


@pytest.mark.parametrize("name", ["a/b", "..", "."])
def test_class_names_that_are_no_folders_cannot_be_written(name: str, tmp_path: Path) -> None:
    from whatwhere.data import Dataset

    make(tmp_path, "a.png")
    dataset = Dataset({"path": [str(tmp_path / "a.png")]}, {"image": [0], "class_id": [0]}, [name])
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        dataset.write(tmp_path / "copy", "folders")


def test_cifar10(shared: Path) -> None:
    dataset = read(shared / "cifar10_folders")
    assert dataset.splits == {"train": 10_000, "test": 2_000}
    assert (dataset.task, len(dataset.names)) == ("classify", 10)
    assert dataset.findings == ()
    assert set(dataset.images["width"]) == {32}
    train, val = dataset.split_named("train").split(0.9, 0.1, seed=0)
    assert (len(train), len(val)) == (9_000, 1_000)
    assert set(val.stats()["classes"].values()) == {100}
