"""MOTChallenge: pixels from 1, flags, classes, detections, frames that are not on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from whatwhere.data import Dataset, read
from whatwhere.errors import DataError
from whatwhere.images import write_image


def make(root: Path, rows: str, frames: int = 2, info: str = "", kind: str = "gt") -> Path:
    folder = root / "train" / "walk"
    for number in range(1, frames + 1):
        path = folder / "img1" / f"{number:06d}.jpg"
        write_image(path, np.full((40, 60, 3), number, np.uint8))
    (folder / kind).mkdir(parents=True)
    (folder / kind / f"{kind}.txt").write_text(rows)
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nname=walk\n{info}")
    return root


def facts(dataset: Dataset) -> list[tuple[str, bool, list[float], str | None]]:
    rows = dataset.labels.select("class_id", "ignore", "x1", "y1", "x2", "y2", "track").rows()
    return [(dataset.names[one[0]], one[1], list(one[2:6]), one[6]) for one in rows]


def test_pixels_are_counted_from_one_and_flags_ignore(tmp_path: Path) -> None:
    rows = (
        "1,7,11,6,20,10,1,1,0.5\n1,8,1,1,5,5,0,1,1\n2,-1,11,6,20,10,1,8,1\n2,9,11,6,9,10,1,13,1\n"
    )
    dataset = read(make(tmp_path, rows))
    assert facts(dataset) == [
        ("pedestrian", False, [10, 5, 30, 15], "7"),
        ("pedestrian", True, [0, 0, 5, 5], "8"),
        ("distractor", True, [10, 5, 30, 15], None),
        ("crowd", True, [10, 5, 19, 15], "9"),
    ]
    assert dataset.labels["iscrowd"].to_list() == [None, None, None, True]
    assert json.loads(dataset.labels["extra"][0]) == {"mot": {"visibility": 0.5}}
    assert dataset.images["group"].to_list() == ["walk", "walk"]
    assert dataset.images["extra"].to_list() == [f'{{"mot": {{"frame": {n}}}}}' for n in (1, 2)]


def test_the_columns_of_2015_have_no_class(tmp_path: Path) -> None:
    dataset = read(make(tmp_path, "1,1,11,6,20,10,1,4.5,5.25,0\n2,1,11,6,20,10,1,-1,-1,-1\n"))
    assert list(dataset.names) == ["pedestrian"]
    assert dataset.labels["extra"].to_list() == ['{"mot": {"world": [4.5, 5.25, 0]}}', None]


def test_boxes_beyond_the_edge_come_back_whole(tmp_path: Path) -> None:
    rows = "1,1,-9,6,80,10,1,1,1\n2,1,11,6,20.5,10.25,1,1,0.25\n"
    dataset = read(make(tmp_path / "one", rows))
    assert facts(dataset)[0][2] == [0, 5, 60, 15]
    assert [one.kind for one in dataset.findings] == ["clipped-box"]
    dataset.write(tmp_path / "two", "mot")
    assert (tmp_path / "two" / "train" / "walk" / "gt" / "gt.txt").read_text() == rows


def test_detections_are_read_where_there_is_nothing_else(tmp_path: Path) -> None:
    rows = "1,-1,11,6,20,10,0.75,-1,-1,-1\n"
    dataset = read(make(tmp_path, rows, kind="det"))
    assert dataset.labels.select("score", "source", "ignore").row(0) == (0.75, "model", False)
    make(tmp_path / "more", "1,1,1,1,9,9,1,1,1\n")
    (tmp_path / "more" / "train" / "walk" / "det").mkdir()
    file = tmp_path / "more" / "train" / "walk" / "det" / "det.txt"
    file.write_text("1,-1,11,6,20,10,31.5,-1,-1,-1\n")
    both = read(tmp_path / "more")
    assert both.labels.height == 1
    assert [one.kind for one in both.findings] == ["left-out-file"]
    # Scores that are no confidences stay in extra.
    alone = read(file, images=tmp_path / "more" / "train" / "walk" / "img1")
    assert alone.labels.select("score", "extra").row(0) == (None, '{"mot": {"score": 31.5}}')
    assert [one.kind for one in alone.findings] == ["bad-value"]


def test_frames_that_are_not_on_disk(tmp_path: Path) -> None:
    info = "seqLength=4\nimWidth=60\nimHeight=40\nimExt=.png\n"
    dataset = read(make(tmp_path, "3,1,11,6,100,10,1,1,1\n", frames=0, info=info))
    assert [Path(path).name for path in dataset.paths] == [f"{n:06d}.png" for n in (1, 2, 3, 4)]
    assert dataset.images.select("width", "height").unique().rows() == [(60, 40)]
    assert [(one.kind, one.severity) for one in dataset.findings] == [
        ("missing-image", "error"),
        ("clipped-box", "warning"),
    ]


@pytest.mark.parametrize(
    ("info", "kind"),
    [("seqLength=99999999999\n", "bad-value"), ("imDir=../../secret\n", "path-outside")],
)
def test_a_file_that_cannot_be_believed(tmp_path: Path, info: str, kind: str) -> None:
    dataset = read(make(tmp_path, "1,1,11,6,20,10,1,1,1\n", info=info))
    assert len(dataset) == 2
    assert [one.kind for one in dataset.findings] == [kind]


def test_a_long_line_takes_no_time(tmp_path: Path) -> None:
    info = "imDir" + " " * 200_000 + "\nseqLength=2\n"
    assert len(read(make(tmp_path, "1,1,11,6,20,10,1,1,1\n", info=info))) == 2


def test_faults_are_named_by_line(tmp_path: Path) -> None:
    rows = "1,1,11,6,20\n0,1,11,6,20,10,1,1,1\n1,1,x,6,20,10,1,1,1\n1,1,11,6,0,10,1,1,1\n"
    rows += "1,1,11,6,20,10,1,99,1\n1,2,11,6,20,10,1,1,one\n"
    dataset = read(make(tmp_path, "1,1,11,6,20,10,1,1,1\n" + rows))
    where = "train/walk/gt/gt.txt"
    assert sorted((one.where, one.kind) for one in dataset.findings) == [
        (f"{where}:2", "bad-box"),
        (f"{where}:3", "bad-value"),
        (f"{where}:4", "bad-box"),
        (f"{where}:5", "zero-size-box"),
        (f"{where}:6", "unknown-class"),
        (f"{where}:7", "bad-value"),
    ]
    assert (dataset.labels.height, dataset.kept_out) == (3, 4)


def test_the_file_itself_has_the_same_classes(tmp_path: Path) -> None:
    make(tmp_path, "1,1,11,6,20,10,1,2,1\n")
    gt = tmp_path / "train" / "walk" / "gt"
    (gt / "labels.txt").write_text("big dog\nant\n")
    frames = tmp_path / "train" / "walk" / "img1"
    for dataset in (read(tmp_path), read(gt / "gt.txt", images=frames)):
        assert list(dataset.names) == ["big dog", "ant"]
        assert facts(dataset) == [("ant", False, [10, 5, 30, 15], "1")]


def test_the_benchmarks_classes_keep_their_numbers(tmp_path: Path) -> None:
    """The evaluation kit goes by the number and never reads labels.txt."""
    rows = "1,1,11,6,20,10,1,3,1\n2,1,11,6,20,10,1,7,1\n2,2,11,6,20,10,1,1,1\n"
    dataset = read(make(tmp_path / "one", rows))
    assert list(dataset.names) == ["pedestrian", "car", "static_person"]
    turned = Dataset(
        dataset.images,
        dataset.labels.with_columns(class_id=2 - dataset.labels["class_id"]),
        list(dataset.names)[::-1],
    )
    for number, one in enumerate((dataset, turned)):
        one.write(tmp_path / f"two{number}", "mot")
        file = next((tmp_path / f"two{number}").rglob("gt.txt"))
        assert [row.split(",")[7] for row in file.read_text().split()] == ["3", "7", "1"]
        again = read(tmp_path / f"two{number}")
        assert list(again.names) == list(one.names)
        assert facts(again) == facts(one)
    other = Dataset(dataset.images, dataset.labels, ["pedestrian", "dog", "static_person"])
    other.write(tmp_path / "three", "mot")
    file = next((tmp_path / "three").rglob("gt.txt"))
    assert [row.split(",")[7] for row in file.read_text().split()] == ["2", "3", "1"]


def test_tracks_that_are_no_numbers_are_numbered(tmp_path: Path) -> None:
    dataset = read(make(tmp_path / "one", "1,1,11,6,20,10,1,1,1\n2,2,11,6,20,10,1,1,1\n"))
    labels = dataset.labels.with_columns(pl.Series("track", ["left", "1"]))
    changed = Dataset(dataset.images, labels, dataset.names)
    found = changed.write(tmp_path / "two", "mot")
    assert [one.kind for one in found] == ["renamed-track"]
    assert read(tmp_path / "two").labels["track"].to_list() == ["2", "1"]


def test_names_of_frames_are_kept_without_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write_image(tmp_path / "photos" / name, np.full((40, 60, 3), 9, np.uint8))
    paths = [str(tmp_path / "photos" / name) for name in ("b.png", "a.png")]
    box = {"image": [0, 1], "class_id": [0, 0], "x1": [1.1, 2], "y1": [0, 0], "x2": [9, 9.3]}
    dataset = Dataset({"path": paths}, box | {"y2": [5, 6]}, ["cat"], task="detect")
    dataset.write(tmp_path / "copy", "mot", pictures="none")
    again = read(tmp_path / "copy", images=tmp_path / "photos")
    assert again.paths == paths
    assert again.labels["x1"].equals(dataset.labels["x1"])
    assert again.images["group"].to_list() == [None, None]


def test_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("1,2,3\n")
    with pytest.raises(DataError, match="looked for"):
        read(file, "mot")


def test_the_genuine_sequences(shared: Path, tmp_path: Path) -> None:
    dataset = read(shared / "mot15_tud")
    dataset.write(tmp_path / "copy", "mot", pictures="none")
    for name, frames in {"TUD-Campus": 71, "TUD-Stadtmitte": 179}.items():
        assert dataset.images.filter(pl.col("group") == name).height == frames
        original = (shared / "mot15_tud" / "train" / name / "gt" / "gt.txt").read_text()
        copy = (tmp_path / "copy" / "train" / name / "gt" / "gt.txt").read_text()
        rows = [
            sorted(tuple(map(float, one.split(",")))[:7] for one in text.split())
            for text in (original, copy)
        ]
        assert rows[0] == rows[1]
    results = read(shared / "mot15_tud" / "train" / "results" / "TUD-Campus.txt")
    assert (results.labels.height, set(results.labels["source"])) == (222, {"model"})


def test_the_frame_rate_is_kept(tmp_path: Path) -> None:
    rows = "1,1,11,6,20,10,1,1,1\n"
    dataset = read(make(tmp_path / "one", rows, info="frameRate=29.97\n"))
    dataset.write(tmp_path / "two", "mot")
    text = (tmp_path / "two" / "train" / "walk" / "seqinfo.ini").read_text("utf-8")
    assert "\nframeRate=29.97\nseqLength=2\n" in text
    again = read(tmp_path / "two")
    assert again.images["extra"].to_list() == dataset.images["extra"].to_list()
    # What is no rate is not written.
    odd = read(make(tmp_path / "odd", rows, info="frameRate=fast\n"))
    odd.write(tmp_path / "three", "mot")
    text = (tmp_path / "three" / "train" / "walk" / "seqinfo.ini").read_text("utf-8")
    assert "frameRate" not in text
