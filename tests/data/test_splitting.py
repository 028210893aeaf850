"""Dividing rows: exact sizes, classes in proportion, groups whole, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_samples import classification, detection
from whatwhere.data import Dataset
from whatwhere.data.partition import near_groups
from whatwhere.data.splitting import group_numbers, split_rows
from whatwhere.errors import UsageError
from whatwhere.images import write_image


def multilabel(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and classes of labels; the last class is a hundred times rarer than the first."""
    rng = np.random.default_rng(seed)
    weight = np.geomspace(1, 0.01, classes)
    rows = np.repeat(np.arange(count), rng.poisson(2.5, count))
    return rows, rng.choice(classes, len(rows), p=weight / weight.sum())


def part_of(parts: list[np.ndarray], count: int) -> np.ndarray:
    part = np.full(count, -1)
    for number, rows in enumerate(parts):
        assert (part[rows] == -1).all()
        assert (np.diff(rows) > 0).all()
        part[rows] = number
    assert (part >= 0).all()
    return part


def deviation(
    parts: list[np.ndarray], labels: tuple[np.ndarray, np.ndarray], shares: list[float]
) -> float:
    """How far a part's share of a class is from what it should be, on average."""
    count = sum(map(len, parts))
    part = part_of(parts, count)
    width = labels[1].max() + 1
    pairs = np.unique(labels[0] * width + labels[1])
    table = np.zeros((width, len(parts)))
    np.add.at(table, (pairs % width, part[pairs // width]), 1)
    table = table[table.sum(1) > 0]
    return float(np.abs(table / table.sum(1, keepdims=True) - shares).mean())


SHARES = [0.7, 0.2, 0.1]


@pytest.mark.parametrize("seed", range(4))
def test_several_classes_a_row_are_divided_in_proportion(seed: int) -> None:
    labels = multilabel(1003, 30, seed)
    parts = split_rows(1003, SHARES, seed=seed, labels=labels)
    assert [len(rows) for rows in parts] == [702, 201, 100]
    by_chance = deviation(split_rows(1003, SHARES, seed=seed), labels, SHARES)
    assert deviation(parts, labels, SHARES) < 0.5 * by_chance


def test_rows_without_labels_are_divided_like_a_class() -> None:
    labels = np.arange(0, 100), np.zeros(100, np.int64)
    parts = split_rows(200, [0.5, 0.5], labels=labels)
    assert [int((rows >= 100).sum()) for rows in parts] == [50, 50]


def test_a_class_twice_in_a_row_counts_once() -> None:
    rows, ids = multilabel(300, 10, 0)
    twice = np.concatenate([rows, rows]), np.concatenate([ids, ids])
    once = split_rows(300, SHARES, seed=3, labels=(rows, ids))
    again = split_rows(300, SHARES, seed=3, labels=twice)
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_the_same_seed_gives_the_same_parts_and_another_gives_others() -> None:
    labels = multilabel(400, 12, 1)
    groups = np.random.default_rng(0).integers(0, 90, 400)
    first, again, other = (
        split_rows(400, SHARES, seed=seed, labels=labels, groups=groups) for seed in (5, 5, 6)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_whole_and_classes_in_proportion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = multilabel(2000, 15, seed)
    groups = np.minimum(rng.geometric(0.01, 2000), 250)
    parts = split_rows(2000, SHARES, seed=seed, labels=labels, groups=groups)
    part = part_of(parts, 2000)
    for group in np.unique(groups):
        assert len(np.unique(part[groups == group])) == 1
    sizes = np.array([len(rows) for rows in parts])
    assert np.abs(sizes - np.array(SHARES) * 2000).max() <= 20
    assert deviation(parts, labels, SHARES) < 0.08


def test_one_class_a_row_with_groups_is_stratified_too() -> None:
    strata = np.repeat([0, 1, 2, 3], 200)
    groups = np.arange(800) // 4
    parts = split_rows(800, [0.5, 0.5], strata=strata, groups=groups)
    for rows in parts:
        assert np.bincount(strata[rows]).tolist() == [100] * 4
        assert not set(groups[rows]) & set(groups) - set(groups[rows])


def test_a_group_larger_than_a_part_does_not_starve_the_others() -> None:
    groups = np.array([0] * 60 + list(range(1, 41)))
    parts = split_rows(100, [0.4, 0.3, 0.3], groups=groups)
    sizes = sorted(len(rows) for rows in parts)
    assert sizes[-1] == 60
    assert min(sizes) >= 10


def test_group_numbers_of_names_and_of_numbers() -> None:
    assert group_numbers(["b", "a", None, "b", None]).tolist() == [0, 1, 2, 0, 4]
    assert group_numbers(np.array([7, 3, 7, 9])).tolist() == [0, 1, 0, 3]


def test_nothing_and_fewer_rows_than_parts() -> None:
    none = np.empty(0, np.int64)
    assert [len(rows) for rows in split_rows(0, SHARES, labels=(none, none))] == [0, 0, 0]
    parts = split_rows(2, SHARES, labels=(np.array([0, 1]), np.array([0, 0])))
    assert sum(map(len, parts)) == 2


# The data set's own methods.


def test_detection_sets_are_divided_by_their_classes(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    one, two = dataset.split(0.5, 0.5, seed=2)
    for part in (one, two):
        assert len(part) == 3
        assert set(part.labels["class_id"]) == {0, 1, 2}


def _twins(folder: Path, count: int = 12) -> Dataset:
    """Each picture twice, the second brighter and smaller, in another folder and group."""
    rng = np.random.default_rng(0)
    paths: list[str] = []
    for number in range(count):
        small = rng.uniform(0, 200, (8, 10, 3))
        large = np.kron(small, np.ones((12, 12, 1))).astype(np.uint8)
        for name, image in (("first", large), ("second", large[::2, ::2] + np.uint8(30))):
            path = folder / name / f"{number}.png"
            write_image(path, image)
            paths.append(str(path))
    return Dataset(
        {"path": paths, "group": [f"film {row // 6}" for row in range(2 * count)]},
        {"image": range(2 * count), "class_id": [row // 2 % 3 for row in range(2 * count)]},
        ["ant", "bee", "fly"],
        root=str(folder),
    )


def test_near_duplicates_stay_together_by_default(tmp_path: Path) -> None:
    dataset = _twins(tmp_path)
    groups = near_groups(dataset)
    assert groups.tolist() == [row // 2 * 2 for row in range(24)]
    for part in dataset.split(0.5, 0.5, seed=1):
        numbers = [Path(path).stem for path in part.paths]
        assert all(numbers.count(number) == 2 for number in numbers)
    torn = dataset.split(0.5, 0.5, seed=1, near_duplicates=False)[0]
    numbers = [Path(path).stem for path in torn.paths]
    assert any(numbers.count(number) == 1 for number in numbers)
    given = dataset.split(0.5, 0.5, seed=1, near_duplicates=groups)
    assert given[0].paths == dataset.split(0.5, 0.5, seed=1)[0].paths


def test_groups_and_near_duplicates_are_joined(tmp_path: Path) -> None:
    dataset = _twins(tmp_path)
    one, two = dataset.split(0.5, 0.5, group="group")
    assert not set(one.images["group"]) & set(two.images["group"])
    # Twins lie in two folders, so that folders cannot be divided at all.
    sizes = sorted(len(part) for part in dataset.split(0.5, 0.5, group="folder"))
    assert sizes == [0, 24]
    sizes = sorted(
        len(part) for part in dataset.split(0.5, 0.5, group="folder", near_duplicates=False)
    )
    assert sizes == [12, 12]


def test_pictures_that_cannot_be_read_are_divided_all_the_same() -> None:
    dataset = Dataset(
        {"path": [f"/nowhere/{row}.jpg" for row in range(10)]},
        {"image": range(10), "class_id": [0, 1] * 5},
        ["ant", "bee"],
    )
    assert [len(part) for part in dataset.split(0.8, 0.2)] == [8, 2]


def test_kept_splits_stay(tmp_path: Path) -> None:
    dataset = classification(tmp_path, 12)
    before = [
        path for path, split in dataset.images.select("path", "split").rows() if split == "test"
    ]
    divided = dataset.with_splits({"train": 0.5, "val": 0.5}, keep=["test"], near_duplicates=False)
    after = [
        path for path, split in divided.images.select("path", "split").rows() if split == "test"
    ]
    assert before == after
    assert len(before) == 9
    assert sum(divided.splits.values()) == 12
    assert divided.paths == dataset.paths
    with pytest.raises(UsageError, match="no split 'exam' to keep"):
        dataset.with_splits({"train": 1.0}, keep=["exam"])
    with pytest.raises(UsageError, match="both be kept"):
        dataset.with_splits({"test": 1.0}, keep=["test"])


def test_folds_hold_every_picture_out_once(tmp_path: Path) -> None:
    dataset = _twins(tmp_path)
    folds = dataset.folds(4, seed=1)
    held = [set(fold.split_named("val").paths) for fold in folds]
    assert set().union(*held) == set(dataset.paths)
    assert sum(map(len, held)) == 24
    for fold in folds:
        assert fold.splits == {"train": 18, "val": 6}
        assert sorted(fold.split_named("val").labels["class_id"]) == [0, 0, 1, 1, 2, 2]
    assert [fold.digest() for fold in folds] == [fold.digest() for fold in dataset.folds(4, seed=1)]
    for count in (0, 1, 25):
        with pytest.raises(UsageError, match="2 or more folds"):
            dataset.folds(count)


def test_folds_leave_kept_splits_alone(tmp_path: Path) -> None:
    dataset = classification(tmp_path, 9)
    for fold in dataset.folds(3, keep=["test"], near_duplicates=False):
        assert fold.splits == {"train": 2, "val": 1, "test": 6}


def test_real_sets_are_divided_more_evenly_than_by_chance(shared: Path) -> None:
    from whatwhere.data import read

    for name in ("voc2012_mini", "coco128"):
        dataset = read(shared / name)
        labels = tuple(
            dataset.labels[key].to_numpy().astype(np.int64) for key in ("image", "class_id")
        )
        even = split_rows(len(dataset), SHARES, labels=labels)
        chance = [split_rows(len(dataset), SHARES, seed=seed) for seed in range(5)]
        by_chance = np.mean([deviation(parts, labels, SHARES) for parts in chance])
        assert deviation(even, labels, SHARES) < 0.75 * by_chance
