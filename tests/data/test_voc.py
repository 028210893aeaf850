"""Pascal VOC: pixel counting, split lists, faults with their lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.errors import DataError
from whatwhere.images import write_image


def thing(name: str = "cat", box: tuple[object, ...] = (1, 1, 10, 20), extra: str = "") -> str:
    sides = "".join(
        f"<{side}>{value}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object>\n<name>{name}</name>{extra}<bndbox>{sides}</bndbox>\n</object>\n"


def make(root: Path, objects: dict[str, str], size: tuple[int, int] | None = (60, 40)) -> Path:
    for number, (stem, content) in enumerate(objects.items()):
        write_image(root / "JPEGImages" / f"{stem}.png", np.full((40, 60, 3), number, np.uint8))
        (root / "Annotations").mkdir(exist_ok=True)
        shape = ""
        if size:
            shape = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        text = f"<annotation>\n{shape}\n{content}</annotation>"
        (root / "Annotations" / f"{stem}.xml").write_text(text, "utf-8")
    return root


def lists(root: Path, **splits: str) -> None:
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, stems in splits.items():
        (folder / f"{name}.txt").write_text("\n".join(stems.split()) + "\n")


def found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in dataset.findings]


def test_pixels_are_counted_from_1_and_inclusive(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"a": thing(box=(1, 1, 60, 40)) + thing(box=(11, 6, 20, 30))}))
    boxes = dataset.targets(0).boxes
    np.testing.assert_array_equal(boxes, [[0, 0, 60, 40], [10, 5, 20, 30]])
    dataset.write(tmp_path / "copy", "voc")
    text = (tmp_path / "copy" / "Annotations" / "a.xml").read_text()
    assert text.count("<xmin>1</xmin>") == 1
    assert "<xmax>60</xmax>" in text
    assert "<xmin>11</xmin>" in text


def test_difficult_is_ignored_and_parts_are_not_objects(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>2</xmin></bndbox></part>"
    content = thing(extra="<difficult>1</difficult><truncated>1</truncated>" + part) + thing("dog")
    dataset = read(make(tmp_path, {"a": content}))
    assert list(dataset.names) == ["cat", "dog"]
    assert dataset.labels["ignore"].to_list() == [True, False]
    assert dataset.labels["difficult"].to_list() == [True, False]
    assert dataset.labels["truncated"].to_list() == [True, False]


def test_splits_are_the_lists(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys("abcde", thing()))
    lists(tmp_path, train="a b", val="c", trainval="a b c", test="d", cat_train="e", extra="e")
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 2, "val": 1, "test": 1, "extra": 1}
    assert dataset.findings == ()


def test_trainval_counts_where_there_is_no_other_list(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys("abc", thing()))
    lists(tmp_path, trainval="a b", test="c")
    assert read(tmp_path).splits == {"test": 1, "trainval": 2}


def test_contradicting_lists(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys("abcd", thing()))
    lists(tmp_path, train="a a b", val="b nobody", trainval="a b c", test="a d")
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 2, "test": 1, "trainval": 1}
    assert found(dataset) == [
        ("duplicate-entry", "ImageSets/Main/train.txt:2"),
        ("two-splits", "ImageSets/Main/val.txt:1"),
        ("missing-image", "ImageSets/Main/val.txt:2"),
        ("two-splits", "ImageSets/Main/test.txt:1"),
        ("contradicting-splits", "ImageSets/Main/trainval.txt:3"),
    ]


@pytest.mark.parametrize("below", ["BCCD", "VOCdevkit/VOC2012", "a/b/c"])
def test_the_data_may_lie_deeper(below: str, tmp_path: Path) -> None:
    make(tmp_path / below, {"a": thing()})
    dataset = read(tmp_path)
    assert below in dataset.recognised
    assert dataset.relative_paths() == ["JPEGImages/a.png"]


def test_two_data_sets_below_are_not_mixed(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        make(tmp_path / year, {"a": thing()})
    with pytest.raises(DataError, match="VOC2007, VOC2012"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (thing(box=(5, 5, 5, 20)), "zero-size-box"),
        (thing(box=(20, 5, 10, 20)), "inverted-box"),
        (thing(box=(90, 5, 95, 20)), "outside-box"),
        (thing(box=("x", 5, 95, 20)), "bad-box"),
        (thing(box=("nan", 5, 95, 20)), "bad-box"),
        (thing(box=("", 5, 95, 20)), "bad-box"),
        ("<object>\n<name>cat</name>\n\n</object>\n", "bad-box"),
        (thing(name=" "), "no-class"),
        (thing(name="").replace("<name></name>", ""), "no-class"),
    ],
)
def test_bad_objects_are_kept_out_with_their_line(bad: str, kind: str, tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"a": thing() + bad + thing("dog")}))
    # The annotation, its size, then five lines an object.
    assert found(dataset) == [(kind, f"Annotations/a.xml:{3 + thing().count(chr(10))}")]
    assert dataset.findings[0].severity == "error"
    assert (dataset.labels.height, dataset.kept_out) == (2, 1)


def test_a_box_over_the_edge_is_clipped(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"a": thing(box=(-3, 5, 95, 20))}))
    assert found(dataset) == [("clipped-box", "Annotations/a.xml:3")]
    np.testing.assert_array_equal(dataset.targets(0).boxes, [[0, 4, 60, 20]])
    assert dataset.kept_out == 0


def test_a_missing_size_is_read_from_the_picture(tmp_path: Path) -> None:
    for folder, size in (("none", None), ("zero", (0, 0))):
        dataset = read(make(tmp_path / folder, {"a": thing()}, size))
        assert dataset.images.select("width", "height").row(0) == (60, 40)


def test_a_picture_without_annotation_is_background(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing(), "b": thing()})
    (tmp_path / "Annotations" / "b.xml").unlink()
    dataset = read(tmp_path)
    assert found(dataset) == [("missing-annotation", "JPEGImages/b.png")]
    assert dataset.targets(1).class_ids.size == 0


def test_annotations_without_picture_are_counted(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing(), "b": thing() + thing()})
    (tmp_path / "JPEGImages" / "b.png").unlink()
    dataset = read(tmp_path)
    assert found(dataset) == [("missing-image", "Annotations/b.xml")]
    assert (len(dataset), dataset.kept_out) == (1, 2)


def test_the_file_name_is_used_where_the_stem_finds_nothing(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing()})
    file = tmp_path / "Annotations" / "a.xml"
    text = file.read_text().replace("<annotation>", "<annotation><filename>a.png</filename>")
    file.rename(tmp_path / "Annotations" / "0001.xml").write_text(text)
    dataset = read(tmp_path)
    assert (len(dataset), found(dataset)) == (1, [])


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "C:\\secret.png"])
def test_file_names_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", np.zeros((4, 4, 3), np.uint8))
    make(tmp_path / "set", {"a": thing(), "b": thing()})
    file = tmp_path / "set" / "Annotations" / "b.xml"
    text = file.read_text().replace("<annotation>", f"<annotation><filename>{name}</filename>")
    file.rename(tmp_path / "set" / "Annotations" / "c.xml").write_text(text)
    (tmp_path / "set" / "JPEGImages" / "b.png").unlink()
    dataset = read(tmp_path / "set")
    assert found(dataset) == [("path-outside", "Annotations/c.xml")]
    assert len(dataset) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not well-formed"),
        ("<annotation>\n<object>", "in line 2"),
        ("<html></html>", "<html>"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><annotation>&x;</annotation>", "document type"),
        ("<annotation>" * 200 + "</annotation>" * 200, "nested too deeply"),
        ("<?xml version='1.0' encoding='martian'?><annotation/>", ""),
    ],
)
def test_damaged_annotations(text: str, word: str, tmp_path: Path) -> None:
    make(tmp_path, {"a": thing(), "b": thing()})
    (tmp_path / "Annotations" / "b.xml").write_text(text)
    dataset = read(tmp_path)
    assert found(dataset) == [("damaged-annotation", "Annotations/b.xml")]
    assert word in dataset.findings[0].message
    assert len(dataset) == 1


def test_strange_files_among_the_pictures(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing()})
    (tmp_path / "JPEGImages" / "notes.txt").write_text("hm")
    (tmp_path / "JPEGImages" / "a.bmp").write_bytes(b"BM")
    kinds = [finding.kind for finding in read(tmp_path).findings]
    assert kinds == ["duplicate-name", "not-an-image"]


def test_class_order_of_a_label_map(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing("cat") + thing("ant")})
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nzebra:::\ncat:::\n"
    (tmp_path / "labelmap.txt").write_text(text)
    assert list(read(tmp_path).names) == ["zebra", "cat", "ant"]


def test_boxes_of_one_pixel_cannot_be_written(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((40, 60, 3), np.uint8))
    box = {"x1": [5, 1], "y1": [5, 1], "x2": [6, 9], "y2": [20, 9]}
    dataset = Dataset(
        {"path": [str(tmp_path / "a.png")]}, {"image": [0, 0], "class_id": [0, 0], **box}, ["cat"]
    )
    lost = dataset.write(tmp_path / "copy", "voc")
    assert [(finding.kind, finding.boxes) for finding in lost] == [("tiny-box", 1)]
    assert read(tmp_path / "copy").labels.height == 1


def test_bccd(shared: Path) -> None:
    dataset = read(shared / "bccd")
    assert (len(dataset), dataset.labels.height, dataset.kept_out) == (364, 4886, 2)
    assert dataset.splits == {"train": 205, "val": 87, "test": 72}
    assert list(dataset.names) == ["Platelets", "RBC", "WBC"]
    assert found(dataset) == [
        ("zero-size-box", "Annotations/BloodImage_00338.xml:158"),
        ("zero-size-box", "Annotations/BloodImage_00343.xml:50"),
    ]


def test_voc2012_mini(shared: Path) -> None:
    dataset = read(shared / "voc2012_mini")
    assert (len(dataset), dataset.labels.height, len(dataset.names)) == (100, 273, 20)
    assert dataset.splits == {"train": 80, "val": 20}
    assert dataset.findings == ()
    assert dataset.check() == []
