"""Overlapping pairs and who takes whom, against plain loops."""

import numpy as np
import pytest

from muddled_boxes import muddled
from whatwhere.metrics import overlaps as module
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.overlaps import NOBODY, by_score, first_come, overlaps, place_in_group


def every_iou(truth: TrueBoxes, found: FoundBoxes) -> dict[tuple[int, int], float]:
    from pycocotools.mask import iou

    table = iou(found.xywh, truth.xywh, [0] * len(truth.image))
    return {
        (row, other): table[row, other]
        for row in range(len(found.image))
        for other in range(len(truth.image))
        if found.image[row] == truth.image[other] and table[row, other] > 0
    }


@pytest.mark.parametrize("block", [1, 7, 1 << 19])
def test_pairs_are_those_of_pycocotools(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    truth, found = muddled(0, images=6)
    pairs = overlaps(truth, found)
    keys = list(zip(pairs.found.tolist(), pairs.truth.tolist(), strict=True))
    assert dict(zip(keys, pairs.iou.tolist(), strict=True)) == every_iou(truth, found)
    assert keys == sorted(keys)
    same = overlaps(truth, found, same_class=True)
    wanted = [key for key in keys if found.class_id[key[0]] == truth.class_id[key[1]]]
    assert list(zip(same.found.tolist(), same.truth.tolist(), strict=True)) == wanted
    assert 0 < len(wanted) < len(keys)


def test_without_boxes_there_are_no_pairs() -> None:
    truth, found = muddled(0, images=6)
    nothing = np.zeros(len(found.image), dtype=bool)
    assert not len(overlaps(truth, found.only(nothing)).iou)
    assert not len(overlaps(truth.only(np.zeros(len(truth.image), bool)), found).iou)
    empty = overlaps(truth, found.only(nothing), same_class=True)
    assert not len(first_come(empty, found.image[:0], 0, len(truth.image)))


def test_the_first_box_takes_the_best_that_is_free() -> None:
    truth, found = muddled(1)
    rows = by_score(found)
    found = FoundBoxes(found.image[rows], found.class_id[rows], found.xywh[rows], found.score[rows])
    pairs = overlaps(truth, found)
    ious = every_iou(truth, found)
    taken: set[int] = set()
    expected = []
    for row in range(len(found.image)):
        free = [(-iou, o) for (r, o), iou in ious.items() if r == row and o not in taken]
        best = min(free)[1] if free else NOBODY
        taken.add(best)
        expected.append(best)
    got = first_come(pairs, found.image, len(found.image), len(truth.image))
    assert got.tolist() == expected
    assert sum(best != NOBODY for best in expected) > 40


def test_by_score_keeps_the_best_of_each_picture() -> None:
    zero = np.zeros((5, 4))
    ids = np.zeros(5, dtype=np.int64)
    image = np.array([1, 0, 1, 1, 0])
    found = FoundBoxes(image, ids, zero, np.array([0.5, 0.2, 0.9, 0.5, 0.3]))
    assert by_score(found).tolist() == [4, 1, 2, 0, 3]
    assert by_score(found, limit=2).tolist() == [4, 1, 2, 0]
    assert place_in_group(image[by_score(found)]).tolist() == [0, 1, 0, 1, 2]
