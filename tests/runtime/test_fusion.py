"""Weighted box fusion: the same as box by box; predictions of several models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import whatwhere as ww
from plain_boxes import fuse as plain_fuse
from plain_boxes import some_boxes
from whatwhere.errors import UsageError
from whatwhere.runtime.fusion import fuse, fuse_boxes
from whatwhere.types import Label, Prediction


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0], [2.0, 0.5, 1.0]])
@pytest.mark.parametrize(
    ("count", "across"), [(0, 1.0), (1, 1.0), (50, 30.0), (200, 200.0), (300, 2000.0)]
)
def test_fusion_is_that_of_the_paper(weights: list[float], count: int, across: float) -> None:
    for seed in range(4):
        for iou in (0.1, 0.55):
            boxes, scores, ids = some_boxes(seed, count, across=across)
            model = np.random.default_rng(seed).integers(0, len(weights), count)
            ours = fuse_boxes(boxes, scores, ids, iou, weights=weights, model=model)
            plain = plain_fuse(boxes, scores, ids, model, weights, iou)
            assert ids[ours.first].tolist() == [one[0] for one in plain]
            # With unequal weights the mean can pass 1, which is no score.
            expected = np.clip([one[1] for one in plain], None, 1)
            np.testing.assert_allclose(ours.scores, expected, rtol=1e-5)
            expected = np.array([one[2] for one in plain]).reshape(-1, 4)
            np.testing.assert_allclose(ours.boxes, expected, rtol=1e-5, atol=1e-3)
            for number, one in enumerate(plain):
                assert np.flatnonzero(ours.cluster == number).tolist() == sorted(one[3])
                assert ours.first[number] == one[3][0]


def test_a_mean_may_meet_a_box_that_none_of_its_boxes_touches() -> None:
    """A tall and a wide box: their mean reaches into a corner that lies in neither."""
    boxes = np.array([[0, 40, 100, 60], [40, 0, 60, 100], [20, 20, 39, 39]], np.float32)
    scores, ids = np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64)
    ours = fuse_boxes(boxes, scores, ids, 0.05)
    plain = plain_fuse(boxes, scores, ids, np.zeros(3, int), [1.0], 0.05)
    assert len(plain) == len(ours.first) == 1
    np.testing.assert_allclose(ours.boxes[0], plain[0][2], rtol=1e-6)


def test_boxes_without_score_do_no_harm() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 12, 10], [50, 50, 60, 60]], np.float32)
    fused = fuse_boxes(boxes, np.zeros(3, np.float32), np.zeros(3, np.int64))
    assert np.isfinite(fused.boxes).all()
    assert fused.scores.tolist() == pytest.approx([0, 0])


def said(boxes: list[list[float]], scores: list[float], names: str, **more: Any) -> Prediction:
    fields: dict[str, Any] = {"width": 100, "height": 80, "model": "a"}
    return Prediction(
        **(fields | more),
        object_names=tuple(names.split()),
        object_scores=np.array(scores, np.float32),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
    )


def test_models_that_agree_are_believed_more() -> None:
    a = said([[0, 0, 10, 10], [50, 50, 60, 60]], [0.8, 0.6], "cat dog", ms=3.0, image="p.jpg")
    b = said([[0, 0, 12, 10]], [0.4], "cat", model="b", ms=4.0)
    fused = ww.fuse([a, b])
    assert fused.object_names == ("cat", "dog")
    assert fused.object_scores.tolist() == pytest.approx([0.6, 0.3])
    assert fused.boxes is not None
    np.testing.assert_allclose(fused.boxes[0], [0, 0, (8 + 4.8) / 1.2, 10], rtol=1e-6)
    assert (fused.model, fused.ms, fused.image) == ("a+b", 7.0, "p.jpg")
    assert ww.fuse([a, b], threshold=0.5).object_names == ("cat",)
    # 0.8 * 3 and 0.4 * 1 of weights 3 + 1; the dog 0.6 * 3 / 4.
    weighted = ww.fuse([a, b], weights=[3, 1])
    assert weighted.object_scores.tolist() == pytest.approx([0.7, 0.45])
    alone = ww.fuse([a])
    assert alone.to_dict()["objects"] == a.to_dict()["objects"]


def test_names_are_the_contract_and_crops_keep_their_names() -> None:
    a = said([[0, 0, 10, 10]], [0.5], "cat", object_labels=((Label("tabby", 0.9),),))
    b = said([[0, 0, 10, 10], [0, 0, 10, 10]], [0.7, 0.6], "dog cat")
    fused = fuse([a, b])
    assert fused.object_names == ("cat", "dog")
    assert fused.object_scores.tolist() == pytest.approx([0.55, 0.35])
    # The better cat is that of the second model, which names no crop.
    assert fused.object_labels == ()
    turned = fuse([b, said([[0, 0, 10, 10]], [0.65], "cat", object_labels=a.object_labels)])
    assert turned.object_labels == ((Label("tabby", 0.9),), ())


def test_labels_of_pictures_are_averaged() -> None:
    def labelled(names: tuple[str, ...], *scores: float) -> Prediction:
        return Prediction(4, 4, label_names=names, label_scores=np.array(scores, np.float32))

    fused = fuse([labelled(("cat", "dog"), 0.6, 0.4), labelled(("dog",), 0.9)])
    assert fused.label_names == ("dog", "cat")
    assert fused.label_scores.tolist() == pytest.approx([0.65, 0.3])
    assert fused.boxes is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "nothing to fuse"),
        (([said([], [], ""), said([], [], "", width=101)],), "100x80 and 101x80"),
        (([said([], [], ""), Prediction(100, 80)],), "some predictions have boxes"),
        (([said([], [], "")], {"weights": [1, 2]}), "as many weights"),
        (([said([], [], "")], {"weights": [0]}), "weights above 0"),
        (([said([], [], "")], {"iou": 2}), "iou must be in 0..1"),
        (([said([], [], "")], {"threshold": -1}), "threshold must be in 0..1"),
    ],
)
def test_what_cannot_be_fused_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fuse(arguments[0], **(arguments[1] if len(arguments) > 1 else {}))
