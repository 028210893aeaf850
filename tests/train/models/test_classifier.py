"""The classifier: what its settings do to the network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from train_data import TINY
from whatwhere.train.batch import Batch
from whatwhere.train.config import LOSSES, TrainConfig
from whatwhere.train.depthwise import DepthwiseConv
from whatwhere.train.losses.classification import LabelLoss
from whatwhere.train.models.classifier import Classifier
from whatwhere.train.network import build
from whatwhere.train.recipes import recipe
from whatwhere.types import Task

NAMES = ("red", "green", "blue")
IMAGES = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)


def small(task: Task = "classify", **changes: object) -> TrainConfig:
    plain = replace(recipe(task), backbone=TINY, pretrained=False, smoothing=0.1)
    return replace(plain, **changes)  # type: ignore[arg-type]


def cost(config: TrainConfig, batch: Batch) -> tuple[float, float]:
    """What the network says its answers cost, and what they cost by the loss alone."""
    net = build(config, NAMES).eval()
    smoothing = config.smoothing if config.task == "classify" else 0.0
    expected = LabelLoss(config.task, config.loss, smoothing)(net(batch.images)["logits"], batch)
    total, parts = net.loss(batch)
    assert parts["loss"] == total.detach()
    return float(total.detach()), float(expected.detach())


@pytest.mark.parametrize("kind", LOSSES["classify"])
def test_losses_for_classify(kind: str) -> None:
    config = small(loss=kind)
    classes = Batch(IMAGES, classes=torch.tensor([0, 2, 1, 1]))
    assert cost(config, classes)[0] == pytest.approx(cost(config, classes)[1])
    mixed = Batch(IMAGES, present=torch.rand(4, 3).softmax(1))
    assert cost(config, mixed)[0] == pytest.approx(cost(config, mixed)[1])


@pytest.mark.parametrize("kind", LOSSES["multilabel"])
def test_losses_for_multilabel(kind: str) -> None:
    known = torch.ones(4, 3, dtype=torch.bool)
    known[0] = False
    batch = Batch(IMAGES, present=torch.eye(4, 3), known=known)
    found, expected = cost(small("multilabel", loss=kind), batch)
    assert found == pytest.approx(expected)


def test_dropout_leaves_features_out_in_training_only() -> None:
    torch.manual_seed(0)
    net = build(small(dropout=0.7), NAMES)
    plain = build(small(dropout=0.0), NAMES)
    with torch.no_grad():
        # Before any step in training mode, which renews the statistics of the norms.
        torch.testing.assert_close(net.eval()(IMAGES)["logits"], plain.eval()(IMAGES)["logits"])
        assert not torch.equal(net.train()(IMAGES)["logits"], net(IMAGES)["logits"])
        assert torch.equal(plain.train()(IMAGES)["logits"], plain(IMAGES)["logits"])


@pytest.mark.parametrize("freeze", [False, True])
def test_no_depthwise_convolution_learns_the_slow_way(freeze: bool) -> None:
    net = Classifier(3, "tf_efficientnet_lite0", freeze=freeze)
    slow = [
        module
        for module in net.modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    ]
    assert not slow
    assert any(isinstance(module, DepthwiseConv) for module in net.modules()) is not freeze
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert bool(norms) is not freeze


def test_how_far_the_early_layers_reach() -> None:
    def still(stride: int) -> list[str]:
        net = Classifier(3, "tf_efficientnet_lite0", freeze_stride=stride)
        frozen = [name for name, p in net.backbone.named_parameters() if not p.requires_grad]
        return [name for name in frozen if name.endswith("weight")]

    assert still(0) == []
    assert still(2) == [
        "conv_stem.weight",
        "blocks.0.0.conv_dw.weight",
        "blocks.0.0.conv_pw.weight",
        "blocks.1.0.conv_pw.weight",
    ]
    assert set(still(2)) < set(still(4))
    assert not any(name.startswith("blocks.2.0.conv_dw") for name in still(4))
