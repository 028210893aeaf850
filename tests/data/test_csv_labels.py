"""Tables of labels: which column is what, what divides names, what is not known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from whatwhere.data import Dataset, read
from whatwhere.data.formats import formats
from whatwhere.errors import DataError
from whatwhere.images import write_image


def pictures(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_image(folder / name, np.full((4, 5, 3), number, np.uint8))
    return folder


def make(folder: Path, text: str, file: str = "labels.csv", names: str = "a b c d") -> Path:
    pictures(folder, *(f"images/{name}.jpg" for name in names.split()))
    (folder / file).write_text(text, "utf-8")
    return folder


def labels(dataset: Dataset) -> dict[str, list[str]]:
    return {
        Path(path).stem: [dataset.names[number] for number in dataset.targets(row).class_ids]
        for row, path in enumerate(dataset.paths)
    }


def found(dataset: Dataset) -> list[tuple[str, str, int]]:
    return [(one.kind, one.where, one.boxes) for one in dataset.findings]


def test_a_column_for_each_class(tmp_path: Path) -> None:
    text = "image,cat,dog,emu\na.jpg,1,0,0\nb.jpg,1,1,0\nc.jpg,0,0,0\nd.jpg,0.0,1.0,true\n"
    dataset = read(make(tmp_path, text))
    assert dataset.recognised == (
        "table of labels: labels.csv with pictures in 'image' and 3 columns of classes"
    )
    assert (dataset.format, dataset.task) == ("csv_labels", "multilabel")
    assert list(dataset.names) == ["cat", "dog", "emu"]
    assert labels(dataset) == {"a": ["cat"], "b": ["cat", "dog"], "c": [], "d": ["dog", "emu"]}
    assert dataset.labels["record"][1] == "labels.csv:3#cat"
    assert dataset.findings == ()
    assert dataset.images["labelled"].null_count() == 4
    assert set(dataset.images["width"]) == {5}


def test_what_is_not_known_is_not_a_negative(tmp_path: Path) -> None:
    text = "Path,Sex,Age,No Finding,Edema\n" + "".join(
        f"train/patient{number:05d}/view1_frontal.jpg,{row}\n"
        for number, row in enumerate(["Female,68,1.0,", "Male,0,,-1.0", "Male,61,0.0,1.0"])
    )
    names = [f"train/patient{number:05d}/view1_frontal.jpg" for number in range(3)]
    pictures(tmp_path / "CheXpert", *names)
    text = text.replace("train/", "CheXpert/train/")
    (tmp_path / "CheXpert" / "train.csv").write_text(text)
    dataset = read(tmp_path / "CheXpert")
    assert dataset.findings == ()
    assert list(dataset.names) == ["No Finding", "Edema"]
    assert dataset.images["labelled"].to_list() == [["No Finding"], [], None]
    assert dataset.splits == {"train": 3}
    assert [json.loads(one) for one in dataset.images["extra"]] == [
        {"csv_labels": {"Sex": sex, "Age": age}}
        for sex, age in (("Female", "68"), ("Male", "0"), ("Male", "61"))
    ]
    dataset.write(tmp_path / "copy", "csv_labels")
    after = read(tmp_path / "copy")
    for column in ("labelled", "extra", "split"):
        assert after.images[column].to_list() == dataset.images[column].to_list()
    assert after.targets(2).class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("sign", "text"),
    [
        (";", "file,labels\na.jpg,cat;traffic light\nb.jpg,traffic light\nc.jpg,\nd.jpg,emu;cat\n"),
        (
            "|",
            "file,Finding Labels\n"
            "a.jpg,cat|traffic light\nb.jpg,traffic light\nc.jpg,\nd.jpg,emu | cat\n",
        ),
        (
            ",",
            'file,label\na.jpg,"cat, traffic light"\nb.jpg,traffic light\n'
            'c.jpg,\nd.jpg,"emu,cat"\nx.jpg,cat\n',
        ),
    ],
)
def test_names_in_one_column(sign: str, text: str, tmp_path: Path) -> None:
    dataset = read(make(tmp_path, text, names="a b c d x"))
    assert dataset.task == "multilabel"
    assert list(dataset.names) == ["cat", "emu", "traffic light"]
    known = labels(dataset)
    assert (known["a"], known["b"], known["c"], known["d"]) == (
        ["cat", "traffic light"],
        ["traffic light"],
        [],
        ["emu", "cat"],
    )
    (said,) = dataset.findings
    assert (said.kind, said.severity) == ("separator", "info")
    assert said.message.endswith(f"are divided by {sign!r}")


def test_spaces_divide_where_the_parts_come_back(tmp_path: Path) -> None:
    text = "image_name,tags\na,haze primary\nb,agriculture clear primary water\nc,clear primary\n"
    dataset = read(make(tmp_path, text))
    assert labels(dataset)["b"] == ["agriculture", "clear", "primary", "water"]
    assert "divided by ' '" in dataset.findings[0].message


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("label", ["golden retriever", "black cat", "tabby cat", "emu"]),
        ("label", ["tench, Tinca tinca", "goldfish, Carassius auratus", "hen", "cock"]),
        ("species", ["Turdus merula", "Turdus philomelos", "Parus major", "Parus ater"]),
    ],
)
def test_names_with_spaces_and_commas(header: str, cells: list[str], tmp_path: Path) -> None:
    rows = "".join(f'{name}.jpg,"{cell}"\n' for name, cell in zip("abcd", cells, strict=True))
    dataset = read(make(tmp_path, f"filename,{header}\n{rows}"))
    assert dataset.task == "classify"
    assert list(labels(dataset).values()) == [[cell] for cell in cells]
    assert dataset.findings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,labels\na.jpg,cat;dog\nb.jpg,cat|dog\n", "divided by ';' or by '|', and both occur"),
        (
            "file,labels\na.jpg,traffic light\nb.jpg,fire hydrant\n",
            r"names with ' ' in them, such as \['fire hydrant', 'traffic light'\], or lists",
        ),
        ("file,label,category\na.jpg,cat,pet\nb.jpg,cow,cattle\n", "'label', 'category' may each"),
        ("file,colour,shape\na.jpg,red,round\nb.jpg,blue,flat\n", "which of 'colour', 'shape' has"),
        (
            "file,label,wet\na.jpg,1,0\nb.jpg,0,0\n",
            "'label' may be the column of labels, or 'label'",
        ),
    ],
)
def test_more_than_one_reading_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    folder = make(tmp_path, text)
    with pytest.raises(DataError, match=message):
        read(folder)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("id,breed\na,boxer\nb,beagle\n", ["beagle", "boxer"]),
        ("id_code,diagnosis\na,10\nb,9\n", ["9", "10"]),
        ("image_id,label,label_name\na,0,cat\nb,1,dog\n", ["cat", "dog"]),
        ("\ufeffImage Index;Dx\na.jpg;nv\nb.jpg;mel\n", ["mel", "nv"]),
        ("file, label\na.jpg, cat\nb.jpg, dog\n", ["cat", "dog"]),
        ("id,has_cactus\na.jpg,1\nb.jpg,0\n", ["has_cactus"]),
        ("id,label\na.jpg,1\nb.jpg,0\n", ["0", "1"]),
        (",file,label\n0,a.jpg,cat\n1,b.jpg,dog\n", ["cat", "dog"]),
        ("file,whatever\na.jpg,cat\nb.jpg,dog\n", ["cat", "dog"]),
        (
            '"file","label"\r\n"a.jpg","say ""moo"""\r\n"b.jpg","two\nlines"\r\n',
            ['say "moo"', "two\nlines"],
        ),
    ],
)
def test_headers_that_people_have(text: str, names: list[str], tmp_path: Path) -> None:
    dataset = read(make(tmp_path, text))
    assert list(dataset.names) == names
    assert len(dataset) == 2
    assert dataset.findings == ()


