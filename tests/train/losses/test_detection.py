"""Assignment, overlaps and loss of the detector."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from whatwhere.train.batch import BoxTargets
from whatwhere.train.losses.detection import (
    BINS,
    LEAST_TARGET,
    DetectionLoss,
    RawBoxes,
    _giou,
    _inside,
    _pair_iou,
    _side_loss,
    _widened,
    decode_sides,
)

SIZE = 64


def grid(strides: tuple[int, ...] = (8, 16, 32)) -> tuple[Tensor, Tensor]:
    """Anchor points of a 64 x 64 input, (A, 2), and their strides (A,)."""
    points, steps = [], []
    for stride in strides:
        side = (torch.arange(SIZE // stride) + 0.5) * stride
        y, x = torch.meshgrid(side, side, indexing="ij")
        points.append(torch.stack([x.ravel(), y.ravel()], 1))
        steps.append(torch.full((len(side) ** 2,), float(stride)))
    return torch.cat(points), torch.cat(steps)


def targets(
    *pictures: list[tuple[float, float, float, float, int]],
    ignore: list[tuple[int, int]] | None = None,
    known: Tensor | None = None,
) -> BoxTargets:
    """Targets of some pictures: rows x1, y1, x2, y2, class; `ignore` is (picture, row)."""
    most = max(len(rows) for rows in pictures)
    boxes = torch.zeros(len(pictures), most, 4)
    classes = torch.zeros(len(pictures), most, dtype=torch.int64)
    valid = torch.zeros(len(pictures), most, dtype=torch.bool)
    for i, rows in enumerate(pictures):
        for j, row in enumerate(rows):
            boxes[i, j], classes[i, j] = torch.tensor(row[:4]), row[4]
            valid[i, j] = True
    ignored = torch.zeros_like(valid)
    for place in ignore or []:
        ignored[place] = True
    return BoxTargets(boxes, classes, valid, ignored, known)


def raw_of(pictures: int, classes: int = 2, seed: int = 0) -> RawBoxes:
    points, strides = grid()
    generator = torch.Generator().manual_seed(seed)
    return {
        "logits": torch.randn(pictures, len(points), classes, generator=generator),
        "sides": torch.randn(pictures, len(points), 4, BINS, generator=generator),
        "points": points,
        "strides": strides,
    }


def decoded(raw: RawBoxes) -> Tensor:
    return decode_sides(raw["sides"], raw["points"], raw["strides"])


def assigned(raw: RawBoxes, wanted: BoxTargets, **settings: int) -> tuple[Tensor, Tensor]:
    return DetectionLoss(**settings).assign(  # type: ignore[arg-type]
        raw["logits"].sigmoid(), decoded(raw), raw["points"], wanted, raw["strides"]
    )


coordinate = st.floats(0, 50, width=32)
box = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    coordinate,
    coordinate,
    st.floats(0.5, 60, width=32),
    st.floats(0.5, 60, width=32),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(box, min_size=1, max_size=6), st.lists(box, min_size=1, max_size=6))
def test_overlaps_are_torchvisions(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    first, second = torch.tensor(a), torch.tensor(b)
    pairs = min(len(a), len(b))
    expected = box_iou(first[:pairs], second[:pairs]).diagonal()
    found = _pair_iou(first[:pairs], second[:pairs])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    expected = generalized_box_iou(first[:pairs], second[:pairs]).diagonal()
    torch.testing.assert_close(_giou(first[:pairs], second[:pairs]), expected, rtol=1e-4, atol=1e-5)


def test_overlaps_of_nothing_are_zero() -> None:
    flat = torch.tensor([[5.0, 5, 5, 5]])
    assert _pair_iou(flat, flat).item() == 0
    assert math.isfinite(_giou(flat, flat).item())


def test_a_point_on_the_edge_is_outside() -> None:
    points = torch.tensor([[4.0, 4.0], [4.1, 4.1], [8.0, 5.0]])
    inside = _inside(points, torch.tensor([[[4.0, 4, 8, 8]]]))
    assert inside.tolist() == [[[False, True, False]]]


def test_the_best_anchor_point_gets_its_object() -> None:
    """One object, and one anchor point that already says it: that one, with its IoU as target."""
    points, strides = grid()
    boxes = torch.cat([points - 1, points + 1], 1)[None].clone()
    wanted = targets([(8, 8, 24, 24, 1)])
    best = int((points == torch.tensor([12.0, 12.0])).all(1).nonzero())
    boxes[0, best] = torch.tensor([8.0, 8, 24, 20])
    scores = torch.full((1, len(points), 2), 0.01)
    scores[0, best, 1] = 0.9
    object_of, quality = DetectionLoss().assign(scores, boxes, points, wanted, strides)
    assert quality[0].argmax() == best
    assert quality[0, best] == pytest.approx(0.75, abs=1e-6)
    assert object_of[0, best] == 0


def test_an_object_that_nobody_fits_yet_gets_its_whole_target() -> None:
    """Early in training a small object overlaps all predictions by a hundredth or less."""
    points, strides = grid()
    boxes = torch.cat([points - 60, points + 60], 1)[None]
    wanted = targets([(8, 8, 14, 14, 0), (30, 30, 60, 60, 1)])
    scores = torch.full((1, len(points), 2), 0.01)
    object_of, quality = DetectionLoss().assign(scores, boxes, points, wanted, strides)
    for number, least in enumerate((LEAST_TARGET, 0.0)):
        mine = (quality[0] > 0) & (object_of[0] == number)
        assert mine.any()
        same = wanted.boxes[0, number].expand(int(mine.sum()), 4)
        best = max(_pair_iou(same, boxes[0, mine]).max().item(), least)
        assert quality[0, mine].max() == pytest.approx(best, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_assignment_holds_its_promises(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 6))
    rows = [(*data.draw(box), data.draw(st.integers(0, 1))) for _ in range(count)]
    ignored = [(0, i) for i in range(count) if data.draw(st.booleans())]
    wanted = targets(rows, [], ignore=ignored)
    raw = raw_of(2, seed=data.draw(st.integers(0, 5)))
    loss = DetectionLoss(candidates=4)
    object_of, quality = assigned(raw, wanted, candidates=4)
    # One object for each point by construction; none in the picture without objects.
    assert object_of.shape == quality.shape == (2, len(raw["points"]))
    assert (quality[1] == 0).all()
    assert ((quality >= 0) & (quality <= 1)).all()
    inside = _inside(raw["points"], _widened(wanted.boxes, 8))[0] if count else None
    for number in range(count):
        mine = (quality[0] > 0) & (object_of[0] == number)
        assert inside is not None
        assert mine.sum() <= 4
        assert (inside[number] | ~mine).all(), "a point outside of its object"
        if (0, number) in ignored:
            assert not mine.any(), "an ignored region is no example"
    total, _ = loss(raw, wanted)
    assert torch.isfinite(total)


def test_a_lone_object_with_a_point_inside_is_always_assigned() -> None:
    raw = raw_of(1)
    for x1, y1, x2, y2 in ((0, 0, 64, 64), (3, 3, 5, 5), (10, 0, 14, 64)):
        wanted = targets([(x1, y1, x2, y2, 0)])
        _, quality = assigned(raw, wanted)
        assert (quality > 0).any(), (x1, y1, x2, y2)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_object_is_taught(data: st.DataObject) -> None:
    """However small or thin, wherever it lies: at its widened place there is a point for it."""
    raw = raw_of(1, seed=data.draw(st.integers(0, 5)))
    x, y = (data.draw(st.floats(0, SIZE, width=32)) for _ in range(2))
    w, h = (data.draw(st.floats(1, 30, width=32)) for _ in range(2))
    x1, y1, x2, y2 = (
        max(0, x - w / 2),
        max(0, y - h / 2),
        min(SIZE, x + w / 2),
        min(SIZE, y + h / 2),
    )
    wanted = targets([(x1, y1, x2, y2, 1)])
    # Sharp predictions of tiny boxes, as background has them: they touch nothing.
    raw["sides"][..., 0] += 20
    _, quality = assigned(raw, wanted)
    mine = quality[0] > 0
    assert mine.any()
    assert quality.max() >= LEAST_TARGET * (1 - 1e-5)
    assert _inside(raw["points"], _widened(wanted.boxes, 8))[0, 0, mine].all()
    loss, parts = DetectionLoss()(raw, wanted)
    assert torch.isfinite(loss)
    assert parts["box_loss"] > 0


@pytest.mark.parametrize(
    "box", [(9.0, 9.0, 11.0, 11.0), (5.0, 0.0, 7.0, 60.0), (0.0, 0.0, 2.0, 3.0)]
)
def test_an_object_between_the_points_can_be_learnt(box: tuple[float, ...]) -> None:
    """Gradient steps on the raw head alone bring score and box to an object of few pixels."""
    raw = raw_of(1)
    raw["logits"].requires_grad_()
    raw["sides"].requires_grad_()
    wanted = targets([(*box, 1)])  # type: ignore[arg-type]
    optimizer = torch.optim.Adam([raw["logits"], raw["sides"]], lr=0.2)
    for _ in range(60):
        loss, _ = DetectionLoss()(raw, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = raw["logits"].detach().sigmoid()[0, :, 1]
    best = int(scores.argmax())
    overlap = _pair_iou(decoded(raw)[0, best : best + 1].detach(), wanted.boxes[0])
    # Its point lies up to half a step beside it, and a side cannot be shorter than nothing.
    assert overlap.item() > 0.2
    assert scores[best] > 0.15
    assert scores.median() < 0.05


def test_wide_objects_keep_their_points() -> None:
    """Boxes of a step or more are not widened, so their examples are those inside."""
    boxes = torch.tensor([[[3.0, 5.0, 12.0, 40.0], [3.0, 5.0, 4.0, 40.0]]])
    found = _widened(boxes, 8)
    assert torch.equal(found[0, 0], boxes[0, 0])
    assert found[0, 1].tolist() == pytest.approx([-0.504, 5, 7.504, 40], abs=1e-3)


@pytest.mark.parametrize("bins", [16, 24])
def test_more_bins_reach_farther(bins: int) -> None:
    points, strides = torch.tensor([[500.0, 500.0]]), torch.tensor([32.0])
    wanted = torch.tensor([[0.0, 0.0, 1000.0, 1000.0]])
    sides = torch.zeros(1, 4, bins, requires_grad=True)
    optimizer = torch.optim.Adam([sides], lr=0.5)
    for _ in range(80):
        optimizer.zero_grad()
        _side_loss(sides, wanted, points, strides).sum().backward()
        optimizer.step()
    found = decode_sides(sides.detach(), points, strides)[0]
    reached = min(500.0, (bins - 1) * 32)
    assert found.tolist() == pytest.approx([500 - reached] * 2 + [500 + reached] * 2, abs=8)


def _class_gradient(wanted: BoxTargets, classes: int = 2) -> Tensor:
    raw = raw_of(len(wanted.boxes), classes)
    raw["logits"].requires_grad_()
    _, parts = DetectionLoss()(raw, wanted)
    assert set(parts) == {"class_loss", "box_loss", "side_loss"}
    total, _ = DetectionLoss(box_gain=0, side_gain=0)(raw, wanted)
    total.backward()
    assert raw["logits"].grad is not None
    return raw["logits"].grad


def test_ignored_regions_teach_nothing() -> None:
    points, _ = grid()
    gradient = _class_gradient(targets([(0, 0, 32, 64, 0)], ignore=[(0, 0)]))
    inside = points[:, 0] < 32
    assert (gradient[0, inside] == 0).all()
    assert (gradient[0, ~inside] != 0).all()


def test_an_object_inside_an_ignored_region_still_counts() -> None:
    rows = [(0.0, 0.0, 64.0, 64.0, 0), (8.0, 8.0, 40.0, 40.0, 1)]
    gradient = _class_gradient(targets(rows, ignore=[(0, 0)]))
    taught = (gradient[0] != 0).any(-1)
    assert 1 <= taught.sum() <= 10


def test_classes_that_nobody_looked_for_teach_nothing() -> None:
    known = torch.tensor([[True, False], [True, True]])
    wanted = targets([(8, 8, 40, 40, 1)], [], known=known)
    gradient = _class_gradient(wanted)
    assert (gradient[0, :, 0] != 0).all()
    # Class 1 was not looked for in picture 0: only where an object of it lies is it taught.
    assert 1 <= (gradient[0, :, 1] != 0).sum() <= 10
    assert (gradient[1] != 0).all()


@pytest.mark.parametrize("pictures", [([],), ([], [])])
def test_a_batch_without_any_object(pictures: tuple[list[tuple[float, ...]], ...]) -> None:
    wanted = targets(*pictures)  # type: ignore[arg-type]
    raw = raw_of(len(pictures))
    raw["logits"].requires_grad_()
    total, parts = DetectionLoss()(raw, wanted)
    total.backward()
    assert parts["box_loss"] == parts["side_loss"] == 0
    assert raw["logits"].grad is not None
    assert (raw["logits"].grad > 0).all(), "background everywhere"


def test_the_side_loss_is_cross_entropy_with_two_bins() -> None:
    generator = torch.Generator().manual_seed(3)
    sides = torch.randn(5, 4, BINS, generator=generator, dtype=torch.float64)
    points = 40 + 10 * torch.rand(5, 2, generator=generator, dtype=torch.float64)
    distance = 100 * torch.rand(5, 4, generator=generator, dtype=torch.float64)
    strides = torch.tensor([8.0, 8, 16, 16, 32], dtype=torch.float64)
    boxes = torch.cat([points - distance[:, :2], points + distance[:, 2:]], 1)
    found = _side_loss(sides, boxes, points, strides)
    for k in range(5):
        total = 0.0
        for side in range(4):
            steps = min(float(distance[k, side] / strides[k]), BINS - 1.01)
            share = np.zeros(BINS)
            low = int(steps)
            share[low], share[low + 1] = 1 - (steps - low), steps - low
            values = sides[k, side].numpy()
            log = values - np.log(np.exp(values).sum())
            total -= float((share * log).sum())
        assert found[k].item() == pytest.approx(total / 4, rel=1e-9)


def test_the_loss_falls_as_boxes_and_scores_get_better() -> None:
    wanted = targets([(10, 12, 42, 36, 1)])
    points, strides = grid()
    inside = _inside(points, wanted.boxes)[0, 0]
    distance = torch.cat([points - wanted.boxes[0, 0, :2], wanted.boxes[0, 0, 2:] - points], -1)
    steps = (distance / strides[:, None]).clamp(0, BINS - 1)
    seen = []
    for wrong in (1.5, 1.0, 0.5, 0.0):
        # Sharp distributions around distances that are `wrong` strides too long.
        sides = -4 * (torch.arange(BINS) - (steps + wrong)[..., None]).abs()
        logits = torch.full((1, len(points), 2), -2 - 2 * (1.5 - wrong))
        logits[0, inside, 1] = 2 - 2 * wrong
        raw: RawBoxes = {
            "logits": logits,
            "sides": sides[None],
            "points": points,
            "strides": strides,
        }
        seen.append(DetectionLoss()(raw, wanted)[1])
    for worse, better in itertools.pairwise(seen):
        for name in ("class_loss", "box_loss", "side_loss"):
            assert better[name] < worse[name], name


def test_the_gradient_reaches_everything_and_is_finite() -> None:
    raw = raw_of(2)
    raw["logits"].requires_grad_()
    raw["sides"].requires_grad_()
    wanted = targets([(0, 0, 20, 20, 0), (30, 30, 64, 64, 1)], [(5, 5, 9, 9, 1)])
    total, _ = DetectionLoss()(raw, wanted)
    total.backward()
    for name in ("logits", "sides"):
        gradient = raw[name].grad  # type: ignore[literal-required]
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()
