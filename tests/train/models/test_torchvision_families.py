"""The detectors from torchvision: targets, decoding, what no label can judge, proposals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from train_data import TINY
from whatwhere.errors import TrainError
from whatwhere.runtime.decode import nms
from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.models._torchvision import clip, hush, target_list, within
from whatwhere.train.models.family import Network
from whatwhere.train.models.faster_rcnn import WINDOW, pooled_level, survivors
from whatwhere.train.network import build, parameter_groups
from whatwhere.train.recipes import recipe

MODELS = ("fcos", "retinanet", "faster-rcnn", "ssdlite", "ssd")
NAMES = ("red", "green", "blue")
SIZE = (96, 128)
OBJECTS = torch.tensor([[[20.0, 24, 52, 60], [70, 10, 118, 80]], [[8, 8, 40, 40], [0, 0, 0, 0]]])
CLASSES = torch.tensor([[2, 0], [1, 0]])
VALID = torch.tensor([[True, True], [True, False]])


def network(model: str, **changes: Any) -> Network:
    plain: dict[str, Any] = {
        "backbone": TINY,
        "pretrained": False,
        "width_head": 32,
        "height": SIZE[0],
        "width": SIZE[1],
    }
    return build(replace(recipe("detect", model), **plain | changes), NAMES)


def targets(ignore: Tensor | None = None, known: Tensor | None = None) -> BoxTargets:
    none = torch.zeros_like(VALID)
    return BoxTargets(OBJECTS, CLASSES, VALID, none if ignore is None else ignore, known)


def pictures(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *SIZE, 3), dtype=torch.uint8, generator=generator)


def test_targets_as_torchvision_wants_them() -> None:
    """Padding, ignored boxes and empty ones are left out; a background class moves labels on."""
    boxes = OBJECTS.clone()
    boxes[1, 0, 2] = boxes[1, 0, 0]
    ignore = torch.tensor([[False, True], [False, False]])
    made = target_list(BoxTargets(boxes, CLASSES, VALID, ignore))
    assert made[0]["boxes"].tolist() == [[20, 24, 52, 60]]
    assert made[0]["labels"].tolist() == [2]
    assert made[1]["boxes"].shape == (0, 4)
    assert target_list(targets(), first=1)[0]["labels"].tolist() == [3, 1]


@pytest.mark.parametrize("model", ["fcos", "retinanet", "ssd"])
def test_boxes_decode_to_the_object(model: str) -> None:
    """Codes that torchvision makes from an object give that object back, at every anchor."""
    net: Any = network(model).eval()
    wanted = OBJECTS[0, 0]
    head = net.detector.head
    coder = {
        "fcos": lambda: head.box_coder,
        "retinanet": lambda: head.regression_head.box_coder,
        "ssd": lambda: net.detector.box_coder,
    }[model]()
    anchors = net.anchors
    boxes = wanted.expand(len(anchors), 4)
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    if model == "fcos":
        codes = coder.encode(anchors, boxes)
        # Distances cannot be negative: only points inside an object can say where it is.
        able = ((centre > wanted[:2]) & (centre < wanted[2:])).all(-1)
    else:
        codes = coder.encode_single(boxes, anchors)
        able = torch.ones(len(anchors), dtype=torch.bool)
    outputs = head(net.features(pictures()))
    outputs["bbox_regression"] = codes.clamp(min=0 if model == "fcos" else -1e9).expand(2, -1, -1)
    net.detector.head = Fixed(outputs)
    if model != "ssd":
        net.detector.head.box_coder = coder
        net.detector.head.regression_head = head.get_submodule("regression_head")
    with torch.no_grad():
        found = net(pictures())["boxes"]
    assert able.sum() > 10
    assert torch.allclose(found[:, able], wanted.expand(2, int(able.sum()), 4), atol=1e-2)


class Fixed(nn.Module):
    """A head that always says the same."""

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        super().__init__()
        self._outputs = outputs

    def forward(self, levels: list[Tensor]) -> dict[str, Tensor]:
        return dict(self._outputs)


@pytest.mark.parametrize("model", ["ssd", "ssdlite"])
def test_background_is_no_class(model: str) -> None:
    net: Any = network(model).eval()
    with torch.no_grad():
        levels = net.features(pictures())
        outputs = net.detector.head(levels)
        logits = outputs["cls_logits"]
        assert logits.shape[-1] == len(NAMES) + 1
        scores = net(pictures())["scores"]
        assert scores.shape[-1] == len(NAMES)
        assert torch.allclose(scores, logits.softmax(-1)[..., 1:], atol=1e-6)
        # Sure of the background means that nothing is there.
        outputs["cls_logits"] = torch.tensor([9.0, 0, 0, 0]).expand_as(logits)
        net.detector.head = Fixed(outputs)
        assert net(pictures())["scores"].max() < 1e-3


@pytest.mark.parametrize("model", MODELS)
def test_gradients_reach_every_parameter(model: str) -> None:
    net = network(model).train()
    torch.manual_seed(0)
    total, parts = net.loss(Batch(pictures(), boxes=targets()))
    total.backward()
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()))
    silent = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent
    groups = parameter_groups(net, replace(recipe("detect", model), pretrained=True))
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


@pytest.mark.parametrize("model", ["fcos", "retinanet", "ssd"])
def test_what_no_label_can_judge_costs_nothing(model: str) -> None:
    """Class scores in an ignored region, and of a class that nobody looked for."""
    net: Any = network(model).train()
    logits = net.detector.head(net.features(pictures()))["cls_logits"]
    first = logits.shape[-1] - len(NAMES)
    region = OBJECTS.clone()
    region[1, 1] = torch.tensor([60.0, 30, 128, 96])
    ignore = torch.tensor([[False, False], [False, True]])
    known = torch.tensor([[True, False, True], [True, True, True]])
    given = BoxTargets(region, CLASSES, VALID | ignore, ignore, known)
    shown = logits[..., first:].detach().requires_grad_()
    heard = hush(shown, net.anchors, given)
    heard.sum().backward()
    assert shown.grad is not None
    reached = shown.grad > 0
    lies = within(net.anchors, region[1, 1:])
    assert lies.any()
    assert not reached[1, lies].any()
    assert reached[1, ~lies].all()
    assert not reached[0, :, 1].any()
    assert reached[0][:, [0, 2]].all()
    assert hush(shown, net.anchors, targets()) is shown


def test_a_looked_for_object_in_an_ignored_region_still_counts() -> None:
    anchors = torch.tensor([[20.0, 20, 40, 40], [60, 20, 80, 40]])
    boxes = torch.tensor([[[16.0, 16, 44, 44], [0, 0, 128, 96]]])
    ignore = torch.tensor([[False, True]])
    given = BoxTargets(boxes, torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool), ignore)
    heard = hush(torch.ones(1, 2, 3), anchors, given)
    assert heard[0, 0].tolist() == [1, 1, 1]
    assert (heard[0, 1] < -50).all()


def test_clip() -> None:
    boxes = torch.tensor([[-3.0, 4, 140, 99], [150, 100, 160, 120]])
    assert clip(boxes, SIZE).tolist() == [[0, 4, 128, 96], [128, 96, 128, 96]]


@pytest.mark.parametrize("spread", [40, 100, 400])
def test_survivors_are_those_of_greedy_suppression(spread: int) -> None:
    """The rounds in the graph keep what `decode.nms` keeps, from crowded to sparse pictures."""
    generator = torch.Generator().manual_seed(spread)
    start = torch.rand(3, 512, 2, generator=generator) * spread
    boxes = torch.cat([start, start + 10 + torch.rand(3, 512, 2, generator=generator) * 60], -1)
    stays = survivors(boxes, 0.7)
    scores = np.linspace(1, 0, 512, dtype=np.float32)
    for mine, kept in zip(boxes.numpy(), stays, strict=True):
        wanted = nms(mine, scores, np.zeros(512, np.int64), 0.7)
        assert kept.nonzero().squeeze(1).tolist() == sorted(wanted.tolist())
        assert 1 < len(wanted) < 512


def test_proposals_are_the_best_that_survive() -> None:
    net: Any = network("faster-rcnn").eval()
    generator = torch.Generator().manual_seed(3)
    count = len(net.anchors)
    objectness = torch.randn(2, count, generator=generator)
    codes = torch.randn(2, count, 4, generator=generator) * 0.1
    boxes, real = net.propose(objectness, codes, net.anchors, SIZE)
    assert boxes.shape == (2, min(200, count), 4)
    best = boxes[0][real[0]]
    kept = nms(best.numpy(), np.ones(len(best), np.float32), np.zeros(len(best), np.int64), 0.7)
    assert len(kept) == len(best) > 10
    # The best anchor of all can be suppressed by nothing.
    first = objectness[0].argmax()
    coder = net.detector.rpn.box_coder
    top = clip(coder.decode_single(codes[0, first][None], net.anchors[first][None]), SIZE)
    assert (best - top).abs().sum(-1).min() < 1e-3


def test_pooling_is_the_same_in_training_and_in_the_graph() -> None:
    """And the same as torchvision's own pooling with its rule for levels."""
    net: Any = network("faster-rcnn").eval()
    generator = torch.Generator().manual_seed(1)
    levels = [torch.randn(2, 8, 96 // s, 128 // s, generator=generator) for s in (8, 16, 32)]
    start = torch.rand(2, 30, 2, generator=generator) * 40
    side = 4 * 2 ** (torch.rand(2, 30, 1, generator=generator) * 4.4)
    boxes = torch.cat([start, start + side], -1)
    pooled = net.pool(levels, boxes)
    assert torch.allclose(pooled, net._pool_some(levels, list(boxes)), atol=1e-6)
    theirs = MultiScaleRoIAlign(["0", "1", "2"], WINDOW, 2, canonical_scale=112, canonical_level=4)
    named = {str(i): level for i, level in enumerate(levels)}
    assert torch.allclose(pooled, theirs(named, list(boxes), [SIZE, SIZE]), atol=1e-5)
    sides = torch.tensor([[0.0, 0, s, s] for s in (1, 111, 113, 223, 225, 900)])
    assert pooled_level(sides).tolist() == [0, 0, 1, 1, 2, 2]


def test_the_same_proposals_at_equal_seeds() -> None:
    """Sampling follows torch's seed: two steps at one seed are bit-equal."""
    net = network("faster-rcnn").train()
    losses = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        losses.append(float(net.loss(Batch(pictures(), boxes=targets()))[0].detach()))
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    """torchvision's own FCOS with random weights, on a ResNet-18."""
    torch.manual_seed(9)
    body = _resnet_fpn_extractor(
        resnet18(), 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)
    )
    made: dict[str, Tensor] = FCOS(body, 91).state_dict()
    return made


def test_weights_of_torchvision(theirs: dict[str, Tensor]) -> None:
    """Body, pyramid and heads are taken; the last layer, of other classes, stays new."""
    net: Any = network("fcos", backbone="resnet18", width_head=256).eval()
    before = net.detector.head.classification_head.cls_logits.weight.clone()
    said = net.load_torchvision(theirs)
    assert "the whole body" in said
    assert said.endswith("new: head.classification_head.cls_logits")
    assert torch.equal(before, net.detector.head.classification_head.cls_logits.weight)
    assert torch.equal(net.backbone.conv1.weight, theirs["backbone.body.conv1.weight"])
    assert net.license == "BSD-3-Clause"
    # The same pyramid features as torchvision's own network gives.
    own = FCOS(
        _resnet_fpn_extractor(
            resnet18(), 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)
        ),
        91,
        anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((1.0,),) * 5),
    ).eval()
    own.load_state_dict(theirs)
    with torch.no_grad():
        small = pictures(1)[:, :32, :64]
        ours = net.features(small)
        wanted = list(own.backbone(net.scale(small)).values())
    for a, b in zip(ours, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-3 * float(b.abs().max()))


