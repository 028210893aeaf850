"""The command `whatwhere export`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import Run, sentence
from train_data import TINY_RESNET, classes_folder
from whatwhere.runtime import read_spec
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import SPEC_KEY, AnswerSpec
from whatwhere.train.recipes import recipe
from whatwhere.train.run import train_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run."""
    folder = tmp_path_factory.mktemp("trained")
    data = classes_folder(folder / "data")
    config = replace(
        recipe("classify"),
        backbone=TINY_RESNET,
        pretrained=False,
        size=32,
        batch=4,
        epochs=1,
    )
    return train_model(data, config, folder / "run").folder


def test_half_precision(trained: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new" / "half.onnx"
    outcome = run("export", trained, "--fp16", "--out", out, "--name", "colours")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith(f"{out}: ")
    assert "MB" in outcome.out
    assert outcome.err == ""
    whole = trained / "model.onnx"
    assert out.stat().st_size < 0.65 * whole.stat().st_size
    assert read_spec(out).name == "colours"
    assert read_spec(whole).name == "run"
    answer = run("predict", trained.parent / "data" / "val", "--model", out, "--json")
    assert answer.status == 0, answer.err
    assert len(answer.rows) == 4


def test_json_and_the_usual_place(trained: Path, run: Run) -> None:
    before = read_spec(trained / "model.onnx")
    outcome = run("export", trained, "--json")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert row["model"] == str(trained / "model.onnx")
    assert row["metrics"] == dict(before.metrics)
    assert row["parity"]["scores"] <= 1e-4
    assert read_spec(trained / "model.onnx") == before


def test_the_last_weights(trained: Path, run: Run, tmp_path: Path) -> None:
    outcome = run("export", trained, "--weights", "last", "--out", tmp_path / "last.onnx")
    assert outcome.status == 0, outcome.err
    # After a single epoch the last weights are the best ones.
    assert read_spec(tmp_path / "last.onnx") == read_spec(trained / "model.onnx")


def test_misuse(trained: Path, run: Run, tmp_path: Path) -> None:
    sentence(run("export"), "export --help")
    sentence(run("export", tmp_path / "none"), str(tmp_path / "none"), "whatwhere train")
    sentence(run("export", trained / "model.onnx"), "not the folder of a training run")
    sentence(run("export", trained, "--end-to-end"), "without --end-to-end")
    sentence(run("export", trained, "--weights", "first"), "'first'", "best or last")
    (tmp_path / "file").write_text("x", "utf-8")
    out = tmp_path / "file" / "model.onnx"
    sentence(run("export", trained, "--out", out), "cannot be written")


def test_data_that_are_gone(run: Run, tmp_path: Path, trained: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    values["data"] = str(tmp_path / "gone")
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    sentence(run("export", folder, "--out", tmp_path / "out.onnx"), str(tmp_path / "gone"))
    assert not (tmp_path / "out.onnx").exists()


def test_calibration_is_kept_or_knowingly_left_out(trained: Path, run: Run, tmp_path: Path) -> None:
    """Other weights have other scores, which thresholds of these say nothing about."""
    file = tmp_path / "run" / "model.onnx"
    shutil.copytree(trained, file.parent)
    spec = read_spec(file).model_copy(update={"temperature": 1.5, "abstain": 0.6})
    entry = {SPEC_KEY: spec.model_dump_json()}
    file.write_bytes(with_metadata(file.read_bytes(), entry, "model"))
    same = run("export", file.parent, "--out", tmp_path / "same.onnx", "--fp16")
    assert same.status == 0, same.err
    assert same.err == f"note: calibration and thresholds are those of {file}\n"
    assert read_spec(tmp_path / "same.onnx").answers == spec.answers
    last = run("export", file.parent, "--out", tmp_path / "last.onnx", "--weights", "last")
    assert "were fitted on other scores and are left out" in last.err
    assert read_spec(tmp_path / "last.onnx").answers == AnswerSpec()
    outcome = run("export", file.parent, "--json", "--out", tmp_path / "json.onnx")
    assert outcome.rows[0]["notes"] == [f"calibration and thresholds are those of {file}"]
