"""The model file of a network, and that it says what the network says."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

import whatwhere.train.export as export_module
from whatwhere.data import read
from whatwhere.errors import ModelError, TrainError
from whatwhere.evaluation import evaluate
from whatwhere.images import read_image
from whatwhere.runtime import Predictor, load, read_spec
from whatwhere.specs import ModelSpec, PreprocessSpec
from whatwhere.train.config import TrainConfig
from whatwhere.train.export import (
    BOX_TOLERANCE,
    SCORE_TOLERANCE,
    check_parity,
    checked_file,
    export_onnx,
    parity,
    torch_outputs,
    with_spec,
)
from whatwhere.train.network import build
from whatwhere.train.recipes import recipe
from whatwhere.train.run import Run, export_run, train_model
from whatwhere.types import Task


def spec(task: Task = "detect", size: tuple[int, int] = (64, 96), **changes: Any) -> ModelSpec:
    fields = {
        "name": "tiny",
        "task": task,
        "names": ("a", "b"),
        "preprocess": PreprocessSpec(size=size),
        "license": "Apache-2.0",
    }
    return ModelSpec(**(fields | changes))


def pictures(count: int = 3, size: tuple[int, int] = (50, 70)) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), np.uint8) for _ in range(count)]


def predictor(path: Path) -> Predictor:
    loaded = load(path, backend="onnxruntime")
    assert isinstance(loaded, Predictor)
    return loaded


def test_runs_agree_with_their_networks(detector: Run, classifier: Run) -> None:
    assert set(detector.parity) == {"boxes", "scores"}
    assert set(classifier.parity) == {"scores"}
    assert 0 <= detector.parity["boxes"] <= BOX_TOLERANCE == 0.01
    for run in (detector, classifier):
        assert 0 <= run.parity["scores"] <= SCORE_TOLERANCE == 1e-4


def test_the_batch_is_free(detector: Run, classifier: Run) -> None:
    for run in (detector, classifier):
        model = predictor(run.model)
        height, width = model.spec.preprocess.size
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (3, height, width, 3), np.uint8)
        whole = model.backend(images)
        for i in range(3):
            single = model.backend(images[i : i + 1])
            for name, value in single.items():
                assert value.shape[0] == 1
                np.testing.assert_allclose(value[0], whole[name][i], atol=1e-3)


def test_the_spec_is_complete(detector: Run, classifier: Run, workshop: Path) -> None:
    for run, task, data, fit in (
        (detector, "detect", "shelves", "letterbox"),
        (classifier, "classify", "animals", "crop"),
    ):
        made = read_spec(run.model)
        config = json.loads((run.folder / "config.json").read_text("utf-8"))
        training = read(workshop / data).split_named("train")
        assert made.name == run.folder.name
        assert made.task == task
        assert list(made.names) == list(training.names)
        assert made.preprocess.size == (config["height"], config["width"])
        assert made.preprocess.fit == fit
        assert made.data is not None
        assert made.data.digest == training.digest() == config["digest"]
        assert (made.data.images, made.data.labels) == (len(training), training.labels.height)
        assert made.data.description == data
        assert made.metrics == dict(run.metrics)
        assert made.architecture.endswith(config["backbone"])
        assert made.source == "trained by whatwhere from random"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", made.date)
        assert TrainConfig.from_dict(made.reference).to_dict() == made.reference


def test_other_tools_find_their_metadata(detector: Run) -> None:
    model = onnx.load(detector.model)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    made = read_spec(detector.model)
    assert entries["task"] == "detect"
    assert ast.literal_eval(entries["names"]) == dict(enumerate(made.names))
    assert ast.literal_eval(entries["imgsz"]) == list(made.preprocess.size)
    (port,) = model.graph.input
    assert port.name == "images"
    assert port.type.tensor_type.elem_type == TensorProto.UINT8
    assert [output.name for output in model.graph.output] == ["boxes", "scores"]
    assert model.producer_name == "whatwhere"
    assert {item.domain: item.version for item in model.opset_import}[""] == 18


def test_a_model_file_says_nothing_about_the_machine(detector: Run, workshop: Path) -> None:
    content = detector.model.read_bytes()
    for place in (str(workshop), str(detector.folder.parent), sys.prefix, "site-packages", ".py"):
        assert place.encode() not in content


def test_the_scores_in_the_spec_are_those_of_evaluate(detector: Run, workshop: Path) -> None:
    result = evaluate(load(detector.model), read(workshop / "shelves").split_named("val"))
    found = {name: value for name, value in result.metrics.items() if value is not None}
    assert dict(detector.metrics) == pytest.approx(found)


def test_another_spec_changes_nothing_else(classifier: Run) -> None:
    file = classifier.model.read_bytes()
    other = read_spec(classifier.model).model_copy(update={"name": "other", "version": "2"})
    changed = with_spec(file, other)
    model = onnx.load_from_string(changed)
    text = {entry.key: entry.value for entry in model.metadata_props}
    assert ModelSpec.from_metadata(text, "here") == other
    assert model.graph == onnx.load_from_string(file).graph
    assert with_spec(changed, read_spec(classifier.model)) == with_spec(
        file, read_spec(classifier.model)
    )


def test_half_precision_halves_the_file(detector: Run, tmp_path: Path) -> None:
    before = detector.model.read_bytes()
    made = export_run(detector.folder, tmp_path / "half.onnx", half=True, name="small")
    assert made.model == tmp_path / "half.onnx"
    assert detector.model.read_bytes() == before, "the run's own file stays"
    assert made.model.stat().st_size < 0.65 * len(before)
    assert made.parity["boxes"] <= BOX_TOLERANCE
    assert made.parity["scores"] <= SCORE_TOLERANCE
    assert read_spec(made.model).name == "small"
    # Weights are float16 in the file, and everything else is as it was.
    kinds = {t.data_type for t in onnx.load(made.model).graph.initializer if t.raw_data[1023:]}
    assert TensorProto.FLOAT16 in kinds
    assert TensorProto.FLOAT not in kinds
    whole, small = predictor(detector.model), predictor(made.model)
    height, width = whole.spec.preprocess.size
    images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    ours, theirs = whole.backend(images), small.backend(images)
    np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=0.01)
    assert not np.array_equal(ours["scores"], theirs["scores"])


@pytest.mark.parametrize("half", [False, True])
def test_the_default_detector_exports(half: bool) -> None:
    """Frozen and folded layers, depthwise convolutions, and an input that is not square."""
    config = replace(recipe("detect"), width_head=32)
    net = build(config, ("a", "b"))
    file, worst = checked_file(net, spec(), pictures(), half=half)
    assert worst["boxes"] <= BOX_TOLERANCE
    assert worst["scores"] <= SCORE_TOLERANCE
    weights = sum(value.numel() for value in net.state_dict().values())
    assert len(file) < (2.3 if half else 4.3) * weights


def _tampered(file: bytes, change: Any) -> bytes:
    model = onnx.load_from_string(file)
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    array = change(numpy_helper.to_array(largest).copy())
    largest.CopyFrom(numpy_helper.from_array(array.astype(np.float32), largest.name))
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("change", [lambda a: a * 1.5, lambda a: -a], ids=["scaled", "negated"])
def test_a_file_that_differs_is_never_written(
    change: Any, classifier: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = classifier.model.read_bytes()
    monkeypatch.setattr(
        export_module, "export_onnx", lambda *arguments, **options: _tampered(good, change)
    )
    folder = tmp_path / "run"
    shutil.copytree(classifier.folder, folder)
    for path in (tmp_path / "out.onnx", folder / "model.onnx"):
        with pytest.raises(TrainError, match="differs from the trained network by"):
            export_run(folder, path)
    assert not (tmp_path / "out.onnx").exists()
    assert (folder / "model.onnx").read_bytes() == good
    assert sorted(item.name for item in tmp_path.iterdir()) == ["run"]


def test_a_network_that_differs_is_seen(classifier: Run) -> None:
    config = TrainConfig.from_dict(read_spec(classifier.model).reference)
    other = build(config, ("a", "b")).eval()
    worst = parity(other, classifier.model.read_bytes(), pictures())
    assert worst["scores"] > SCORE_TOLERANCE


@pytest.mark.parametrize(
    "worst",
    [
        {"boxes": 0.011, "scores": 0.0},
        {"boxes": 0.0, "scores": 1.1e-4},
        {"scores": float("nan")},
        {"boxes": float("inf"), "scores": 0.0},
    ],
)
def test_tolerances(worst: dict[str, float]) -> None:
    with pytest.raises(TrainError, match="nothing was written"):
        check_parity(worst)
    check_parity({"boxes": 0.01, "scores": 1e-4})


def test_a_network_that_cannot_be_translated_is_a_sentence() -> None:
    class Odd(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            if images.float().sum() > 3:
                return {"logits": images.float().mean((1, 2))}
            return {"logits": images.float().amax((1, 2))}

    with pytest.raises(TrainError, match="cannot be exported to ONNX"):
        export_onnx(Odd(), spec("classify"))


def test_torch_outputs_are_float32_and_without_gradient() -> None:
    config = replace(recipe("classify"), backbone="test_resnet", pretrained=False)
    net = build(config, ("a", "b")).train()
    answer = torch_outputs(net, np.zeros((2, 32, 32, 3), np.uint8))
    assert answer["logits"].dtype == np.float32
    assert answer["logits"].shape == (2, 2)


def test_a_file_without_spec_is_not_ours(classifier: Run, tmp_path: Path) -> None:
    model = onnx.load(classifier.model)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="which pixels it takes cannot be seen"):
        load(tmp_path / "a.onnx")


@pytest.mark.slow
def test_fifty_real_pictures(shared: Path, tmp_path: Path) -> None:
    """The default detector after some training, on 50 pictures that it was not trained on."""
    data = read(shared / "bccd")
    small = data.select(
        np.concatenate(
            [
                np.flatnonzero(data.images["split"].to_numpy() == split)[:count]
                for split, count in (("train", 48), ("val", 8))
            ]
        )
    )
    config = replace(recipe("detect"), epochs=3, batch=8, size=320)
    run = train_model(small, config, tmp_path / "run")
    paths = data.split_named("test").paths[:50]
    assert len(paths) == 50
    from whatwhere.train.checkpoint import load_tensors
    from whatwhere.train.loop import WEIGHTS

    net = build(TrainConfig.from_dict(read_spec(run.model).reference), tuple(data.names))
    net.load_state_dict(load_tensors(run.folder / WEIGHTS)[0])
    net.float().eval()
    worst = parity(net, run.model.read_bytes(), [read_image(path) for path in paths])
    assert worst["boxes"] <= BOX_TOLERANCE
    assert worst["scores"] <= SCORE_TOLERANCE