def test_weights_that_do_not_fit(theirs: dict[str, Tensor]) -> None:
    net: Any = network("fcos")
    with pytest.raises(TrainError, match="nothing of the torchvision weights fits"):
        net.load_torchvision({name: x for name, x in theirs.items() if "backbone" in name})
    with pytest.raises(TrainError, match="torchvision has no model 'fcos_resnet5'"):
        net.load_torchvision("torchvision:fcos_resnet5")


def test_older_names_and_a_pyramid_that_begins_a_level_earlier() -> None:
    """The files of torchvision's Faster R-CNN have names from before 0.13, and four levels."""
    torch.manual_seed(4)
    body = _resnet_fpn_extractor(resnet18(), 5).state_dict()
    state = {f"backbone.{name}": x for name, x in body.items()}
    for kind in ("inner_blocks", "layer_blocks"):
        for i in range(4):
            for part in ("weight", "bias"):
                moved = state.pop(f"backbone.fpn.{kind}.{i}.0.{part}")
                state[f"backbone.fpn.{kind}.{i}.{part}"] = moved
    state["rpn.head.conv.weight"] = torch.randn(256, 256, 3, 3)
    net: Any = network("faster-rcnn", backbone="resnet18", width_head=256)
    net.load_torchvision(state)
    pyramid = net.detector.backbone.fpn
    for i in range(3):
        assert torch.equal(
            pyramid.inner_blocks[i][0].weight, state[f"backbone.fpn.inner_blocks.{i + 1}.weight"]
        )
    assert torch.equal(net.detector.rpn.head.conv[0][0].weight, state["rpn.head.conv.weight"])


