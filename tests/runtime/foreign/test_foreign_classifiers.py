"""Classifiers of others: which pixels they get, and what their answers are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from foreign_graphs import SIDE, averaging
from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime import Predictor, load, load_file
from whatwhere.runtime.foreign import PIXELS, import_model
from whatwhere.runtime.foreign.pixels import feed
from whatwhere.specs import GraphSpec

NAMES = ("first", "second", "third")
COLOUR = np.full((1, SIDE, SIDE, 3), (255, 102, 51), np.uint8)


def written(folder: Path, file: bytes, **options: object) -> Predictor:
    path = folder / "theirs.onnx"
    path.write_bytes(file)
    made = import_model(path, folder / "ours.onnx", names=NAMES, **options)  # type: ignore[arg-type]
    model = load(made.model)
    assert isinstance(model, Predictor)
    return model


def logits(model: Predictor) -> list[float]:
    return [round(float(value), 3) for value in model.backend(COLOUR)["logits"][0]]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pixels": "unit"}, [1, 0.4, 0.2]),
        ({"pixels": "raw"}, [255, 102, 51]),
        ({"pixels": "half"}, [1, -0.2, -0.6]),
        ({"pixels": "imagenet"}, [2.249, -0.25, -0.916]),
        ({"pixels": "caffe"}, [51 - 103.939, 102 - 116.779, 255 - 123.68]),
        ({"pixels": "caffe", "bgr": False}, [255 - 123.68, 102 - 116.779, 51 - 103.939]),
        ({"pixels": "unit", "bgr": True}, [0.2, 0.4, 1]),
        # Of red, green and blue, whatever the order of the input.
        ({"mean": (1, 0, 0), "std": (1, 2, 4), "bgr": True}, [0.05, 0.2, 0]),
        ({"mean": (1, 0, 0), "std": (1, 2, 4)}, [0, 0.2, 0.05]),
    ],
)
def test_pixels(
    tmp_path: Path, layout: str, options: dict[str, object], expected: list[float]
) -> None:
    model = written(tmp_path, averaging(layout=layout), softmax=False, **options)
    assert logits(model) == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "chw"])
def test_a_feed_has_its_form(layout: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 5, 7, 3), np.uint8)
    graph = GraphSpec(
        family="logits",
        outputs=("a",),
        layout=layout,  # type: ignore[arg-type]
        bgr=True,
        scale=1 if dtype == "uint8" else 1 / 255,
    )
    made = feed(image, graph, dtype)
    expected = image[..., ::-1].astype(np.float32) * (1 if dtype == "uint8" else 1 / 255)
    if layout != "nhwc":
        expected = expected.transpose(0, 3, 1, 2)
    if layout == "chw":
        expected = expected[0]
    assert made.dtype == dtype
    assert made.flags.c_contiguous
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_which_pixels_is_asked_where_nothing_tells() -> None:
    with pytest.raises(ModelError, match=r"a classifier, but which pixels .* --pixels, which is"):
        load_file(averaging(), names=NAMES)
    with pytest.raises(ModelError, match=r"Keras classifier.*MobileNet, Xception"):
        load_file(averaging(layout="nhwc", producer="tf2onnx"), names=NAMES)


def test_torchvision_is_known_by_the_names_of_its_parts() -> None:
    model = load_file(averaging(weight="layer1.0.conv1.weight"), names=NAMES)
    assert model.spec.architecture == "classifier of torchvision"
    assert logits(model) == pytest.approx([2.249, -0.25, -0.916], abs=2e-3)
    assert model.spec.preprocess.fit == "crop"


@pytest.mark.parametrize("last", ["", "Softmax"])
def test_a_graph_may_end_in_its_softmax(tmp_path: Path, last: str) -> None:
    model = written(tmp_path, averaging(last=last), pixels="unit")
    answer = model.predict(COLOUR[0])
    raw = np.exp([1, 0.4, 0.2])
    assert answer.label_names == NAMES
    np.testing.assert_allclose(answer.label_scores, raw / raw.sum(), atol=1e-5)


def test_independent_classes_are_to_be_said(tmp_path: Path) -> None:
    file = averaging(last="Sigmoid")
    with pytest.raises(ModelError, match=r"no probabilities.*--task multilabel"):
        written(tmp_path, file, pixels="half")
    model = written(tmp_path, file, pixels="half", task="multilabel")
    assert model.spec.task == "multilabel"
    answer = model.predict(COLOUR[0], threshold=0.0)
    expected = 1 / (1 + np.exp(-np.array([1, -0.2, -0.6])))
    np.testing.assert_allclose(answer.label_scores, expected, atol=1e-5)


def test_a_configuration_of_hugging_face(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "vit", "id2label": {"0": "cat", "1": "dog", "2": "owl"}})
    )
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.5, 0.5, 0.5],
                "size": {"height": SIDE, "width": SIDE},
                "resample": 3,
            }
        )
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(averaging())
    made = import_model(path)
    fit = made.spec.preprocess
    assert made.spec.names == ("cat", "dog", "owl")
    assert (fit.fit, fit.resample, made.notes) == ("stretch", "bicubic", ())
    model = load(path)
    assert isinstance(model, Predictor)
    assert logits(model) == pytest.approx([1, -0.2, -0.6], abs=1e-3)


def test_a_configuration_of_timm(tmp_path: Path) -> None:
    own = {"mean": [0, 0, 0], "std": [0.5, 0.5, 1], "crop_pct": 0.95, "interpolation": "bicubic"}
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "mini", "pretrained_cfg": own, "label_names": list(NAMES)})
    )
    (tmp_path / "model.onnx").write_bytes(averaging())
    made = import_model(tmp_path / "model.onnx")
    assert made.spec.architecture == "classifier (mini)"
    assert (made.spec.preprocess.crop, made.spec.names) == (0.95, NAMES)
    model = load(made.model)
    assert isinstance(model, Predictor)
    assert logits(model) == pytest.approx([2, 0.8, 0.2], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[1]"),
        ("config.json", '{"task": "detect", "epochs": 3}'),
        ("preprocessor_config.json", '{"image_mean": [0.5, 0.5, 0.5]}'),
        ("config.json", '{"pretrained_cfg": {"mean": [0, 0], "std": "x"}}'),
    ],
)
def test_a_configuration_that_is_none_tells_nothing(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    (tmp_path / "model.onnx").write_bytes(averaging())
    with pytest.raises(ModelError, match="which pixels it takes cannot be seen"):
        import_model(tmp_path / "model.onnx", names=NAMES)


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pixels cannot be 'odd': give imagenet"):
        written(tmp_path, averaging(), pixels="odd")
    with pytest.raises(UsageError, match="std must be above 0, not 0"):
        written(tmp_path, averaging(), mean=(0, 0, 0), std=(1, 0, 1))
    assert set(PIXELS) == {"unit", "raw", "imagenet", "half", "caffe"}
