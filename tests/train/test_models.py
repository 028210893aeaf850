"""What every model family must do, whatever the backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from train_data import TINY, TINY_RESNET, boxes_set, classes_folder
from whatwhere.data import Dataset, read
from whatwhere.errors import TrainError
from whatwhere.images import read_image
from whatwhere.runtime import load
from whatwhere.train.config import TrainConfig
from whatwhere.train.models.backbone import (
    ConvScale,
    ScalePixels,
    create_backbone,
    fold_norms,
    freeze_early,
)
from whatwhere.train.models.classifier import Classifier
from whatwhere.train.models.yolo import BINS, Yolo
from whatwhere.train.network import Step, architecture, build, parameter_groups
from whatwhere.train.recipes import recipe
from whatwhere.train.samples import Samples
from whatwhere.types import Task

DEFAULT = "tf_efficientnet_lite0"
NAMES = tuple(f"class {i}" for i in range(10))


def settings(task: Task, backbone: str = TINY, **changes: object) -> TrainConfig:
    plain = {
        "backbone": backbone,
        "pretrained": backbone == DEFAULT,
        "width_head": 32,
        "batch": 4,
        "workers": 1,
    }
    return replace(recipe(task), **{**plain, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return boxes_set(tmp_path_factory.mktemp("boxes"), 4, splits=False)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    counts = {"red": 2, "green": 2, "blue": 1}
    return read(classes_folder(tmp_path_factory.mktemp("classes"), counts, splits=("train",)))


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("backbone", [DEFAULT, TINY, TINY_RESNET])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_a_detector_answers_at_any_multiple_of_32(backbone: str, size: tuple[int, int]) -> None:
    net = build(settings("detect", backbone), NAMES[:3]).eval()
    with torch.no_grad():
        answer = net(noise(2, *size, 3))
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
    assert answer["boxes"].shape == (2, cells, 4)
    assert answer["scores"].shape == (2, cells, 3)
    assert ((answer["scores"] >= 0) & (answer["scores"] <= 1)).all()
    sides = answer["boxes"][..., 2:] - answer["boxes"][..., :2]
    assert (sides >= 0).all()
    assert (sides <= 2 * (BINS - 1) * 32).all()
    # At the start nothing is an object.
    assert answer["scores"].mean() < 0.05


@pytest.mark.parametrize("backbone", [DEFAULT, TINY, TINY_RESNET])
@pytest.mark.parametrize("size", [(32, 32), (50, 71)])
def test_a_classifier_answers_at_any_size(backbone: str, size: tuple[int, int]) -> None:
    net = build(settings("classify", backbone), NAMES[:5]).eval()
    with torch.no_grad():
        answer = net(noise(3, *size, 3))
    assert set(answer) == {"logits"}
    assert answer["logits"].shape == (3, 5)
    assert answer["logits"].dtype == torch.float32


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("task", ["classify", "multilabel", "detect"])
def test_the_number_of_classes_is_free(task: Task, count: int) -> None:
    net = build(settings(task), NAMES[:count]).eval()
    answer = net(noise(1, 64, 64, 3))
    assert answer["scores" if task == "detect" else "logits"].shape[-1] == count


@pytest.mark.parametrize(
    ("task", "backbone"),
    [
        ("detect", DEFAULT),
        ("detect", TINY),
        ("classify", DEFAULT),
        ("classify", TINY_RESNET),
        ("multilabel", TINY),
    ],
)
def test_the_loss_falls(task: Task, backbone: str, boxes: Dataset, classes: Dataset) -> None:
    data = {"detect": boxes, "classify": classes, "multilabel": boxes.as_multilabel()}[task]
    config = settings(task, backbone, mosaic=0.0, colour=0.0, zoom=1.0, flip=0.0)
    net = build(config, tuple(data.names))
    step = Step(net).train()
    optimizer = torch.optim.AdamW(parameter_groups(net, config))
    for group in optimizer.param_groups:
        group["lr"] = 2e-3 * group["share"]
    batch = Samples(data, (64, 96), config).batch(np.arange(4), 0, 0, False)
    losses = []
    for _ in range(15):
        loss, parts = step(batch)
        assert all(torch.isfinite(part) for part in parts.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0], losses


def test_a_batch_of_empty_pictures_teaches_the_background(boxes: Dataset) -> None:
    config = settings("detect")
    net = build(config, NAMES[:3])
    batch = Samples(boxes, (64, 96), config).batch(np.array([0, 0]), 0, 0, False)
    loss, parts = Step(net).train()(batch)
    loss.backward()
    assert parts["box_loss"] == parts["side_loss"] == 0
    assert torch.isfinite(loss)
    for parameter in net.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


def test_equal_seeds_build_equal_networks() -> None:
    for task in ("detect", "classify"):
        one, two, other = (build(settings(task, seed=seed), NAMES[:3]) for seed in (0, 0, 1))
        assert all(
            torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)
        )
        assert any(
            not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
        )


@pytest.mark.parametrize("backbone", [DEFAULT, TINY, TINY_RESNET, "test_vit"])
def test_a_classifier_starts_undecided(backbone: str) -> None:
    """All classes equally likely, whatever the picture: the first loss is log C."""
    net = build(settings("classify", backbone, height=64, width=64), NAMES[:3]).eval()
    with torch.no_grad():
        shares = net(noise(4, 64, 64, 3))["logits"].softmax(-1)
    assert (shares - 1 / 3).abs().max() < 0.25


def test_family_names() -> None:
    assert architecture(settings("detect", DEFAULT)) == f"yolo-s:{DEFAULT}"
    assert architecture(settings("multilabel", TINY)) == f"classifier:{TINY}"


def _stir(net: nn.Module) -> None:
    """Batch norms as training leaves them; fresh ones do nothing, and hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
            ):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))


