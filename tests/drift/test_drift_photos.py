"""Real photographs: silence on the same ones, an alarm within two windows of changed ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import whatwhere as ww
from factories import spec_of
from whatwhere.drift import Judge, Measured, Reference, learn, measure
from whatwhere.images import read_image
from whatwhere.runtime import Predictor
from whatwhere.types import Image, Prediction

WINDOWS = 20
CHANGES: dict[str, Callable[[Any], Any]] = {
    "darker": lambda image: (image * 0.5).astype(np.uint8),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), max(image.shape) / 200),
}


def photos(shared: Path, count: int) -> list[str]:
    """So many photographs, in random order."""
    found = sorted(str(path) for path in (shared / "photos" / "images").glob("*.jpg"))
    assert len(found) >= count
    return [found[row] for row in np.random.default_rng(0).permutation(len(found))[:count]]


def test_photos_without_a_model(shared: Path) -> None:
    """Pixels alone, in windows of 40."""
    nothing, spec = Prediction(width=1, height=1), spec_of("detect")

    def look(paths: list[str], change: Callable[[Image], Image]) -> list[Measured]:
        return [measure(change(read_image(path)), nothing, spec) for path in paths]

    paths = photos(shared, 256 + WINDOWS * 40)
    rows = look(paths, lambda image: image)
    judge = Judge(Reference.of(rows[:256], spec, "photos"), 40, answers=False)
    rest = [rows[start : start + 40] for start in range(256, len(rows), 40)]
    assert [judge.judge(window).sentence() for window in rest] == ["no drift"] * WINDOWS
    for name, change in CHANGES.items():
        windows = [look(paths[start : start + 40], change) for start in (256, 296)]
        found = " ".join(judge.judge(window).sentence() for window in windows)
        assert name in found


@pytest.mark.slow
def test_photos_with_a_model(shared: Path) -> None:
    """Answers too, in windows of 100; a new class mix is photographs of one class alone."""
    model = ww.load("objects-lite")
    assert isinstance(model, Predictor)
    paths = photos(shared, 256 + WINDOWS * 100)
    rows = list(learn(model, paths))
    reference = Reference.of(rows[:256], model.spec, "photos")
    judge = Judge(reference, 100)
    rest = [rows[start : start + 100] for start in range(256, len(rows), 100)]
    assert [judge.judge(window).sentence() for window in rest] == ["no drift"] * WINDOWS
    for name, change in CHANGES.items():
        changed = list(learn(model, (change(read_image(path)) for path in paths[256:456])))
        verdicts = [judge.judge(changed[:100]), judge.judge(changed[100:])]
        assert name in " ".join(one.sentence() for one in verdicts)
    alone = [one for one in rows[256:] if {*one.names} == {reference.classes[1]}][:200]
    verdicts = [judge.judge(alone[start : start + 100]) for start in range(0, len(alone) - 99, 100)]
    parts = {part.name for one in verdicts for part in one.parts if part.drifted}
    assert "classes" in parts
