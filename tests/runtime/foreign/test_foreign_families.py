"""Each family of exports: boxes, scores and classes of a graph whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from foreign_graphs import SIDE, Array, answering
from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime import Predictor, load, load_file
from whatwhere.runtime.coco import COCO_NAMES
from whatwhere.runtime.foreign import import_model

NAMES = ("first", "second", "third")
GREY = np.full((SIDE, SIDE, 3), 90, np.uint8)
ULTRALYTICS = {
    "author": "Ultralytics",
    "task": "detect",
    "names": "{0: 'first', 1: 'second', 2: 'third'}",
}
# Centre (24, 16), sides 16 and 8, in pixels of 64 x 64.
BOX, SHARE = [16, 12, 32, 20], [24 / 64, 16 / 64, 16 / 64, 8 / 64]


def written(folder: Path, file: bytes, **options: object) -> Predictor:
    """The file, imported and loaded by its spec alone."""
    path = folder / "theirs.onnx"
    path.write_bytes(file)
    made = import_model(path, folder / "ours.onnx", **options)  # type: ignore[arg-type]
    model = load(made.model)
    assert isinstance(model, Predictor)
    assert model.spec == made.spec
    return model


def found(model: Predictor, image: Array = GREY) -> list[tuple[str, float, list[float]]]:
    answer = model.predict(image)
    assert answer.boxes is not None
    rows = zip(answer.object_names, answer.object_scores, answer.boxes, strict=True)
    return [(name, round(float(score), 4), box.round(2).tolist()) for name, score, box in rows]


def places(strides: tuple[int, ...]) -> list[tuple[int, int, int]]:
    return [(x, y, s) for s in strides for y in range(SIDE // s) for x in range(SIDE // s)]


@pytest.mark.parametrize(
    ("strides", "title", "shift", "fit"),
    [
        ((8, 16, 32), "NanoDet", 0.5, "letterbox"),
        ((8, 16, 32, 64), "NanoDet-Plus", 0.0, "stretch"),
    ],
)
def test_nanodet(
    tmp_path: Path, strides: tuple[int, ...], title: str, shift: float, fit: str
) -> None:
    cells = places(strides)
    rows = np.full((1, len(cells), 3 + 32), 0.01, np.float32)
    rows[..., 3:] = -3
    place = cells.index((1, 2, 16))
    rows[0, place, 1] = 0.8
    # Distances of 1, 0.5, 2 and 1 strides: sure of one bin, or torn between two.
    for side, bins in enumerate([(1,), (0, 1), (2,), (1,)]):
        rows[0, place, [3 + 8 * side + k for k in bins]] = 40
    model = written(tmp_path, answering({"output": rows}), names=NAMES)
    assert (model.spec.architecture, model.spec.preprocess.fit) == (title, fit)
    assert model.spec.graph is not None
    assert model.spec.graph.bgr
    x, y = (1 + shift) * 16, (2 + shift) * 16
    expected = [max(0, x - 16), y - 8, min(SIDE, x + 32), y + 16]
    assert found(model) == [("second", 0.8, expected)]


def rows_of(*columns: float) -> Array:
    """One object in a YOLO's rows, decoded, nothing else; places elsewhere are their centres."""
    cells = places((8, 16, 32))
    rows = np.zeros((1, len(cells), 4 + len(columns)), np.float32)
    rows[0, :, :2] = [((x + 0.5) * s, (y + 0.5) * s) for x, y, s in cells]
    rows[0, 20] = [24, 16, 16, 8, *columns]
    return rows


def test_yolov6_is_known_by_its_objectness(tmp_path: Path) -> None:
    rows = rows_of(1, 0, 0.7, 0.1)
    rows[..., 4] = 1
    model = written(tmp_path, answering({"outputs": rows}), names=NAMES)
    assert model.spec.architecture == "YOLOv6"
    assert found(model) == [("second", 0.7, BOX)]


def test_yolox_with_decoded_boxes_has_to_be_said(tmp_path: Path) -> None:
    file = answering({"output": rows_of(0.5, 0, 0.8, 0.1)})
    with pytest.raises(ModelError, match=r"already decoded.*--as yolox-decoded"):
        written(tmp_path, file, names=NAMES)
    model = written(tmp_path, file, names=NAMES, family="yolox-decoded")
    assert found(model) == [("second", 0.4, BOX)]
    with pytest.raises(UsageError, match="cannot be of family 'detr'"):
        written(tmp_path, file, names=NAMES, family="detr")
    with pytest.raises(UsageError, match=r"no family 'yolo': choose one of yolox, .*detr"):
        written(tmp_path, file, names=NAMES, family="yolo")


