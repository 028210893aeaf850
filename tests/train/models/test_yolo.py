"""Our own detector: its sizes, its further level, and what large inputs need."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from train_data import TINY
from whatwhere.train.models import find_model, model_names
from whatwhere.train.models.yolo import FAMILY, Yolo, bins_for
from whatwhere.train.network import build
from whatwhere.train.recipes import recipe

NAMES = ("red", "green", "blue")


def made(model: str = "yolo-s", backbone: str = TINY, **changes: object) -> Yolo:
    plain: dict[str, object] = {"backbone": backbone, "pretrained": False, "device": "cpu"}
    net = build(replace(recipe("detect", model), **plain | changes), NAMES)  # type: ignore[arg-type]
    assert isinstance(net, Yolo)
    return net


def size_of(net: Yolo) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def test_names_of_sizes() -> None:
    assert {f"yolo-{size}" for size in "pnsm"} <= set(model_names())
    # "yolo" alone is the usual size.
    assert find_model("yolo")[1] == find_model("yolo-s")[1]


def test_the_smallest_fits_an_edge_device() -> None:
    """With the pretrained body, at most a million parameters, frozen constants included."""
    net = made("yolo-p", "tf_efficientnet_lite0", pretrained=True)
    assert size_of(net) <= 1_000_000
    assert sum(value.numel() for value in net.state_dict().values()) <= 1_000_000
    assert "imagenet-lite0" in net.source


def test_sizes_grow() -> None:
    with torch.device("meta"):
        counts = [size_of(made(f"yolo-{size}", "tf_efficientnet_lite0")) for size in "pnsm"]
    assert counts == sorted(counts)
    assert counts[0] < 0.9e6
    assert counts[-1] > 1.5 * counts[-2]


@pytest.mark.parametrize("size", FAMILY.sizes)
@pytest.mark.parametrize("small_objects", [False, True])
def test_answers_of_each_size(size: str, small_objects: bool) -> None:
    net = made(f"yolo-{size}", width_head=16, small_objects=small_objects).eval()
    with torch.no_grad():
        answer = net(noise(2, 64, 96, 3))
    strides = (4, 8, 16, 32) if small_objects else (8, 16, 32)
    assert net.strides == strides
    cells = sum((64 // stride) * (96 // stride) for stride in strides)
    assert answer["boxes"].shape == (2, cells, 4)
    assert answer["scores"].shape == (2, cells, 3)
    assert torch.isfinite(answer["boxes"]).all()


@pytest.mark.parametrize("size", FAMILY.sizes)
def test_every_part_of_each_size_learns(size: str) -> None:
    """No module is left out of the graph: each trained parameter gets a gradient."""
    net = made(f"yolo-{size}", width_head=16).train()
    raw = net.raw(noise(2, 64, 64, 3))
    (raw["logits"].square().sum() + raw["sides"].square().sum()).backward()
    left = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not left


def test_what_is_frozen_ends_before_the_finest_level() -> None:
    for small_objects, still in ((False, "blocks.1.1"), (True, "blocks.0.0")):
        net = made("yolo-p", "tf_efficientnet_lite0", pretrained=True, small_objects=small_objects)
        frozen = {name for name, p in net.backbone.named_parameters() if not p.requires_grad}
        assert any(name.startswith(still) for name in frozen)
        # Blocks 1 give stride 4, blocks 2 stride 8.
        free = "blocks.1.1" if small_objects else "blocks.2.1"
        assert not any(name.startswith(free) for name in frozen)


def test_boxes_as_large_as_the_input_can_be_reached() -> None:
    assert [bins_for(side, side) for side in (0, 320, 928)] == [16, 16, 16]
    for side in (960, 1280, 2048):
        # From half a step beside the middle to the farther border.
        assert (bins_for(side // 2, side) - 1) * 32 >= side / 2 + 16
    net = made(width_head=16, height=32, width=1280).eval()
    assert net.raw(noise(1, 32, 64, 3))["sides"].shape[-1] == bins_for(32, 1280) > 16
