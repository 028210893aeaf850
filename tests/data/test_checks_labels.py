"""Checks of class names, counts, splits and groups; no picture is opened."""

from __future__ import annotations

import pytest

from whatwhere.data import Dataset, Finding
from whatwhere.data.checks.classes import plain_name, spelt_alike
from whatwhere.errors import UsageError


def classes(counts: dict[str, int], **columns: object) -> Dataset:
    """A picture for each label, with one class."""
    ids = [number for number, count in enumerate(counts.values()) for _ in range(count)]
    images = {"path": [f"/data/{row}.png" for row in range(len(ids))], **columns}
    rows = {"image": list(range(len(ids))), "class_id": ids}
    return Dataset(images, rows, list(counts), root="/data", source="data")  # type: ignore[arg-type]


def found(dataset: Dataset, kind: str) -> list[Finding]:
    return [one for one in dataset.check(depth="labels") if one.kind == kind]


def test_class_names_that_differ_by_case_spaces_or_marks() -> None:
    counts = {"Traffic Light": 3, "traffic_light": 2, "traffic-light ": 1, "stop sign": 4}
    (finding,) = found(classes(counts), "similar-class")
    assert finding.severity == "warning"
    for part in ("'Traffic Light' (3 labels)", "'traffic_light' (2 labels)", "'traffic-light '"):
        assert part in finding.message
    assert "stop" not in finding.message


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("bottle", "bottles", True),
        ("bottle", "botle", True),
        ("bottle", "bottel", True),
        ("bottle", "buttle", True),
        ("bottle", "bottler cap", False),
        ("cat", "bat", False),
        ("class 1", "class 2", False),
        ("class 1", "class 11", False),
        ("abcdef", "abdcfe", False),
    ],
)
def test_class_names_of_one_letters_difference(first: str, second: str, alike: bool) -> None:
    (*pairs,) = found(classes({first: 1, second: 2}), "similar-class")
    assert bool(pairs) == alike
    assert all(one.severity == "info" for one in pairs)


def test_many_names_are_compared_quickly() -> None:
    # 20,000 names have 200 million pairs.
    names = [f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{i * i * 7919:x}" for i in range(20_000)]
    assert isinstance(spelt_alike(names), list)
    assert spelt_alike(["abcdef", "abcdeg", "zzzzzz"]) == [("abcdef", "abcdeg")]


def test_a_name_of_marks_only_stays_itself() -> None:
    assert plain_name("--") == "--"
    assert plain_name("__") != plain_name("..")


def test_classes_of_one_split() -> None:
    counts = {"apple": 2, "grape": 2, "melon": 2}
    splits = ["train", "train", "val", "val", "train", "test"]
    dataset = classes(counts, split=splits)
    (never,) = found(dataset, "untrained-class")
    assert (never.severity, "grape" in never.message) == ("warning", True)
    (only,) = found(dataset, "unmeasured-class")
    assert (only.severity, "apple" in only.message) == ("info", True)
    assert "melon" not in never.message + only.message
    assert not found(classes(counts, split=["train"] * 6), "unmeasured-class")


def test_imbalance_of_classes() -> None:
    (finding,) = found(classes({"common": 500, "rare": 5, "some": 50}), "class-imbalance")
    assert "'common' has 500" in finding.message
    assert "rare (5)" in finding.message
    assert "some" not in finding.message
    assert not found(classes({"common": 499, "rare": 5}), "class-imbalance")


def test_a_picture_with_far_more_labels_than_others() -> None:
    counts = [1, 2, 3, 2, 1] * 20 + [150, 0]
    owner = [row for row, count in enumerate(counts) for _ in range(count)]
    dataset = Dataset(
        {"path": [f"/data/{row}.png" for row in range(len(counts))]},
        {"image": owner, "class_id": list(range(len(owner)))},
        [f"{i}" for i in range(len(owner))],
        root="/data",
        task="multilabel",
    )
    (finding,) = found(dataset, "many-labels")
    assert finding.where == "100.png"
    assert "150 labels" in finding.message
    (empty,) = found(dataset, "no-labels")
    assert "1 of 102" in empty.message


def test_a_group_in_two_splits() -> None:
    dataset = classes(
        {"apple": 6},
        split=["train", "val", "train", "train", None, "test"],
        group=["film 1", "film 1", "film 2", "film 2", "film 2", None],
    )
    (finding,) = found(dataset, "leaked-group")
    assert finding.severity == "warning"
    assert "2 pictures of group 'film 1' are in train, val" in finding.message


def test_a_depth_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="labels, headers, pixels"):
        classes({"apple": 2}).check(depth="deep")  # type: ignore[arg-type]
