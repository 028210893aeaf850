"""CVAT: shapes of pictures, tracks of videos, tags, and files that end too early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tool_files import again, boxes, column, kinds, picture, store
from whatwhere.data import read
from whatwhere.data.formats._cvat_xml import elements
from whatwhere.errors import DataError

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
    assert data.class_info == {"car": {"color": "#fa3253"}, "person": {"color": "#33ddff"}}
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
    assert column(data, "extra")[0] == {"cvat": {"keyframe": True}}
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


def test_several_files_are_not_guessed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    other = file(tmp_path, image())
    store(tmp_path / "second.xml", other.read_text())
    with pytest.raises(DataError, match=r"annotations\.xml, second\.xml"):
        read(tmp_path)
    assert len(read(other)) == 1
