"""What is measured of a picture and its answer, and a model's own reference."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from factories import NAMES, model_bytes, spec_of
from whatwhere.drift import Reference, learn, measure, reference_of
from whatwhere.drift.features import EMBEDDING, embed
from whatwhere.images import write_image
from whatwhere.runtime import load_file
from whatwhere.types import Prediction


def _scene(seed: int = 0) -> np.ndarray:
    cells = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return cells.repeat(50, axis=0).repeat(50, axis=1)


def _found(*scores: float) -> Prediction:
    count = len(scores)
    return Prediction(
        width=800,
        height=600,
        object_names=NAMES[:count],
        object_scores=np.array(scores, np.float32),
        boxes=np.array([[0, 0, 400, 300]] * count, np.float32).reshape(count, 4),
    )


def test_only_answers_that_reach_the_models_own_thresholds_count() -> None:
    spec = spec_of("detect", thresholds={"green": 0.95})
    one = measure(_scene(), _found(0.9, 0.9, 0.4), spec)
    assert one.names == ("red",)
    assert one.sizes == pytest.approx([0.5])
    assert one.scores == pytest.approx([0.9])


def test_a_single_label_model_counts_its_first_label() -> None:
    said = Prediction(
        width=8, height=8, label_names=("red", "blue"), label_scores=np.float32([0.3, 0.2])
    )
    one = measure(_scene(), said, spec_of("classify"))
    assert (one.names, len(one.sizes)) == (("red",), 0)


def test_no_answer_is_measured_too() -> None:
    one = measure(np.zeros((40, 30, 3), np.uint8), _found(), spec_of("detect"))
    assert (one.names, one.brightness, one.sharpness) == ((), 0, 0)
    assert np.isfinite(one.embedding).all()


def test_embeddings_see_colour_layout_and_texture() -> None:
    scene = _scene()
    usual = embed(scene)
    assert usual.shape == (EMBEDDING,)
    turned = embed(np.ascontiguousarray(scene[::-1]))
    assert np.abs(turned[:12] - usual[:12]).max() > 1
    assert turned[12:15] == pytest.approx(usual[12:15], abs=1e-3)
    blurred = embed(cv2.GaussianBlur(scene, (0, 0), 30))
    assert (blurred[-3:] < usual[-3:]).all()
    across = np.tile(np.uint8([0, 255] * 8).repeat(32), (512, 1))[..., None].repeat(3, axis=2)
    assert embed(across)[15:19].argmax() == 0
    assert embed(np.ascontiguousarray(across.transpose(1, 0, 2)))[15:19].argmax() == 2


def test_a_large_picture_measures_as_its_small_copy() -> None:
    scene = cv2.GaussianBlur(_scene(), (0, 0), 5)
    large = cv2.resize(scene, None, fx=3, fy=3, interpolation=cv2.INTER_LINEAR)
    one, other = (measure(image, _found(), spec_of("detect")) for image in (scene, large))
    assert one.embedding == pytest.approx(other.embedding, rel=0.03, abs=0.3)
    assert one.sharpness == pytest.approx(other.sharpness, rel=0.1)


def test_pictures_are_predicted_and_measured_in_order(tmp_path: Path) -> None:
    files = []
    for shade in (200, 40, 120):
        files.append(str(tmp_path / f"{shade}.png"))
        write_image(files[-1], np.full((64, 64, 3), shade, np.uint8))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    files.insert(1, str(tmp_path / "bad.png"))
    unreadable: list[str] = []
    done: list[int] = []
    predictor = load_file(model_bytes("detect"), backend="onnxruntime")
    found = list(learn(predictor, files, unreadable=unreadable, progress=done.append))
    assert [round(one.brightness * 255) for one in found] == [200, 40, 120]
    assert unreadable == [files[1]]
    assert done == [1, 2, 3, 4]


def test_predictions_that_are_there_are_used_again(tmp_path: Path) -> None:
    predictor = load_file(model_bytes("detect"), backend="onnxruntime")
    files = []
    rng = np.random.default_rng(0)
    for number in range(40):
        files.append(str(tmp_path / f"{number}.png"))
        cells = rng.integers(0, 255, (4, 4, 3))
        write_image(files[-1], cells.repeat(16, 0).repeat(16, 1).astype(np.uint8))
    weak = list(predictor.stream(files, evaluation=True))
    assert all(isinstance(one, Prediction) for one in weak)
    again = reference_of(predictor.spec, files, weak, "made")  # type: ignore[arg-type]
    direct = Reference.of(list(learn(predictor, files)), predictor.spec, "made")
    assert again.to_text() == direct.to_text()
