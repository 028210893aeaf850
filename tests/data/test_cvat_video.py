"""CVAT videos: written as tracks, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cvat_files import box, file, track
from format_limits import columns_of, facts, sample
from tool_files import picture
from whatwhere.data import Dataset, read
from whatwhere.data.formats._xml import parse_xml
from whatwhere.errors import UsageError


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
    file(tmp_path / "set", track(box(10, 1, keyframe=1), box(30, 5, keyframe=0)))
    data = read(tmp_path / "set")
    assert data.write(tmp_path / "copy", "cvat:video") == ()
    after = read(tmp_path / "copy")
    names = [f"frame_{number:06d}.PNG" for number in (10, 20, 30)]
    assert sorted(Path(path).name for path in after.paths) == names
    tree = parse_xml(tmp_path / "copy" / "annotations.xml")
    (written,) = (one for one in tree.children if one.tag == "track")
    shapes = [(one.attributes["frame"], one.attributes["keyframe"]) for one in written.children]
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


def test_videos_without_a_picture_are_named(tmp_path: Path) -> None:
    data = video(tmp_path)
    groups = ["clip a"] * 3 + ["clip b"] * 2
    images = data.images.with_columns(pl.Series("group", groups))
    data = Dataset(images, data.labels, data.names, root=data.root, task="detect")
    for path in data.paths[3:]:
        Path(path).unlink()
    found = data.write(tmp_path / "some", "cvat:video")
    (lost,) = (one for one in found if "no picture of the video" in one.message)
    assert (lost.kind, lost.severity) == ("missing-image", "error")
    assert "group 'clip b' and split 'train'" in lost.message
    assert [one.message for one in found if one.kind == "renamed-image"] == [
        "3 pictures are called by the number of their frame"
    ]
    for path in data.paths[:3]:
        Path(path).unlink()
    with pytest.raises(UsageError, match=r"none of the pictures is on disk.*--images"):
        data.write(tmp_path / "none", "cvat:video")
    assert not list(tmp_path.glob("none/*"))
    data.write(tmp_path / "none", "cvat:video", pictures="none")
    assert len(read(tmp_path / "none")) == 5
