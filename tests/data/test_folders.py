"""Class folders, with and without splits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_samples import classification, detection
from whatwhere.data import Dataset, read
from whatwhere.data.formats import _class_sets, formats
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
    with pytest.raises(DataError, match="not a data set of a known format"):
        read(tmp_path / "flat")
    with pytest.raises(DataError, match="no folders"):
        read(tmp_path / "flat", format="folders")
    make(tmp_path / "splits", "train/a.png", "test/b.png")
    with pytest.raises(DataError, match="not a data set of a known format"):
        read(tmp_path / "splits")


def test_one_class_is_read_when_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png")
    assert list(read(tmp_path, format="folders").names) == ["cat"]


@pytest.mark.parametrize("name", ["a/b", "..", "."])
def test_class_names_that_are_no_folders_cannot_be_written(name: str, tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    dataset = Dataset({"path": [str(tmp_path / "a.png")]}, {"image": [0], "class_id": [0]}, [name])
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        dataset.write(tmp_path / "copy", "folders")


def test_class_folders_in_one_folder(tmp_path: Path) -> None:
    dataset = read(
        make(tmp_path, "256_ObjectCategories/cat/a.png", "256_ObjectCategories/dog/b.png")
    )
    assert dataset.relative_paths()[0] == "256_ObjectCategories/cat/a.png"
    assert list(dataset.names) == ["cat", "dog"]


def test_splits_of_any_case(tmp_path: Path) -> None:
    make(tmp_path, "Train/cat/a.png", "VALID/cat/b.png", "Testing/cat/c.png")
    assert read(tmp_path).splits == {"train": 1, "val": 1, "test": 1}


def test_numbers_in_front_of_names_are_kept_apart(tmp_path: Path) -> None:
    make(tmp_path / "a", "010.zebra/a.png", "002.ak47/b.png", "257.clutter/c.png")
    dataset = read(tmp_path / "a")
    assert list(dataset.names) == ["ak47", "zebra", "clutter"]
    assert dataset.category_ids == (2, 10, 257)
    dataset.write(tmp_path / "b", "folders")
    assert sorted(one.name for one in (tmp_path / "b").iterdir()) == [
        "002.ak47",
        "010.zebra",
        "257.clutter",
    ]
    assert read(tmp_path / "b").digest() == dataset.digest()


@pytest.mark.parametrize(
    "names",
    [
        ("001.cat", "dog"),  # not all
        ("001.cat", "002.cat"),  # would be one class
        ("001.cat", "001.dog"),  # would be one number
        ("1.5", "2.5"),
    ],
)
def test_numbers_that_are_part_of_the_name(names: tuple[str, str], tmp_path: Path) -> None:
    dataset = read(make(tmp_path, *(f"{name}/{number}.png" for number, name in enumerate(names))))
    assert list(dataset.names) == sorted(names)
    assert dataset.category_ids == ()


def test_names_that_look_numbered_survive(tmp_path: Path) -> None:
    paths = [make(tmp_path, name) / name for name in ("a.png", "b.png")]
    dataset = Dataset(
        {"path": [str(path) for path in paths]},
        {"image": [0, 1], "class_id": [0, 1]},
        ["007.bond", "006.trevelyan"],
    )
    dataset.write(tmp_path / "copy", "folders")
    after = read(tmp_path / "copy")
    assert list(after.names) == ["007.bond", "006.trevelyan"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish\n"),
        ("synset_words.txt", "n01443537\tgoldfish\r\nn01440764\ttench, Tinca tinca\r\n"),
        (
            "imagenet_class_index.json",
            '{"0": ["n01440764", "tench, Tinca tinca"], "1": ["n01443537", "goldfish"]}',
        ),
    ],
)
def test_synsets_get_their_words(file: str, text: str, tmp_path: Path) -> None:
    base = tmp_path / "ILSVRC" / "CLS-LOC"
    make(base, "train/n01440764/a.JPEG", "train/n01443537/b.JPEG")
    (tmp_path / "ILSVRC" / file).write_text(text)
    dataset = read(tmp_path)
    assert list(dataset.names) == ["n01440764", "n01443537"]
    assert dataset.class_info == {
        "n01440764": {"words": "tench, Tinca tinca"},
        "n01443537": {"words": "goldfish"},
    }
    assert dataset.findings == ()


@pytest.mark.parametrize("text", ["", "{", "[1]", "nothing of use"])
def test_words_that_cannot_be_read_are_a_finding(text: str, tmp_path: Path) -> None:
    make(tmp_path, "n01440764/a.png", "n01443537/b.png")
    (tmp_path / "imagenet_class_index.json").write_text(text)
    dataset = read(tmp_path)
    assert [one.kind for one in dataset.findings] == ["damaged-annotation"]
    assert dataset.class_info == {}


def test_a_split_without_class_folders_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/a.png", "train/dog/b.png", "val/c.png", "val/d.png")
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 2}
    (found,) = dataset.findings
    assert (found.kind, found.where, found.severity) == ("missing-labels", "val", "error")
    assert found.message.startswith("2 pictures")


def test_folders_of_other_files_are_no_classes(tmp_path: Path) -> None:
    make(tmp_path, "training/image_02/a.png", "training/depth/b.png")
    for folder in ("poses", "oxts", "labels_3d"):
        (tmp_path / "training" / folder).mkdir()
        (tmp_path / "training" / folder / "000000.bin").write_bytes(b"0")
    with pytest.raises(DataError, match="not a data set of a known format"):
        read(tmp_path)


def test_a_split_beside_other_folders(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/a.png", "train/dog/b.png")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("")
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 2}
    assert [(one.kind, one.where) for one in dataset.findings] == [("stray-file", "code")]


@pytest.mark.parametrize("format", ["cvat", "label_studio", "open_images", "datumaro", "coco"])
def test_folds_beside_their_labels_are_no_classes(format: str, tmp_path: Path) -> None:
    data = detection(tmp_path)
    folds = ["fold 1", "fold 1", "fold 2", "fold 2", "fold 3", "fold 3"]
    images = data.images.with_columns(pl.Series("split", folds))
    boxes = Dataset(images, data.labels, data.names, root=data.root, task="detect")
    boxes.write(tmp_path / "copy", format)
    again = read(tmp_path / "copy")
    assert (again.format, again.splits) == (format, {f"fold {n}": 2 for n in (1, 2, 3)})


def test_a_list_of_names_beside_classes_is_no_annotation(tmp_path: Path) -> None:
    classification(tmp_path).write(tmp_path / "copy", "folders")
    (tmp_path / "copy" / "names.json").write_text('{"ant": "Formicidae"}')
    (tmp_path / "copy" / "sizes.csv").write_text("ImageID,width\n")
    assert read(tmp_path / "copy").format == "folders"


def test_recognising_looks_at_a_sample_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    source = make(tmp_path, "a.png") / "a.png"
    for number in range(200):
        folder = tmp_path / "set" / f"class {number:03d}"
        folder.mkdir(parents=True)
        for name in range(70):
            (folder / f"{name}.png").hardlink_to(source)
    seen = 0
    scan = os.scandir

    class Counting:
        def __init__(self, path: str) -> None:
            self.inner = scan(path)

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self.inner.close()

        def __iter__(self) -> Counting:
            return self

        def __next__(self) -> os.DirEntry[str]:
            nonlocal seen
            seen += 1
            return next(self.inner)

    monkeypatch.setattr(os, "scandir", Counting)
    assert formats()["folders"].recognise(tmp_path / "set") == "200 folders of pictures"
    assert seen < 10_000


def test_sizes_of_a_large_set_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(20)))
    monkeypatch.setattr(_class_sets, "MAX_PROBED", 30)
    monkeypatch.setattr(_class_sets, "_SAMPLE", 8)
    dataset = read(tmp_path)
    assert dataset.images["width"].drop_nulls().to_list() == [5] * 8
    assert dataset.images["width"][0] == dataset.images["width"][-1] == 5
    assert not [one for one in dataset.check() if one.severity == "error"]


def test_classes_without_pictures_keep_their_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    dataset = Dataset(
        {"path": [str(tmp_path / "a.png"), str(tmp_path / "b.png")], "split": ["train", "val"]},
        {"image": [0, 1], "class_id": [0, 1]},
        ["cat", "dog", "emu"],
    )
    dataset.write(tmp_path / "copy", "folders")
    assert list(read(tmp_path / "copy").names) == ["cat", "dog", "emu"]


def test_what_cannot_be_a_folder_is_said(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    one = {"path": paths, "split": ["train", None]}
    lost = Dataset(one, {"image": [0, 1], "class_id": [0, 1]}, ["cat", "dog"])
    found = lost.write(tmp_path / "one", "folders")
    assert [(one.kind, one.severity) for one in found] == [("lost-split", "warning")]
    assert read(tmp_path / "one").splits == {}
    bare = Dataset({"path": paths}, {"image": [0], "class_id": [0]}, ["cat"], task="classify")
    found = bare.write(tmp_path / "two", "folders")
    assert [(one.kind, one.where) for one in found] == [("missing-labels", paths[1])]


def test_names_that_are_no_text_are_kept_out(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "dog/b.png", "owl/c.png")
    (tmp_path / "cat" / "a.png").rename(tmp_path / "cat" / os.fsdecode(b"\xff.png"))
    (tmp_path / "owl").rename(tmp_path / os.fsdecode(b"\xe4"))
    dataset = read(tmp_path, format="folders")
    assert dataset.relative_paths() == ["dog/b.png"]
    found = [(one.kind, one.where) for one in dataset.findings if one.severity == "error"]
    assert found == [("bad-name", "\\udce4"), ("bad-name", "cat/\\udcff.png")]


def test_words_of_synsets_survive(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((4, 5, 3), np.uint8))
    write_image(tmp_path / "b.png", np.zeros((4, 5, 3), np.uint8))
    known = {"n01440764": {"words": "tench, Tinca tinca"}}
    before = Dataset(
        {"path": [str(tmp_path / "a.png"), str(tmp_path / "b.png")]},
        {"image": [0, 1], "class_id": [0, 1]},
        ["n01440764", "n01443537"],
        class_info=known,
    )
    assert before.write(tmp_path / "copy", "folders") == ()
    after = read(tmp_path / "copy")
    assert (after.class_info, list(after.names)) == (known, list(before.names))
    assert after.findings == ()
    before.class_info = {"n01440764": {"words": "tench", "colour": "green"}}
    (lost,) = before.write(tmp_path / "other", "folders")
    assert "class_info" in lost.message


def test_cifar10(shared: Path) -> None:
    dataset = read(shared / "cifar10_folders")
    assert dataset.splits == {"train": 10_000, "test": 2_000}
    assert (dataset.task, len(dataset.names)) == ("classify", 10)
    assert dataset.findings == ()
    assert set(dataset.images["width"]) == {32}
    train, val = dataset.split_named("train").split(0.9, 0.1, seed=0)
    assert (len(train), len(val)) == (9_000, 1_000)
    assert set(val.stats()["classes"].values()) == {100}
