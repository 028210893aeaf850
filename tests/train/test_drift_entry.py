"""The drift reference that a run leaves in its model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factories import model_bytes, spec_of
from whatwhere.data import Dataset, read
from whatwhere.drift import Reference, answers_digest
from whatwhere.evaluation import evaluate
from whatwhere.images import write_image
from whatwhere.runtime import load_file
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import DRIFT_KEY, CalibrationSummary, DataSummary
from whatwhere.train.reference import drift_entry
from whatwhere.train.watch import Silent


class _Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def _data(folder: Path, count: int) -> Dataset:
    rng = np.random.default_rng(0)
    for number in range(count):
        name = ("red", "green", "blue")[number % 3]
        colour = rng.integers(0, 100, 3) + np.eye(3, dtype=int)[number % 3] * 120
        pixels = np.broadcast_to(colour, (32, 32, 3)).astype(np.uint8)
        write_image(folder / name / f"{number}.png", pixels)
    return read(folder)


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_sample_of_the_validation_goes_into_the_file(tmp_path: Path, calibrated: bool) -> None:
    data = _data(tmp_path / "data", 45)
    summary = CalibrationSummary(data=DataSummary(digest="", images=1, labels=1))
    spec = spec_of("classify", calibration=summary if calibrated else None)
    file = model_bytes("classify", spec=spec)
    predictor = load_file(file, backend="onnxruntime")
    notes = _Notes()
    entry = drift_entry(predictor, data, evaluate(predictor, data), notes)
    again = load_file(with_metadata(file, entry, "it"), backend="onnxruntime")
    reference = Reference.from_text(again.drift, "it")
    assert (reference.pictures, notes.said) == (45, [])
    assert reference.answers == answers_digest(spec)
    assert reference.rows.classes.sum(axis=0).tolist() == [15, 15, 15, 0]
    assert sorted(reference.classes) == ["blue", "green", "red"]


def test_too_few_pictures_are_said(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", 9)
    predictor = load_file(model_bytes("classify"), backend="onnxruntime")
    notes = _Notes()
    assert drift_entry(predictor, data, evaluate(predictor, data), notes) == {}
    assert notes.said == [
        "the model file gets no drift reference: 9 pictures are too few for a drift reference:"
        " give at least 30"
    ]
    assert DRIFT_KEY == "whatwhere_drift"