def test_yolov7_with_final_boxes(tmp_path: Path) -> None:
    rows = np.array([[0, *BOX, 2, 0.9], [0, *BOX, 0, 0.6]], np.float32)
    file = answering({"output": rows}, shapes={"output": ["rows", 7]})
    model = written(tmp_path, file, names=NAMES, family="yolov7-final")
    assert found(model) == [("third", 0.9, BOX), ("first", 0.6, BOX)]
    assert model.backend(np.stack([GREY] * 3))["scores"].shape == (3, 2, 3)


def test_rtdetr_of_ultralytics(tmp_path: Path) -> None:
    rows = np.zeros((1, 20, 7), np.float32)
    rows[0, 3] = [*SHARE, 0.1, 0.2, 0.9]
    model = written(tmp_path, answering({"output0": rows}, metadata=ULTRALYTICS))
    assert model.spec.architecture == "Ultralytics RT-DETR"
    assert found(model) == [("third", 0.9, BOX)]
    # Pictures are stretched: twice as wide there, twice as wide here.
    wide = np.full((SIDE, 2 * SIDE, 3), 90, np.uint8)
    assert found(model, wide) == [("third", 0.9, [32, 12, 64, 20])]


def test_labels_boxes_and_scores_that_are_scaled_in_the_graph(tmp_path: Path) -> None:
    """RT-DETR's and D-FINE's own exporters; width before height, seen where these differ."""
    answers = {
        "labels": np.array([[2, 0]], np.int64),
        "boxes": np.array([[[0.25, 0.25, 0.5, 0.75], [0, 0, 1, 1]]], np.float32),
        "scores": np.array([[0.8, 0.0]], np.float32),
    }
    more = {"orig_target_sizes": [1, 2]}
    file = answering(answers, shape=(1, 3, 64, 128), more=more, scaled="boxes")
    with pytest.raises(ModelError, match="answers some classes and has no class names"):
        written(tmp_path, file)
    model = written(tmp_path, file, names=NAMES)
    image = np.zeros((64, 128, 3), np.uint8)
    assert found(model, image) == [("third", 0.8, [32, 16, 64, 48])]
    # It has two inputs, which the trial of engines does not know how to feed.
    lanes = model.backend.with_lanes(2, trial=True)
    assert lanes(np.stack([image, image]))["boxes"].shape == (2, 2, 4)


def queries(classes: int) -> dict[str, Array]:
    """Logits with one sure object of the second class, and boxes."""
    logits = np.full((1, 5, classes), -9, np.float32)
    logits[0, 2, 1] = 2
    boxes = np.full((1, 5, 4), 0.5, np.float32)
    boxes[0, 2] = SHARE
    return {"logits": logits, "pred_boxes": boxes}


SIGMOID = round(float(1 / (1 + np.exp(-2))), 4)


def test_transformers_by_the_names_of_its_parts(tmp_path: Path) -> None:
    file = answering(queries(3), input_name="pixel_values", node="/model/enc_score_head")
    model = written(tmp_path, file, names=NAMES)
    assert (model.spec.architecture, model.spec.postprocess.end_to_end) == (
        "RT-DETR or D-FINE",
        True,
    )
    assert found(model) == [("second", SIGMOID, BOX)]


def test_transformers_that_could_be_several_is_asked_about(tmp_path: Path) -> None:
    answers = queries(4)
    # The last class is "no object" where a softmax chooses.
    answers["logits"][0, :, 3] = 3
    answers["logits"][0, 2, 1] = 9
    file = answering(answers, input_name="pixel_values")
    with pytest.raises(ModelError, match="--pixels unit or --pixels imagenet"):
        written(tmp_path, file, names=NAMES)
    with pytest.raises(ModelError, match=r"several ways: .*--as detr .*--as detr-softmax"):
        written(tmp_path, file, names=NAMES, pixels="imagenet")
    model = written(tmp_path, file, names=NAMES, pixels="imagenet", family="detr-softmax")
    assert found(model) == [("second", 0.9975, BOX)]


