"""Open Images: MIDs, flags, sources, verified labels, hierarchy, CSV as people write it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_samples import rich
from whatwhere.data import Dataset, read
from whatwhere.data.formats._open_images_layout import class_names
from whatwhere.data.formats._open_images_tree import ancestors
from whatwhere.data.formats.open_images import with_ancestors
from whatwhere.errors import DataError, UsageError
from whatwhere.images import write_image

BOXES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax"
HEADER = f"{BOXES},IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
CLASSES = '/m/01,Animal\n/m/02,Cat\n/m/03,"Dog, big"\n'
CAT = "a,xclick,/m/02,1,0.25,0.5,0.125,0.75,0,1,-1,0,0"


def make(root: Path, files: dict[str, str], pictures: str = "ab", folder: str = "train") -> Path:
    for name in pictures:
        write_image(root / folder / f"{name}.jpg", np.full((40, 60, 3), 9, np.uint8))
    for file, text in {"class-descriptions-boxable.csv": CLASSES, **files}.items():
        (root / file).write_text(text, "utf-8", newline="")
    return root


def boxes(*rows: str, header: str = HEADER) -> dict[str, str]:
    return {"train-annotations-bbox.csv": "\n".join([header, *rows, ""])}


def kinds(dataset: Dataset) -> list[tuple[str, str]]:
    return [(one.kind, one.where) for one in dataset.findings]


def test_what_a_row_says(tmp_path: Path) -> None:
    crowd = "b,activemil,/m/03,1,0,1,0,0.5,-1,0,1,1,-1"
    dataset = read(make(tmp_path, boxes(CAT, crowd)))
    cat, dogs = dataset.labels.to_dicts()
    assert [cat[side] for side in ("x1", "y1", "x2", "y2")] == [15, 5, 30, 30]
    assert (cat["source"], cat["score"], cat["extra"]) == ("human", None, None)
    assert (cat["occluded"], cat["truncated"], cat["iscrowd"]) == (False, True, None)
    assert (dogs["occluded"], dogs["iscrowd"], dogs["ignore"]) == (None, True, True)
    assert dogs["source"] == "verified"
    assert json.loads(dogs["extra"]) == {"open_images": {"IsDepiction": 1, "IsInside": -1}}
    assert list(dataset.names) == ["Animal", "Cat", "Dog, big"]
    assert dataset.class_info["Cat"] == {"mid": "/m/02"}
    assert dataset.splits == {"train": 2}
    assert cat["record"] == "train-annotations-bbox.csv:2"
    assert dataset.findings == ()


def test_lists_of_pictures_are_called_as_other_programs_look_for_them(tmp_path: Path) -> None:
    dataset = read(make(tmp_path / "one", boxes(CAT)))
    dataset.write(tmp_path / "two", "open_images")
    assert sorted(file.name for file in (tmp_path / "two").glob("*.csv")) == [
        "class-descriptions-boxable.csv",
        "train-annotations-bbox.csv",
        "train-images-with-rotation.csv",
    ]
    assert read(tmp_path / "two").images["extra"].equals(dataset.images["extra"])
    assert len(read(tmp_path / "two")) == 2


def test_other_words_for_the_source_come_back(tmp_path: Path) -> None:
    rows = [CAT.replace("xclick", one) for one in ("freeform", 'a "guess"', "machine", "")]
    rows[1] = rows[1].replace('a "guess"', '"a ""guess"""')
    dataset = read(make(tmp_path / "one", boxes(*rows)))
    assert dataset.labels["source"].to_list() == ["human", None, "model", None]
    assert dataset.labels["score"].to_list() == [None, None, 1, None]
    dataset.write(tmp_path / "two", "open_images")
    again = read(tmp_path / "two")
    for column in ("source", "score", "extra"):
        assert again.labels[column].equals(dataset.labels[column])


