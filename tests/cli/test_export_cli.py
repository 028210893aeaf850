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
    assert f"written: {out}" in outcome.out
    # Compared with the run's float weights, on the pictures that it did not train on.
    assert "gate passed: accuracy" in outcome.out
    assert "on 4 pictures" in outcome.out
    assert outcome.err.startswith("note: 4 pictures are few")
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
    sentence(run("export", tmp_path / "none"), "there is no model", str(tmp_path / "none"))
    sentence(run("export", trained / "model.onnx"), "say what to make of", "--int8")
    sentence(run("export", trained / "model.onnx", "--weights", "last"), "training run")
    sentence(run("export", trained, "--fp16", "--int8"), "ask for one")
    sentence(run("export", trained, "--int8"), "--calibrate")
    sentence(run("export", "default", "--fp16", "--check", trained), "pair of models")
    sentence(run("export", trained, "--int8", "--calibrate", tmp_path / "no"), "does not exist")
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
    same = run("export", file.parent, "--out", tmp_path / "same.onnx")
    assert same.status == 0, same.err
    assert same.err == f"note: calibration and thresholds are those of {file}\n"
    assert read_spec(tmp_path / "same.onnx").answers == spec.answers
    last = run("export", file.parent, "--out", tmp_path / "last.onnx", "--weights", "last")
    assert "were fitted on other scores and are left out" in last.err
    assert read_spec(tmp_path / "last.onnx").answers == AnswerSpec()
    outcome = run("export", file.parent, "--json", "--out", tmp_path / "json.onnx")
    assert outcome.rows[0]["notes"] == [f"calibration and thresholds are those of {file}"]


def test_eight_bits_of_a_run(trained: Path, run: Run) -> None:
    data = trained.parent / "data"
    outcome = run("export", trained, "--int8", "--calibrate", data, "--max-loss", "0.5", "--json")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert row["model"] == str(trained / "model.int8.onnx")
    assert row["gate"]["labelled"]
    assert row["gate"]["metric"] == "accuracy"
    assert {side["what"] for side in row["table"]} == {"original", "int8"}
    assert row["layers"] > 3
    answer = run("predict", data / "val", "--model", row["model"], "--json")
    assert answer.status == 0, answer.err
    assert len(answer.rows) == 4


def test_without_labels(trained: Path, run: Run, tmp_path: Path) -> None:
    """Pictures in a folder: the original's answers are what counts."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for number, path in enumerate(sorted((trained.parent / "data").rglob("*.png"))):
        shutil.copy(path, folder / f"{number}.png")
    args = ["--int8", "--calibrate", folder, "--max-loss", "1", "--out", tmp_path / "m.onnx"]
    outcome = run("export", trained / "model.onnx", *args)
    assert outcome.status == 0, outcome.err
    assert "has no labels that can be read" in outcome.err
    assert "agreement (accuracy on its own answers)" in outcome.out
    assert "ms, one core" in outcome.out


def test_a_failed_gate_is_a_finding(
    trained: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whatwhere.exporting.gate import Gate

    monkeypatch.setattr(Gate, "passed", False)
    out = tmp_path / "m.onnx"
    data = trained.parent / "data"
    outcome = run("export", trained / "model.onnx", "--fp16", "--check", data, "--out", out)
    assert outcome.status == 1
    assert "gate failed" in outcome.out
    assert "nothing was written" in outcome.err.splitlines()[-1]
    assert not out.exists()
    outcome = run("export", trained, "--fp16", "--check", data, "--out", out, "--json")
    assert outcome.status == 1
    assert outcome.rows[0]["gate"]["passed"] is False
    assert outcome.rows[0]["model"] is None
