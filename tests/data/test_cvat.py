"""CVAT: shapes of pictures, tracks of videos, tags, and files that end too early."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cvat_files import HEAD, box, file, image, track
from data_samples import changed
from format_limits import columns_of
from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import Dataset, read
from whatwhere.data.formats._cvat_xml import elements
from whatwhere.data.formats._xml import parse_xml
from whatwhere.errors import DataError

VIDEO = columns_of("cvat")


def test_shapes_of_every_kind(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    cuboid = " ".join(
        f'{axis}{corner}{side}="{value}"'
        for side, shift in (("1", 0), ("2", 4))
        for corner, (x, y) in {"tl": (1, 1), "bl": (1, 9), "tr": (6, 1), "br": (6, 9)}.items()
        for axis, value in (("x", x + shift), ("y", y + shift))
    )
    shapes = [
        '<box label="car" source="manual" occluded="1" xtl="1.5" ytl="2" xbr="30" ybr="40"/>',
        '<box label="car" source="auto" rotation="90" xtl="50" ytl="40" xbr="70" ybr="50"/>',
        '<polygon label="person" source="semi-auto" points="1,2;30.5,4;20,40" z_order="2"/>',
        '<ellipse label="car" cx="50" cy="50" rx="20" ry="10"/>',
        f'<cuboid label="car" {cuboid}/>',
        '<mask label="car" rle="0, 3, 2, 1" left="4" top="2" width="3" height="2"/>',
        '<polyline label="car" points="1,1;2,2"/>',
        '<points label="car" points="1,1"/>',
        '<box label="car" xtl="x" ytl="2" xbr="3" ybr="4"/>',
        '<polygon label="car" points="1,2;3"/>',
        '<mask label="car" rle="999999999999" left="0" top="0" width="99999" height="99999"/>',
        '<box label="" xtl="1" ytl="2" xbr="3" ybr="4"/>',
    ]
    file(tmp_path, image(*shapes))
    data = read(tmp_path)
    assert boxes(data) == [
        ("car", 1.5, 2, 30, 40),
        ("car", 55, 35, 65, 55),
        ("person", 1, 2, 30.5, 40),
        ("car", 30, 40, 70, 60),
        ("car", 1, 1, 10, 13),
        ("car", 4, 2, 7, 4),
    ]
    wrong = ["bad-box"] * 3 + ["no-box"] * 2 + ["no-class"]
    assert kinds(data) == sorted(wrong)
    assert column(data, "source")[:3] == ["human", "model", "verified"]
    assert column(data, "occluded")[:2] == [True, False]
    assert column(data, "extra")[2] == {"cvat": {"z_order": 2}}
    assert data.images["id"].to_list() == [7]
    assert [info["color"] for info in data.class_info.values()] == ["#fa3253", "#33ddff"]
    again(data, tmp_path / "copy", "cvat")
    text = (tmp_path / "copy" / "annotations.xml").read_text()
    assert [text.count(f"<{tag} ") for tag in ("ellipse", "cuboid", "mask", "polygon")] == [1] * 4
    assert 'rotation="90"' in text


def test_parts_of_one_group_are_one_object(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    first, second = "1,1;5,1;5,5", "7,1;9,1;9,5.5"
    shapes = [f'<polygon label="car" group_id="3" points="{one}"/>' for one in (first, second)]
    shapes += [f'<polygon label="person" group_id="3" points="{first}"/>']
    shapes += [f'<polygon label="car" points="{first}"/>']
    file(tmp_path, image(*shapes))
    data = read(tmp_path)
    assert boxes(data) == [("car", 1, 1, 9, 5.5), ("person", 1, 1, 5, 5), ("car", 1, 1, 5, 5)]


def test_attributes_have_the_kind_that_they_are_declared_to_have(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    values = {"parked": "true", "doors": "4", "plate": "007", "difficult": "true", "track_id": "9"}
    inner = "".join(f'<attribute name="{key}">{one}</attribute>' for key, one in values.items())
    file(tmp_path, image(f'<box label="car" xtl="1" ytl="2" xbr="3" ybr="4">{inner}</box>'))
    data = read(tmp_path)
    assert column(data, "attributes") == [{"parked": True, "doors": 4, "plate": "007"}]
    assert column(data, "difficult") == [True]
    assert column(data, "track") == ["9"]


def test_tags_alone_are_a_multilabel_set(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    tags = ('<tag label="car" source="manual"/>', '<tag label="person"/>')
    file(tmp_path, image(*tags) + image(name="b.png"))
    data = read(tmp_path)
    assert data.task == "multilabel"
    assert data.labels.select("image", "class_id").rows() == [(0, 0), (0, 1)]


def test_subsets_are_splits_with_folders_of_their_own(tmp_path: Path) -> None:
    for subset in ("Train", "Validation"):
        picture(tmp_path / "images" / subset / "a.png")
    body = "".join(image(more=f' subset="{name}"') for name in ("Train", "Validation"))
    data = read(file(tmp_path, body).parent)
    assert data.splits == {"train": 1, "val": 1}
    assert data.findings == ()


def test_subsets_stand_in_a_project(tmp_path: Path) -> None:
    """CVAT has them in exports of projects only, and others do not look for them elsewhere."""
    for subset in ("train", "val", "default"):
        picture(tmp_path / "one" / "images" / subset / "a.png")
    body = "".join(image(more=f' subset="{name}"') for name in ("train", "val", "default"))
    data = read(file(tmp_path / "one", body).parent)
    assert data.images["split"].to_list() == ["train", "val", None]
    data.write(tmp_path / "two", "cvat")
    root = parse_xml(tmp_path / "two" / "annotations.xml")
    project = root.children[1].child("project")
    assert project is not None
    tasks = project.child("tasks")
    assert tasks is not None
    assert [task.value("subset") for task in tasks.children] == ["train", "val", "default"]
    shown = [one.attributes["subset"] for one in root.children if one.tag == "image"]
    assert shown == ["train", "val", "default"]
    assert read(tmp_path / "two").images["split"].to_list() == ["train", "val", None]


def test_splits_that_subsets_are_read_as_something_else(tmp_path: Path) -> None:
    splits = ["default", "Default", "validation", "val", "a/b", None]
    paths = [str(picture(tmp_path / "source" / f"{number}.png")) for number in range(6)]
    labels = {"image": [0], "class_id": [0], "x1": [1], "y1": [1], "x2": [9], "y2": [9]}
    data = Dataset({"path": paths, "split": splits}, labels, ["car"], task="detect")
    data.write(tmp_path / "copy", "cvat")
    back = read(tmp_path / "copy")
    names = [Path(path).name for path in back.paths]
    found = dict(zip(names, back.images["split"].to_list(), strict=True))
    assert found == {f"{number}.png": split for number, split in enumerate(splits)}


def test_tracks_of_a_video(tmp_path: Path) -> None:
    frames = [
        box(0, 1, keyframe=1, outside=0, occluded=0),
        box(1, 2, keyframe=0, outside=0, occluded=1),
        box(2, 3, keyframe=1, outside=1, occluded=0),
        box(-1, 3),
        '<points frame="0" points="1,1"/>',
    ]
    file(tmp_path, track(*frames) + track(box(1, 50), label="person"))
    data = read(tmp_path)
    assert [Path(path).name for path in data.paths] == ["frame_000000.PNG", "frame_000001.PNG"]
    assert data.images.select("width", "height", "group", "id").rows() == [
        (200, 100, "clip 5", 0),
        (200, 100, "clip 5", 1),
    ]
    assert boxes(data) == [("car", 1, 1, 11, 9), ("car", 2, 1, 12, 9), ("person", 50, 1, 60, 9)]
    assert column(data, "track") == ["4"] * 3
    assert column(data, "occluded") == [False, True, False]
    assert column(data, "extra") == [None, {"cvat": {"keyframe": False}}, None]
    assert kinds(data) == ["bad-record", "missing-image", "no-box"]


def test_frames_on_disk_in_which_nothing_is_seen(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "images" / f"frame_{number:06d}.png")
    file(tmp_path, track(box(1, 5)))
    data = read(tmp_path)
    assert len(data) == 3
    assert data.findings == ()
    assert data.images["group"].to_list() == ["clip 5"] * 3


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    whole = file(tmp_path, image('<box label="car" xtl="1" ytl="2" xbr="3" ybr="4"/>') * 2)
    whole.write_text(whole.read_text()[:-60])
    data = read(tmp_path)
    assert "damaged-annotation" in kinds(data)
    assert boxes(data)[0] == ("car", 1, 2, 3, 4)
    whole.write_text(f"{HEAD}<meta>")
    with pytest.raises(DataError, match="export it again"):
        read(tmp_path)


def test_entities_are_refused(tmp_path: Path) -> None:
    text = '<!DOCTYPE a [<!ENTITY b "c">]>\n<annotations><image id="0" name="&b;"/></annotations>'
    store(tmp_path / "annotations.xml", text)
    with pytest.raises(DataError, match="document type"):
        read(tmp_path)


def test_elements_come_one_at_a_time(tmp_path: Path) -> None:
    """The stream gives each picture before the file has been read to its end."""
    body = image('<box label="car" xtl="1" ytl="2" xbr="3" ybr="4"/>') * 20_000
    place = file(tmp_path, body)
    place.write_text(place.read_text() + "<broken")
    stream = elements(tmp_path / "annotations.xml")
    assert [next(stream).tag for _ in range(4)] == ["annotations", "version", "meta", "image"]


BOX = '<box label="car" xtl="1" ytl="2" xbr="3" ybr="4"/>'


def test_files_with_pictures_of_their_own_are_one_data_set(tmp_path: Path) -> None:
    for name in ("train", "val"):
        picture(tmp_path / "images" / f"{name}.png")
        made = file(tmp_path, image(BOX, name=f"{name}.png"))
        made.rename(tmp_path / f"instances_{name}.xml")
    data = read(tmp_path)
    assert data.splits == {"train": 1, "val": 1}
    assert boxes(data) == [("car", 1, 2, 3, 4)] * 2
    assert data.findings == ()
    # Both files call their picture 7.
    assert data.images["id"].to_list() == [None, None]
    assert data.labels["record"].n_unique() == 2
    assert read(tmp_path / "instances_val.xml").splits == {}


def test_a_folder_of_exports(tmp_path: Path) -> None:
    for name in ("monday", "tuesday"):
        picture(tmp_path / name / "images" / "a.png")
        file(tmp_path / name, image(BOX) + track(box(3, 5)))
    data = read(tmp_path)
    assert [Path(path).relative_to(tmp_path).as_posix() for path in data.paths] == [
        "monday/images/a.png",
        "monday/images/frame_000003.PNG",
        "tuesday/images/a.png",
        "tuesday/images/frame_000003.PNG",
    ]
    assert kinds(data) == ["missing-image"] * 2
    elsewhere = read(tmp_path, images=tmp_path)
    assert list(elsewhere.paths) == list(data.paths)


def test_files_that_annotate_the_same_pictures_are_not_guessed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    other = file(tmp_path, image())
    store(tmp_path / "second.xml", other.read_text())
    with pytest.raises(DataError, match=r"a\.png.*annotations\.xml, second\.xml"):
        read(tmp_path)
    assert len(read(other)) == 1


def test_one_of_several_files_is_damaged(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"{name}.png")
        file(tmp_path, image(BOX, name=f"{name}.png")).rename(tmp_path / f"{name}.xml")
    (tmp_path / "a.xml").write_text(f"{HEAD}<meta>")
    data = read(tmp_path)
    assert kinds(data) == ["damaged-annotation"]
    assert [Path(path).name for path in data.paths] == ["b.png"]
    (tmp_path / "a.xml").write_text("<anno")
    assert [str(one.where) for one in read(tmp_path).findings] == ["a.xml"]


DECLARED = """<meta><task><labels><label><name>car</name><type>rectangle</type><attributes>
<attribute><name>colour</name><mutable>True</mutable><input_type>select</input_type>
<default_value>red</default_value><values>red
green
blue</values></attribute>
<attribute><name>doors</name><mutable>False</mutable><input_type>number</input_type>
<default_value></default_value><values>2
5
1</values></attribute></attributes></label></labels></task></meta>"""


def test_declarations_of_attributes_are_kept(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    inner = "".join(
        f'<attribute name="{key}">{value}</attribute>'
        for key, value in {"colour": "red", "doors": "4", "plate": "12"}.items()
    )
    file(tmp_path, image(BOX.replace("/>", f">{inner}</box>")), DECLARED)
    data = read(tmp_path)
    assert data.class_info == {
        "car": {
            "type": "rectangle",
            "attributes": [
                {
                    "name": "colour",
                    "mutable": True,
                    "input_type": "select",
                    "default_value": "red",
                    "values": ["red", "green", "blue"],
                },
                {
                    "name": "doors",
                    "mutable": False,
                    "input_type": "number",
                    "default_value": "",
                    "values": ["2", "5", "1"],
                },
            ],
        }
    }
    assert column(data, "attributes") == [{"colour": "red", "doors": 4, "plate": "12"}]
    after = again(data, tmp_path / "copy", "cvat")
    assert after.class_info == data.class_info
    text = (tmp_path / "copy" / "annotations.xml").read_text()
    assert "<values>red\ngreen\nblue</values>" in text
    # What nobody declared is declared for CVAT, and known to be ours.
    assert text.count("<input_type>") == 3


def test_a_text_that_looks_like_a_number_stays_a_text(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    inner = '<attribute name="doors">4</attribute>'
    file(tmp_path, image(BOX.replace("/>", f">{inner}</box>")), DECLARED)
    data = changed(read(tmp_path), attributes=pl.lit('{"doors": "4"}'))
    assert column(again(data, tmp_path / "copy", "cvat"), "attributes") == [{"doors": "4"}]


def test_what_tags_beside_boxes_say_beyond_their_class_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    tags = [
        '<tag label="car" source="manual"/>',
        '<tag label="person" source="auto"><attribute name="score">0.5</attribute></tag>',
        '<tag label="car"><attribute name="doors">4</attribute></tag>',
    ]
    file(tmp_path, image('<box label="car" xtl="1" ytl="2" xbr="3" ybr="4"/>', *tags))
    kept, lost = read(tmp_path).findings
    assert (kept.kind, kept.severity) == ("image-label", "info")
    assert (lost.kind, lost.severity) == ("left-out-field", "warning")
    assert lost.message.startswith("2 of them ")
    assert lost.message.endswith(": attributes, score, source")


def test_what_cvat_does_not_know_is_kept_or_named(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    sides = 'label="car" xtl="1" ytl="2" xbr="3" ybr="4"'
    shapes = [
        f'<box {sides} score="0.7" votes="3" source="file"/>',
        '<polygon label="car" points="1,2;30,4;20,40" note="x"/>',
        f"<box {sides}/>",
        "<circle/><circle/>",
    ]
    more = track("<star/>") + "<remark>a</remark>"
    file(tmp_path, image(*shapes) + more)
    data = read(tmp_path)
    assert column(data, "extra") == [
        {"cvat": {"source": "file", "more": {"score": "0.7", "votes": "3"}}},
        {"cvat": {"more": {"note": "x"}}},
        None,
    ]
    assert column(data, "source") == [None] * 3
    lost = [one for one in data.findings if one.kind == "left-out-field"]
    assert len(lost) == len(data.findings) == 3
    for one, said in zip(
        lost, ("2 elements <circle> of <image>", "<star>", "<remark>"), strict=True
    ):
        assert said in one.message
        assert one.severity == "warning"
    again(data, tmp_path / "copy", "cvat")
    text = (tmp_path / "copy" / "annotations.xml").read_text("utf-8")
    assert 'score="0.7" votes="3" label="car" source="file"' in text
    data.write(tmp_path / "video", "cvat:video")
    assert column(read(tmp_path / "video"), "extra")[0] == column(data, "extra")[0]


def test_a_mask_in_a_picture_of_unknown_size(tmp_path: Path) -> None:
    mask = '<mask label="car" rle="0, 3, 2, 1" left="4" top="2" width="3" height="2"/>'
    rows = [f'<image id="{n}" name="{n}.png">{mask}</image>' for n in (0, 1)]
    file(tmp_path, "".join(rows))
    picture(tmp_path / "images" / "0.png")
    data = read(tmp_path)
    assert column(data, "segmentation")[0]["size"] == [100, 200]
    assert "lost-mask" in kinds(data)


def test_what_shapes_and_parts_hold_beyond_what_is_read_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    colour = '<attribute name="colour">red</attribute>'
    shapes = [
        f'<box label="car" xtl="1" ytl="2" xbr="3" ybr="4">{colour}<remark/></box>',
        f'<skeleton label="car"><points label="a" points="1,2">{colour}</points>'
        '<points label="b" points="9,9"/></skeleton>',
        '<polygon label="car" group_id="1" points="1,2;30,4;20,40"/>',
        f'<polygon label="car" group_id="1" points="1,2;30,4;20,50">{colour}</polygon>',
    ]
    file(tmp_path, image(*shapes))
    data = read(tmp_path)
    assert len(data.labels) == 3
    assert sorted((one.kind, one.message) for one in data.findings) == [
        ("left-out-field", f"1 elements <{tag}> of <{parent}> are not read, this one the first")
        for tag, parent in (("attribute", "points"), ("remark", "box"))
    ] + [("left-out-field", "what the parts of one object say differs; that of the first is read")]
