"""The check of maps: it tells a good map from one made by chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from factories import CELL, GRID, NAMES, SIZE, model_bytes, picture, spec_of
from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation.explain_check import check_explanations
from whatwhere.images import write_image
from whatwhere.metrics.saliency import EXPLAINED
from whatwhere.runtime import Predictor, load_file
from whatwhere.runtime.masking import Occlusion, Progress
from whatwhere.runtime.onnxfile import Port
from whatwhere.runtime.subjects import Subject


class Chance:
    """A map that knows nothing of the picture."""

    name = "chance"

    def __init__(self) -> None:
        self.random = np.random.default_rng(5)

    def __call__(self, subject: Subject, progress: Progress | None = None) -> NDArray[np.float32]:
        return self.random.random(subject.canvas.shape[:2]).astype(np.float32)


class Backwards:
    """The opposite of a good map."""

    name = "backwards"

    def __call__(self, subject: Subject, progress: Progress | None = None) -> NDArray[np.float32]:
        return -Occlusion(cells=8)(subject, progress)


def cells(folder: Path, count: int, *, boxes: bool = True) -> Dataset:
    """Pictures with one coloured cell each, labelled with its class, and its box if asked."""
    random = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {key: [] for key in ("image", "class_id", "x1", "y1", "x2", "y2")}
    paths = []
    for i in range(count):
        row, column, kind = random.integers(0, (GRID, GRID, 3)).tolist()
        path = folder / f"{i}.png"
        write_image(path, picture((row, column, kind)))
        paths.append(str(path))
        x, y = column * CELL, row * CELL
        values = (i, kind, x, y, x + CELL, y + CELL)
        for key, value in zip(rows, values, strict=True):
            rows[key].append(value)
    if not boxes:
        rows = {key: rows[key] for key in ("image", "class_id")}
    images = {"path": paths, "width": [SIZE] * count, "height": [SIZE] * count}
    return Dataset(images, rows, NAMES, root=str(folder), source=str(folder))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return cells(tmp_path_factory.mktemp("cells"), 24)


@pytest.fixture(scope="module")
def detector() -> Predictor:
    return load_file(model_bytes("detect"))


class Cells:
    """A classifier that looks at the cell that is coloured most in one channel alone."""

    name: ClassVar[str] = "cells"
    inputs = (Port("images", "uint8", (None, SIZE, SIZE, 3)),)
    outputs = (Port("logits", "float32", (None, 3)),)

    def __call__(self, images: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        means = images.reshape(-1, GRID, CELL, GRID, CELL, 3).mean(axis=(2, 4)) / 255
        contrast = 1.5 * means - 0.5 * means.sum(axis=-1, keepdims=True)
        return {"logits": (6 * contrast.max(axis=(1, 2))).astype(np.float32)}


@pytest.fixture(scope="module")
def classifier() -> Predictor:
    return Predictor(spec_of("classify"), Cells())


@pytest.mark.parametrize("which", ["detector", "classifier"])
def test_good_maps_pass(which: str, data: Dataset, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    told: list[tuple[int, int]] = []
    found = check_explanations(
        model,
        data,
        method=Occlusion(cells=8),
        pictures=16,
        progress=lambda *done: told.append(done),
    )
    assert found.good
    assert found.images == 16
    assert told[-1] == (16, 16)
    pointing = found.numbers["pointing"]
    assert pointing is not None
    assert pointing.value is not None
    assert pointing.value > 0.9
    # Of a picture a cell is 1 in 16; around an object of 16 pixels 56 are looked at.
    share = (CELL / 56) ** 2 if which == "detector" else 1 / GRID**2
    gain = found.numbers["pointing_gain"]
    assert gain is not None
    assert gain.value == pytest.approx(pointing.value - share, abs=0.02)
    json.dumps(found.to_dict())


@pytest.mark.parametrize("method", [Chance(), Backwards()], ids=lambda method: method.name)
def test_bad_maps_do_not_pass(method: Any, data: Dataset, classifier: Predictor) -> None:
    found = check_explanations(classifier, data, method=method, pictures=16)
    assert not found.good
    for name in ("deletion_gain", "insertion_gain", "pointing_gain"):
        gain = found.numbers[name]
        assert gain is not None
        assert gain.low is not None
        assert gain.low <= 0.005, name


def test_without_boxes_there_is_no_pointing(tmp_path: Path, classifier: Predictor) -> None:
    plain = cells(tmp_path, 8, boxes=False)
    found = check_explanations(classifier, plain, method=Occlusion(cells=8))
    assert found.numbers["pointing"] is None
    assert found.numbers["pointing_gain"] is None
    assert found.numbers["deletion"] is not None
    assert set(found.numbers) == {metric.name for metric in EXPLAINED}
    assert found.good


def test_the_same_seed_gives_the_same_numbers(data: Dataset, classifier: Predictor) -> None:
    def numbers(seed: int) -> dict[str, Any]:
        return check_explanations(
            classifier, data, method=Occlusion(cells=4), pictures=4, steps=4, seed=seed
        ).to_dict()

    assert numbers(1) == numbers(1)
    assert numbers(1)["pictures"] != numbers(2)["pictures"]


def test_wrong_answers_and_unreadable_pictures_are_said(
    tmp_path: Path, detector: Predictor
) -> None:
    data = cells(tmp_path, 6)
    (tmp_path / "0.png").write_bytes(b"no picture")
    write_image(tmp_path / "1.png", picture())
    found = check_explanations(detector, data, method=Occlusion(cells=4), steps=2)
    assert found.images == 4
    assert any("1 of 6 pictures cannot be read" in note for note in found.notes)
    assert any("in 1 of 6 pictures the model gives no right answer" in note for note in found.notes)


def test_nothing_to_explain_is_undefined_and_not_good(tmp_path: Path, detector: Predictor) -> None:
    data = cells(tmp_path, 3)
    for file in tmp_path.glob("*.png"):
        write_image(file, picture())
    found = check_explanations(detector, data)
    assert found.images == 0
    assert not found.good
    assert set(found.numbers.values()) == {None}


def test_what_cannot_be_checked(data: Dataset, detector: Predictor) -> None:
    other = Dataset(data.images, data.labels, ("a", "b", "c"), source="others")
    with pytest.raises(UsageError, match="no picture with a class that tiny-detect knows"):
        check_explanations(detector, other)
    with pytest.raises(UsageError, match="needs pictures"):
        check_explanations(detector, data, pictures=0)
    with pytest.raises(UsageError, match="unknown method"):
        check_explanations(detector, data, method="lime")
    with pytest.raises(UsageError, match="no split"):
        check_explanations(detector, data, split="test")