def test_transformers_by_the_configuration_beside_it(tmp_path: Path) -> None:
    config = {"model_type": "detr", "id2label": {"0": "N/A", "1": "person", "2": "dog"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    mean = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(mean))
    file = answering(
        queries(4),
        input_name="pixel_values",
        shape=(1, 3, SIDE, SIDE),
        more={"pixel_mask": [1, SIDE, SIDE]},
    )
    model = written(tmp_path, file)
    assert model.spec.names == ("person", "dog")
    graph = model.spec.graph
    assert graph is not None
    assert (graph.family, graph.mask, graph.columns) == ("detr-softmax", "pixel_mask", (1, 2))
    assert graph.mean == (0.5, 0.4, 0.3)
    assert found(model)[0][0] == "person"


def rfdetr(columns: int) -> dict[str, Array]:
    answers = queries(columns)
    return {"dets": answers["pred_boxes"], "labels": answers["logits"]}


def test_rfdetr_counts_as_coco_does(tmp_path: Path) -> None:
    answers = rfdetr(91)
    answers["labels"][0, 2, [1, 90]] = [-9, 2]
    model = written(tmp_path, answering(answers, input_name="input"))
    assert model.spec.names == COCO_NAMES
    assert found(model) == [("toothbrush", SIGMOID, BOX)]
    assert model.spec.graph is not None
    assert model.spec.graph.mean == (0.485, 0.456, 0.406)


def test_rfdetr_with_an_output_that_is_no_class(tmp_path: Path) -> None:
    file = answering(rfdetr(4), input_name="input")
    with pytest.raises(ModelError, match=r"answers 4 classes and has 3 class names.*'-'"):
        written(tmp_path, file, names=NAMES)
    assert found(written(tmp_path, file, names=("-", *NAMES))) == [("first", SIGMOID, BOX)]
    notes = {
        "means": [0.1, 0.2, 0.3],
        "stds": [1, 1, 1],
        "class_id_to_name": {"0": "cup", "1": "jug", "2": "pan"},
    }
    metadata = {"rfdetr_inference": json.dumps(notes)}
    model = written(tmp_path, answering(rfdetr(4), input_name="input", metadata=metadata))
    assert model.spec.names == ("cup", "jug", "pan")
    assert found(model) == [("jug", SIGMOID, BOX)]
    assert model.spec.graph is not None
    assert model.spec.graph.mean == (0.1, 0.2, 0.3)


def torchvision(label: int = 2, shape: tuple[int | str, ...] = (3, SIDE, SIDE)) -> bytes:
    answers = {
        "boxes": np.array([BOX, [0, 0, 64, 64]], np.float32),
        "scores": np.array([0.75, 0.5], np.float32),
        "labels": np.array([label, 1], np.int64),
    }
    shapes = {"boxes": ["k", 4], "scores": ["k"], "labels": ["k"]}
    return answering(answers, input_name="image", shape=shape, shapes=shapes)


@pytest.mark.parametrize("names", [NAMES, ("__background__", *NAMES)])
def test_torchvision_counts_from_one(tmp_path: Path, names: tuple[str, ...]) -> None:
    model = written(tmp_path, torchvision(), names=names)
    assert model.spec.names == NAMES
    assert found(model) == [("second", 0.75, BOX), ("first", 0.5, [0, 0, 64, 64])]
    assert len(list(model.stream([GREY] * 3, batch=3))) == 3


def test_torchvision_with_coco_names_a_background_or_an_open_size(tmp_path: Path) -> None:
    # 90 is the last id of COCO.
    model = written(tmp_path, torchvision(90, (1, 3, SIDE, SIDE)), names=COCO_NAMES)
    assert found(model)[0][0] == "toothbrush"
    with pytest.raises(ModelError, match="answers class 0"):
        written(tmp_path, torchvision(0), names=NAMES)
    with pytest.raises(ModelError, match=r"--size HEIGHT,WIDTH"):
        written(tmp_path, torchvision(shape=(3, "h", "w")), names=NAMES)
    model = written(tmp_path, torchvision(shape=(3, "h", "w")), names=NAMES, size=(SIDE, SIDE))
    assert found(model)[0] == ("second", 0.75, BOX)
    with pytest.raises(ModelError, match="answers class 4, but has only 4 names"):
        written(tmp_path, torchvision(4), names=NAMES)
    # A gap in COCO's ids has no name.
    with pytest.raises(ModelError, match="answers class 12, which has no name"):
        written(tmp_path, torchvision(12), names=COCO_NAMES)


def test_answers_that_are_not_finite_or_no_boxes_are_refused(tmp_path: Path) -> None:
    answers = queries(3)
    answers["pred_boxes"][0, 0] = 7
    file = answering(answers, input_name="pixel_values", node="/model/enc_score_head")
    with pytest.raises(ModelError, match="its boxes are no shares of the picture"):
        load_file(file, names=NAMES)
    answers["logits"][0, 0] = np.nan
    file = answering(answers, input_name="pixel_values", node="/model/enc_score_head")
    with pytest.raises(ModelError, match="not finite"):
        load_file(file, names=NAMES)
