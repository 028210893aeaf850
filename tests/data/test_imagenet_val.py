"""ImageNet's validation set as the kit has it, and Caffe's lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.errors import DataError
from whatwhere.images import write_image

KIT = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
CLSLOC = "n02119789 1 kit_fox\nn02100735 2 English_setter\nn01440764 3 tench\n"
WORDS = "n01440764 tench, Tinca tinca\nn02100735 English setter\nn02119789 kit fox\n"


def pictures(folder: Path, *numbers: int) -> None:
    for number in numbers:
        path = folder / f"ILSVRC2012_val_{number:08d}.JPEG"
        write_image(path, np.full((4, 5, 3), number, np.uint8))


def text(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def found(dataset: Dataset) -> list[tuple[str, str, int]]:
    return [(one.kind, one.where, one.boxes) for one in dataset.findings]


def classes(dataset: Dataset) -> dict[str, str]:
    return {
        Path(path).stem[-2:]: dataset.names[int(dataset.targets(row).class_ids[0])]
        for row, path in enumerate(dataset.paths)
    }


def test_the_kit(tmp_path: Path) -> None:
    pictures(tmp_path / "val", 1, 2, 3, 4)
    text(tmp_path / KIT, "3\n1\n2\n1\n")
    dataset = read(tmp_path)
    assert dataset.format == "imagenet_val"
    assert dataset.recognised.endswith(f"class numbers in {tmp_path.name}/{KIT}")
    assert classes(dataset) == {"01": "class 3", "02": "class 1", "03": "class 2", "04": "class 1"}
    assert dataset.splits == {"val": 4}
    assert dataset.category_ids == (1, 2, 3)
    assert dataset.findings == ()
    assert dataset.labels["record"][3] == f"{KIT}:4"


def test_the_kit_counts_classes_in_its_own_order(tmp_path: Path) -> None:
    pictures(tmp_path / "val", 1, 2)
    text(tmp_path / KIT, "3\n1\n")
    text(tmp_path / KIT.replace("ILSVRC2012_validation_ground_truth", "map_clsloc"), CLSLOC)
    dataset = read(tmp_path)
    assert list(dataset.names) == ["n02119789", "n02100735", "n01440764"]
    assert classes(dataset) == {"01": "n01440764", "02": "n02119789"}
    assert dataset.class_info["n02119789"] == {"words": "kit_fox"}


def test_an_alphabetical_list_does_not_name_the_kits_classes(tmp_path: Path) -> None:
    pictures(tmp_path, 1, 2)
    text(tmp_path / "ILSVRC2012_validation_ground_truth.txt", "3\n1\n")
    text(tmp_path / "synset_words.txt", WORDS)
    dataset = read(tmp_path)
    assert classes(dataset) == {"01": "class 3", "02": "class 1"}
    assert found(dataset) == [("class-order", "synset_words.txt", 0)]
    text(tmp_path / "synset_words.txt", "".join(reversed(WORDS.splitlines(keepends=True))))
    assert classes(read(tmp_path)) == {"01": "n01440764", "02": "n02119789"}


def test_the_kit_with_other_counts(tmp_path: Path) -> None:
    pictures(tmp_path, 1, 3, 4, 6)
    text(tmp_path / "ILSVRC2012_validation_ground_truth.txt", "1\n2\nx\n3\n0\n")
    dataset = read(tmp_path)
    truth = "ILSVRC2012_validation_ground_truth.txt"
    assert found(dataset) == [
        ("wrong-count", truth, 0),
        ("bad-value", f"{truth}:3", 1),
        ("unknown-class", f"{truth}:5", 1),
        ("missing-labels", "ILSVRC2012_val_00000003.JPEG", 1),
        ("missing-labels", "ILSVRC2012_val_00000006.JPEG", 1),
        ("missing-image", f"{truth}:2", 0),
    ]
    assert "5 classes, but 4 pictures" in dataset.findings[0].message
    assert classes(dataset) == {"01": "class 1", "02": "class 2", "04": "class 3"}


def test_the_kits_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    pictures(tmp_path / "far", 1, 2)
    text(tmp_path / KIT, "2\n1\n")
    dataset = read(tmp_path / "ILSVRC2012_devkit_t12", images=tmp_path / "far")
    assert classes(dataset) == {"01": "class 2", "02": "class 1"}
    assert dataset.findings == ()


def test_beside_class_folders_the_kit_is_not_guessed(tmp_path: Path) -> None:
    pictures(tmp_path / "val", 1)
    for synset in ("n01440764", "n02119789"):
        pictures(tmp_path / "train" / synset, 1)
    text(tmp_path / KIT, "3\n")
    dataset = read(tmp_path)
    assert (dataset.format, dataset.splits) == ("folders", {"train": 2})
    assert read(tmp_path, format="imagenet_val").splits == {"val": 1}


@pytest.mark.parametrize("whole", [True, False])
def test_caffes_lists(whole: bool, tmp_path: Path) -> None:
    pictures(tmp_path / "val", 1, 2)
    pictures(tmp_path / "train" / "n01440764", 3)
    text(tmp_path / "val.txt", "ILSVRC2012_val_00000001.JPEG 2\nILSVRC2012_val_00000002.JPEG 0\n")
    text(tmp_path / "synset_words.txt", WORDS)
    if whole:
        text(tmp_path / "train.txt", "n01440764/ILSVRC2012_val_00000003.JPEG 0\r\n")
    dataset = read(tmp_path, format="imagenet_val")
    assert dataset.splits == ({"train": 1, "val": 2} if whole else {"val": 2})
    assert list(dataset.names) == ["n01440764", "n02100735", "n02119789"]
    assert classes(dataset)["01"] == "n02119789"
    assert dataset.class_info["n01440764"] == {"words": "tench, Tinca tinca"}
    assert dataset.findings == ()


def test_names_without_words(tmp_path: Path) -> None:
    """As they come with Caffe's lists, too, and as Datumaro writes them."""
    pictures(tmp_path / "images", 1, 2)
    files = sorted(file.name for file in (tmp_path / "images").iterdir())
    text(tmp_path / "train.txt", f"{files[0]} 1\n{files[1]} 0\n")
    text(tmp_path / "synsets.txt", "bee & <wasp>\nn01440764\n")
    dataset = read(tmp_path)
    assert (dataset.format, list(dataset.names)) == ("imagenet_val", ["bee & <wasp>", "n01440764"])
    assert dataset.labels["class_id"].to_list() == [1, 0]
    text(tmp_path / "synset_words.txt", WORDS)
    assert list(read(tmp_path).names) != list(dataset.names)


