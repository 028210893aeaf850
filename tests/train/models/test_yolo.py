"""Our own detector: its sizes, its further level, and what large inputs need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from train_data import TINY, boxes_set, quick_config
from whatwhere.data import Dataset
from whatwhere.errors import TrainError
from whatwhere.runtime import load_file, read_spec
from whatwhere.train.models import find_model, model_names
from whatwhere.train.models._yolo_parts import _best
from whatwhere.train.models.yolo import FAMILY, Yolo, bins_for
from whatwhere.train.network import Step, build
from whatwhere.train.recipes import recipe
from whatwhere.train.run import export_run, train_model
from whatwhere.train.samples import Samples

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


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return boxes_set(tmp_path_factory.mktemp("boxes"), 8)


def test_the_further_score_begins_with_the_best_near_by() -> None:
    net = made(width_head=16, end_to_end=True).eval()
    assert net.end_to_end
    images = noise(2, 64, 64, 3)
    with torch.no_grad():
        final = net(images)
        net.choose(False)
        usual = net(images)
        assert net.choice is not None
        assert net.choice.change.bias is not None
        net.choice.change.bias += 1.0
        assert torch.equal(net(images)["scores"], usual["scores"])
        net.choose(True)
        changed = net(images)
    assert torch.equal(final["boxes"], usual["boxes"])
    assert (final["scores"] <= usual["scores"]).all()
    # The best point of a class has no rival, and keeps its score.
    best = usual["scores"].argmax(1, keepdim=True)
    kept, score = (found["scores"].gather(1, best) for found in (final, usual))
    torch.testing.assert_close(kept, score)
    alone = (final["scores"] == usual["scores"]).float().mean()
    assert 0 < alone < 0.5
    assert (changed["scores"] > final["scores"]).all()
    assert torch.equal(changed["boxes"], usual["boxes"])


def test_the_best_near_by_is_looked_for_on_other_levels() -> None:
    fine, middle, coarse = (torch.full((1, 2, side, side), -9.0) for side in (16, 8, 4))
    fine[0, 0, 4, 4] = 1.0
    coarse[0, 0, 3, 3] = 3.0
    best = _best([fine, middle, coarse])
    assert best[0][0, 0, 4, 5] == 1.0
    assert best[0][0, 0, 4, 6] == -9.0
    assert best[1][0, 0, 2, 1] == 1.0
    assert best[1][0, 0, 7, 7] == 3.0
    assert best[0][0, 0, 15, 15] == -9.0, "two levels apart"
    assert best[2][0, 0, 0, 0] == -9.0
    assert all((level[0, 1] == -9.0).all() for level in best)


def test_the_further_score_teaches_nothing_that_is_shared(boxes: Dataset) -> None:
    """With or without it, all other parameters get the same gradients."""
    gradients = []
    for end_to_end in (False, True):
        config = replace(quick_config("detect"), height=64, width=96, end_to_end=end_to_end)
        net = build(config, NAMES)
        step = Step(net).train()
        batch = Samples(boxes, (64, 96), config).batch(np.arange(4), 0, 0, False)
        loss, parts = step(batch)
        loss.backward()
        assert ("choice_loss" in parts) == end_to_end
        assert float(loss.detach()) == pytest.approx(sum(float(part) for part in parts.values()))
        gradients.append(
            {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
        )
    without, with_it = gradients
    assert {name.split(".")[0] for name in set(with_it) - set(without)} == {"choice"}
    for name, gradient in without.items():
        assert torch.equal(gradient, with_it[name]), name


def test_one_point_learns_to_speak_for_each_object(boxes: Dataset) -> None:
    """After some steps on one batch, fewer points score high, about one an object."""
    torch.manual_seed(0)
    plain = {"mosaic": 0.0, "colour": 0.0, "zoom": 1.0, "flip": 0.0}
    config = replace(
        quick_config("detect"), height=64, width=96, width_head=32, end_to_end=True, **plain
    )
    net = build(config, NAMES)
    step = Step(net).train()
    batch = Samples(boxes, (64, 96), config).batch(np.arange(1, 5), 0, 0, False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(60):
        loss, _ = step(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert batch.boxes is not None
    objects = int(batch.boxes.valid.sum())
    counts = {}
    with torch.no_grad():
        for end_to_end in (False, True):
            net.choose(end_to_end)
            scores = net(batch.images)["scores"]
            counts[end_to_end] = int((scores > 0.2).sum())
    assert objects / 2 <= counts[True] <= objects < counts[False]


def test_one_run_two_model_files(boxes: Dataset, tmp_path: Path) -> None:
    config = replace(quick_config("detect"), end_to_end=True)
    run = train_model(boxes, config, tmp_path / "run")
    final = run.model.read_bytes()
    assert read_spec(run.model).postprocess.end_to_end
    # Over the run's own file: it must not stick to later exports.
    export_run(run.folder, end_to_end=False, data=boxes)
    usual = run.model.read_bytes()
    assert not read_spec(run.model).postprocess.end_to_end
    images = noise(1, *read_spec(run.model).preprocess.size, 3).numpy()
    answers = [load_file(file, where="the file").backend(images) for file in (final, usual)]
    np.testing.assert_allclose(answers[0]["boxes"], answers[1]["boxes"], atol=1e-3)
    assert not np.allclose(answers[0]["scores"], answers[1]["scores"], atol=1e-6)
    export_run(run.folder, data=boxes)
    assert run.model.read_bytes() == final


def test_a_choice_that_a_network_has_not() -> None:
    net = made(width_head=16)
    net.choose(False)
    with pytest.raises(TrainError, match="end_to_end=true"):
        net.choose(True)