def test_columns_of_version_six_and_another_order(tmp_path: Path) -> None:
    header = "LabelName,ImageID,XMin,XMax,YMin,YMax,XClick1X,Confidence,IsGroupOf"
    dataset = read(make(tmp_path, boxes("/m/02,a,0.25,0.5,0.125,0.75,0.3,1,1", header=header)))
    assert dataset.labels.select("x1", "y1", "x2", "y2", "iscrowd").row(0) == (15, 5, 30, 30, True)
    (said,) = (one for one in dataset.findings if one.kind == "left-out-field")
    assert (said.severity, said.message) == ("info", "columns that are not read: XClick1X")


def test_verified_labels_of_pictures_say_what_was_looked_for(tmp_path: Path) -> None:
    rows = "ImageID,Source,LabelName,Confidence\na,verification,/m/02,1\na,verification,/m/03,0\n"
    rows += "b,verification,/m/02,1\nb,machine,/m/03,0.7\nb,crowdsource-verification,/m/01,0\n"
    file = {"train-annotations-human-imagelabels-boxable.csv": rows}
    dataset = read(make(tmp_path, boxes(CAT) | file))
    # b shows a cat that nobody drew: it is neither there nor verified to be absent.
    assert dataset.images["labelled"].to_list() == [["Cat", "Dog, big"], ["Animal"]]
    assert [kind for kind, _ in kinds(dataset)] == ["open-class"]


def test_without_boxes_it_is_a_multi_label_set(tmp_path: Path) -> None:
    rows = "ImageID,Source,LabelName,Confidence\na,verification,/m/02,1\na,verification,/m/03,0\n"
    rows += "b,machine,/m/03,0.75\n"
    dataset = read(make(tmp_path, {"train-annotations-human-imagelabels.csv": rows}))
    assert dataset.task == "multilabel"
    assert dataset.labels.select("image", "class_id", "source", "score").rows() == [
        (0, 1, "verified", None),
        (1, 2, "model", 0.75),
    ]
    assert dataset.images["labelled"].to_list() == [["Cat", "Dog, big"], ["Dog, big"]]


def test_commas_for_points(tmp_path: Path) -> None:
    row = 'a,,Cat,,"0,25","0,5","0,125","0,75",,,,,'
    make(tmp_path, boxes(row))
    (tmp_path / "class-descriptions-boxable.csv").unlink()
    dataset = read(tmp_path)
    assert dataset.labels.select("x1", "y1", "x2", "y2").row(0) == (15, 5, 30, 30)
    assert list(dataset.names) == ["Cat"]
    messages = {one.kind: one.message for one in dataset.findings}
    assert messages["decimal-comma"].startswith("1 rows have a comma")
    assert "names, not MIDs" in messages["unknown-class"]


def test_faults_are_named_by_line(tmp_path: Path) -> None:
    rows = [
        CAT,
        CAT.replace("0.25", "left"),
        CAT.replace("0.25", "0.9"),
        CAT.replace("/m/02", "/m/99"),
        CAT.replace("/m/02", ""),
        CAT.replace(",0,1,-1", ",0,7,-1"),
        CAT.replace("a,", "", 1),
        CAT + ",more",
        CAT.replace("a,", ",", 1),
    ]
    dataset = read(make(tmp_path, boxes(*rows)))
    where = "train-annotations-bbox.csv"
    assert sorted(kinds(dataset), key=lambda one: (one[1], one[0])) == [
        ("missing-labels", "."),
        ("bad-record", f"{where}:10"),
        ("bad-box", f"{where}:3"),
        ("bad-value", f"{where}:3"),
        ("inverted-box", f"{where}:4"),
        ("unknown-class", f"{where}:5"),
        ("no-class", f"{where}:6"),
        ("bad-value", f"{where}:7"),
        ("bad-record", f"{where}:8"),
        ("bad-record", f"{where}:9"),
    ]
    assert list(dataset.names) == ["Animal", "Cat", "Dog, big", "/m/99"]
    assert dataset.labels.height + dataset.kept_out == len(rows)


def test_a_broken_quote_costs_no_other_row(tmp_path: Path) -> None:
    bad = CAT.replace("xclick", 'x"click')
    dataset = read(make(tmp_path, boxes(CAT, bad, CAT.replace("a,", "b,", 1))))
    assert dataset.labels.height + dataset.kept_out == 3
    assert dataset.labels.height >= 2


