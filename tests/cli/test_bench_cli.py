"""`whatwhere bench`, as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run, sentence
from factories import write_model
from whatwhere.images import write_image
from whatwhere.runtime.bench import generated, read_image


def test_a_table_and_json(run: Run, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", "detect")
    write_image(tmp_path / "a.jpg", read_image(generated(1, 96, 128)[0]))
    options = (str(model), str(tmp_path / "a.jpg"), "--seconds", "0.02", "--threads", "2")
    outcome = run("bench", *options, "--backend", "onnxruntime")
    assert outcome.status == 0
    for words in ("the engine, one core", "file to result", "many pictures", "limit", "reached"):
        assert words in outcome.out
    row = json.loads(run("bench", *options, "--json").out)
    assert row["lanes"] == 2
    assert {"decode", "fit", "engine", "rest"} == set(row["stages"])
    assert row["share"] == row["throughput"] / row["limit"]


def test_without_pictures_they_are_generated(run: Run, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", "classify")
    outcome = run("bench", str(model), "--seconds", "0.02", "--backend", "onnxruntime")
    assert outcome.status == 0
    assert "generated JPEGs of 1280 x 960" in outcome.out


def test_bad_calls(run: Run, tmp_path: Path) -> None:
    sentence(run("bench", "none.onnx"), "none.onnx")
    model = str(write_model(tmp_path / "m.onnx", "classify"))
    sentence(run("bench", model, str(tmp_path / "none.jpg")), "does not exist")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    sentence(run("bench", model, str(tmp_path / "bad.jpg")), "not a picture")
