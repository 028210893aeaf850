"""Opening models by name, file and run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from factories import KINDS, model_bytes, picture, spec_of, write_model
from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime import Predictor, load, load_file, read_spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_file(kind: str, tmp_path: Path) -> None:
    model = load(write_model(tmp_path / "m.onnx", kind))
    assert isinstance(model, Predictor)
    assert model.spec == spec_of(kind)
    assert kind in repr(model)


def test_a_run_folder_and_bytes(tmp_path: Path) -> None:
    write_model(tmp_path / "run" / "model.onnx", "detect")
    answer = load(tmp_path / "run").predict(picture((1, 2, 0)))
    assert answer.object_names == ("red",)
    assert load_file(model_bytes("detect")).spec.task == "detect"
    assert read_spec(tmp_path / "run" / "model.onnx") == spec_of("detect")


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no model 'street': give .* one of default"):
        load("street")
    write_model(tmp_path / "runs" / "street" / "model.onnx", "detect")
    with pytest.raises(ModelError, match=r"did you mean runs.street"):
        load("street")
    with pytest.raises(ModelError, match=r"the folder runs has no model\.onnx"):
        load("runs")


def test_a_shipped_name_wins_over_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("imagenet-lite0"), "detect")
    assert load("imagenet-lite0").spec.task == "classify"
    assert load("./imagenet-lite0").spec.task == "detect"


def test_a_graph_is_checked_against_its_spec(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", "detect", spec=spec_of("classify"))
    with pytest.raises(ModelError, match=r"m\.onnx does not fit its own model spec"):
        load(path)


def test_weights_that_are_not_in_their_file(tmp_path: Path) -> None:
    # The header is whole, but the weights' file is empty: the engine says so.
    path = write_model(tmp_path / "m.onnx", "classify", external="w.bin")
    (tmp_path / "w.bin").touch()
    with pytest.raises(ModelError, match=r"m\.onnx is damaged"):
        load(path)


def test_options_are_checked(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", "classify")
    with pytest.raises(UsageError, match="unknown backend"):
        load(path, backend="tpu")
    with pytest.raises(UsageError, match="threads"):
        load(path, threads=0)
