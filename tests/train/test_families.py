"""What every model family must do; a new family is found here by itself."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train_data import TINY, TINY_RESNET, boxes_set, classes_folder
from whatwhere.data import Dataset, read
from whatwhere.images import read_image
from whatwhere.runtime import load_file
from whatwhere.runtime.decode import decode
from whatwhere.specs import DataSummary
from whatwhere.train.config import TrainConfig
from whatwhere.train.export import (
    HALF_SCORE,
    check_parity,
    checked_file,
    parity,
    store_half,
)
from whatwhere.train.models import families, find_model, model_names
from whatwhere.train.network import Step, architecture, build, family_of, parameter_groups
from whatwhere.train.processes import make_fabric
from whatwhere.train.recipes import recipe, unused_settings
from whatwhere.train.run import make_spec
from whatwhere.train.samples import Samples
from whatwhere.types import TASKS, Task

NAMES = ("red", "green", "blue")
MODELS = [
    pytest.param(
        family.name,
        task,
        id=f"{family.name}-{task}",
        marks=[]
        if not family.extra or find_spec(family.extra)
        else pytest.mark.skip(reason=f"{family.extra} is not installed"),
    )
    for family in families().values()
    for task in TASKS
    if task in family.tasks
]
SIZE = (64, 96)
# A family may be made smaller than its smallest size here, so that the suite stays quick.
SMALL: dict[str, dict[str, Any]] = {
    "dfine": {"decoder_layers": 1, "queries": 20},
    "rtdetr": {"decoder_layers": 1, "queries": 20},
}


def small(model: str, task: Task, **changes: object) -> TrainConfig:
    """The smallest network of a family, from random weights, without augmentation."""
    plain: dict[str, Any] = {
        "backbone": TINY,
        "pretrained": False,
        "width_head": 32,
        "batch": 4,
        "workers": 1,
        "height": SIZE[0],
        "width": SIZE[1],
        "mosaic": 0.0,
        "colour": 0.0,
        "zoom": 1.0,
        "flip": 0.0,
        "precision": "32-true",
        "device": "cpu",
    }
    return replace(recipe(task, model), **plain | SMALL.get(model, {}) | changes)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return boxes_set(tmp_path_factory.mktemp("boxes"), 6, splits=False)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    counts = {"red": 2, "green": 2, "blue": 2}
    return read(classes_folder(tmp_path_factory.mktemp("classes"), counts, splits=("train",)))


@pytest.fixture
def data(task: Task, boxes: Dataset, classes: Dataset) -> Dataset:
    return {"detect": boxes, "classify": classes, "multilabel": boxes.as_multilabel()}[task]


def test_names() -> None:
    assert {"classifier", "yolo-s"} <= set(model_names())
    for name in model_names():
        family, settings = find_model(name)
        assert family.title
        task = min(family.tasks)
        config = recipe(task, name)
        assert config.model == name
        assert {key: getattr(config, key) for key in settings} == dict(settings)
        assert family_of(config) is family
        assert architecture(config) == f"{name}:{config.backbone}"


@pytest.mark.parametrize(("model", "task"), MODELS)
def test_settings_that_it_uses(model: str, task: Task) -> None:
    """What a family says of them is what building its network reads."""
    read = set()

    class Asked(TrainConfig):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    family = find_model(model)[0]
    values = small(model, task).to_dict() | {"label_names": NAMES}
    config = Asked(**values)
    read.clear()  # of its own checks
    family.build(config, NAMES)
    special = {name for other in families().values() for name in other.settings}
    assert read & special <= family.settings
    # Samples and data read the others, and only one class a picture is smoothed.
    elsewhere = {"mosaic", "cutmix", "distort", "head_start", "label_data", "label_share"}
    elsewhere |= {"smoothing"}
    assert family.settings <= read | elsewhere
    other = "yolo" if task != "detect" else "classifier"
    foreign = sorted(find_model(other)[0].settings - family.settings)
    assert foreign
    assert unused_settings(model, [*foreign, "rate", *family.settings]) == foreign


@pytest.mark.parametrize(("model", "task"), MODELS)
@pytest.mark.parametrize(
    "size", [(32, 32), (64, 96), (96, 32)], ids=lambda size: f"{size[0]}x{size[1]}"
)
def test_answers(model: str, task: Task, size: tuple[int, int]) -> None:
    """Outputs by name, with the shapes and ranges that the model file promises."""
    config = small(model, task, height=size[0], width=size[1])
    net = build(config, NAMES).eval()
    images = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    with torch.no_grad():
        answer = net(images)
    assert all(value.dtype == torch.float32 for value in answer.values())
    assert all(torch.isfinite(value).all() for value in answer.values())
    if task != "detect":
        assert answer["logits"].shape == (2, 3)
        return
    count = answer["boxes"].shape[1]
    assert answer["boxes"].shape == (2, count, 4)
    assert answer["scores"].shape == (2, count, 3)
    assert ((answer["scores"] >= 0) & (answer["scores"] <= 1)).all()
    assert (answer["boxes"][..., 2:] >= answer["boxes"][..., :2]).all()
    if net.label_names:
        assert answer["logits"].shape == (2, len(net.label_names))


@pytest.mark.parametrize(("model", "task"), MODELS)
def test_the_loss_falls(model: str, task: Task, data: Dataset) -> None:
    config = small(model, task)
    net = build(config, NAMES)
    step = Step(net).train()
    optimizer = torch.optim.AdamW(parameter_groups(net, config))
    for group in optimizer.param_groups:
        group["lr"] = min(config.rate, 2e-3) * group["share"]
    batch = Samples(data, SIZE, config).batch(np.arange(1, 5), 0, 0, False)
    losses = []
    for _ in range(20):
        loss, parts = step(batch)
        assert all(torch.isfinite(part) and not part.requires_grad for part in parts.values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.9 * losses[0], losses


@pytest.mark.parametrize(("model", "task"), MODELS)
def test_groups_hold_every_parameter_once(model: str, task: Task) -> None:
    config = small(model, task)
    net = build(config, NAMES)
    counted = [id(p) for group in parameter_groups(net, config) for p in group["params"]]
    assert sorted(counted) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    parameters = {id(p) for p in net.parameters()}
    assert {id(p) for p in net.body()} <= parameters


@pytest.mark.parametrize(("model", "task"), MODELS)
def test_empty_pictures(model: str, task: Task, boxes: Dataset, data: Dataset) -> None:
    """Pictures without any label: a finite loss with finite gradients."""
    if task == "classify":
        pytest.skip("a picture has exactly one label in this task")
    config = small(model, task)
    net = build(config, NAMES)
    batch = Samples(data, SIZE, config).batch(np.array([0, 0]), 0, 0, False)
    loss, _ = Step(net).train()(batch)
    loss.backward()
    assert torch.isfinite(loss)
    for parameter in net.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize(("model", "task"), MODELS)
def test_bfloat16(model: str, task: Task, data: Dataset) -> None:
    """The loss under mixed precision is near the one in float32."""
    # Smaller inputs are computed in float32 anyway.
    config = small(model, task, height=96, width=128)
    net = build(config, NAMES)
    batch = Samples(data, (96, 128), config).batch(np.arange(1, 5), 0, 0, False)
    values = []
    for precision in ("32-true", "bf16-mixed"):
        fabric = make_fabric(replace(config, precision=precision))
        torch.manual_seed(0)
        module = fabric.setup(Step(net).train())
        loss, _ = module(batch)
        fabric.backward(loss)
        assert loss.dtype == torch.float32
        values.append(float(loss.detach()))
        net.zero_grad()
    assert values[1] == pytest.approx(values[0], rel=0.15)
    assert values[1] != values[0]


@pytest.mark.parametrize("size", [(32, 32), (32, 96), (64, 64)], ids=str)
@pytest.mark.parametrize(("model", "task"), MODELS)
def test_gradients_of_tiny_inputs_in_bfloat16(
    model: str, task: Task, size: tuple[int, int], data: Dataset
) -> None:
    """oneDNN's bfloat16 gradients on maps of a column or two hold memory that nobody wrote."""
    config = small(model, task, backbone=TINY_RESNET, height=size[0], width=size[1])
    net = build(config, NAMES)
    batch = Samples(data, size, config).batch(np.arange(1, 5), 0, 0, False)
    fabric = make_fabric(replace(config, precision="bf16-mixed"))
    module = fabric.setup(Step(net).train())
    found = []
    for _ in range(2):
        # What is freed here is what the next tensors are made of.
        litter = [torch.full((count,), float("nan")) for count in (100, 1000, 10_000, 100_000)]
        del litter
        net.zero_grad()
        torch.manual_seed(0)
        fabric.backward(module(batch)[0])
        found.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    for name, grad in found[0].items():
        assert torch.isfinite(grad).all(), name
        torch.testing.assert_close(grad, found[1][name], msg=name)


