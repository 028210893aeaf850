"""Soft suppression: the same as box by box, and what predictions make of it."""

from __future__ import annotations

import numpy as np
import pytest

from factories import spec_of
from plain_boxes import soft_nms, some_boxes
from whatwhere.runtime import suppress
from whatwhere.runtime.decode import decode
from whatwhere.runtime.suppress import reduce_boxes, soften
from whatwhere.specs import PostprocessSpec
from whatwhere.transforms import Geometry


@pytest.mark.parametrize("iou", [None, 0.0, 0.3, 0.7])
@pytest.mark.parametrize(("count", "across"), [(0, 1.0), (1, 1.0), (40, 30.0), (250, 300.0)])
def test_soft_suppression_is_that_of_the_paper(
    iou: float | None, count: int, across: float
) -> None:
    for seed in range(4):
        boxes, scores, ids = some_boxes(seed, count, across=across)
        for least in (0.0, 0.2):
            ours = soften(boxes, scores, ids, least=least, iou=iou, sigma=0.4)
            plain = soft_nms(boxes, scores, ids, iou, 0.4, least)
            # What is below the least score is out: how far below does not count.
            np.testing.assert_array_equal(ours >= least, plain >= least)
            some = plain >= least
            np.testing.assert_allclose(ours[some], plain[some], rtol=1e-5, atol=1e-7)


def test_equal_boxes_with_equal_scores_lower_each_other_once() -> None:
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (3, 1))
    scores, ids = np.full(3, 0.8, np.float32), np.zeros(3, np.int64)
    left = soften(boxes, scores, ids, sigma=0.5)
    np.testing.assert_allclose(left, [0.8, 0.8 * np.exp(-2), 0.8 * np.exp(-4)], rtol=1e-6)
    assert soften(boxes, scores, ids, iou=0.5).tolist() == pytest.approx([0.8, 0, 0])
    apart = soften(boxes, scores, np.arange(3), sigma=0.5)
    assert apart.tolist() == pytest.approx([0.8] * 3)


def test_a_box_that_hard_suppression_drops_is_kept_with_less_score() -> None:
    """Two objects that overlap by 0.6: the case that Soft-NMS was made for."""
    outputs = {
        "boxes": np.array([[[0, 0, 40, 40], [10, 0, 50, 40], [0, 50, 20, 60]]], np.float32),
        "scores": np.array([[[0.9, 0, 0], [0.8, 0, 0], [0.7, 0, 0]]], np.float32),
    }
    lying = [Geometry((64, 64), (1.0, 1.0), (0.0, 0.0))]

    def found(**changes: object) -> list[float]:
        post = PostprocessSpec(score_threshold=0.25, nms_iou=0.5, **changes)
        (answer,) = decode(outputs, lying, spec_of("detect", postprocess=post))
        return [round(score, 4) for score in answer.object_scores.tolist()]

    assert found() == [0.9, 0.7]
    # IoU 1200 / 2000
    assert found(suppress="soft") == [0.9, 0.7, round(0.8 * np.exp(-0.36 / 0.5), 4)]
    assert found(suppress="soft-linear") == [0.9, 0.7, round(0.8 * 0.4, 4)]
    assert found(suppress="soft", soft_sigma=0.2) == [0.9, 0.7]
    assert found(suppress="wbf") == [0.9, 0.7]


def test_each_class_has_its_own_limit_and_the_number_is_limited() -> None:
    boxes, scores, ids = some_boxes(3, 60, across=40)
    order = np.argsort(-scores)
    boxes, scores, ids = boxes[order], scores[order], ids[order]
    post = PostprocessSpec(suppress="soft", max_detections=7)
    limits = np.where(ids == 1, 0.9, 0.3).astype(np.float32)
    kept = reduce_boxes(boxes, scores, ids, limits, post)
    left = soften(boxes, scores, ids, least=0.3)
    allowed = np.flatnonzero(left >= limits)
    best = allowed[np.argsort(-left[allowed], kind="stable")][:7]
    assert kept.rows.tolist() == best.tolist()
    assert kept.scores.tolist() == left[best].tolist()
    assert (ids[kept.rows] != 1).any()
    assert len(kept.rows) == 7


def test_no_more_pairs_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppress, "MAX_PAIRED", 50)
    boxes, scores, ids = some_boxes(1, 400, across=3000)
    order = np.argsort(-scores)
    kept = reduce_boxes(
        boxes[order],
        scores[order],
        ids[order],
        np.zeros(400, np.float32),
        PostprocessSpec(suppress="soft"),
    )
    assert len(kept.rows) == 50
    assert kept.rows.max() == 49
