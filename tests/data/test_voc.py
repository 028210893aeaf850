"""Pascal VOC: pixel counting, split lists, faults with their lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voc_files import found, lists, make, thing
from whatwhere.data import read
from whatwhere.errors import DataError
from whatwhere.images import write_image


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
    lists(tmp_path, train="a b", val="c", trainval="a b c", test="d", my_train="e")
    main = tmp_path / "ImageSets" / "Main"
    (main / "cat_train.txt").write_text("a  1\nb -1\nc  0\n")
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 2, "val": 1, "test": 1, "my_train": 1}
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


def test_annotations_without_picture_are_kept(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing(), "b": thing() + thing()})
    (tmp_path / "JPEGImages" / "b.png").unlink()
    dataset = read(tmp_path)
    assert found(dataset) == [("missing-image", "Annotations/b.xml")]
    assert (len(dataset), dataset.labels.height, dataset.kept_out) == (2, 3, 0)
    assert dataset.images.select("width", "height").row(1) == (60, 40)


def test_annotations_alone_make_one_finding(tmp_path: Path) -> None:
    make(tmp_path / "set", dict.fromkeys("abc", thing()))
    pictures = (tmp_path / "set" / "JPEGImages").rename(tmp_path / "elsewhere")
    dataset = read(tmp_path / "set")
    assert found(dataset) == [("missing-image", "Annotations/a.xml")]
    assert len(dataset) == dataset.labels.height == 3
    there = read(tmp_path / "set", images=pictures)
    assert there.findings == ()
    assert there.paths == [str(pictures / f"{stem}.png") for stem in "abc"]


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


@pytest.mark.parametrize("kind", ["pascalvoc_format", "imagenet_format"])
def test_many_formats(kind: str, shared: Path) -> None:
    folder = shared / "many_formats" / "data" / "database"
    dataset = read(folder / "gts" / kind, images=folder / "images")
    assert (len(dataset), dataset.labels.height, len(dataset.names)) == (100, 273, 20)
    assert (dataset.findings, dataset.splits) == ((), {})


def test_neon_trees(shared: Path) -> None:
    folder = shared / "neon_trees"
    counts = {
        "2019_YELL_2_528000_4978000_image_crop2": 574,
        "2019_YELL_2_541000_4977000_image_crop": 279,
        "OSBS_029": 61,
        "SOAP_061": 37,
    }
    for stem, count in counts.items():
        dataset = read(folder / f"{stem}.xml")
        assert (dataset.format, dataset.labels.height, dataset.kept_out) == ("voc", count, 0)
        # One of the four has no picture.
        assert bool(dataset.findings) == stem.endswith("crop2")
    assert read(folder / "OSBS_029.xml").relative_paths() == ["OSBS_029.tif"]


def test_bccd(shared: Path) -> None:
    dataset = read(shared / "bccd")
    assert (len(dataset), dataset.labels.height, dataset.kept_out) == (364, 4886, 2)
    assert dataset.splits == {"train": 205, "val": 87, "test": 72}
    assert list(dataset.names) == ["Platelets", "RBC", "WBC"]
    assert found(dataset) == [
        # Three files say <annotation verified="no">.
        ("left-out-field", "Annotations/BloodImage_00171.xml"),
        ("zero-size-box", "Annotations/BloodImage_00338.xml:158"),
        ("zero-size-box", "Annotations/BloodImage_00343.xml:50"),
    ]


def test_voc2012_mini(shared: Path) -> None:
    dataset = read(shared / "voc2012_mini")
    assert (len(dataset), dataset.labels.height, len(dataset.names)) == (100, 273, 20)
    assert dataset.splits == {"train": 80, "val": 20}
    assert dataset.findings == ()
    assert not [finding for finding in dataset.check() if finding.severity != "info"]
    assert dataset.labels["difficult"].sum() == dataset.labels["ignore"].sum()
    poses = dataset.labels["extra"].str.json_path_match("$.voc.pose").drop_nulls()
    assert set(poses) == {"Frontal", "Left", "Rear", "Right"}
    assert dataset.images["extra"].str.contains("flickr").all()
