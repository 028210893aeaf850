"""Pascal VOC: what is written comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from whatwhere.data import Dataset, read
from whatwhere.errors import UsageError
from whatwhere.images import write_image


def boxes(folder: Path, **columns: list[object]) -> Dataset:
    """One picture with these labels."""
    write_image(folder / "a.png", np.zeros((40, 60, 3), np.uint8))
    count = len(next(iter(columns.values())))
    labels = {
        "image": [0] * count,
        "class_id": [0] * count,
        **{side: [value] * count for side, value in zip(("x1", "y1"), (5, 6), strict=True)},
        **{side: [value] * count for side, value in zip(("x2", "y2"), (20, 30), strict=True)},
    }
    images = {"path": [str(folder / "a.png")], "width": [60], "height": [40]}
    return Dataset(images, labels | columns, ["cat"], root=str(folder))


def again(dataset: Dataset, folder: Path) -> Dataset:
    """The data set after writing and reading it."""
    assert dataset.write(folder, "voc") == ()
    copy = read(folder)
    assert copy.findings == ()
    return copy


def test_tiny_boxes_come_back(tmp_path: Path) -> None:
    sides = {
        "x1": [5.0, 5.25, 0.0, 59.75],
        "y1": [5.0, 7.5, 0.0, 1.0],
        "x2": [6.0, 5.5, 1.0, 60.0],
        "y2": [20.0, 7.625, 1.0, 9.0],
    }
    dataset = boxes(tmp_path, **sides)
    copy = again(dataset, tmp_path / "copy")
    assert copy.labels.select(*sides).equals(dataset.labels.select(*sides))
    text = (tmp_path / "copy" / "Annotations" / "a.xml").read_text()
    # Other programs see the pixels that the box touches.
    assert "<xmin>60</xmin>\n\t\t\t<ymin>2</ymin>\n\t\t\t<xmax>60</xmax>" in text


def test_sides_come_back_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 20, (200, 2)).astype(np.float32)
    high = low + rng.uniform(1.1, 19, (200, 2)).astype(np.float32)
    low[:3] = [[0.1, 1e-3], [1 / 3, 2 / 3], [0, 0]]
    sides = {"x1": low[:, 0], "y1": low[:, 1], "x2": high[:, 0], "y2": high[:, 1]}
    dataset = boxes(tmp_path, **{side: values.tolist() for side, values in sides.items()})
    copy = again(dataset, tmp_path / "copy")
    assert copy.labels.select(*sides).equals(dataset.labels.select(*sides))


def test_flags_come_back_whatever_they_mean_together(tmp_path: Path) -> None:
    flags: dict[str, list[object]] = {
        "ignore": [False, True, True, False],
        "difficult": [False, True, False, True],
        "occluded": [None, True, False, None],
        "truncated": [True, False, False, True],
    }
    copy = again(boxes(tmp_path, **flags), tmp_path / "copy")
    for name, values in flags.items():
        assert copy.labels[name].fill_null(False).to_list() == [bool(one) for one in values]
    text = (tmp_path / "copy" / "Annotations" / "a.xml").read_text()
    # What is to be ignored is difficult for programs that know nothing else.
    assert text.count("<difficult>1</difficult>") == 3


EXTRAS = {
    "voc": {
        "pose": "Left",
        "part": [
            {"name": "head", "bndbox": {"xmin": "6", "ymin": "7", "xmax": "9", "ymax": "9.5"}},
            {"name": "hand & <foot>", "bndbox": {"xmin": "6"}},
        ],
        "actions": {"jumping": "1", "walking": "0"},
        "note": "",
        "odd key": 1,
        "bell": "\x07",
        "edges": " x ",
        "number": 1.5,
        "one": ["alone"],
        "name": "not the class",
        "none": None,
    },
    "kitti": {"alpha": -1.5},
}


def test_what_has_no_column_comes_back(tmp_path: Path) -> None:
    attributes = {"colour": "red", "age": 3, "true": True, "text": "true", "list": [1], "s": "'\"<"}
    columns = {"extra": [json.dumps(EXTRAS), None], "attributes": [None, json.dumps(attributes)]}
    dataset = boxes(tmp_path, **columns)
    picture = {"voc": {"source": {"database": "mine"}, "depth": "1", "segmented": "1", "x": 7}}
    images = dataset.images.with_columns(extra=pl.lit(json.dumps(picture)))
    dataset = Dataset(images, dataset.labels, dataset.names, root=str(tmp_path))
    copy = again(dataset, tmp_path / "copy")
    assert json.loads(copy.labels["extra"][0]) == EXTRAS
    assert json.loads(copy.labels["attributes"][1]) == attributes
    assert (copy.labels["extra"][1], copy.labels["attributes"][0]) == (None, None)
    assert json.loads(copy.images["extra"][0]) == picture
    text = (tmp_path / "copy" / "Annotations" / "a.xml").read_text()
    assert "<pose>Left</pose>" in text
    assert "\t\t<actions>\n\t\t\t<jumping>1</jumping>\n" in text
    assert "<depth>1</depth>" in text


def test_labels_without_box_are_said_to_be_lost(tmp_path: Path) -> None:
    dataset = boxes(tmp_path, x1=[5, None], y1=[5, None], x2=[9, None], y2=[9, None])
    lost = dataset.write(tmp_path / "copy", "voc")
    assert [(finding.kind, finding.boxes) for finding in lost] == [("no-box", 1)]
    assert read(tmp_path / "copy").labels.height == 1


@pytest.mark.parametrize("name", ["a\tb\n", " cat", "\x00"])
def test_names_that_xml_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    dataset = boxes(tmp_path, x1=[5])
    with pytest.raises(UsageError, match="rename the class"):
        Dataset(dataset.images, dataset.labels, [name]).write(tmp_path / "copy", "voc")


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "x\n"])
def test_splits_that_are_no_file_name_are_refused(name: str, tmp_path: Path) -> None:
    dataset = boxes(tmp_path, x1=[5])
    images = dataset.images.with_columns(split=pl.lit(name))
    with pytest.raises(UsageError, match="rename the split"):
        Dataset(images, dataset.labels, ["cat"]).write(tmp_path / "copy", "voc")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
