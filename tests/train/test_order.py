"""Which pictures an epoch shows: all once, rare ones more often, or several times in a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatwhere.data import Dataset
from whatwhere.train.order import epoch_order, repeat_factors

ROWS = np.arange(20)
ONES = np.ones(20)


def labelled(classes: list[list[int]], names: int, ignore: tuple[int, ...] = ()) -> Dataset:
    """Pictures with these classes; `ignore` are places in the list of all labels."""
    flat = [(i, class_id) for i, row in enumerate(classes) for class_id in row]
    labels = {
        "image": [i for i, _ in flat],
        "class_id": [class_id for _, class_id in flat],
        "ignore": [k in ignore for k in range(len(flat))],
    }
    images = {"path": [f"{i}.png" for i in range(len(classes))]}
    return Dataset(images, labels, [f"c{k}" for k in range(names)], task="multilabel")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1, 50), min_size=1, max_size=40),
    st.integers(0, 100),
    st.integers(0, 9),
)
def test_each_picture_comes_as_often_as_its_share_rounded(
    factors: list[float], seed: int, epoch: int
) -> None:
    shares = np.array(factors)
    rows = np.arange(len(shares)) * 3
    order = epoch_order(rows, shares, 1, seed, epoch)
    assert len(order) == len(rows)
    assert set(order) <= set(rows)
    wanted = len(rows) * shares / shares.sum()
    counts = np.array([(order == row).sum() for row in rows])
    assert (np.abs(counts - wanted) < 1 + 1e-6).all()


def test_an_order_follows_from_seed_and_epoch() -> None:
    weights = np.linspace(1, 5, 20)
    for factors in (ONES, weights):
        first = epoch_order(ROWS, factors, 1, 0, 0)
        assert np.array_equal(first, epoch_order(ROWS, factors, 1, 0, 0))
        assert not np.array_equal(first, epoch_order(ROWS, factors, 1, 0, 1))
        assert not np.array_equal(first, epoch_order(ROWS, factors, 1, 1, 0))


@pytest.mark.parametrize("repeats", [2, 3, 7, 50])
def test_repeated_pictures_stand_together_and_all_have_their_turn(repeats: int) -> None:
    seen: set[int] = set()
    for epoch in range(repeats):
        order = epoch_order(ROWS, ONES, repeats, 0, epoch)
        assert len(order) == 20
        for start in range(0, 20, repeats):
            assert len(set(order[start : start + repeats])) == 1
        seen |= set(order.tolist())
    assert seen == set(range(20))


def test_repeat_factors_of_a_single_label_set() -> None:
    data = labelled([[0]] * 8 + [[1]] * 2, 3)
    rows = np.arange(10)
    assert repeat_factors(data, rows, 0).tolist() == [1] * 10
    assert repeat_factors(data, rows, 1).tolist() == [1] * 8 + [4] * 2
    assert repeat_factors(data, rows, 0.5).tolist() == [1] * 8 + [2] * 2
    orders = np.concatenate(
        [epoch_order(rows, repeat_factors(data, rows, 1), 1, 0, epoch) for epoch in range(40)]
    )
    assert (orders >= 8).mean() == pytest.approx(0.5, abs=0.01)


def test_a_picture_counts_by_its_rarest_class() -> None:
    classes: list[list[int]] = [[0], [0, 0, 0], [0, 1, 1], [], [0, 2]]
    # Class 1: one picture, however many objects; the label of class 2 is to be ignored.
    data = labelled(classes, 3, ignore=(8,))
    assert repeat_factors(data, np.arange(5), 1).tolist() == [1, 1, 4, 1, 1]
    # Only pictures that can be read count.
    assert repeat_factors(data, np.array([2, 3]), 1).tolist() == [1, 1]
    assert repeat_factors(data, np.array([0, 1, 2]), 1).tolist() == [1, 1, 3]


def test_a_set_without_labels_has_no_rare_class() -> None:
    assert repeat_factors(labelled([[], []], 2), np.arange(2), 1).tolist() == [1, 1]
