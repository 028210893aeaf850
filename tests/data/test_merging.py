"""Merging: names united, the same picture once, contradictions named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from data_samples import NAMES, classification, detection
from whatwhere.data import Dataset
from whatwhere.data.merging import merge
from whatwhere.errors import UsageError
from whatwhere.images import write_image


def picture(path: Path, seed: int) -> str:
    write_image(path, np.random.default_rng(seed).integers(0, 255, (30, 40, 3), np.uint8))
    return str(path)


def boxed(
    root: Path,
    seeds: list[int],
    names: list[str],
    rows: list[tuple[int, int, float]],
    **more: object,
) -> Dataset:
    """A set of pictures by seed; each label is (picture, class, left edge)."""
    paths = [picture(root / f"{root.name}{seed}.png", seed) for seed in seeds]
    left = [row[2] for row in rows]
    images = {"path": paths, "width": [40] * len(seeds), "height": [30] * len(seeds)}
    labels = {
        "image": [row[0] for row in rows],
        "class_id": [row[1] for row in rows],
        "x1": left,
        "y1": [2.0] * len(rows),
        "x2": [edge + 10 for edge in left],
        "y2": [20.0] * len(rows),
        "record": [f"f:{number}" for number in range(len(rows))],
    }
    known = {key: more.pop(key) for key in ("split", "group", "id") if key in more}
    return Dataset(
        images | known, labels, names, root=str(root), source=root.name, task="detect", **more
    )  # type: ignore[arg-type]


def test_names_are_the_contract(tmp_path: Path) -> None:
    one = boxed(tmp_path / "a", [1], ["cat", "dog"], [(0, 0, 1), (0, 1, 5)])
    two = boxed(tmp_path / "b", [2], ["dog", "yak"], [(0, 0, 1), (0, 1, 5)])
    both = merge([one, two])
    assert list(both.names) == ["cat", "dog", "yak"]
    assert both.labels.select("image", "class_id").rows() == [(0, 0), (0, 1), (1, 1), (1, 2)]
    assert both.stats()["classes"] == {"cat": 1, "dog": 2, "yak": 1}
    # What nobody looked for is not absent.
    assert both.images["labelled"].to_list() == [["cat", "dog"], ["dog", "yak"]]
    assert both.images["complete"].to_list() == [["cat", "dog"], ["dog", "yak"]]
    assert both.labels["record"].to_list() == ["a/f:0", "a/f:1", "b/f:0", "b/f:1"]
    assert both.root == str(tmp_path)
    assert both.relative_paths() == ["a/a1.png", "b/b2.png"]
    assert both.findings == ()


def test_sets_of_the_same_classes_are_wholly_labelled(tmp_path: Path) -> None:
    one, two = detection(tmp_path / "a"), detection(tmp_path / "b")
    both = merge([one, two], same=False)
    assert (len(both), both.labels.height) == (12, 14)
    assert both.images["labelled"].null_count() == 12
    assert both.splits == {"train": 6, "val": 2, "test": 4}
    targets = both.targets(10)
    assert targets.boxes is not None
    np.testing.assert_array_equal(targets.boxes, one.targets(4).boxes)


def test_the_same_picture_is_kept_once(tmp_path: Path) -> None:
    one = boxed(tmp_path / "a", [1, 2], ["cat"], [(0, 0, 1), (1, 0, 3)])
    two = boxed(tmp_path / "b", [2, 3], ["cat"], [(0, 0, 3.4), (1, 0, 7)])
    both = merge([one, two])
    assert both.relative_paths() == ["a/a1.png", "a/a2.png", "b/b3.png"]
    assert both.labels["record"].to_list() == ["a/f:0", "a/f:1", "b/f:1"]
    (finding,) = both.findings
    assert (finding.kind, finding.severity, finding.boxes) == ("duplicate-image", "info", 0)
    assert both.kept_out == 0


def test_sets_that_label_other_things_complete_each_other(tmp_path: Path) -> None:
    one = boxed(tmp_path / "a", [1, 2], ["cat"], [(0, 0, 1)])
    two = boxed(tmp_path / "b", [1, 4], ["dog"], [(0, 0, 9), (1, 0, 2)])
    three = boxed(tmp_path / "c", [1], ["dog", "cat"], [(0, 0, 9), (0, 1, 1)])
    both = merge([one, two, three])
    assert len(both) == 3
    assert both.labels.select("image", "class_id", "x1").rows() == [(0, 0, 1), (0, 1, 9), (2, 1, 2)]
    assert both.images["labelled"].to_list() == [None, ["cat"], ["dog"]]
    assert {finding.kind for finding in both.findings} == {"duplicate-image"}


def test_contradictions_and_two_splits_are_named(tmp_path: Path) -> None:
    one = boxed(tmp_path / "a", [1], ["cat", "dog"], [(0, 0, 1)], split=["train"])
    two = boxed(tmp_path / "b", [1], ["dog", "cat"], [(0, 0, 1), (0, 1, 1)], split=["test"])
    both = merge([one, two])
    assert both.splits == {"train": 1}
    assert both.labels.height == 1
    found = {finding.kind: finding for finding in both.findings}
    assert found["two-splits"].where == "b1.png"
    conflict = found["contradicting-labels"]
    assert (conflict.severity, conflict.boxes, conflict.where) == ("error", 2, "b1.png")
    assert "1 x 'cat' there and 1 x 'dog', 1 x 'cat' here" in conflict.message
    assert both.kept_out == 2


def test_a_picture_has_one_class_in_single_label_sets(tmp_path: Path) -> None:
    one = classification(tmp_path / "a")
    two = classification(tmp_path / "b")
    renamed = two.rename({"ant": "emmet"})
    both = merge([one, renamed])
    assert (len(both), both.task, list(both.names)) == (6, "classify", [*NAMES, "emmet"])
    assert both.images["labelled"].null_count() == 6
    conflicts = [finding for finding in both.findings if finding.kind == "contradicting-labels"]
    assert [finding.where for finding in conflicts] == ["bild 0 ü.png", "bild 3 ü.png"]
    assert both.kept_out == 2


def test_doubles_within_one_set_stay(tmp_path: Path) -> None:
    one = classification(tmp_path / "a")
    shutil.copy(one.paths[0], one.paths[3])
    two = classification(tmp_path / "b", 3)
    both = merge([one, two])
    assert len(both) == 6


def test_numbers_and_what_is_known(tmp_path: Path) -> None:
    one = boxed(
        tmp_path / "a",
        [1],
        ["cat"],
        [],
        id=[4],
        category_ids=[3],
        class_info={"cat": {"mid": "/m/1"}},
        info={"year": 2012, "by": "a"},
    )
    two = boxed(
        tmp_path / "b",
        [2, 3],
        ["cat", "dog"],
        [],
        id=[4, 5],
        category_ids=[3, 9],
        class_info={"cat": {"mid": "/m/2", "legs": 4}, "dog": {"legs": 4}},
        info={"year": 2013, "url": "u"},
    )
    both = merge([one, two])
    assert both.images["id"].to_list() == [4, None, 5]
    assert both.category_ids == (3, 9)
    assert both.class_info == {"cat": {"mid": "/m/1", "legs": 4}, "dog": {"legs": 4}}
    assert both.info == {"year": 2012, "by": "a", "url": "u"}
    assert [finding.kind for finding in both.findings] == ["differing-info"]
    two.category_ids = (1, 3)
    other = merge([one, two])
    assert other.category_ids == ()
    assert "contradicting-ids" in {finding.kind for finding in other.findings}


def test_groups_of_one_name(tmp_path: Path) -> None:
    one = boxed(tmp_path / "a", [1], ["cat"], [], group=["v1"])
    two = boxed(tmp_path / "b", [2], ["cat"], [], group=["v1"])
    both = merge([one, two])
    assert both.images["group"].to_list() == ["v1", "v1"]
    assert [finding.kind for finding in both.findings] == ["shared-group"]
    apart = merge([one, two], prefixes=["a", "b"])
    assert apart.images["group"].to_list() == ["a/v1", "b/v1"]
    assert apart.findings == ()


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to merge"):
        merge([])
    with pytest.raises(UsageError, match="as_multilabel"):
        merge([detection(tmp_path / "a"), classification(tmp_path / "b")])
    mixed = merge([detection(tmp_path / "c").as_multilabel(), classification(tmp_path / "d")])
    assert mixed.task == "multilabel"
    with pytest.raises(UsageError, match="prefixes"):
        merge([detection(tmp_path / "e")], prefixes=["a", "b"])
    # Pictures that are not there are no doubles of each other.
    for dataset in (one := detection(tmp_path / "f"), two := detection(tmp_path / "g")):
        for path in dataset.paths:
            Path(path).unlink()
    assert len(merge([one, two])) == 12
