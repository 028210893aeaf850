"""Exports of finished models: what is written, what is refused, and the gate between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from exported_models import NAMES, classifier, colour_pictures, detector
from foreign_graphs import averaging
from whatwhere.data import read
from whatwhere.errors import GateError, ModelError, UsageError
from whatwhere.exporting import Change, Exported, Gate, export
from whatwhere.exporting.pictures import answers_as_labels, drawn
from whatwhere.runtime import Predictor, load, load_file, read_spec
from whatwhere.runtime.foreign import import_model
from whatwhere.specs import SEEN_KEY


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_pictures(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "colours.onnx"
    path.write_bytes(classifier())
    return path


def loaded(path: Path) -> Predictor:
    predictor = load(path, backend="onnxruntime")
    assert isinstance(predictor, Predictor)
    return predictor


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path)).graph.node]


def test_eight_bits(model: Path, colours: Path) -> None:
    said: list[str] = []
    before = model.read_bytes()
    made = export(model, precision="int8", calibrate=read(colours), say=said.append)
    assert made.model == model.with_name("colours.int8.onnx")
    assert model.read_bytes() == before
    assert made.gate.passed
    assert made.gate.labelled
    assert (made.gate.metric, made.gate.pictures) == ("accuracy", 24)
    assert made.gate.whole.before == 1.0
    assert set(made.gate.per_class) == set(NAMES)
    assert (made.in_float, made.layers) == ((), 3)
    assert "24 pictures of the split train" in said[0]
    # The pixels are the first layer's 8-bit input: nothing rounds them again.
    nodes = onnx.load(str(made.model)).graph.node
    assert not [one for one in nodes if one.op_type in ("Sub", "Div", "Cast")]
    first = next(one for one in nodes if one.op_type == "DequantizeLinear")
    assert any("planes" in name for one in nodes for name in one.input)
    assert first is not None
    # An ordinary model file: its spec says what was done, everything else is as before.
    spec = read_spec(made.model)
    assert spec.reference["exported"]["precision"] == "int8"
    assert spec.model_copy(update={"reference": {}}) == read_spec(model)
    picture = next(colours.glob("val/blue/*.png"))
    ours, theirs = loaded(model).predict(picture), loaded(made.model).predict(picture)
    assert theirs.names[0] == "blue"
    assert ours.scores[0] == pytest.approx(theirs.scores[0], abs=0.05)
    original, small = made.sides
    assert (original.engine, small.engine) == ("onnxruntime", "onnxruntime")
    assert small.megabytes == made.model.stat().st_size / 1e6
    assert min(original.ms, small.ms) > 0
    assert made.to_dict()["gate"]["per_class"]["red"]["loss"] == 0


def test_boxes_in_eight_bits(tmp_path: Path, colours: Path) -> None:
    """Pictures without labels: what the original answers is right."""
    model = tmp_path / "cells.onnx"
    model.write_bytes(detector())
    paths = [str(path) for path in sorted(colours.rglob("*.png"))]
    out = tmp_path / "new" / "small.onnx"
    made = export(model, out, precision="int8", calibrate=paths, max_loss=0.1, name="little")
    assert made.model == out
    assert not made.gate.labelled
    assert made.gate.metric == "AP50"
    assert made.gate.pictures == 24, "half gives the ranges"
    assert made.gate.whole.before == pytest.approx(1, abs=0.02)
    assert "agreement" in made.gate.sentence
    assert read_spec(out).name == "little"
    # Coordinates are not rounded to 256 steps.
    ours, theirs = (loaded(path).predict(paths[0]) for path in (model, out))
    assert set(map(tuple, theirs.boxes.tolist())) <= set(map(tuple, ours.boxes.tolist()))
    assert len(theirs) > 0


def test_layers_that_need_float_keep_it(tmp_path: Path, colours: Path) -> None:
    """One channel is 5,000 times the others: 8 bits for the whole tensor lose what matters."""
    model = tmp_path / "uneven.onnx"
    model.write_bytes(classifier(uneven=5000))
    data = read(colours)
    said: list[str] = []
    made = export(model, precision="int8", calibrate=data, ranges="minmax", say=said.append)
    assert "all 3 layers in 8 bits: gate failed" in " ".join(said)
    assert made.gate.passed
    assert 0 < len(made.in_float) < made.layers
    assert made.ranges == "minmax"
    assert made.model is not None
    assert "QuantizeLinear" in kinds(made.model)
    assert read_spec(made.model).reference["exported"]["in_float"] == len(made.in_float)


def test_a_loss_beyond_the_limit_is_not_written(
    model: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last layer's weights are lost on the way: the gate sees that."""
    from whatwhere.exporting import run

    def broken(file: bytes) -> bytes:
        changed = onnx.load_from_string(file)
        for one in changed.graph.initializer:
            if one.name == "w3":
                one.CopyFrom(onnx.numpy_helper.from_array(np.zeros((32, 3), np.float32), "w3"))
        return bytes(changed.SerializeToString())

    monkeypatch.setattr(run, "store_half", broken)
    before = set(model.parent.iterdir())
    with pytest.raises(GateError, match=r"gate failed: accuracy 1\.0000 -> 0\.3333") as caught:
        export(model, precision="float16", check=read(colours))
    assert set(model.parent.iterdir()) == before
    found = caught.value.exported
    assert isinstance(found, Exported)
    assert found.model is None
    assert found.gate.whole.loss == pytest.approx(2 / 3)
    assert found.gate.per_class["blue"].after == 0
    made = export(model, precision="float16", check=read(colours), max_loss=0.7)
    assert made.model == model.with_name("colours.fp16.onnx")