def test_pictures_of_which_no_table_speaks(tmp_path: Path) -> None:
    plain = read(make(tmp_path / "one", boxes(CAT), "abc"))
    assert (len(plain), kinds(plain)) == (3, [("missing-labels", ".")])
    listed = "ImageID,Subset,OriginalURL,Rotation\na,train,http://x,90.0\nb,train,,0.0\n"
    file = {"train-images-boxable-with-rotation.csv": listed}
    dataset = read(make(tmp_path / "two", boxes(CAT) | file, "abc"))
    assert (len(dataset), kinds(dataset)) == (2, [("unlisted-image", ".")])
    assert dataset.images["extra"].to_list() == ['{"open_images": {"Rotation": 90}}', None]


def test_missing_pictures(tmp_path: Path) -> None:
    rows = boxes(CAT, CAT.replace("a,", "gone,", 1), CAT.replace("a,", "../x,", 1))
    dataset = read(make(tmp_path, rows, "a"))
    assert kinds(dataset) == [
        ("path-outside", "train-annotations-bbox.csv:4"),
        ("missing-image", "train-annotations-bbox.csv:3"),
    ]
    assert dataset.kept_out == 2
    (tmp_path / "train" / "a.jpg").unlink()
    with pytest.raises(DataError, match="none of 3 pictures is on disk"):
        read(tmp_path)


def test_a_table_with_a_broken_header(tmp_path: Path) -> None:
    files = boxes(CAT) | {"validation-annotations-bbox.csv": HEADER.replace("YMax", "Y") + "\n"}
    dataset = read(make(tmp_path, files, "a"))
    assert kinds(dataset) == [("damaged-annotation", "validation-annotations-bbox.csv")]


def test_confidences_that_are_none(tmp_path: Path) -> None:
    rows = "ImageID,Source,LabelName,Confidence\na,verification,/m/02,1\na,verification,/m/03,-5\n"
    dataset = read(make(tmp_path / "one", {"train-annotations-human-imagelabels.csv": rows}, "a"))
    where = "train-annotations-human-imagelabels.csv:3"
    assert (kinds(dataset), dataset.kept_out) == ([("bad-value", where)], 1)
    boxed = read(make(tmp_path / "two", boxes(CAT.replace(",1,", ",sure,", 1)), "a"))
    assert kinds(boxed) == [("bad-value", "train-annotations-bbox.csv:2")]
    assert (boxed.labels.height, boxed.kept_out) == (1, 0)


