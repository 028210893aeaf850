"""`whatwhere drift`: a reference from a folder, and other folders against it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import Run
from factories import spec_of, write_model
from whatwhere.images import write_image
from whatwhere.runtime import load_file
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import SPEC_KEY


def _folder(folder: Path, seed: int, count: int, dim: float = 1.0) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(count):
        cells = rng.integers(0, 255, (8, 8, 3)) * dim
        pixels = cells.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
        write_image(folder / f"{number:03}.png", pixels)
    return folder


@pytest.fixture
def model(tmp_path: Path, run: Run) -> Path:
    plain = write_model(tmp_path / "plain.onnx", "detect")
    known = _folder(tmp_path / "known", 0, 60)
    made = tmp_path / "watched.onnx"
    outcome = run("drift", plain, known, "--save", made)
    assert outcome.status == 0
    assert "a drift reference of 60 pictures" in outcome.err
    assert not load_file(plain).drift
    assert load_file(made).drift
    return made


def test_pictures_of_the_same_kind_are_no_drift(model: Path, tmp_path: Path, run: Run) -> None:
    outcome = run("drift", model, _folder(tmp_path / "same", 1, 60))
    assert outcome.status == 0, outcome.out
    assert "0 of 1 windows of 60 pictures" in outcome.out
    assert "no drift" in outcome.out


def test_darker_pictures_are(model: Path, tmp_path: Path, run: Run) -> None:
    dark = _folder(tmp_path / "dark", 1, 60, dim=0.5)
    outcome = run("drift", model, dark, "--window", 30)
    assert outcome.status == 1
    assert "2 of 2 windows of 30 pictures" in outcome.out
    assert "darker (brightness 0.2" in " ".join(outcome.out.split()), outcome.out
    answer = json.loads(run("drift", model, dark, "--json").out)
    assert answer["drifted"] is True
    assert (answer["pictures"], answer["reference_pictures"]) == (60, 60)
    (window,) = answer["windows"]
    assert {"brightness", "look"} <= {p["name"] for p in window["parts"] if p["drifted"]}


def test_a_picture_that_cannot_be_read_is_named(model: Path, tmp_path: Path, run: Run) -> None:
    folder = _folder(tmp_path / "same", 1, 60)
    (folder / "bad.png").write_bytes(b"nothing")
    outcome = run("drift", model, folder)
    assert outcome.status == 1
    assert f"cannot be read: {folder / 'bad.png'}" in outcome.err


def test_after_other_thresholds_only_pictures_are_compared(
    model: Path, tmp_path: Path, run: Run
) -> None:
    spec = spec_of("detect", thresholds={"red": 0.9})
    changed = tmp_path / "changed.onnx"
    entry = {SPEC_KEY: spec.model_dump_json()}
    changed.write_bytes(with_metadata(model.read_bytes(), entry, "it"))
    outcome = run("drift", changed, _folder(tmp_path / "same", 1, 60), "--json")
    assert outcome.status == 0
    assert "only pictures are compared" in outcome.err
    parts = json.loads(outcome.out)["windows"][0]["parts"]
    assert [part["name"] for part in parts] == ["brightness", "contrast", "sharpness", "look"]


def test_what_cannot_be_done_is_said_in_a_sentence(model: Path, tmp_path: Path, run: Run) -> None:
    few = _folder(tmp_path / "few", 1, 10)
    plain = tmp_path / "plain.onnx"
    for given, words in (
        (("drift", plain, few), "has no drift reference: make one with"),
        (("drift", model, few), "a window of 10 pictures says nothing"),
        (("drift", model, few, "--window", 20), "10 pictures make no window of 20"),
        (("drift", model, few, "--save", tmp_path / "x.onnx"), "10 pictures are too few"),
        (("drift", "default", few), "is a pair of models: give one of objects-lite"),
        (("drift", "objects-lite", few, "--save", tmp_path / "x.onnx"), "comes with the package"),
    ):
        outcome = run(*given)
        assert outcome.status == 2, given
        assert words in outcome.err
    assert not (tmp_path / "x.onnx").exists()
