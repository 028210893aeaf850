"""Models of torchvision by name: converted, and compared with torchvision's own answers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import get_model, get_model_weights

import whatwhere as ww
from whatwhere.errors import ModelError, TrainError, UsageError
from whatwhere.runtime import hub
from whatwhere.train.export import torch_outputs
from whatwhere.train.hub import fetch
from whatwhere.train.hub.agree import agreement, drawn_pictures
from whatwhere.train.hub.convolutional import open_torchvision
from whatwhere.train.hub.opened import Answer

TORCHVISION = [model for model in hub.HUB.values() if model.library == "torchvision"]
SMALL = "faster-rcnn-mobilenet-320"
SIZE = (128, 160)


def lively(name: str) -> dict[str, torch.Tensor]:
    """Random tensors of a network that make its scores and boxes differ from place to place."""
    torch.manual_seed(0)
    state = get_model(hub.get(name).reference, weights=None, weights_backbone=None).state_dict()
    for key, value in state.items():
        if name == "ssdlite320":
            if value.dim() == 4:
                state[key] = torch.randn_like(value) * (2 / value[0].numel()) ** 0.5
        elif "running_var" in key:
            state[key] = torch.rand_like(value) + 0.5
        elif "running_mean" in key:
            state[key] = 0.1 * torch.randn_like(value)
    for key, value in state.items():
        if "cls_score.weight" in key:
            state[key] = 30 * value
        elif "rpn.head.cls_logits.weight" in key or "rpn.head.bbox_pred.weight" in key:
            state[key] = 0.05 * torch.randn_like(value)
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of the tensors of `SMALL`, as torchvision keeps them."""
    file = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(lively(SMALL), file)
    return file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_published_scores_are_those_of_the_metadata() -> None:
    for model in TORCHVISION:
        meta = get_model_weights(model.reference).DEFAULT.meta
        assert model.published == pytest.approx(
            meta["_metrics"]["COCO-val2017"]["box_map"] / 100, abs=1e-9
        )
        kept = [name for name in meta["categories"] if name not in ("__background__", "N/A")]
        assert model.classes == len(kept)


def test_a_fetched_model_answers_as_torchvision_does(weights: Path, cache: Path) -> None:
    made = fetch(SMALL, source=weights, size=SIZE)
    assert made.file == cache / "models" / f"{SMALL}.onnx"
    assert made.agreement["found"] >= 3
    assert made.agreement["matched"] == 1
    assert made.agreement["boxes"] < 0.01
    # torchvision's own prediction, from a network that it builds with these very weights.
    record = get_model_weights(hub.get(SMALL).reference).DEFAULT
    theirs: Any = get_model(hub.get(SMALL).reference, weights=None, weights_backbone=None)
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    theirs.eval().transform.min_size, theirs.transform.max_size = (min(SIZE),), max(SIZE)
    ours, compared = ww.load(SMALL), 0
    for picture in drawn_pictures(SIZE):
        with torch.no_grad():
            (found,) = theirs([torch.from_numpy(picture).permute(2, 0, 1).float() / 255])
        names = np.array([record.meta["categories"][int(i)] for i in found["labels"]], object)
        answer = ours.predict(picture, threshold=0.055)
        # Of each place a prediction shows the best class alone; each must be among theirs.
        for box, score, name in zip(
            answer.boxes, answer.object_scores, answer.object_names, strict=True
        ):
            same = names == name
            apart = np.abs(found["boxes"].numpy()[same] - box).max(-1)
            assert apart.min() < 0.01
            assert abs(float(found["scores"].numpy()[same][apart.argmin()]) - score) < 1e-4
            compared += 1
    assert compared
    assert ours.spec.name == SMALL
    spec = made.spec
    assert (len(spec.names), spec.license) == (80, "BSD-3-Clause")
    assert "0.228 on COCO val2017" in spec.reference["published"]
    assert spec.metrics == {}
    # A full name finds the same file.
    assert ww.load(hub.get(SMALL).source).spec.name == SMALL


def test_every_step_of_ssdlite_is_torchvisions(tmp_path: Path) -> None:
    torch.save(lively("ssdlite320"), tmp_path / "any.pth")
    opened = open_torchvision(hub.get("ssdlite320"), tmp_path, None, False)
    predictor: Any = SimpleNamespace(
        spec=opened.spec, backend=lambda images: torch_outputs(opened.net, images)
    )
    pictures = drawn_pictures((320, 320))[:1]
    met = agreement(predictor, opened.answer, pictures, 0.05)
    assert met["found"] >= 20
    assert (met["matched"], met["boxes"] < 0.01, met["scores"] < 1e-5) == (1, True, True)
    assert opened.spec.preprocess.fit == "stretch"
    assert opened.spec.postprocess.nms_iou == pytest.approx(0.55)


def test_weights_come_through_torchvisions_loader(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hub.get(SMALL)
    name = get_model_weights(model.reference).DEFAULT.url.rpartition("/")[2]
    kept = tmp_path / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    (kept / name).write_bytes(weights.read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    opened = open_torchvision(model, None, SIZE, False)
    picture = drawn_pictures(SIZE)[0]
    other = open_torchvision(model, weights, SIZE, False)
    assert np.array_equal(opened.answer(picture).boxes, other.answer(picture).boxes)


def test_a_library_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    torch.save(lively("ssdlite320"), tmp_path / "any.pth")
    opened = open_torchvision(hub.get("ssdlite320"), tmp_path, None, False)
    predictor: Any = SimpleNamespace(
        spec=opened.spec, backend=lambda images: torch_outputs(opened.net, images)
    )

    def moved(canvas: Any) -> Answer:
        answer = opened.answer(canvas)
        return replace_boxes(answer)

    def replace_boxes(answer: Answer) -> Answer:
        return answer._replace(boxes=answer.boxes + 3)

    with pytest.raises(TrainError, match=r"that the library itself\s+gives"):
        agreement(predictor, moved, drawn_pictures((320, 320))[:1], 0.05)


def test_what_was_not_fetched_names_the_command(cache: Path) -> None:
    with pytest.raises(ModelError, match="whatwhere models get dfine-s-coco"):
        ww.load("dfine-s-coco")
    assert not cache.exists()


def test_wrong_weights_and_settings_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="not the weights of ssdlite320"):
        fetch("ssdlite320", source=weights, out=tmp_path / "a.onnx")
    with pytest.raises(TrainError, match="no weights"):
        fetch("ssdlite320", source=tmp_path / "missing.pth", out=tmp_path / "a.onnx")
    with pytest.raises(TrainError, match="0 files of weights"):
        fetch("ssdlite320", source=tmp_path, out=tmp_path / "a.onnx")
    with pytest.raises(UsageError, match=re.escape("ends with .onnx")):
        fetch(SMALL, source=weights, out=tmp_path / "a.pt")
    with pytest.raises(UsageError, match="too small"):
        fetch(SMALL, source=weights, size=(16, 64))
    with pytest.raises(UsageError, match="choose one of ssdlite320"):
        fetch("no-such-model")
    assert not (tmp_path / "a.onnx").exists()


def test_a_canvas_gives_pictures_of_4_to_3_torchvisions_size(weights: Path) -> None:
    opened = open_torchvision(hub.get(SMALL), weights, None, False)
    _, geometry = opened.spec.preprocess.build()(np.zeros((480, 640, 3), np.uint8))
    # 320 pixels of the shorter side, but for a rounding.
    assert geometry.scale[1] * 480 == pytest.approx(320, abs=1)
    model = replace(hub.get(SMALL), name="other")
    assert model.file.name == "other.onnx"