def test_tabs_and_suffixes(tmp_path: Path) -> None:
    folder = make(tmp_path, "image\tlabel\na.jpg\tone, two\nb.jpg\tthree\n", "labels.tsv")
    assert labels(read(folder)) == {"a": ["one, two"], "b": ["three"]}


def test_splits_and_groups(tmp_path: Path) -> None:
    text = "file,label,Split,Patient ID\na.jpg,x,Training,7\nb.jpg,y,valid,7\nc.jpg,x,fold 3,8\n"
    dataset = read(make(tmp_path, text))
    assert dataset.images["split"].to_list() == ["train", "val", "fold 3"]
    assert dataset.images["group"].to_list() == ["7", "7", "8"]
    text = "fname,labels,is_valid\na.jpg,cat dog,True\nb.jpg,dog,False\nc.jpg,cat,False\n"
    dataset = read(make(tmp_path / "two", text))
    assert dataset.images["split"].to_list() == ["val", "train", "train"]


def test_a_table_for_each_split(tmp_path: Path) -> None:
    make(tmp_path, "file,cat,dog\na.jpg,1,1\nb.jpg,0,1\n", "train.csv")
    make(tmp_path, "file,cat,emu\nc.jpg,1,0\n", "my_valid.csv")
    dataset = read(tmp_path)
    assert dataset.splits == {"train": 2, "val": 1}
    assert list(dataset.names) == ["cat", "dog", "emu"]
    by_name = dict(zip(labels(dataset), dataset.images["labelled"].to_list(), strict=True))
    assert by_name == {"a": ["cat", "dog"], "b": ["cat", "dog"], "c": ["cat", "emu"]}
    make(tmp_path, "file,cat,dog\nd.jpg,1,1\n", "train_2.csv")
    with pytest.raises(DataError, match=r"has 3 tables of labels: give one of train\.csv"):
        read(tmp_path)
    assert read(tmp_path / "train_2.csv").splits == {"train": 1}


