"""CVAT: shapes of pictures, tracks of videos, tags, and files that end too early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data_samples import changed
from format_limits import columns_of, facts, sample
from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import Dataset, read
from whatwhere.data.formats._cvat_xml import elements
from whatwhere.data.formats._xml import parse_xml
from whatwhere.errors import DataError, UsageError

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
<version>1.1</version>
"""

META = """<meta><task><id>5</id><name>clip 5</name><labels>
<label><name>car</name><color>#fa3253</color><attributes>
<attribute><name>parked</name><input_type>checkbox</input_type></attribute>
<attribute><name>doors</name><input_type>number</input_type></attribute>
</attributes></label>
<label><name>person</name><color>#33ddff</color></label>
</labels><original_size><width>200</width><height>100</height></original_size></task></meta>
"""


def file(folder: Path, body: str, meta: str = META) -> Path:
    return store(folder / "annotations.xml", f"{HEAD}{meta}{body}</annotations>\n")


def image(*shapes: str, name: str = "a.png", more: str = "") -> str:
    inner = "\n".join(shapes)
    return f'<image id="7" name="{name}" width="200" height="100"{more}>\n{inner}\n</image>\n'


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


def _track(*frames: str, label: str = "car") -> str:
    return f'<track id="4" label="{label}" source="manual">' + "\n".join(frames) + "</track>\n"


def _box(frame: int, x: float, **more: Any) -> str:
    said = " ".join(f'{key}="{value}"' for key, value in more.items())
    return f'<box frame="{frame}" xtl="{x}" ytl="1" xbr="{x + 10}" ybr="9" {said}/>'


def test_tracks_of_a_video(tmp_path: Path) -> None:
    frames = [
        _box(0, 1, keyframe=1, outside=0, occluded=0),
        _box(1, 2, keyframe=0, outside=0, occluded=1),
        _box(2, 3, keyframe=1, outside=1, occluded=0),
        _box(-1, 3),
        '<points frame="0" points="1,1"/>',
    ]
    file(tmp_path, _track(*frames) + _track(_box(1, 50), label="person"))
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
    file(tmp_path, _track(_box(1, 5)))
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
        file(tmp_path / name, image(BOX) + _track(_box(3, 5)))
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


SKELETON = """<meta><task><labels>
<label><name>person</name><type>skeleton</type><attributes></attributes><svg>&lt;line/&gt;</svg>
</label>
<label><name>head</name><type>points</type><parent>person</parent></label>
<label><name>hand</name><type>points</type><parent>person</parent></label>
<label><name>foot</name><type>points</type><parent>person</parent></label>
</labels></task></meta>"""


def _skeleton(more: str = "", **points: str) -> str:
    inner = "".join(f'<points label="{name}" {one}/>' for name, one in points.items())
    return f'<skeleton label="person" source="manual" {more}>{inner}</skeleton>'


