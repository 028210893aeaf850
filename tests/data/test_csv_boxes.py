"""Tables of boxes: what columns mean, whatever their names and order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import read
from whatwhere.errors import DataError

ROWS = [("cat", 10, 20, 30.5, 40), ("dog", 1, 2, 3, 4)]


@pytest.mark.parametrize(
    "text",
    [
        "image_path,xmin,ymin,xmax,ymax,label\na.png,10,20,30.5,40,cat\na.png,1,2,3,4,dog\n",
        # DeepForest's truth, makesense.ai, TensorFlow's, and columns of nobody in particular.
        "image_path,xmin,xmax,ymin,ymax,label\na.png,10,30.5,20,40,cat\na.png,1,3,2,4,dog\n",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\n"
        "cat,10,20,20.5,20,a.png,200,100\ndog,1,2,2,2,a.png,200,100\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        "a.png,200,100,cat,10,20,30.5,40\na.png,200,100,dog,1,2,3,4\n",
        "Class Name;X1;Y1;X2;Y2;Image\ncat;10;20;30,5;40;a.png\ndog;1;2;3;4;a.png\n",
        "image\tlabel\tx\ty\tw\th\na.png\tcat\t10\t20\t20.5\t20\na.png\tdog\t1\t2\t2\t2\n",
        "a.png,10,20,30.5,40,cat\na.png,1,2,3,4,dog\n",
        '\ufeff"image","xmin","ymin","xmax","ymax","label"\r\n'
        '"a.png",10,20,30.5,40,"cat"\r\n\r\n"a.png",1,2,3,4,"dog"\r\n',
    ],
)
def test_columns_are_known_by_their_names(text: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    store(tmp_path / "boxes.csv", text)
    data = read(tmp_path)
    assert boxes(data) == ROWS
    assert data.findings == ()
    assert len(data) == 1


def test_keras_retinanet_with_its_classes_and_empty_rows(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    table = store(tmp_path / "train.csv", "b.png,,,,,\na.png,10,20,30.5,40,cat\n")
    store(tmp_path / "classes.csv", "zebra,0\ncat,2\ndog,1\n")
    data = read(tmp_path)
    assert list(data.names) == ["zebra", "dog", "cat"]
    assert data.splits == {"train": 2}
    assert data.stats()["labels"] == 1
    again(data, tmp_path / "copy", "csv_boxes")
    assert read(table).labels["record"].to_list() == ["train.csv:2"]


def test_outlines_in_well_known_text(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shapes = [
        '"POLYGON ((1 2, 30 4, 20.5 40, 1 2))"',
        '"POLYGON ((10 20, 10 40, 30 40, 30 20, 10 20))"',
        '"MULTIPOLYGON (((1 1, 5 1, 5 5, 1 1)), ((7 1, 9 1, 9 5, 7 1)))"',
        "POINT (5 5)",
        '"POLYGON ((1 2, 3))"',
        '"POLYGON ((1 2, 30 4, 20 40, 1 2), (5 5, 6 5, 6 6, 5 5))"',
    ]
    rows = "".join(f"a.png,cat,0.5,{shape}\n" for shape in shapes)
    data = read(store(tmp_path / "boxes.csv", f"image_path,label,score,geometry\n{rows}"))
    assert [one[1:] for one in boxes(data)] == [
        (1, 2, 30, 40),
        (10, 20, 30, 40),
        (1, 1, 9, 5),
        (1, 2, 30, 40),
    ]
    assert column(data, "segmentation")[:3] == [
        [[1, 2, 30, 4, 20.5, 40]],
        None,
        [[1, 1, 5, 1, 5, 5], [7, 1, 9, 1, 9, 5]],
    ]
    assert kinds(data) == ["bad-box", "filled-hole", "no-box"]
    hole = next(one for one in data.findings if one.kind == "filled-hole")
    assert (hole.where, hole.boxes) == ("boxes.csv:7", 0)
    assert "1 hole" in hole.message
    assert column(data, "score") == [0.5] * 4


def test_polygons_and_their_holes_are_counted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    one, two, hole = "(1 1, 9 1, 9 9, 1 1)", "(20 1, 29 1, 29 9, 20 1)", "(2 2, 3 2, 3 3, 2 2)"
    shape = f"MULTIPOLYGON (({one}, {hole}, {hole}), ({two}, {hole}))"
    store(tmp_path / "boxes.csv", f'image_path,label,geometry\na.png,cat,"{shape}"\n')
    data = read(tmp_path)
    assert boxes(data) == [("cat", 1, 1, 29, 9)]
    (finding,) = data.findings
    assert "3 hole" in finding.message


HEADER = "image,xmin,ymin,xmax,ymax,label\n"


@pytest.mark.parametrize(
    "table",
    [
        f"{HEADER}a.png,0.05,0.2,0.1525,0.4,cat\na.png,0,0,1,1,dog\nb.png,,,,,\n",
        "image,x,y,w,h,label\na.png,0.05,0.2,0.1025,0.2,cat\na.png,0,0,1,1,dog\nb.png,,,,,\n",
        "a.png,0.05,0.2,0.1525,0.4,cat\na.png,0,0,1,1,dog\nb.png,,,,,\n",
    ],
)
def test_fractions_of_the_picture_are_recognised(table: str, tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    store(tmp_path / "boxes.csv", table)
    data = read(tmp_path)
    assert boxes(data) == [("cat", 10, 20, 30.5, 40), ("dog", 0, 0, 200, 100)]
    (finding,) = data.findings
    assert (finding.kind, finding.severity) == ("fractional-boxes", "info")
    assert "2 boxes" in finding.message


@pytest.mark.parametrize(
    ("row", "box"),
    [
        # One box in pixels, corners that could only be whole pixels, and a tiny picture.
        ("a.png,0.5,0.5,3,4,cat\na.png,0.1,0.1,0.9,0.9,cat", (0.5, 0.5, 3, 4)),
        ("a.png,0,0,1,1,cat", (0, 0, 1, 1)),
        ("tiny.png,0.5,0.5,1,1,cat", (0.5, 0.5, 1, 1)),
    ],
)
def test_small_boxes_in_pixels_are_no_fractions(
    row: str, box: tuple[float, ...], tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "tiny.png", 3, 2)
    data = read(store(tmp_path / "boxes.csv", f"{HEADER}{row}\n"))
    assert boxes(data)[0][1:] == box
    assert "fractional-boxes" not in kinds(data)


def test_fractions_of_a_picture_that_is_not_there(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = "a.png,0.5,0.5,0.75,1,cat\nb.png,0.5,0.5,0.75,1,cat\n"
    data = read(store(tmp_path / "boxes.csv", HEADER + rows))
    assert boxes(data) == [("cat", 100, 50, 150, 100)]
    assert kinds(data) == ["bad-box", "fractional-boxes", "missing-image"]
    assert data.kept_out == 1


def test_faults(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png")
    rows = [
        "a.png,10,20,30,40,cat,checked",
        "a.png,10,20,,40,cat,",
        'a.png,"10,5",20,30,40,cat,',
        "a.png,30,20,10,40,cat,",
        "a.png,10,20,300,40,cat,",
        "a.png,10,20,30,40,,",
        ",10,20,30,40,cat,",
        "../../b.png,10,20,30,40,cat,",
        "absent.png,10,20,30,40,cat,",
        "a.png,1",
    ]
    text = "image,xmin,ymin,xmax,ymax,label,note\n" + "\n".join(rows)
    data = read(store(tmp_path / "set" / "boxes.csv", text))
    assert len(data) == 2
    expected = ["bad-box"] * 3 + ["inverted-box", "clipped-box", "no-class"]
    # One row without a picture, and one that is too short.
    expected += ["bad-record"] * 2
    assert kinds(data) == sorted([*expected, "path-outside", "missing-image"])
    assert any("decimal commas" in one.message for one in data.findings)
    assert data.kept_out + data.labels.height == len(rows)
    assert column(data, "extra")[0] == {"csv_boxes": {"note": "checked"}}


def test_several_tables(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    header = "image,xmin,ymin,xmax,ymax,label\n"
    for name, image in (("train_labels", "a"), ("test_labels", "b")):
        store(tmp_path / f"{name}.csv", f"{header}{image}.png,1,2,3,4,cat\n")
    assert read(tmp_path).splits == {"train": 1, "test": 1}
    store(tmp_path / "more.csv", f"{header}a.png,1,2,3,4,cat\n")
    with pytest.raises(DataError, match=r"test_labels\.csv"):
        read(tmp_path)
    assert len(read(tmp_path / "more.csv")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n1,x,/m/1,1,0,1,0,1\n",
        "image,cat,dog\na.png,0,1\n",
        "image,label\na.png,cat\n",
        "name,id\ncat,0\n",
        "",
        "\0\0\0",
    ],
)
def test_other_tables_are_not_taken(text: str, tmp_path: Path) -> None:
    from whatwhere.data.formats import csv_boxes

    assert csv_boxes.recognise(store(tmp_path / "a.csv", text)) is None


def test_neon_trees(shared: Path) -> None:
    place = shared / "neon_trees"
    expected = {
        "OSBS_029": (61, "Tree"),
        "2018_SJER_3_252000_4107000_image_477": (7, "0"),
        "2018_SJER_3_252000_4107000_image_477_truth": (7, "0"),
        "2019_BLAN_3_751000_4330000_image_crop_bbox": (4, "Tree"),
        "2019_BLAN_3_751000_4330000_image_crop_polygon": (4, "Tree"),
        "example": (79, "Tree"),
        "testfile_multi": (37, "Dead"),
    }
    for name, (count, label) in expected.items():
        data = read(place / f"{name}.csv")
        assert (data.format, len(data), data.labels.height) == ("csv_boxes", 1, count), name
        assert data.names[0] == label
        assert data.findings == (), name
    truth = read(place / "2018_SJER_3_252000_4107000_image_477_truth.csv")
    assert boxes(truth)[0] == ("0", 1, 103, 82, 235)
    shapes = read(place / "2019_BLAN_3_751000_4330000_image_crop_polygon.csv")
    assert len(json.loads(shapes.labels["segmentation"][0])[0]) > 40
    with pytest.raises(DataError, match="tables of boxes"):
        read(place, format="csv_boxes")


def test_what_later_rows_and_columns_say_otherwise(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    text = "image,xmin,ymin,xmax,ymax,label,split,group,note,note\n"
    text += "a.png,1,2,3,4,cat,train,7,x,y\na.png,5,6,7,8,cat,val,8,x,y\n"
    text += "a.png,9,10,11,12,cat,val,8,x,y\nb.png,1,2,3,4,cat,train,,,\nb.png,5,6,7,8,cat,,,,\n"
    table = store(tmp_path / "boxes.csv", text)
    data = read(table)
    assert data.images["split"].to_list() == ["train", "train"]
    assert data.images["group"].to_list() == ["7", None]
    assert kinds(data) == ["bad-value", "contradicting-splits", "duplicate-key"]
    assert sorted(one.where for one in data.findings) == [
        "boxes.csv:1",
        "boxes.csv:3",
        "boxes.csv:3",
    ]
    assert len(data.labels) == 5
