"""Non-maximum merging: the same as box by box."""

from __future__ import annotations

import numpy as np
import pytest

from plain_boxes import merge, overlap, some_boxes
from whatwhere.runtime.merging import merge_boxes
from whatwhere.runtime.overlaps import Metric, find_pairs, groups_of, overlap_of


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("metric", ["iou", "ios"])
@pytest.mark.parametrize(
    ("count", "across"), [(0, 1.0), (1, 1.0), (60, 40.0), (200, 200.0), (700, 3000.0)]
)
def test_merging_is_that_of_sahi(greedy: bool, metric: Metric, count: int, across: float) -> None:
    for seed in range(3):
        boxes, scores, ids = some_boxes(seed, count, across=across)
        for least in (0.2, 0.5, 1.0):
            ours = merge_boxes(boxes, scores, ids, greedy=greedy, metric=metric, overlap=least)
            plain = merge(boxes, scores, ids, greedy, metric, least)
            assert ours.rows.tolist() == list(plain)
            expected = np.array(list(plain.values())).reshape(-1, 4)
            np.testing.assert_allclose(ours.boxes, expected, rtol=1e-6)


def test_a_chain_becomes_one_unless_greedy() -> None:
    left = np.arange(6, dtype=np.float32) * 5
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    scores, ids = np.linspace(0.9, 0.4, 6, dtype=np.float32), np.zeros(6, np.int64)
    chain = merge_boxes(boxes, scores, ids, greedy=False, metric="ios", overlap=0.5)
    assert chain.rows.tolist() == [0]
    assert chain.boxes.tolist() == [[0, 0, 35, 10]]
    greedy = merge_boxes(boxes, scores, ids, greedy=True, metric="ios", overlap=0.5)
    assert greedy.boxes.tolist() == [[0, 0, 15, 10], [10, 0, 25, 10], [20, 0, 35, 10]]
    apart = merge_boxes(boxes, scores, np.arange(6), greedy=False)
    assert len(apart.rows) == 6


def test_what_lies_in_a_box_that_has_grown_is_taken_in() -> None:
    boxes = np.array(
        [[40, 0, 60, 20], [0, 0, 100, 20], [0, 0, 20, 20], [80, 0, 104, 20], [0, 0, 20, 20]],
        np.float32,
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32)
    ids = np.array([0, 0, 0, 0, 1])
    as_sahi = merge_boxes(boxes, scores, ids, greedy=True)
    assert as_sahi.rows.tolist() == [0, 2, 3, 4]
    taken = merge_boxes(boxes, scores, ids, greedy=True, absorb=0.9)
    # Of the fourth 20 of 24 lie inside; the fifth is of another class.
    assert taken.rows.tolist() == [0, 3, 4]
    assert taken.boxes[0].tolist() == [0, 0, 100, 20]
    # A box that has not grown takes in nothing.
    nested = np.array([[0, 0, 100, 100], [10, 10, 20, 20]], np.float32)
    alone = merge_boxes(nested, scores[:2], ids[:2], greedy=True, metric="iou", absorb=0.5)
    assert alone.rows.tolist() == [0, 1]


@pytest.mark.parametrize("rows", [1, 3, 256])
@pytest.mark.parametrize("inclusive", [True, False])
def test_pairs_are_all_pairs(rows: int, inclusive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from whatwhere.runtime import overlaps

    monkeypatch.setattr(overlaps, "_ROWS", rows)
    boxes, _, ids = some_boxes(8, 120, across=150)
    boxes = np.rint(boxes / 10).astype(np.float32) * 10  # many overlaps are equal
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, ids = boxes[real], ids[real]
    for least in (0.0, 0.25, 0.5):
        found = find_pairs(boxes, ids, least, "iou", inclusive=inclusive)
        expected = {
            (i, j): share
            for i in range(len(boxes))
            for j in range(i + 1, len(boxes))
            if ids[i] == ids[j]
            and (share := overlap(boxes[i], boxes[j])) > 0
            and (share >= least if inclusive else share > least)
        }
        ours = dict(
            zip(
                zip(found.first.tolist(), found.second.tolist(), strict=True),
                found.overlap.tolist(),
                strict=True,
            )
        )
        assert ours == pytest.approx(expected)


def test_boxes_without_area_overlap_nothing() -> None:
    flat = np.array([[0, 0, 10, 0], [0, 0, 10, 10], [5, 5, 1, 9]], np.float32)
    assert overlap_of(flat[:, None], flat[None]).sum() == 1
    assert len(find_pairs(flat, np.zeros(3, np.int64), 0.0, "ios").first) == 0


def test_groups_hang_together_through_pairs() -> None:
    left = np.array([0, 8, 16, 100, 24, 106], np.float32)
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    pairs = find_pairs(boxes, np.zeros(6, np.int64), 0.0)
    assert groups_of(6, pairs).tolist() == [0, 0, 0, 3, 0, 3]
