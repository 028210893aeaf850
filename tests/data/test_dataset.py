"""The data set itself: tables, targets, selections, splits, digest, checks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_samples import NAMES, classification, detection
from whatwhere.data import Dataset, Finding
from whatwhere.data.formats._files import unique_names
from whatwhere.data.splitting import split_rows
from whatwhere.data.tables import IMAGE_COLUMNS, LABEL_COLUMNS, tidy_boxes
from whatwhere.errors import UsageError


def test_columns_and_kinds_are_always_the_same(tmp_path: Path) -> None:
    for dataset in (detection(tmp_path), classification(tmp_path)):
        assert dict(dataset.images.schema) == IMAGE_COLUMNS
        assert dict(dataset.labels.schema) == LABEL_COLUMNS


def test_task_is_read_off_the_rows(tmp_path: Path) -> None:
    assert detection(tmp_path).task == "detect"
    one = classification(tmp_path)
    assert one.task == "classify"
    none = Dataset(one.images, one.labels[1:], NAMES)
    assert none.task == "multilabel"
    twice = Dataset(one.images, pl.concat([one.labels, one.labels[:1]]), NAMES)
    assert twice.task == "multilabel"


def test_a_part_keeps_the_task_of_the_whole(tmp_path: Path) -> None:
    empty = detection(tmp_path).select([5])
    assert (empty.task, empty.labels.height) == ("detect", 0)
    assert empty.targets(0).boxes is not None
    many = detection(tmp_path).as_multilabel()
    assert many.select([1]).task == "multilabel"


def test_targets(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    first = dataset.targets(0)
    assert first.class_ids.dtype == np.int64
    assert first.ignore.dtype == np.bool_
    assert first.boxes is not None
    assert first.boxes.dtype == np.float32
    np.testing.assert_array_equal(first.boxes, [[0, 0, 60, 40], [3, 4, 20, 25]])
    np.testing.assert_array_equal(first.ignore, [False, True])
    last = dataset.targets(5)
    assert last.boxes is not None
    assert last.boxes.shape == (0, 4)
    assert classification(tmp_path).targets(2).boxes is None
    for row in (-1, 6):
        with pytest.raises(UsageError, match="there is no picture"):
            dataset.targets(row)


def test_labels_are_sorted_by_picture_and_keep_their_order() -> None:
    labels = {"image": [2, 0, 2, 1], "class_id": [0, 1, 2, 1]}
    dataset = Dataset({"path": ["a", "b", "c"]}, labels, NAMES)
    assert dataset.labels["image"].to_list() == [0, 1, 2, 2]
    assert dataset.targets(2).class_ids.tolist() == [0, 2]


@pytest.mark.parametrize(
    "labels",
    [
        {"image": [3], "class_id": [0]},
        {"image": [0], "class_id": [3]},
        {"image": [0], "class_id": [-1]},
        {"image": [0], "class_id": [None]},
    ],
)
def test_labels_that_name_nothing_are_refused(labels: dict[str, list[int]]) -> None:
    with pytest.raises(UsageError):
        Dataset({"path": ["a", "b", "c"]}, labels, NAMES)


def test_select_reorders_and_repeats(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    part = dataset.select([4, 0, 4])
    assert part.paths == [dataset.paths[4], dataset.paths[0], dataset.paths[4]]
    assert part.labels["image"].to_list() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(part.targets(1).boxes, dataset.targets(0).boxes)
    assert part.names == dataset.names
    mask = np.array([False, True, False, False, False, True])
    assert dataset.select(mask).paths == [dataset.paths[1], dataset.paths[5]]
    assert len(dataset.select([])) == 0
    for rows in ([-1], [6]):
        with pytest.raises(UsageError, match=r"0\.\.5"):
            dataset.select(rows)


def test_split_named(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    assert dataset.splits == {"train": 3, "val": 1, "test": 2}
    assert dataset.split_named("test").paths == dataset.paths[4:]
    with pytest.raises(UsageError, match="train, val, test"):
        dataset.split_named("tset")


def test_split_is_a_partition_and_repeatable(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    parts = dataset.split(0.5, 0.25, 0.25, seed=3)
    assert sorted(path for part in parts for path in part.paths) == sorted(dataset.paths)
    assert [part.paths for part in dataset.split(0.5, 0.25, 0.25, seed=3)] == [
        part.paths for part in parts
    ]
    others = {tuple(dataset.split(0.5, 0.5, seed=seed)[0].paths) for seed in range(10)}
    assert len(others) > 1


def test_split_rows_are_pinned() -> None:
    """The same on every machine and with every version, or runs cannot be repeated."""
    parts = split_rows(10, (0.6, 0.4), seed=0)
    assert [part.tolist() for part in parts] == [[2, 3, 4, 5, 6, 7], [0, 1, 8, 9]]


@pytest.mark.parametrize("counts", [(10, 10, 10), (100, 7, 3), (1, 1, 1), (33, 33, 34)])
def test_classes_are_divided_evenly(counts: tuple[int, ...]) -> None:
    strata = np.repeat(np.arange(len(counts)), counts)
    parts = split_rows(len(strata), (0.7, 0.2, 0.1), seed=1, strata=strata)
    assert sorted(np.concatenate(parts)) == list(range(len(strata)))
    for part, share in zip(parts, (0.7, 0.2, 0.1), strict=True):
        assert abs(len(part) - share * len(strata)) < 2
        for number, count in enumerate(counts):
            assert abs((strata[part] == number).sum() - share * count) < 2


def test_groups_stay_together() -> None:
    groups = [f"video {number // 7}" for number in range(100)]
    parts = split_rows(100, (0.8, 0.2), seed=2, groups=groups)
    seen = [{groups[row] for row in part} for part in parts]
    assert not seen[0] & seen[1]
    assert abs(len(parts[0]) - 80) <= 7
    alone = split_rows(10, (0.5, 0.5), groups=[None] * 10)
    assert [len(part) for part in alone] == [5, 5]


def test_split_by_folder_and_by_column(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    whole, nothing = dataset.split(0.9, 0.1, group="folder")
    assert (len(whole), len(nothing)) == (6, 0)
    with pytest.raises(UsageError, match="folder, path"):
        dataset.split(0.5, 0.5, group="colour")


@pytest.mark.parametrize("fractions", [(), (0.5,), (0.5, 0.6), (1.5, -0.5), (1.0, 0.0)])
def test_bad_fractions(fractions: tuple[float, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        detection(tmp_path).split(*fractions)


def test_with_splits_keeps_every_picture(tmp_path: Path) -> None:
    dataset = detection(tmp_path).with_splits({"train": 0.5, "test": 0.5}, seed=1)
    assert dataset.splits == {"train": 3, "test": 3}
    assert dataset.labels.height == 7


def test_as_multilabel(tmp_path: Path) -> None:
    dataset = detection(tmp_path).as_multilabel()
    assert dataset.task == "multilabel"
    assert dataset.targets(0).boxes is None
    assert dataset.targets(4).class_ids.tolist() == [2]
    # A class is ignored only where all its boxes are.
    assert dataset.targets(0).ignore.tolist() == [False, True]


def test_stats(tmp_path: Path) -> None:
    assert detection(tmp_path).stats() == {
        "images": 6,
        "labels": 7,
        "boxes": 7,
        "classes": dict(zip(NAMES, [2, 2, 3], strict=True)),
        "splits": {"train": 3, "val": 1, "test": 2},
    }
    assert classification(tmp_path).stats()["boxes"] == 0


def test_digest_ignores_order_and_place_but_nothing_else(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    digest = dataset.digest()
    assert len(digest) == 64
    assert dataset.select([3, 5, 1, 0, 2, 4]).digest() == digest
    shuffled = Dataset(dataset.images, dataset.labels[::-1], NAMES, root=dataset.root)
    assert shuffled.digest() == digest

    def changed(**columns: pl.Expr) -> str:
        labels = dataset.labels.with_columns(**columns)
        return Dataset(dataset.images, labels, NAMES, root=dataset.root).digest()

    others = {
        digest,
        changed(x1=pl.col("x1") + 0.5),
        changed(ignore=~pl.col("ignore")),
        changed(class_id=2 - pl.col("class_id")),
        Dataset(dataset.images, dataset.labels, NAMES[::-1], root=dataset.root).digest(),
        Dataset(dataset.images, dataset.labels[1:], NAMES, root=dataset.root).digest(),
        dataset.select([0, 1, 2, 3, 4]).digest(),
        dataset.with_splits({"train": 1.0}).digest(),
    }
    assert len(others) == 8


def raw(*boxes: tuple[float | None, ...]) -> pl.DataFrame:
    columns = {
        name: pl.Series([box[place] for box in boxes], dtype=pl.Float64)
        for place, name in enumerate(("x1", "y1", "x2", "y2"))
    }
    records = [f"file:{number}" for number in range(len(boxes))]
    return pl.DataFrame({"image": [0] * len(boxes), **columns, "record": records})


def test_tidy_boxes() -> None:
    images = Dataset({"path": ["a"], "width": [100], "height": [50]}, {}, []).images
    labels, findings = tidy_boxes(
        raw(
            (10, 10, 20, 20),
            (10, 10, 10, 20),
            (20, 10, 10, 20),
            (100, 10, 120, 20),
            (-20, 10, 0, 20),
            (-5, 10, 30, 60),
            (-0.4, 10, 30, 50.4),
            (float("nan"), 10, 30, 40),
            (None, 10, 30, 40),
            (10, 10, float("inf"), 40),
        ),
        images,
    )
    assert labels["record"].to_list() == ["file:0", "file:5", "file:6"]
    assert labels.select("x1", "y1", "x2", "y2").rows()[1:] == [(0, 10, 30, 50), (0, 10, 30, 50)]
    assert [(one.where, one.kind, one.severity, one.boxes) for one in findings] == [
        ("file:1", "zero-size-box", "error", 1),
        ("file:2", "inverted-box", "error", 1),
        ("file:3", "outside-box", "error", 1),
        ("file:4", "outside-box", "error", 1),
        ("file:5", "clipped-box", "warning", 0),
        ("file:7", "bad-box", "error", 1),
        ("file:8", "bad-box", "error", 1),
        ("file:9", "bad-box", "error", 1),
    ]


def test_boxes_in_a_picture_of_unknown_size_are_cut_at_0_only() -> None:
    images = Dataset({"path": ["a"]}, {}, []).images
    labels, findings = tidy_boxes(raw((-5, 10, 3000, 60), (5, 10, 3000, 60)), images)
    assert labels.select("x1", "x2").rows() == [(0, 3000), (5, 3000)]
    assert [finding.kind for finding in findings] == ["clipped-box"]


def kinds(dataset: Dataset) -> set[str]:
    return {finding.kind for finding in dataset.check()}


def test_check_finds_wrong_sizes_and_turned_ones(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    width = pl.Series("width", [40, *dataset.images["width"].to_list()[1:]], pl.Int32)
    height = pl.Series("height", [60, 31, *dataset.images["height"].to_list()[2:]], pl.Int32)
    wrong = Dataset(
        dataset.images.with_columns(width, height), dataset.labels, NAMES, root=dataset.root
    )
    found = [finding for finding in wrong.check() if finding.kind == "wrong-size"]
    assert [finding.where for finding in found] == ["bild 0 ü.png", "bild 1 ü.png"]
    assert ["EXIF" in finding.message for finding in found] == [True, False]
    assert {finding.severity for finding in found} == {"error"}


def test_check_finds_the_same_picture_twice(tmp_path: Path) -> None:
    dataset = classification(tmp_path)
    shutil.copy(dataset.paths[0], dataset.paths[3])
    shutil.copy(dataset.paths[1], dataset.paths[2])
    found = {finding.kind: finding for finding in dataset.check()}
    # 0 and 3 are of one class in two splits, 1 and 2 of two classes in one split.
    assert found["leaked-image"].where == "bild 3 ü.png"
    assert found["duplicate-image"].where == "bild 2 ü.png"
    assert found["contradicting-labels"].where == "bild 2 ü.png"
    assert found["contradicting-labels"].severity == "error"


def test_check_finds_double_and_contradicting_labels(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    again = dataset.labels[:1]
    other = again.with_columns(pl.lit(2, pl.Int32).alias("class_id"))
    double = Dataset(dataset.images, pl.concat([dataset.labels, again]), NAMES)
    assert "duplicate-label" in kinds(double)
    contradicting = Dataset(dataset.images, pl.concat([dataset.labels, other]), NAMES)
    assert "contradicting-labels" in kinds(contradicting)
    assert not {"duplicate-label", "contradicting-labels"} & kinds(dataset)


def test_check_notes_unused_classes_and_empty_pictures(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    more = Dataset(dataset.images, dataset.labels, [*NAMES, "unicorn"])
    notes = [finding for finding in more.check() if finding.severity == "info"]
    messages = {finding.kind: finding.message for finding in notes}
    assert set(messages) == {"unused-class", "unmeasured-class", "no-labels", "whole-picture-box"}
    assert "unicorn" in messages["unused-class"]


def test_a_finding_as_text_and_as_json() -> None:
    finding = Finding("zero-size-box", "the box has zero size", "a.xml:3", "error", "kept out", 1)
    assert str(finding) == "a.xml:3: the box has zero size (kept out)"
    assert finding.to_dict() == {
        "kind": "zero-size-box",
        "message": "the box has zero size",
        "where": "a.xml:3",
        "severity": "error",
        "action": "kept out",
        "boxes": 1,
        "file": "a.xml",
        "line": 3,
        "record": None,
        "do": "draw the box anew, or remove the label",
    }


def test_without_polars_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    from whatwhere.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "whatwhere.data")
    with pytest.raises(MissingExtraError, match=r"whatwhere\[data\]"):
        importlib.import_module("whatwhere.data")


def test_names_of_pictures_are_unique_and_lie_inside() -> None:
    paths = ["/a/one.png", "/b/ONE.jpg", "/a/C:.png", "/a/C_.png", "/c/x:y.png"]
    assert unique_names(paths) == ["one.png", "ONE-2.jpg", "C_.png", "C_-2.png", "x_y.png"]
    assert unique_names(paths, ["a", "b", "a", "c", "d"])[:4] == [
        "one.png",
        "ONE.jpg",
        "C_.png",
        "C_.png",
    ]
    assert unique_names(["/a/1:0.png", "/a/b.png"]) == ["1:0.png", "b.png"]