@pytest.mark.parametrize(("model", "task"), MODELS)
def test_export(model: str, task: Task, data: Dataset, tmp_path: Path) -> None:
    """The model file answers as the network, in any batch; half precision nearly so."""
    config = small(model, task)
    net = build(config, NAMES).eval()
    summary = DataSummary(digest="0", images=1, labels=1)
    spec = make_spec(config, data, net, summary, "probe")
    pictures = [read_image(data.paths[i]) for i in (1, 2)]
    file, worst = checked_file(net, spec, pictures)
    check_parity(worst)
    assert set(worst) >= {"scores"}
    predictor = load_file(file, where="the export")
    assert predictor.spec.postprocess.end_to_end == net.end_to_end
    made = [predictor.prepare(picture) for picture in (*pictures, pictures[0])]
    outputs = predictor.backend(np.stack([canvas for canvas, _ in made]))
    for index, (canvas, _) in enumerate(made):
        alone = predictor.backend(canvas[None])
        for name, values in outputs.items():
            np.testing.assert_allclose(values[index], alone[name][0], atol=2e-3)
    predictions = decode(outputs, [geometry for _, geometry in made], spec, evaluation=True)
    assert len(predictions) == 3
    if task != "detect":
        assert len(predictions[0].label_names) == 3
    half = store_half(file)
    check_parity(parity(net, half, pictures, least=HALF_SCORE), half=True)
    assert len(half) < len(file)
