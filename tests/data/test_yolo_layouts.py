"""YOLO text labels as other programs lay them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import read
from whatwhere.data.formats import formats
from whatwhere.errors import DataError
from whatwhere.images import write_image
from yolo_files import SETTINGS, found, make

LINE = "0 0.5 0.5 0.5 0.5\n"


def picture(place: Path) -> None:
    write_image(place, np.zeros((40, 60, 3), np.uint8))


def darknet(root: Path, prefix: str = "data/") -> Path:
    """As CVAT writes it: a name of a folder that is not there, pictures beside the labels."""
    (root / "obj_train_data").mkdir(parents=True)
    names = f"train = {prefix}train.txt\nvalid = {prefix}valid.txt\nnames = {prefix}obj.names\n"
    (root / "obj.data").write_text(f"classes = 2\n{names}backup = backup/\n")
    (root / "obj.names").write_text("cat\nwild dog\n")
    for split, stems in (("train", "ab"), ("valid", "c")):
        lines = "".join(f"{prefix}obj_train_data/{stem}.png\n" for stem in stems)
        (root / f"{split}.txt").write_text(lines)
        for stem in stems:
            picture(root / "obj_train_data" / f"{stem}.png")
            (root / "obj_train_data" / f"{stem}.txt").write_text(LINE)
    return root


@pytest.mark.parametrize("prefix", ["", "data/", "build/darknet/x64/data/"])
def test_darknet(prefix: str, tmp_path: Path) -> None:
    dataset = read(darknet(tmp_path / "set", prefix))
    assert (dataset.format, list(dataset.names)) == ("yolo", ["cat", "wild dog"])
    assert dataset.splits == {"train": 2, "val": 1}
    assert {finding.severity for finding in dataset.findings} <= {"info"}
    assert dataset.labels["record"][0] == "obj_train_data/a.txt:1"
    assert read(tmp_path / "set" / "obj.data").digest() == dataset.digest()


def test_darknet_with_a_folder_for_each_split(tmp_path: Path) -> None:
    """As Datumaro writes it, and CVAT with it; these folders are no classes."""
    root = darknet(tmp_path / "set", "data/")
    (root / "obj_valid_data").mkdir()
    for file in list((root / "obj_train_data").glob("c.*")):
        file.rename(root / "obj_valid_data" / file.name)
    (root / "valid.txt").write_text("data/obj_valid_data/c.png\n")
    dataset = read(root)
    assert (dataset.format, dataset.splits) == ("yolo", {"train": 2, "val": 1})
    assert dataset.labels.height == 3
    assert formats()["folders"].recognise(root) is None


def test_darknet_whose_pictures_are_elsewhere(tmp_path: Path) -> None:
    root = darknet(tmp_path / "set")
    pictures = tmp_path / "pictures" / "below"
    pictures.mkdir(parents=True)
    for file in list((root / "obj_train_data").glob("*.png")):
        file.rename(pictures / file.name)
    with pytest.raises(DataError, match=r"3 pictures .* are not on disk: name the folder"):
        read(root)
    dataset = read(root, images=tmp_path / "pictures")
    assert dataset.paths == [str(pictures / f"{stem}.png") for stem in "abc"]
    assert (dataset.labels.height, dataset.splits) == (3, {"train": 2, "val": 1})
    (pictures / "b.png").unlink()
    dataset = read(root, images=tmp_path / "pictures")
    errors = [(one.kind, one.where, one.boxes) for one in dataset.findings if one.boxes]
    assert errors == [("missing-image", "train.txt:2", 1)]


def test_darknet_without_its_names(tmp_path: Path) -> None:
    (darknet(tmp_path) / "obj.names").unlink()
    with pytest.raises(DataError, match=r"'data/obj\.names', which is not there"):
        read(tmp_path)


@pytest.mark.parametrize("names", ["classes.txt", "_darknet.labels"])
def test_names_beside_the_labels(names: str, tmp_path: Path) -> None:
    for stem in "ab":
        picture(tmp_path / f"{stem}.png")
        (tmp_path / f"{stem}.txt").write_text(LINE)
    (tmp_path / names).write_text("cat\ndog\n")
    dataset = read(tmp_path)
    assert (list(dataset.names), dataset.labels.height) == (["cat", "dog"], 2)
    assert (dataset.findings, dataset.splits) == ((), {})


@pytest.mark.parametrize("names", ["train/classes.txt", "classes.txt"])
def test_names_beside_folders(names: str, tmp_path: Path) -> None:
    # As Label Studio (images/, labels/) and Roboflow's darknet export (split folders) have it.
    (tmp_path / "notes.json").write_text("{}")
    for split in ("train", "valid"):
        picture(tmp_path / split / "images" / f"{split}.png")
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / f"{split}.txt").write_text(LINE)
    (tmp_path / names).write_text("cat\n")
    (tmp_path / "train" / "labels" / "lost.txt").write_text(LINE)
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 1, "val": 1}
    assert found(dataset) == [("missing-image", "train/labels/lost.txt")]
    assert dataset.labels.height == 2


def test_settings_without_splits(tmp_path: Path) -> None:
    """As supervision writes them."""
    root = tmp_path / "set"
    (root / "labels").mkdir(parents=True)
    (root / "data.yaml").write_text("nc: 2\nnames: [cat, wild dog]\n")
    picture(root / "images" / "a.png")
    picture(root / "images" / "b.png")
    assert formats()["yolo"].recognise(root) is None
    (root / "labels" / "a.txt").write_text(LINE)
    (root / "labels" / "b.txt").write_text("")
    dataset = read(root)
    assert (dataset.format, list(dataset.names)) == ("yolo", ["cat", "wild dog"])
    assert (len(dataset), dataset.labels.height, dataset.splits) == (2, 1, {})


def test_labels_alone_with_their_pictures_elsewhere(tmp_path: Path) -> None:
    root = make(tmp_path / "set", {"train/a": LINE, "val/b": LINE})
    (root / "images").rename(tmp_path / "elsewhere")
    dataset = read(root, images=tmp_path / "elsewhere")
    assert dataset.splits == {"train": 1, "val": 1}
    assert (dataset.labels.height, dataset.findings) == (2, ())
    assert dataset.relative_paths() == ["../elsewhere/train/a.png", "../elsewhere/val/b.png"]


def test_the_same_folder_for_training_and_validation(tmp_path: Path) -> None:
    settings = SETTINGS.replace("val: images/val", "val: images/train")
    dataset = read(make(tmp_path, {"train/a": LINE, "train/b": LINE}, settings))
    assert dataset.splits == {"train": 2}
    assert found(dataset) == [("two-splits", "data.yaml")]


def test_other_keys_are_splits_if_they_name_what_is_there(tmp_path: Path) -> None:
    more = "extra: images/more\ngone: images/gone\nnote: images\nauthor: me/you\n"
    dataset = read(make(tmp_path, {"train/a": LINE, "more/b": LINE}, SETTINGS + more))
    assert dataset.splits == {"train": 1, "extra": 1}
    assert dataset.info == {"yolo": {"gone": "images/gone", "note": "images", "author": "me/you"}}


def test_one_list_of_several_folders(tmp_path: Path) -> None:
    settings = "train:\n- images/train\n- images/more\nnames: [cat]\n"
    assert read(make(tmp_path, {"train/a": LINE, "more/b": LINE}, settings)).splits == {"train": 2}


@pytest.mark.parametrize(
    "text", ["0 0.5 0.5 0.5\n", "cat 1 2 3 4\n", "1 2 3\n", "0,0.5,0.5,0.1,0.1\n", "\n", ""]
)
def test_other_text_files_are_not_recognised(text: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "classes.txt").write_text("cat\n")
    assert formats()["yolo"].recognise(tmp_path) is None


def test_many_formats(shared: Path) -> None:
    folder = shared / "many_formats" / "data" / "database"
    dataset = read(folder / "gts" / "yolo_format", images=folder / "images")
    assert (len(dataset), dataset.labels.height, len(dataset.names)) == (100, 273, 20)
    assert {finding.severity for finding in dataset.findings} == {"info"}