@pytest.mark.parametrize(
    "backbone",
    [
        TINY,
        TINY_RESNET,
        "test_byobnet",
        "test_convnext",
        "resnet10t",
        "mobilenetv3_small_050",
        "ghostnet_050",
        "regnetx_002",
    ],
)
@pytest.mark.parametrize("levels", [(), (8, 16, 32)], ids=["whole", "levels"])
def test_folding_norms_changes_nothing(backbone: str, levels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = create_backbone(backbone, pretrained=False, levels=levels).net.eval()
    _stir(net)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        before = net(x)
        folded = fold_norms(net)
        after = net(x)
    count = sum(isinstance(module, ConvScale) for module in net.modules())
    assert count == folded
    if backbone != "test_convnext":
        assert folded > 4
    for a, b in zip(before if levels else [before], after if levels else [after], strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


def test_folded_norms_stay_in_training_and_pass_gradients() -> None:
    config = settings("classify", DEFAULT)
    net = build(config, NAMES[:3])
    assert isinstance(net, Classifier)
    frozen = {
        name: value.clone() for name, value in net.state_dict().items() if "scale" in name
    } | {name: value.clone() for name, value in net.state_dict().items() if "shift" in name}
    assert frozen
    net.train()(noise(4, 64, 64, 3))["logits"].square().sum().backward()
    state = net.state_dict()
    assert all(torch.equal(state[name], value) for name, value in frozen.items())
    trained = [name for name, p in net.named_parameters() if p.grad is not None]
    assert any("blocks.6" in name for name in trained)
    assert not any(isinstance(m, nn.BatchNorm2d) and m.training for m in net.modules())


def test_freezing_ends_at_stride_4() -> None:
    for levels in ((), (8, 16, 32)):
        net = create_backbone(DEFAULT, pretrained=False, levels=levels).net
        freeze_early(net)
        frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
        free = {name for name, p in net.named_parameters() if p.requires_grad}
        assert "conv_stem.weight" in frozen
        # Blocks 0 and 1 work at strides 2 and 4; block 2 goes to 8, at its depthwise convolution.
        assert any(name.startswith("blocks.1.1") for name in frozen)
        assert "blocks.2.0.conv_dw.weight" in free
        assert not any(name.startswith(("blocks.3", "blocks.6")) for name in frozen)


def test_a_random_backbone_is_not_frozen() -> None:
    net = build(settings("detect", TINY), NAMES[:2])
    assert all(p.requires_grad for p in net.parameters())
    assert not any(isinstance(module, ConvScale) for module in net.modules())


def test_installed_weights_are_those_of_the_shipped_classifier(samples: Path) -> None:
    """Three ways to one answer: timm's network, frozen and folded, and the model file."""
    predictor = load("imagenet-lite0")
    images = np.stack(
        [
            predictor.prepare(read_image(path))[0]  # type: ignore[union-attr]
            for path in sorted(samples.glob("*.jpg"))[:2]
        ]
    )
    expected = predictor.backend(images)["logits"]  # type: ignore[union-attr]
    assert expected.shape == (2, 1000)
    for freeze in (False, True):
        net = Classifier(1000, DEFAULT, freeze=freeze).eval()
        with torch.no_grad():
            found = net(torch.from_numpy(images))["logits"].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert net.license == "Apache-2.0"
    assert "imagenet-lite0" in net.source


def test_a_detector_has_the_weights_of_the_shipped_classifier() -> None:
    whole = Classifier(1000, DEFAULT, freeze=False).backbone.state_dict()
    part = Yolo(2, DEFAULT, freeze=False).backbone.state_dict()
    common = [name for name in part if name in whole and part[name].dtype.is_floating_point]
    assert len(common) > 200
    assert all(torch.equal(part[name], whole[name]) for name in common)


def test_groups_of_parameters() -> None:
    for task, backbone in (("classify", DEFAULT), ("detect", DEFAULT), ("classify", TINY)):
        config = settings(task, backbone, backbone_rate=0.125)  # type: ignore[arg-type]
        net = build(config, NAMES[:3])
        groups = parameter_groups(net, config)
        counted = [id(p) for group in groups for p in group["params"]]
        expected = [id(p) for p in net.parameters() if p.requires_grad]
        assert sorted(counted) == sorted(expected)
        for group in groups:
            for parameter in group["params"]:
                assert (group["weight_decay"] > 0) == (parameter.ndim > 1)
        shares = {group["share"] for group in groups}
        assert shares == ({0.125, 1.0} if backbone == DEFAULT else {1.0})
    head = net.backbone.get_classifier()  # type: ignore[operator]
    assert any(p is head.weight for group in groups for p in group["params"])


def test_the_scaling_of_pixels_is_timms() -> None:
    scale = ScalePixels((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    images = noise(1, 2, 2, 3)
    expected = (images[0, 1, 0, 2] / 255 - 0.3) / 0.4
    assert scale(images)[0, 2, 1, 0].item() == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("task", "backbone", "words"),
    [
        ("classify", "resnet81", ("resnet81", "did you mean")),
        ("classify", "", ("''",)),
        ("classify", "resnet18.no_such_weights", ("resnet18.no_such_weights",)),
        ("detect", "test_vit", ("test_vit", "8, 16, 32")),
    ],
)
def test_backbones_that_will_not_do(task: Task, backbone: str, words: tuple[str, ...]) -> None:
    with pytest.raises(TrainError) as caught:
        build(settings(task, backbone), NAMES[:3])
    for word in words:
        assert word in str(caught.value)


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise ConnectionError("the hub does not answer")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(TrainError, match="pretrained=false"):
        build(settings("classify", TINY_RESNET, pretrained=True), NAMES[:3])


def test_a_backbone_with_four_levels_makes_a_detector() -> None:
    """ConvNeXt has no level of stride 2, so its levels have other numbers."""
    net = build(settings("detect", "test_convnext"), NAMES[:2]).eval()
    assert isinstance(net, Yolo)
    assert net.strides == (8, 16, 32)
    assert net(noise(1, 64, 64, 3))["boxes"].shape == (1, 84, 4)


def test_a_transformer_is_built_for_the_size_of_the_input() -> None:
    config = settings("classify", "test_vit", height=96, width=64)
    net = build(config, NAMES[:3]).eval()
    assert net(noise(2, 96, 64, 3))["logits"].shape == (2, 3)
    made = create_backbone("test_vit", pretrained=False, size=(96, 64), num_classes=3)
    freeze_early(made.net, probe=made.probe)
    assert fold_norms(made.net, probe=made.probe) == 0
