"""CVAT skeletons: key points, in pictures and in tracks."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_files import SKELETON, file, image, skeleton, track
from format_limits import columns_of, facts
from tool_files import again, boxes, column, kinds, picture
from whatwhere.data import Dataset, read

VIDEO = columns_of("cvat")


def test_a_skeleton_is_an_object_with_key_points(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    shapes = [
        # Points in any order; one hidden behind something, one not in the picture.
        skeleton(
            hand='points="30.5,40" occluded="1"',
            head='points="20,10"',
            foot='outside="1" points="9,9"',
        ),
        skeleton(head='points="20,10"', hand='points="50,60"'),
        # Nothing is seen; a point that the class does not have; two of one name; no numbers.
        skeleton(head='points="20,10" outside="1"'),
        skeleton(head='points="20,10"', tail='points="1,1"'),
        skeleton(head='points="20"'),
        skeleton(head='points="20,10"').replace("</skel", '<points label="head"/></skel'),
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
        skeleton(b='points="20,10"', a='points="50,60"'),
        skeleton(a='points="1,2"', b='points="3,4"'),
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


def test_skeletons_in_tracks(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "images" / f"frame_{number:06d}.PNG")
    frames = [
        skeleton('frame="0" keyframe="1"', head='points="20,10"', hand='points="50,60"'),
        skeleton('frame="1" keyframe="1"', head='points="20,10" outside="1"'),
    ]
    file(tmp_path, track(*frames, label="person"), SKELETON)
    data = read(tmp_path)
    assert boxes(data) == [("person", 20, 10, 50, 60)]
    assert column(data, "track") == ["4"]
    assert data.findings == ()
    data.write(tmp_path / "copy", "cvat:video")
    after = read(tmp_path / "copy")
    assert facts(after, VIDEO) == facts(data, VIDEO)