def test_half_precision(model: Path, colours: Path) -> None:
    made = export(model, precision="float16", check=read(colours))
    assert made.model is not None
    stored = {one.data_type for one in onnx.load(str(made.model)).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in stored
    assert made.gate.whole == Change(1.0, 1.0)
    assert made.ranges is None


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_openvino(model: Path, colours: Path, precision: Any) -> None:
    pytest.importorskip("openvino")
    made = export(model, to="openvino", precision=precision, calibrate=read(colours))
    assert made.model is not None
    assert made.model.suffix == ".xml"
    weights = made.model.with_suffix(".bin")
    assert weights.is_file()
    assert [side.engine for side in made.sides] == ["onnxruntime", "openvino", "openvino"]
    total = made.model.stat().st_size + weights.stat().st_size
    assert made.sides[-1].megabytes == total / 1e6
    spec = read_spec(made.model)
    assert spec.model_copy(update={"reference": {}}) == read_spec(model)
    predictor = load(made.model)
    assert isinstance(predictor, Predictor)
    assert predictor.backend.name == "openvino"
    picture = next(colours.glob("val/green/*.png"))
    ours, theirs = loaded(model).predict(picture), predictor.predict(picture)
    assert theirs.names[0] == "green"
    assert theirs.scores[0] == pytest.approx(ours.scores[0], abs=0.05)
    many = list(predictor.predict([picture] * 20))
    assert {one.names[0] for one in many} == {"green"}
    with pytest.raises(UsageError, match=r"OpenVINO's own file, which onnxruntime cannot run"):
        load(made.model, backend="onnxruntime")


def test_a_model_of_others(tmp_path: Path, colours: Path) -> None:
    """Its input is float; its spec lies beside it, and goes into the new file."""
    model = tmp_path / "theirs.onnx"
    model.write_bytes(averaging(metadata={"kept": "yes"}))
    import_model(model, names=NAMES, pixels="unit")
    made = export(model, precision="float16", check=read(colours))
    assert made.model is not None
    assert made.gate.whole.loss == 0
    spec = read_spec(made.model)
    assert spec.names == NAMES
    assert spec.graph is not None
    stored = {one.key: one.value for one in onnx.load(str(made.model)).metadata_props}
    assert stored["kept"] == "yes"
    with pytest.raises(ModelError, match="no layer that could be quantised"):
        export(model, precision="int8", calibrate=read(colours))


def test_what_the_file_knows_goes_along(tmp_path: Path, colours: Path) -> None:
    proto = onnx.load_from_string(classifier())
    proto.metadata_props.add(key=SEEN_KEY, value="fingerprints")
    model = tmp_path / "seen.onnx"
    onnx.save(proto, str(model))
    made = export(model, precision="int8", calibrate=read(colours))
    assert made.model is not None
    keys = {one.key: one.value for one in onnx.load(str(made.model)).metadata_props}
    assert keys[SEEN_KEY] == "fingerprints"
    assert keys.keys() == {one.key for one in proto.metadata_props}


def test_misuse(model: Path, colours: Path, tmp_path: Path) -> None:
    data = read(colours)
    for words, given in {
        "add  --calibrate DATA": {"precision": "int8"},
        "add  --check DATA": {"precision": "float16"},
        "allowed loss": {"check": data, "max_loss": 1.5},
        "pictures must be": {"check": data, "pictures": 0},
        "cannot export to tflite": {"check": data, "to": "tflite"},
        "unknown way 'best'": {"precision": "int8", "calibrate": data, "ranges": "best"},
        "is the original itself": {"check": data, "out": model},
        "must end in .onnx": {"check": data, "out": tmp_path / "model.xml"},
        "must end in .xml": {"check": data, "to": "openvino", "out": tmp_path / "m.onnx"},
    }.items():
        with pytest.raises(UsageError, match=words.replace("(", r"\(")):
            export(model, **given)
    with pytest.raises(UsageError, match="objects-lite, imagenet-lite0 after the other"):
        export("default", precision="int8", calibrate=data)
    (tmp_path / "model.xml").write_text("<net/>", "utf-8")
    with pytest.raises(ModelError, match="is a OpenVINO file, which is not"):
        export(tmp_path / "model.xml", precision="int8", calibrate=data)


def test_pictures_that_are_drawn() -> None:
    paths = [f"{number}" for number in range(100)]
    assert drawn(paths, 200, 0) == paths
    some = drawn(paths, 30, 0)
    assert some == sorted(some, key=int)
    assert len(set(some)) == 30
    assert some == drawn(paths, 30, 0) != drawn(paths, 30, 1)
    with pytest.raises(UsageError, match="no pictures"):
        drawn([], 5, 0)


def test_answers_become_labels(tmp_path: Path, colours: Path) -> None:
    predictor = load_file(detector(), backend="onnxruntime")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    paths = [str(broken), *map(str, sorted(colours.glob("val/red/*.png"))[:3])]
    data = answers_as_labels(predictor, paths)
    assert len(data) == 3
    assert data.task == "detect"
    answers = list(predictor.predict(paths[1:]))
    assert data.labels.height == sum(map(len, answers))
    assert data.labels.row(0, named=True)["x2"] == answers[0].boxes[0, 2]
    with pytest.raises(UsageError, match="answers nothing above"):
        answers_as_labels(predictor, [str(broken)])


def test_the_sentence_of_a_gate() -> None:
    gate = Gate("AP", True, 40, "data", Change(0.5, 0.495), 0.01)
    assert gate.passed
    assert gate.sentence == (
        "gate passed: AP 0.5000 -> 0.4950 (-0.0050, at most -0.01 is allowed), on 40 pictures"
    )
    assert Gate("AP", True, 40, "data", Change(0.5, 0.49), 0.01).passed
    assert not Gate("AP", True, 40, "data", Change(0.5, 0.48), 0.01).passed
    assert Gate("AP", True, 40, "data", Change(0.5, 0.9), 0.0).passed
    unknown = Gate("AP", True, 40, "data", Change(None, None), 0.01)
    assert not unknown.passed
    assert "undefined" in unknown.sentence
    second = Gate("AP", True, 9, "d", Change(0.5, 0.5), 0.01, second=("mAP", Change(0.9, 0.1)))
    assert not second.passed
    assert "mAP of its other answer 0.9000 -> 0.1000" in second.sentence