def test_a_skeleton_is_an_object_with_key_points(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shapes = [
        # Points in any order; one hidden behind something, one not in the picture.
        _skeleton(
            hand='points="30.5,40" occluded="1"',
            head='points="20,10"',
            foot='outside="1" points="9,9"',
        ),
        _skeleton(head='points="20,10"', hand='points="50,60"'),
        # Nothing is seen; a point that the class does not have; two of one name; no numbers.
        _skeleton(head='points="20,10" outside="1"'),
        _skeleton(head='points="20,10"', tail='points="1,1"'),
        _skeleton(head='points="20"'),
        _skeleton(head='points="20,10"').replace("</skel", '<points label="head"/></skel'),
    ]
    file(tmp_path, image(*shapes), SKELETON)
    data = read(tmp_path)
    assert list(data.names) == ["person"]
    assert boxes(data) == [("person", 20, 10, 30.5, 40), ("person", 20, 10, 50, 60)]
    assert column(data, "keypoints") == [
        [20, 10, 2, 30.5, 40, 1, 0, 0, 0],
        [20, 10, 2, 50, 60, 2, 0, 0, 0],
    ]
    assert data.class_info["person"]["keypoints"] == ["head", "hand", "foot"]
    assert data.class_info["person"]["svg"] == "<line/>"
    assert kinds(data) == ["no-box"] * 4
    assert data.kept_out == 4
    after = again(data, tmp_path / "copy", "cvat")
    assert after.class_info == data.class_info
    assert (tmp_path / "copy" / "annotations.xml").read_text().count("<skeleton ") == 2


def test_skeletons_whose_points_nobody_declared(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shapes = [
        _skeleton(b='points="20,10"', a='points="50,60"'),
        _skeleton(a='points="1,2"', b='points="3,4"'),
    ]
    file(tmp_path, image(*shapes))
    data = read(tmp_path)
    assert column(data, "keypoints") == [[20, 10, 2, 50, 60, 2], [3, 4, 2, 1, 2, 2]]
    assert data.class_info["person"]["keypoints"] == ["b", "a"]
    assert "b" not in data.names


@pytest.mark.parametrize("way", ["cvat", "cvat:video"])
def test_key_points_are_a_skeleton_where_that_says_the_box_too(way: str, tmp_path: Path) -> None:
    path = str(picture(tmp_path / "source" / "frame_000000.png"))
    points = ["[20, 10, 2, 50.5, 60, 1, 7, 8, 0]", "[20, 10, 2, 50, 60, 1]", "[20, 10, 0]"]
    labels = {
        "image": [0] * 3,
        "class_id": [0, 0, 1],
        "x1": [20, 18, 5],
        "y1": [10, 8, 5],
        "x2": [50.5, 50, 9],
        "y2": [60, 60, 9],
        "keypoints": points,
    }
    images = {"path": [path], "width": [200], "height": [100]}
    before = Dataset(images, labels, ["a", "b"], root=str(tmp_path / "source"), task="detect")
    before.write(tmp_path / "copy", way)
    text = (tmp_path / "copy" / "annotations.xml").read_text()
    assert (text.count("<skeleton "), text.count("<box ")) == (1, 2)
    # The three points of the one skeleton are declared, and nothing of the other class.
    assert text.count("<parent>") == 3
    after = read(tmp_path / "copy")
    assert facts(after, VIDEO) == facts(before, VIDEO)
    assert list(after.names) == ["a", "b"]


def clip(folder: Path, count: int = 5, suffix: str = ".png") -> list[str]:
    return [str(picture(folder / f"{number + 1:03d}{suffix}")) for number in range(count)]


def video(folder: Path, **more: Any) -> Dataset:
    """Five frames; a car that is away in the third, one that is seen once, a bird."""
    rows = [
        (0, 0, 10, "4"),
        (0, 1, 50, "7"),
        (1, 0, 12.5, "4"),
        (1, 0, 90, None),
        (3, 0, 16, "4"),
        (4, 0, 18, "4"),
        (4, 1, 60, "the bird"),
    ]
    labels: dict[str, Any] = {
        "image": [row[0] for row in rows],
        "class_id": [row[1] for row in rows],
        "x1": [row[2] for row in rows],
        "y1": [5] * 7,
        "x2": [row[2] + 20 for row in rows],
        "y2": [30.25] * 7,
        "track": [row[3] for row in rows],
        "occluded": [False, True] * 3 + [False],
        "source": ["human", "model", "human", None, "verified", "human", None],
        "score": [None, 0.5] + [None] * 5,
        "attributes": ['{"colour": "red"}'] + [None] * 6,
    }
    labels |= more
    images: dict[str, Any] = {
        "path": clip(folder / "source"),
        "width": [200] * 5,
        "height": [100] * 5,
    }
    images |= {"split": ["train"] * 5, "group": ["clip a"] * 5}
    return Dataset(images, labels, ["car", "bird"], root=str(folder / "source"), task="detect")


VIDEO = columns_of("cvat")


def test_a_video_comes_back(tmp_path: Path) -> None:
    before = video(tmp_path)
    lost = before.write(tmp_path / "copy", "cvat:video")
    assert [one.kind for one in lost] == ["renamed-image"]
    after = read(tmp_path / "copy")
    assert after.findings == ()
    assert sorted(one.name for one in (tmp_path / "copy" / "images").iterdir()) == [
        f"frame_{number:06d}.png" for number in range(5)
    ]
    assert facts(after, VIDEO, names=False) == facts(before, VIDEO, names=False)
    tree = parse_xml(tmp_path / "copy" / "annotations.xml")
    tracks = {one.attributes["id"]: one for one in tree.children if one.tag == "track"}
    assert sorted(tracks) == ["4", "7", "8", "9"]
    seen = [
        (one.attributes["frame"], one.attributes["keyframe"], one.attributes["outside"])
        for one in tracks["4"].children
    ]
    # Away in frame 2, there until the end.
    assert seen == [
        ("0", "1", "0"),
        ("1", "1", "0"),
        ("2", "1", "1"),
        ("3", "1", "0"),
        ("4", "1", "0"),
    ]
    assert [one.attributes["outside"] for one in tracks["7"].children] == ["0", "1"]
    assert tree.child("meta").value("task", "mode") == "interpolation"  # type: ignore[union-attr]
    # Once more, and the file is the same to the byte.
    after.write(tmp_path / "again", "cvat:video")
    texts = [(tmp_path / name / "annotations.xml").read_text() for name in ("copy", "again")]
    assert texts[0] == texts[1]


def test_several_videos_have_a_folder_each(tmp_path: Path) -> None:
    groups = ["a/b", "a/b", "..", None, "a_b"]
    one = video(tmp_path)
    images = one.images.with_columns(
        group=pl.Series(groups), split=pl.Series(["train", "Training", None, "default", "a/b"])
    )
    before = Dataset(images, one.labels, one.names, root=one.root, task="detect")
    before.write(tmp_path / "out" / "copy", "cvat:video")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["copy"]
    names = sorted(entry.name for entry in (tmp_path / "out" / "copy").iterdir())
    assert names == ["a_b", "a_b Training", "a_b train", "video", "video-2"]
    after = read(tmp_path / "out" / "copy")
    assert after.findings == ()
    assert facts(after, VIDEO, names=False) == facts(before, VIDEO, names=False)
    assert len(after) == 5


def test_everything_that_the_format_holds_survives_in_a_video(tmp_path: Path) -> None:
    before = sample("cvat", "detect", tmp_path)
    before.write(tmp_path / "copy", "cvat:video")
    after = read(tmp_path / "copy")
    assert after.findings == ()
    assert facts(after, VIDEO, names=False) == facts(before, VIDEO, names=False)
    assert list(after.names) == list(before.names)
    after.write(tmp_path / "again", "cvat:video", pictures="link")
    assert read(tmp_path / "again").digest() == after.digest()


def test_masks_and_parts_stand_as_boxes_in_tracks(tmp_path: Path) -> None:
    parts = "[[10, 5, 30, 5, 30, 30], [10, 20, 15, 20, 15, 30.25]]"
    mask = '{"counts": [0, 400, 19600], "size": [100, 200]}'
    before = video(tmp_path, segmentation=[parts, mask] + [None] * 5)
    lost = before.write(tmp_path / "copy", "cvat:video")
    assert [one.kind for one in lost if one.kind == "lost-mask"] == ["lost-mask"]
    after = read(tmp_path / "copy")
    assert facts(after, VIDEO, names=False)["images"] == facts(before, VIDEO, names=False)["images"]


def test_frames_keep_the_numbers_that_they_have(tmp_path: Path) -> None:
    for number in (10, 20, 30):
        picture(tmp_path / "set" / "images" / f"frame_{number:06d}.PNG")
    file(tmp_path / "set", _track(_box(10, 1, keyframe=1), _box(30, 5, keyframe=0)))
    data = read(tmp_path / "set")
    assert data.write(tmp_path / "copy", "cvat:video") == ()
    after = read(tmp_path / "copy")
    names = [f"frame_{number:06d}.PNG" for number in (10, 20, 30)]
    assert sorted(Path(path).name for path in after.paths) == names
    tree = parse_xml(tmp_path / "copy" / "annotations.xml")
    (track,) = (one for one in tree.children if one.tag == "track")
    shapes = [(one.attributes["frame"], one.attributes["keyframe"]) for one in track.children]
    # CVAT could not work out a shape after one that is away.
    assert shapes == [("10", "1"), ("20", "1"), ("30", "1")]


def test_labels_of_a_video_without_its_pictures(tmp_path: Path) -> None:
    before = video(tmp_path)
    before.write(tmp_path / "copy", "cvat:video", pictures="none")
    after = read(tmp_path / "copy", images=tmp_path / "source")
    assert after.findings == ()
    assert facts(after, VIDEO) == facts(before, VIDEO)


def test_what_cannot_be_a_video(tmp_path: Path) -> None:
    tags = Dataset(
        {"path": clip(tmp_path, 1)}, {"image": [0], "class_id": [0]}, ["car"], task="multilabel"
    )
    with pytest.raises(UsageError, match="boxes only"):
        tags.write(tmp_path / "copy", "cvat:video")
    with pytest.raises(UsageError, match="use cvat, cvat:images, cvat:video"):
        tags.write(tmp_path / "copy", "cvat:film")
    with pytest.raises(UsageError, match="use coco"):
        tags.write(tmp_path / "copy", "coco:video")
    assert not (tmp_path / "copy").exists()


def test_skeletons_in_tracks(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "images" / f"frame_{number:06d}.PNG")
    frames = [
        _skeleton('frame="0" keyframe="1"', head='points="20,10"', hand='points="50,60"'),
        _skeleton('frame="1" keyframe="1"', head='points="20,10" outside="1"'),
    ]
    file(tmp_path, _track(*frames, label="person"), SKELETON)
    data = read(tmp_path)
    assert boxes(data) == [("person", 20, 10, 50, 60)]
    assert column(data, "track") == ["4"]
    assert data.findings == ()
    data.write(tmp_path / "copy", "cvat:video")
    after = read(tmp_path / "copy")
    assert facts(after, VIDEO) == facts(data, VIDEO)
