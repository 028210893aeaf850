"""Pascal VOC as other programs lay it out, and read without a parser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voc_files import found, lists, make, thing
from whatwhere.data import read
from whatwhere.data.formats import formats
from whatwhere.errors import DataError


def flat(folder: Path, objects: dict[str, str]) -> Path:
    """XML files beside the pictures, as labelImg writes them."""
    make(folder / "kit", objects)
    for inner in ("JPEGImages", "Annotations"):
        for file in (folder / "kit" / inner).iterdir():
            file.rename(folder / file.name)
        (folder / "kit" / inner).rmdir()
    (folder / "kit").rmdir()
    return folder


def test_xml_beside_the_pictures(tmp_path: Path) -> None:
    dataset = read(flat(tmp_path / "set", {"a": thing(), "b": thing("dog")}))
    assert (dataset.format, dataset.relative_paths()) == ("voc", ["a.png", "b.png"])
    assert (dataset.findings, dataset.labels.height) == ((), 2)
    assert dataset.labels["record"].to_list() == ["a.xml:3", "b.xml:3"]
    one = read(tmp_path / "set" / "b.xml")
    assert (one.relative_paths(), list(one.names), one.findings) == (["b.png"], ["dog"], ())


def test_folders_named_as_splits(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        flat(tmp_path / split, {"a": thing()})
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 1, "val": 1, "test": 1}
    assert dataset.relative_paths() == ["test/a.png", "train/a.png", "valid/a.png"]
    assert dataset.findings == ()


def test_kits_named_as_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        make(tmp_path / split, {"a": thing()})
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 1, "val": 1}
    assert dataset.relative_paths() == ["train/JPEGImages/a.png", "val/JPEGImages/a.png"]


def test_annotations_may_lie_deeper_and_name_no_suffix(tmp_path: Path) -> None:
    # As in ImageNet's localisation data.
    make(tmp_path, {"n01_1": thing(), "n01_2": thing()})
    for inner in ("JPEGImages", "Annotations"):
        folder = tmp_path / inner / "train" / "n01"
        folder.mkdir(parents=True)
        for file in list((tmp_path / inner).glob("*.*")):
            file.rename(folder / file.name)
    file = tmp_path / "Annotations" / "train" / "n01" / "n01_2.xml"
    text = file.read_text().replace("<annotation>", "<annotation><filename>n01_2</filename>")
    file.rename(file.with_name("other.xml")).write_text(text)
    lists(tmp_path, train="train/n01/n01_1", val="other")
    dataset = read(tmp_path)
    assert dataset.findings == ()
    assert dataset.splits == {"train": 1, "val": 1}
    assert dataset.relative_paths()[1] == "JPEGImages/train/n01/n01_2.png"


def test_pictures_of_another_folder_are_no_background(tmp_path: Path) -> None:
    make(tmp_path / "set", dict.fromkeys("abc", thing()))
    (tmp_path / "set" / "Annotations" / "c.xml").unlink()
    pictures = (tmp_path / "set" / "JPEGImages").rename(tmp_path / "elsewhere")
    dataset = read(tmp_path / "set", images=pictures)
    assert found(dataset) == [("missing-annotation", str(pictures))]
    assert len(dataset) == 2


def test_class_names_of_a_label_map(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing()})
    text = (
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\n#1:::\nbackground:::\na:b:::\ncat\n"
    )
    (tmp_path / "labelmap.txt").write_text(text)
    assert list(read(tmp_path).names) == ["#1", "background", "a:b", "cat"]


def test_two_annotations_of_one_picture(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing()})
    text = (tmp_path / "Annotations" / "a.xml").read_text()
    text = text.replace("<annotation>", "<annotation><filename>a.png</filename>")
    (tmp_path / "Annotations" / "b.xml").write_text(text)
    dataset = read(tmp_path)
    assert found(dataset) == [("duplicate-entry", "Annotations/b.xml")]
    assert (dataset.labels.height, dataset.kept_out) == (1, 1)


def test_lists_of_classes_make_splits_where_nothing_else_does(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys("abcd", thing()))
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name in ("cat", "dog"):
        (main / f"{name}_train.txt").write_text("a  1\nb -1\n")
        (main / f"{name}_val.txt").write_text("c  0\n")
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 2, "val": 1}
    assert dataset.findings == ()


def test_objects_in_one_line_have_records_of_their_own(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, {"a": (thing() + thing("dog") + thing()).replace("\n", "")}))
    records = dataset.labels["record"].to_list()
    assert records == ["Annotations/a.xml:3", "Annotations/a.xml#2", "Annotations/a.xml#3"]


VARIANTS = [
    thing(extra="<pose>Left</pose><difficult>1</difficult>"),
    thing("dog", ("1.5", " 2 ", "1e1", "+20.25"), "<occluded>1</occluded><truncated>0</truncated>"),
    thing("two words", extra="<part><name>x</name></part>"),
    thing("a &amp; b"),
    thing("käfer", extra="<!-- seen --><pose>Unspecified</pose>"),
    "<object>\n<bndbox><ymin>2</ymin><xmin>1</xmin><xmax>9</xmax><ymax>8</ymax></bndbox>"
    "<name>cat</name><truncated>1</truncated></object>\n",
    thing(box=(5, 5, 5, 9)),
    "<object>\n\n<name>lost</name></object>\n",
]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("declared", ["", '<?xml version="1.0" encoding="utf-8"?>\n'])
def test_what_is_learned_from_files_changes_nothing(
    newline: str, declared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    mixed = {f"m{i}": "".join(rng.choice(VARIANTS, rng.integers(0, 5))) for i in range(30)}
    alike = {f"s{i}": VARIANTS[i % 8] * (i % 4) for i in range(40)}
    make(tmp_path, mixed | alike)
    for number, file in enumerate(sorted((tmp_path / "Annotations").iterdir())):
        text = file.read_text("utf-8")
        if number % 3 == 0:
            text = text.replace("<size>", f"<source><image>{number % 2}</image></source>\n<size>")
        if number % 7 == 0:
            text = text.replace("</annotation>", "<owner><name>me</name></owner></annotation>")
        if number % 11 == 0:
            text = text.replace("<object>", "\n<object>", 1)
        file.write_bytes((declared + text).replace("\n", newline).encode())
    quick = read(tmp_path)
    monkeypatch.setattr("whatwhere.data.formats._voc_parse._MOST_SHAPES", 0)
    slow = read(tmp_path)
    assert quick.labels.equals(slow.labels)
    assert quick.images.equals(slow.images)
    assert sorted(map(str, quick.findings)) == sorted(map(str, slow.findings))
    assert quick.labels["extra"].null_count() < quick.labels.height


def test_other_encodings(tmp_path: Path) -> None:
    make(tmp_path, {"a": thing("käfer"), "b": thing("käfer")})
    for stem in "ab":
        file = tmp_path / "Annotations" / f"{stem}.xml"
        text = '<?xml version="1.0" encoding="ISO-8859-1"?>\n' + file.read_text("utf-8")
        file.write_bytes(text.encode("latin-1"))
    assert list(read(tmp_path).names) == ["käfer"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.xml", "<annotations><version>1.1</version></annotations>"),
        ("a.xml", "<html><object></object></html>"),
        ("a.xml", ""),
        ("Annotations/a.xml", "<annotations><image/></annotations>"),
    ],
)
def test_other_xml_is_not_recognised(file: str, text: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert formats()["voc"].recognise(tmp_path) is None
    with pytest.raises(DataError, match="looked for"):
        read(tmp_path, format="voc")


def test_attributes_and_texts_between_elements_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, {name: thing() + thing("dog") for name in "abcdefg"})
    changes = {
        "b": ("<annotation>", '<annotation verified="yes">'),
        "c": ("</object>", "</object>lost"),
        "d": ("<object>", '<object id="7">'),
        "e": ("<size>", '<size unit="px">lost'),
        "f": ("<annotation>", '<annotation verified="yes">'),
        "g": ("<annotation>", '<annotation verified="no">'),
    }
    for name, (before, after) in changes.items():
        file = tmp_path / "Annotations" / f"{name}.xml"
        file.write_text(file.read_text().replace(before, after, 1))
    quick = read(tmp_path)
    monkeypatch.setattr("whatwhere.data.formats._voc_parse._MOST_SHAPES", 0)
    for dataset in (quick, read(tmp_path)):
        (finding,) = dataset.findings
        assert (finding.kind, finding.severity) == ("left-out-field", "info")
        assert finding.where == "Annotations/b.xml"
        assert finding.message.startswith("7 XML attributes and texts")
        assert dataset.labels.height == 14
