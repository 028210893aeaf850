"""Partners of boxes, equal to pycocotools' `evaluateImg` box for box."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_boxes import generated, oracle
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.pairing import AREAS, COCO_IOUS, pair_areas, pair_boxes


def compare(images: list[int], classes: list[int], truth: TrueBoxes, found: FoundBoxes) -> int:
    """Each picture, class and range of areas; gives the number of matches compared."""
    judge = oracle(images, classes, truth, found)
    assert tuple(judge.params.iouThrs.tolist()) == COCO_IOUS
    expected = {
        (entry["image_id"], entry["category_id"], tuple(entry["aRng"])): entry
        for entry in judge.evalImgs
        if entry is not None
    }
    matches = 0
    ranges = list(AREAS.values())
    for area, pairs in zip(ranges, pair_areas(truth, found), strict=True):
        assert pairs.image.dtype == np.int64
        table = pairs.positives(np.unique(images), np.unique(classes))
        for at_image, image in enumerate(sorted(images)):
            for at_class, class_id in enumerate(sorted(classes)):
                entry = expected.get((image, class_id, area))
                rows = np.flatnonzero((pairs.image == image) & (pairs.class_id == class_id))
                if entry is None:
                    assert not len(rows)
                    assert not table[at_image, at_class]
                    continue
                # Ids of pycocotools count from 1.
                assert (pairs.row[rows] + 1).tolist() == entry["dtIds"]
                assert pairs.rank[rows].tolist() == list(range(len(rows)))
                assert np.array_equal(pairs.partner[:, rows] + 1, entry["dtMatches"])
                assert np.array_equal(pairs.ignored[:, rows], entry["dtIgnore"])
                assert table[at_image, at_class] == (entry["gtIgnore"] == 0).sum()
                matches += int((entry["dtMatches"] > 0).sum())
        assert np.array_equal(pairs.true, (pairs.partner >= 0) & ~pairs.ignored)
        assert ((pairs.iou > 0) == (pairs.partner >= 0)).all()
    return matches


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_pycocotools(seed: int) -> None:
    truth, found = generated(np.random.default_rng(seed), images=20, classes=3)
    assert compare(list(range(20)), [0, 1, 2], truth, found) > 100


def test_ties_crowds_and_more_than_100_boxes() -> None:
    rng = np.random.default_rng(3)
    truth, found = generated(rng, 3, 1, boxes=40, extra=140, levels=4, crowds=0.4)
    assert np.bincount(found.image).max() > 120
    assert compare([0, 1, 2], [0], truth, found) > 100


def test_many_boxes_contend_for_the_same_objects() -> None:
    """Long chains: each object is wanted by twenty boxes, and boxes have several choices."""
    rng = np.random.default_rng(4)
    xywh = np.array([[4.0 * k, 3.0 * k, 60, 60] for k in range(12)])
    copies = np.repeat(xywh, 20, axis=0) + rng.normal(0, 2, (240, 4))
    truth = TrueBoxes(
        np.zeros(12, int), np.zeros(12, int), xywh, np.full(12, 3600.0), np.arange(12) == 5
    )
    found = FoundBoxes(np.zeros(240, int), np.zeros(240, int), copies, rng.random(240).round(1))
    assert compare([0], [0], truth, found) > 100


_side = st.sampled_from([0.0, 0.5, 1.0, 10.0, 31.9, 32.0, 96.0, 96.1, 200.0])
_row = st.tuples(st.integers(0, 1), st.integers(0, 1), _side, _side, _side, _side, st.booleans())
_score = st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0])
_guess = st.tuples(st.integers(0, 1), st.integers(0, 1), _side, _side, _side, _side, _score)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(_row, max_size=8), st.lists(_guess, min_size=1, max_size=12))
def test_any_small_set(rows: list[Any], guesses: list[Any]) -> None:
    a = np.array(rows, dtype=np.float64).reshape(-1, 7)
    b = np.array(guesses, dtype=np.float64).reshape(-1, 7)
    truth = TrueBoxes(
        a[:, 0].astype(np.int64),
        a[:, 1].astype(np.int64),
        a[:, 2:6],
        a[:, 4] * a[:, 5],
        a[:, 6].astype(bool),
    )
    found = FoundBoxes(b[:, 0].astype(np.int64), b[:, 1].astype(np.int64), b[:, 2:6], b[:, 6])
    compare([0, 1], [0, 1], truth, found)


def test_rows_are_in_the_order_in_which_coco_accumulates() -> None:
    truth, found = generated(np.random.default_rng(6), 12, 3, levels=5)
    pairs = pair_boxes(truth, found, (0.5,))
    keys = list(zip(pairs.class_id, -pairs.score, pairs.image, pairs.rank, strict=True))
    assert keys == sorted(keys)
    assert np.array_equal(found.score[pairs.row], pairs.score)


def test_few_pairs_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = generated(np.random.default_rng(7), 15, 2)
    whole = pair_boxes(truth, found)
    monkeypatch.setattr("whatwhere.metrics.pairing._MOST_PAIRS", 3)
    parts = pair_boxes(truth, found)
    assert np.array_equal(whole.partner, parts.partner)
    assert np.array_equal(whole.iou, parts.iou)


def test_without_truth_or_boxes() -> None:
    none = np.zeros(0, dtype=np.int64)
    no_truth = TrueBoxes(none, none, np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=bool))
    nothing = FoundBoxes(none, none, np.zeros((0, 4)), np.zeros(0))
    truth, found = generated(np.random.default_rng(8), 4, 2)
    assert pair_boxes(no_truth, nothing).true.shape == (10, 0)
    assert not pair_boxes(no_truth, found).true.any()
    left = pair_boxes(truth, nothing)
    assert len(left) == 0
    assert len(left.true_image) == (~truth.ignore).sum()