def test_classes_of_one_name_keep_apart(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(
        'LabelName,DisplayName\n/m/1,Bat\n/m/2,Bat\n/m/3\n/m/4,"A, B"\n'
    )
    findings: list[object] = []
    names, count = class_names([tmp_path / "c.csv"], tmp_path, findings)  # type: ignore[arg-type]
    assert names == {"/m/1": "Bat", "/m/2": "Bat (/m/2)", "/m/4": "A, B"}
    assert (count, len(findings)) == (3, 2)


TREE = {
    "LabelName": "/m/00",
    "Subcategory": [
        {"LabelName": "/m/01", "Subcategory": [{"LabelName": "/m/02"}, {"LabelName": "/m/03"}]},
        {"LabelName": "/m/05", "Part": [{"LabelName": "/m/02"}]},
    ],
}


def test_the_hierarchy(tmp_path: Path) -> None:
    assert ancestors(TREE)["/m/02"] == {"/m/00", "/m/01"}
    file = {"bbox_labels_600_hierarchy.json": json.dumps(TREE)}
    animal = CAT.replace("/m/02", "/m/01")
    rows = boxes(CAT, animal, CAT.replace("a,", "b,", 1).replace("/m/02", "/m/03"))
    dataset = read(make(tmp_path / "one", rows | file))
    assert dataset.info["hierarchy"] == TREE
    more = with_ancestors(dataset)
    found = more.labels.select("image", "class_id").rows()
    # The animal around the first cat is there already.
    assert sorted(found) == [(0, 0), (0, 1), (1, 0), (1, 2)]
    assert more.labels["record"].n_unique() == 4
    dataset.write(tmp_path / "two", "open_images")
    assert read(tmp_path / "two").info == {"hierarchy": TREE}
    with pytest.raises(UsageError, match="no hierarchy"):
        with_ancestors(read(make(tmp_path / "three", rows)))


def test_what_multi_label_tables_lose_is_said(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((40, 60, 3), 9, np.uint8))
    rows = {"image": [0], "class_id": [0], "truncated": [True]}
    dataset = Dataset({"path": [str(tmp_path / "a.png")]}, rows, ["cat"], task="multilabel")
    dataset.class_info = {"cat": {"mid": "/m/02", "colour": "red"}}
    lost = dataset.write(tmp_path / "copy", "open_images")
    assert ["truncated" in one.message or "colour" in one.message for one in lost] == [True, True]


def test_the_genuine_descriptions(shared: Path) -> None:
    findings: list[object] = []
    file = shared / "open_images" / "class-descriptions-boxable.csv"
    names, count = class_names([file], file.parent, findings)  # type: ignore[arg-type]
    assert (count, names["/m/011k07"], findings) == (601, "Tortoise", [])
    with pytest.raises(DataError):
        read(file.parent, "open_images")


def test_the_genuine_table_with_commas(shared: Path) -> None:
    folder = shared / "many_formats" / "data" / "database"
    dataset = read(folder / "gts" / "openimages_format", images=folder / "images")
    other = read(folder / "gts" / "tfrecord_format", images=folder / "images")
    assert [one.kind for one in dataset.findings] == ["decimal-comma", "unknown-class"]
    rows = []
    for one in (dataset, other):
        names = pl.Series(list(one.names))
        paths = pl.Series(one.relative_paths())
        rows.append(
            one.labels.select(
                paths.gather(one.labels["image"]).alias("path"),
                names.gather(one.labels["class_id"]).alias("name"),
                "x1",
                "y1",
                "x2",
                "y2",
            ).sort("path", "name", "x1", "y1")
        )
    assert rows[0].height == 273
    assert (
        rows[0]
        .select(pl.col("path").str.split("/").list.last(), "name")
        .equals(rows[1].select(pl.col("path").str.split("/").list.last(), "name"))
    )
    boxes = [one.select("x1", "y1", "x2", "y2").to_numpy() for one in rows]
    assert np.abs(boxes[0] - boxes[1]).max() < 0.01


def test_a_score_of_zero_is_said_to_mean_absence(tmp_path: Path) -> None:
    dataset = rich("multilabel", tmp_path, ["score"])
    zero = dataset.labels.with_columns(score=pl.Series([0.0] + [None] * 7, dtype=pl.Float32))
    before = Dataset(dataset.images, zero, dataset.names, task="multilabel")
    (found,) = before.write(tmp_path / "copy", "open_images")
    assert (found.kind, found.boxes, found.action) == ("zero-score", 1, "written as absent")
    after = read(tmp_path / "copy")
    assert after.labels.height == 7
    assert after.images["labelled"].null_count() == 6


def test_a_machine_is_known_in_any_spelling(tmp_path: Path) -> None:
    rows = "ImageID,Source,LabelName,Confidence\na,verification,/m/02,1\na, Machine ,/m/03,0\n"
    file = {"train-annotations-human-imagelabels-boxable.csv": rows}
    dataset = read(make(tmp_path, boxes(CAT) | file, "a"))
    assert dataset.images["labelled"].to_list() == [["Cat"]]


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (
            "train-annotations-object-segmentation.csv",
            "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks",
        ),
        (
            "oidv6-train-annotations-vrd.csv",
            "ImageID,LabelName1,LabelName2,XMin1,XMax1,YMin1,YMax1,XMin2,XMax2,YMin2,YMax2",
        ),
        ("train-annotations-point-labels.csv", "ImageId,X,Y,Label,EstimatedYesNo,Source"),
    ],
)
def test_other_tables_of_the_original_are_not_damaged(
    tmp_path: Path, name: str, header: str
) -> None:
    dataset = read(make(tmp_path, boxes(CAT) | {name: header + "\n"}, "a"))
    (finding,) = dataset.findings
    assert (finding.kind, finding.where, finding.severity) == ("left-out-file", name, "info")