def test_one_list_may_be_named(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    text(tmp_path / "val.txt", "ILSVRC2012_val_00000001.JPEG 1\n")
    dataset = read(tmp_path / "val.txt")
    assert list(dataset.names) == ["class 0", "class 1"]
    assert dataset.splits == {"val": 1}


def test_faults_of_lists(tmp_path: Path) -> None:
    pictures(tmp_path, 1, 2)
    text(tmp_path / "labels.txt", "cat\ndog\n")
    lines = ["1.JPEG 0"] * 20
    text(
        tmp_path / "val.txt",
        "ILSVRC2012_val_00000001.JPEG 1\n" * 2
        + "\n".join(lines[:18])
        + "\nno number.JPEG\n../ILSVRC2012_val_00000001.JPEG 1\n\nILSVRC2012_val_00000002.JPEG 7\n"
        + "9.JPEG 2\n",
    )
    dataset = read(tmp_path)
    assert found(dataset) == [
        ("duplicate-entry", "val.txt:2", 1),
        *(("duplicate-entry", f"val.txt:{line}", 1) for line in range(4, 21)),
        ("bad-record", "val.txt:21", 1),
        ("path-outside", "val.txt:22", 1),
        ("unknown-class", "val.txt:24", 1),
        ("unknown-class", "val.txt:25", 1),
        ("missing-image", "val.txt:3", 0),
    ]
    assert dataset.findings[-2].message == "there is no class 2, only 0 to 1"


def test_lists_without_classes_are_not_taken(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    text(tmp_path / "val.txt", "ILSVRC2012_val_00000001.JPEG\n")
    with pytest.raises(DataError, match="not a data set of a known format"):
        read(tmp_path)
    with pytest.raises(DataError, match="has no list of pictures and classes"):
        read(tmp_path, format="imagenet_val")


def test_a_list_that_is_not_text(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    (tmp_path / "val.txt").write_bytes(b"1.JPEG 1\n" * 500 + b"\xff.JPEG 2\n")
    with pytest.raises(DataError, match=r"val\.txt cannot be read: it must be UTF-8"):
        read(tmp_path)


def test_names_and_splits_survive(tmp_path: Path) -> None:
    pictures(tmp_path, 1, 2, 3)
    paths = sorted(str(path) for path in tmp_path.glob("*.JPEG"))
    names = [" cat ", "line\nbreak", '"quoted"', "unused"]
    before = Dataset(
        {"path": paths, "split": ["train", None, "fold 7"]},
        {"image": [0, 1, 2], "class_id": [2, 1, 0]},
        names,
    )
    lost = before.write(tmp_path / "copy", "imagenet_val")
    assert [(one.kind, one.message[:20]) for one in lost] == [
        ("lost-split", "the split 'fold 7' i")
    ]
    after = read(tmp_path / "copy")
    assert list(after.names) == names
    assert after.images["split"].to_list() == [None, None, "train"]
    assert after.images["width"].to_list() == [5, 5, 5]


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
    assert before.write(tmp_path / "copy", "imagenet_val") == ()
    after = read(tmp_path / "copy")
    assert (after.class_info, list(after.names)) == (known, list(before.names))
    assert after.findings == ()
    before.class_info = {"n01440764": {"words": "tench", "colour": "green"}}
    (lost,) = before.write(tmp_path / "other", "imagenet_val")
    assert "class_info" in lost.message
