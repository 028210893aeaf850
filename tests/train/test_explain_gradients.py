"""Maps from gradients: against the formulas written out, and what they are about."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from whatwhere.errors import TrainError, UsageError
from whatwhere.images import read_image
from whatwhere.runtime import load
from whatwhere.runtime.explain import explain
from whatwhere.runtime.subjects import find_subjects
from whatwhere.train.explain import Gradients, features
from whatwhere.train.models.classifier import Classifier
from whatwhere.train.run import Run
from whatwhere.types import Image


@pytest.fixture(scope="module")
def animal(workshop: Path) -> Image:
    return read_image(next((workshop / "animals" / "val" / "cat").glob("*.jpg")))


@pytest.fixture(scope="module")
def shelf(workshop: Path) -> Image:
    return read_image(sorted((workshop / "shelves" / "JPEGImages").glob("val*.jpg"))[0])


@pytest.mark.parametrize("rule", ["gradcam", "hirescam"])
def test_a_classifier_s_map_is_its_class_activation_map(
    rule: Any, classifier: Run, animal: Image
) -> None:
    """Where a last map is averaged and weighted, the map is the weighted features (CAM)."""
    way = Gradients(classifier.folder, rule)
    subject = next(find_subjects(load(classifier.model), animal))
    found = way(subject)
    net: Any = way.net
    with torch.no_grad():
        x = net.scale(torch.from_numpy(subject.canvas[None].copy()))
        last = net.backbone.forward_features(x)[0]
        weights = net.backbone.get_classifier().weight[subject.column]
        cells = (weights[:, None, None] * last).sum(0) / last[0].numel()
    cells = cells.clamp(min=0)
    size = subject.canvas.shape[:2]
    grown = functional.interpolate(cells[None, None], size, mode="bilinear", align_corners=False)
    wanted = grown[0, 0].numpy() * cells.numel() / (size[0] * size[1])
    assert wanted.max() > 0
    assert np.allclose(found, wanted, atol=1e-7 + 1e-4 * wanted.max())


def test_each_class_has_its_map(classifier: Run, animal: Image) -> None:
    way = Gradients(classifier.folder)
    one, two = explain(classifier.folder, animal, most=2, method=way)
    assert one.method == "hirescam"
    assert one.name != two.name
    assert not np.allclose(one.heat, two.heat)
    assert (one.values >= 0).all()


@pytest.mark.parametrize("rule", ["hirescam", "layercam"])
def test_an_object_s_map_lies_at_the_object(rule: Any, detector: Run, shelf: Image) -> None:
    """Gradients of one box reach no further than its cell sees."""
    way = Gradients(detector.folder, rule)
    name = load(detector.model).spec.names[0]
    height, width = shelf.shape[:2]
    left, right = [4, 20, 40, height - 20], [width - 40, 20, width - 4, height - 20]
    middles = [_middle(detector, way, shelf, name, box) for box in (left, right)]
    assert middles[0] < middles[1] - 0.15 * width


def _middle(run: Run, way: Gradients, image: Image, name: str, box: list[int]) -> float:
    """Mean x of a map, in pixels."""
    (found,) = explain(run.folder, image, name=name, box=box, method=way)
    columns: NDArray[np.float64] = found.values.sum(axis=0, dtype=np.float64)
    assert np.isfinite(columns).all()
    assert columns.sum() > 0
    return float((columns * np.arange(len(columns))).sum() / columns.sum())


def test_grad_cam_is_not_for_one_object(detector: Run, shelf: Image) -> None:
    name = load(detector.model).spec.names[0]
    with pytest.raises(UsageError, match="cannot tell one object"):
        explain(
            detector.folder,
            shelf,
            name=name,
            box=[4, 4, 40, 40],
            method=Gradients(detector.folder, "gradcam"),
        )


def test_frozen_layers_do_not_cut_the_gradient(classifier: Run, animal: Image) -> None:
    way = Gradients(classifier.folder)
    subject = next(find_subjects(load(classifier.model), animal))
    before = way(subject)
    way.net.requires_grad_(False)
    assert np.allclose(way(subject), before)


def test_hooks_are_taken_away(classifier: Run) -> None:
    way = Gradients(classifier.folder)
    with features(way.net):
        assert any(module._forward_hooks for module in way.net.modules())
    assert not any(module._forward_hooks for module in way.net.modules())


def test_a_network_of_patches_has_no_feature_map() -> None:
    net = Classifier(3, "test_vit", pretrained=False, size=(64, 64)).eval()
    with features(net) as maps, torch.no_grad():
        net(torch.zeros((1, 64, 64, 3), dtype=torch.uint8))
        # Its patches are cut out by a convolution, whose map sees no more than a patch.
        with pytest.raises(UsageError, match="no feature maps"):
            maps()


def test_what_is_no_run(tmp_path: Path, classifier: Run, detector: Run) -> None:
    with pytest.raises(TrainError, match="not the folder of a finished run"):
        Gradients(classifier.model)
    with pytest.raises(UsageError, match="unknown rule"):
        Gradients(classifier.folder, "cam")  # type: ignore[arg-type]
    mixed = tmp_path / "mixed"
    shutil.copytree(classifier.folder, mixed)
    shutil.copy(detector.folder / "model.safetensors", mixed)
    with pytest.raises(TrainError, match="of another network"):
        Gradients(mixed)