@pytest.mark.parametrize("model", MODELS)
def test_ignored_pictures_teach_nothing(model: str) -> None:
    """Where a whole picture is to be ignored, there is no loss, and it is finite."""
    net = network(model).train()
    whole = torch.tensor([[[-200.0, -200, 400, 400]]]).expand(2, -1, -1)
    yes = torch.ones(2, 1, dtype=torch.bool)
    classes = torch.zeros(2, 1, dtype=torch.int64)
    total, _ = net.loss(Batch(pictures(), boxes=BoxTargets(whole, classes, yes, yes)))
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-6)
    plain, _ = net.loss(Batch(pictures(), boxes=BoxTargets(whole, classes, ~yes, ~yes)))
    # Hard negatives are mined beside objects only, so SSD learns nothing of an empty picture.
    assert plain.item() > 1e-3 or model.startswith("ssd")


def test_ties_are_seen() -> None:
    """Two anchors of one score whose boxes overlap make a picture unfit for a comparison."""
    net: Any = network("faster-rcnn").eval()
    count = len(net.anchors)
    scores = torch.linspace(4, -4, count)[None]
    codes = torch.zeros(1, count, 4)
    # Neighbours at one place of one level: IoU above the limit, once their shapes agree.
    codes[0, 1] = net.detector.rpn.box_coder.encode_single(net.anchors[:1] + 0.2, net.anchors[1:2])
    net._first_stage = lambda levels: (scores, codes)
    assert net.settled(pictures(1))
    scores[0, 1] = scores[0, 0]
    assert not net.settled(pictures(1))


@pytest.mark.parametrize("model", MODELS)
def test_bfloat16_gradients_of_tiny_levels(model: str) -> None:
    """oneDNN's bfloat16 gradients on maps of one column hold memory that nobody wrote."""
    net = network(model, height=32, width=32).train()
    images = pictures()[:, :32, :32]
    boxes = BoxTargets(OBJECTS / 4, CLASSES, VALID, torch.zeros_like(VALID))
    found = []
    for _ in range(2):
        # What is freed here is what the next tensors are made of.
        litter = [torch.full((size,), float("nan")) for size in (100, 1000, 10_000, 100_000)]
        del litter
        net.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            net.loss(Batch(images, boxes=boxes))[0].backward()
        found.append({name: p.grad for name, p in net.detector.named_parameters()})
    for name, grad in found[0].items():
        assert grad is not None
        assert torch.isfinite(grad).all(), name
        assert torch.equal(grad, found[1][name]), name