def test_every_fault_is_named(tmp_path: Path) -> None:
    text = (
        "file,cat,dog\n"
        + "".join(f"a{number}.jpg,1,0\n" for number in range(20))
        + "b.jpg,1,0\n"  # 22
        "b.jpg,1,0\n"
        "b.jpg,0,0\n"
        "c.jpg,0\n"
        "c.jpg,0,1,1\n"
        ",1,1\n"
        "../a.jpg,1,1\n"
        "nowhere.jpg,1,1\n"
        '\nd.jpg,"0,5",1\n'  # 31, after an empty line
        "e.jpg,1,maybe\n"
    )
    names = " ".join([*(f"a{number}" for number in range(20)), "b", "c", "d", "e"])
    dataset = read(make(tmp_path, text, names=names))
    assert found(dataset) == [
        ("bad-record", "labels.csv:25", 1),
        ("bad-record", "labels.csv:26", 1),
        ("bad-value", "labels.csv:31", 0),
        ("bad-value", "labels.csv:32", 0),
        ("duplicate-entry", "labels.csv:23", 1),
        ("duplicate-entry", "labels.csv:24", 0),
        ("bad-record", "labels.csv:27", 2),
        ("path-outside", "labels.csv:28", 2),
        ("missing-image", "labels.csv:29", 0),
    ]
    messages = [one.message for one in dataset.findings]
    assert "'cat' is '0,5', which has a decimal comma" in messages[2]
    assert "'dog' is 'maybe', not 0, 1, -1 or nothing" in messages[3]
    assert messages[4] == "the same as labels.csv:22"
    assert messages[5].endswith("with other labels; the first row counts")
    known = dict(zip(labels(dataset), dataset.images["labelled"].to_list(), strict=True))
    assert (known["d"], known["e"], known["nowhere"]) == (["dog"], ["cat"], None)


def test_rows_without_a_label_of_a_single_label_set(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, "file,label\na.jpg,cat\nb.jpg,\nc.jpg,dog\n"))
    assert dataset.task == "classify"
    assert found(dataset) == [("no-class", "labels.csv:3", 0)]
    assert list(labels(dataset)) == ["a", "c"]


def test_none_of_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\na.jpg,cat\nb.jpg,dog\n")
    dataset = read(tmp_path)
    (one,) = dataset.findings
    assert one.message.startswith("none of the 2 pictures is there (the first is a.jpg)")
    pictures(tmp_path / "far" / "deep", "a.jpg", "b.jpg")
    assert read(tmp_path, images=tmp_path / "far").findings == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'file,label\na.jpg,cat\nb.jpg,"dog\nc.jpg,cow\n', r"labels\.csv:4 is not a row"),
        (b"file,label\na.jpg,cat\nb.jpg,\xe4\nc.jpg,x\n", r"labels\.csv:3 is not UTF-8"),
        (b'file,label\na.jpg,"cat"dog\n', r"labels\.csv:2 is not a row"),
        (b"file,label\na.jpg," + b"x" * 200_000 + b"\n", "field larger than field limit"),
        (b"", "has no header"),
        (b"file\na.jpg\n", "is no table of labels"),
        (b"colour,label\nred,cat\n", "is no table of labels"),
    ],
)
def test_damaged_tables_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "labels.csv", format="csv_labels")


