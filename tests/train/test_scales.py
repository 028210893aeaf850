"""Steps of other sizes, and bodies that stand still at first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from train_data import boxes_set, quick_config
from whatwhere.errors import UsageError
from whatwhere.train.body import Body, set_rates
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import State
from whatwhere.train.network import build, parameter_groups
from whatwhere.train.samples import Samples
from whatwhere.train.scales import rescaled, step_size

Fit = Callable[..., State]

# Sizes.


def test_sizes_of_steps() -> None:
    config = replace(quick_config("detect"), height=224, width=320, multi_scale=0.5)
    sizes = {step_size(config, epoch, step, 0.1) for epoch in range(3) for step in range(40)}
    assert len(sizes) > 5
    assert all(h % 32 == 0 and w % 32 == 0 for h, w in sizes)
    assert min(h for h, _ in sizes) >= 96
    assert max(w for _, w in sizes) <= 480
    assert abs(np.mean([w for _, w in sizes]) - 320) < 60
    assert step_size(config, 1, 7, 0.1) == step_size(config, 1, 7, 0.5)
    assert step_size(replace(config, multi_scale=0.0), 1, 7, 0.1) == (224, 320)
    assert step_size(config, 1, 7, config.mosaic_until) == (224, 320)
    small = replace(config, height=32, width=32, multi_scale=0.9)
    assert min(step_size(small, 0, step, 0.1) for step in range(30)) == (32, 32)


def test_sizes_that_grow() -> None:
    config = replace(quick_config("detect"), height=224, width=320, grow=0.5, mosaic_until=0.8)
    sizes = [step_size(config, 0, 0, progress) for progress in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert sizes == [(128, 160), (128, 192), (160, 256), (192, 288), (224, 320), (224, 320)]
    assert step_size(replace(config, grow=1.0), 0, 0, 0.0) == (224, 320)
    both = replace(config, multi_scale=0.5)
    widths = [step_size(both, 0, step, 0.0)[1] for step in range(40)]
    assert min(widths) < 160 < max(widths) <= 256
    assert step_size(both, 0, 0, 0.9) == (224, 320)


def test_boxes_follow_their_pictures(tmp_path: Path) -> None:
    config = quick_config("detect")
    batch = Samples(boxes_set(tmp_path, 4, splits=False), (64, 96), config).batch(
        np.array([1, 2]), 0, 0, False
    )
    made = rescaled(batch, (128, 96))
    assert made.images.shape == (2, 128, 96, 3)
    assert made.images.dtype == torch.uint8
    assert made.boxes is not None
    assert batch.boxes is not None
    torch.testing.assert_close(
        made.boxes.boxes, batch.boxes.boxes * torch.tensor([1.0, 2.0, 1.0, 2.0])
    )
    assert made.rows == batch.rows
    assert rescaled(batch, (64, 96)) is batch
    # Twice as high: each row of the old picture is near two of the new.
    torch.testing.assert_close(
        made.images[:, ::2].float().mean(), batch.images.float().mean(), atol=1.0, rtol=0
    )


def test_a_network_for_one_size_has_no_other(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    for name in ("multi_scale", "grow"):
        config = replace(classifier_config, backbone="vit_tiny_patch16_224", **{name: 0.5})
        with pytest.raises(UsageError, match=rf"{name} .* vit_tiny_patch16_224 is built for one"):
            fit(workshop / "animals", config, tmp_path / "run")


# Bodies that stand still.


def test_a_body_stands_still_then_learns() -> None:
    config = replace(
        quick_config("detect"), pretrained=True, backbone="tf_efficientnet_lite0", frozen=0.5
    )
    net = build(replace(config, height=64, width=64), ("a", "b")).train()
    learns = {id(p) for p in net.parameters() if p.requires_grad}
    groups = parameter_groups(net, config)
    body = Body(net, config)
    assert body.settle(0.0)
    assert not any(p.requires_grad for p in net.body())
    assert any(p.requires_grad for p in net.parameters())
    assert not body.settle(0.49)
    assert body.settle(0.5)
    assert {id(p) for p in net.parameters() if p.requires_grad} == learns
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    rates = {}
    for progress in (0.5, 0.525, 0.55, 0.8):
        set_rates(optimizer, config, progress, 0.05)
        new = max(group["lr"] for group in optimizer.param_groups if not group["body"])
        old = max(group["lr"] for group in optimizer.param_groups if group["body"])
        rates[progress] = old / new / config.backbone_rate
    assert [round(share, 3) for share in rates.values()] == [0.01, 0.5, 1.0, 1.0]


def test_norms_of_a_still_body_keep_their_statistics() -> None:
    config = replace(quick_config("detect"), pretrained=False)
    net = build(replace(config, height=64, width=64), ("a", "b")).train()
    body = Body(net, replace(config, pretrained=True, frozen=0.5))
    body.settle(0.1)
    norms = [part for part in net.backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    net.train()
    body.settle(0.2)
    assert not any(norm.training for norm in norms)
    body.settle(0.6)
    assert all(norm.training for norm in norms)
