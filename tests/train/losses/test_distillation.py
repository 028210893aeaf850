"""What a teacher's answers become, and what departing from them costs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from whatwhere.train.batch import BoxTargets
from whatwhere.train.losses.detection import DetectionLoss
from whatwhere.train.losses.distillation import Distillation
from whatwhere.train.teacher import (
    with_objects,
)


def nothing(count: int = 1, known: list[list[bool]] | None = None) -> BoxTargets:
    return BoxTargets(
        torch.zeros(count, 0, 4),
        torch.zeros(count, 0, dtype=torch.int64),
        torch.zeros(count, 0, dtype=torch.bool),
        torch.zeros(count, 0, dtype=torch.bool),
        None if known is None else torch.tensor(known),
    )


def one_box(box: list[float], number: int, *, ignore: bool = False) -> BoxTargets:
    return BoxTargets(
        torch.tensor([[box]]),
        torch.tensor([[number]]),
        torch.tensor([[True]]),
        torch.tensor([[ignore]]),
        torch.zeros(1, 3, dtype=torch.bool),
    )


ALL = torch.ones(3, dtype=torch.bool)


def found(*rows: tuple[list[float], list[float]]) -> list[tuple[Any, Any]]:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in rows], np.float32).reshape(-1, 3)
    return [(boxes, scores)]


def test_what_people_said_stays() -> None:
    box, other = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]
    seen = found((box, [0.1, 0.9, 0.0]), (other, [0.6, 0.3, 0.0]))
    # Of known classes the teacher adds nothing; what is left may be too faint to stay.
    made = with_objects(nothing(1, [[True, False, False]]), seen, ALL, 0.5, soft=True)
    assert made.soft is not None
    assert made.counts is not None
    assert made.trust is not None
    assert made.soft[0].tolist() == [pytest.approx([0, 0.9, 0]), pytest.approx([0, 0.3, 0])]
    assert made.counts.tolist() == [[0.5, 0.5]]
    assert made.trust.tolist() == [[1, 0.5, 0.5]]
    everything = with_objects(nothing(1), seen, ALL, 0.5, soft=True)
    assert everything.valid.sum() == 0
    # A box that people drew is theirs, whatever class the teacher gives it.
    drawn = with_objects(one_box([1.0, 0.0, 10.0, 10.0], 2), seen, ALL, 0.5, soft=True)
    assert drawn.classes.tolist() == [[2, 0]]
    assert drawn.soft is not None
    assert drawn.soft[0, 0].tolist() == [0, 0, 1]
    assert drawn.counts is not None
    assert drawn.counts.tolist() == [[1, 0.5]]
    # In a region that is to be ignored nobody looked.
    region = replace(one_box([15.0, 15.0, 40.0, 40.0], 0, ignore=True), known=ALL[None])
    looked = with_objects(region, seen, ALL, 1.0, soft=True)
    assert looked.valid.tolist() == [[True, True]]
    assert looked.boxes[0, 1].tolist() == other
    # A class that the teacher does not know stays unknown.
    partly = with_objects(
        nothing(1, [[False] * 3]), seen, ALL & torch.tensor([1, 1, 0]), 1.0, soft=True
    )
    assert partly.known is not None
    assert partly.known.tolist() == [[True, True, False]]


def test_families_without_soft_scores_get_sure_boxes() -> None:
    seen = found(([0, 0, 10, 10], [0.1, 0.9, 0.0]), ([20, 20, 30, 30], [0.3, 0.2, 0.0]))
    made = with_objects(nothing(1, [[False] * 3]), seen, ALL, 1.0, soft=False)
    assert made.soft is None
    assert made.classes.tolist() == [[1, 0]]
    assert made.ignore.tolist() == [[False, True]]


def test_soft_objects_in_the_detection_loss() -> None:
    """One-hot objects cost what labels cost; faint ones pull less, to their own scores."""
    loss = DetectionLoss()
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0]])
    logits = torch.tensor([[[0.5, -1.0], [-2.0, -1.5]]], requires_grad=True)
    sides = torch.zeros(1, 2, 4, 16)
    raw: Any = {
        "logits": logits,
        "sides": sides,
        "points": points,
        "strides": torch.tensor([8.0, 8.0]),
    }
    box, valid = torch.tensor([[[0.0, 0.0, 8.0, 8.0]]]), torch.tensor([[True]])
    known = torch.ones(1, 2, dtype=torch.bool)
    plain = BoxTargets(box, torch.tensor([[0]]), valid, ~valid, known)
    hot = replace(
        plain,
        soft=torch.tensor([[[1.0, 0.0]]]),
        counts=torch.ones(1, 1),
        trust=torch.ones(1, 2),
    )
    for ours, theirs in zip(loss(raw, plain)[1].values(), loss(raw, hot)[1].values(), strict=True):
        torch.testing.assert_close(ours, theirs)

    def gradient(targets: BoxTargets) -> torch.Tensor:
        (found,) = torch.autograd.grad(loss(raw, targets)[0], logits)
        return found[0]

    # The point outside is background: its pull follows `trust`.
    doubted = replace(hot, trust=torch.tensor([[0.25, 0.25]]))
    torch.testing.assert_close(gradient(doubted)[1], 0.25 * gradient(hot)[1])
    # A score of a half, where the box fits, is what the logit is pulled to.
    low, high = (
        gradient(replace(hot, soft=torch.tensor([[[score, 0.0]]])))[0, 0] for score in (0.1, 0.9)
    )
    assert low > high
    assert gradient(replace(hot, counts=torch.tensor([[0.5]])))[0, 0] == pytest.approx(
        float(0.5 * gradient(hot)[0, 0])
    )
    empty = with_objects(
        nothing(1), [(np.zeros((0, 4)), np.zeros((0, 2)))], ALL[:2], 1.0, soft=True
    )
    assert torch.isfinite(gradient(empty)).all()


def test_distillation_follows_the_paper() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]], dtype=torch.float64)
    teacher = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    ours = (logits[0] / 3).softmax(0)
    wanted = 9 * sum(float(t * math.log(t / p)) for t, p in zip(teacher, ours, strict=True))
    assert float(Distillation("classify", 3.0)(logits, teacher[None])) == pytest.approx(wanted)
    assert float(Distillation("classify", 3.0, 0.5)(logits, ours[None])) == pytest.approx(
        0, abs=1e-9
    )
    # Classes that the teacher does not know take no part.
    partly = torch.tensor([[0.6, -1.0, 0.4]], dtype=torch.float64)
    again = Distillation("classify", 1.0)(logits, partly)
    assert float(again) == pytest.approx(
        float(Distillation("classify", 1.0)(logits[:, [0, 2]], partly[:, [0, 2]]))
    )
    each = Distillation("multilabel")
    assert float(each(logits, logits.sigmoid())) == pytest.approx(0, abs=1e-9)
    assert float(each(logits, 1 - logits.sigmoid())) > 0.1