@pytest.mark.parametrize(
    "text",
    [
        "image_path,xmin,ymin,xmax,ymax,label\na.jpg,1,2,3,4,cat\n",
        "filename,label,bbox\na.jpg,cat,[1 2 3 4]\n",
        "ImageID,Source,LabelName,Confidence\na,x,/m/01,1\n",
        "image,width,height,name,score,x1,y1,x2,y2\na.jpg,1,1,cat,0.5,1,2,3,4\n",
        "ImageId,PredictionString\na,n01 1 2 3 4\n",
        "id,name\n1,cat\n2,dog\n",
        "file,label\nreadme.txt,cat\n",
    ],
)
def test_other_tables_are_not_taken(text: str, tmp_path: Path) -> None:
    folder = make(tmp_path, text, names="x")
    assert formats()["csv_labels"].recognise(folder) is None


def test_parquet_and_arrow(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    frame = pl.DataFrame(
        {
            "path": ["a.jpg", "b.jpg", "c.jpg"],
            "cat": [True, False, None],
            "dog": [1, 0, -1],
            "age": [34.5, None, 2.0],
        }
    )
    frame.write_parquet(tmp_path / "labels.parquet.parquet")
    dataset = read(tmp_path)
    assert labels(dataset) == {"a": ["cat", "dog"], "b": [], "c": []}
    assert dataset.images["labelled"].to_list() == [None, None, []]
    assert dataset.images["extra"].to_list() == [
        '{"csv_labels": {"age": "34.5"}}',
        None,
        '{"csv_labels": {"age": "2.0"}}',
    ]
    (tmp_path / "labels.parquet.parquet").unlink()
    lists = pl.DataFrame({"image": ["a.jpg", "b.jpg", "c.jpg"], "tags": [["x;y", "z"], [], ["z"]]})
    lists.write_ipc(tmp_path / "tags.feather")
    dataset = read(tmp_path)
    assert labels(dataset) == {"a": ["x;y", "z"], "b": [], "c": ["z"]}
    assert dataset.labels["record"].to_list() == [
        "tags.feather#0#x;y",
        "tags.feather#0#z",
        "tags.feather#2#z",
    ]


def test_folders_of_something_else_than_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "patient 1/a.jpg", "patient 2/b.jpg")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\npatient 1/a.jpg,sick\npatient 2/b.jpg,well\n")
    assert read(tmp_path).format == "csv_labels"
    table.write_text("file,label\npatient 1/a.jpg,patient 1\npatient 2/b.jpg,patient 2\n")
    with pytest.raises(DataError, match=r"looks like csv_labels .* and folders"):
        read(tmp_path)


def test_a_column_with_too_many_faults_is_said_to_be_no_class(tmp_path: Path) -> None:
    text = "file,cat,dog\na.jpg,1,1\nb.jpg,0,?\nc.jpg,1,0\n"
    dataset = read(make(tmp_path, text))
    assert list(dataset.names) == ["cat"]
    assert found(dataset) == [("bad-value", "labels.csv", 0)]
    assert "'dog' has 0 or 1 in most rows" in dataset.findings[0].message


def test_flags_of_the_split_are_no_classes(tmp_path: Path) -> None:
    text = "image,is_valid,is_test,cat,dog\na.jpg,1,0,1,0\nb.jpg,0,1,0,1\nc.jpg,0,0,1,1\n"
    with pytest.raises(DataError, match="'is_valid', 'is_test' may each tell the split: keep one"):
        read(make(tmp_path / "two", text))
    text = "image,split,is_test,cat,dog\na.jpg,train,0,1,0\nb.jpg,test,1,0,1\nc.jpg,val,0,1,1\n"
    dataset = read(make(tmp_path / "one", text, names="a b c"))
    assert list(dataset.names) == ["cat", "dog"]
    assert dataset.images["split"].to_list() == ["train", "test", "val"]
    assert dataset.images["extra"].to_list()[1] == '{"csv_labels": {"is_test": "1"}}'
    assert found(dataset) == []
