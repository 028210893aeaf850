"""Model files of others: what they are taken for, and that boxes, colours and names are right."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from command_line import Run
from factories import model_bytes, picture, spec_of
from whatwhere.errors import ModelError, UsageError
from whatwhere.evaluation import evaluate
from whatwhere.images import write_image
from whatwhere.runtime import load, load_file, read_spec
from whatwhere.runtime.coco import COCO_NAMES
from whatwhere.runtime.onnxfile import Port, read_header
from whatwhere.transforms import Preprocess

SIDE = 64
ANCHORS = 8 * 8 + 4 * 4 + 2 * 2
NAMES = ("first", "second", "third")
SEGMENT = {"metadata": {"author": "Ultralytics", "task": "segment", "names": "['a', 'b', 'c']"}}
ULTRALYTICS = {
    "author": "Ultralytics",
    "task": "detect",
    "names": "{0: 'first', 1: 'second', 2: 'third'}",
    "imgsz": "[64, 64]",
    "license": "AGPL-3.0",
    "date": "2025-01-02T03:04:05",
}
# A picture that is red throughout: the scores show which plane that became, and how scaled.
RED = np.full((SIDE, SIDE, 3), (255, 0, 0), np.uint8)


def theirs(
    rows: NDArray[Any],
    metadata: Mapping[str, str] | None = None,
    *,
    scored: bool = False,
    transposed: bool = False,
    batch: int | str = 1,
    element: str = "FLOAT",
    open_size: bool = False,
) -> bytes:
    """A graph that answers `rows` for every picture of N x 3 x 64 x 64.

    With `scored` the means of the three planes are put behind them, one class each.
    """
    from onnx import TensorProto, helper, numpy_helper

    kind = getattr(TensorProto, element)
    sides: list[int | str] = ["h", "w"] if open_size else [SIDE, SIDE]
    port = helper.make_tensor_value_info("pixels_in", kind, [batch, 3, *sides])
    count = len(rows)
    width = rows.shape[1] + (3 if scored else 0)
    weights = {
        "rows": rows[None].astype(np.float32),
        "first": np.array([0], np.int64),
        "tail": np.array([count, rows.shape[1]], np.int64),
        "classes": np.array([count, 3], np.int64),
        "middle": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["pixels_in"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["pixels"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "tail"], ["full"], axis=0),
        helper.make_node("Expand", ["rows", "full"], ["answer"]),
    ]
    last = "answer"
    if scored:
        nodes += [
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "middle"], ["one"]),
            helper.make_node("Concat", ["batch", "classes"], ["wide"], axis=0),
            helper.make_node("Expand", ["one", "wide"], ["means"]),
            helper.make_node("Concat", ["answer", "means"], ["both"], axis=2),
        ]
        last = "both"
    shape: list[int | str] = [batch, count, width]
    if transposed:
        nodes.append(helper.make_node("Transpose", [last], ["turned"], perm=[0, 2, 1]))
        last, shape = "turned", [batch, width, count]
    nodes.append(helper.make_node("Cast", [last], ["output0"], to=kind))
    output = helper.make_tensor_value_info("output0", kind, shape)
    graph = helper.make_graph(
        nodes,
        "theirs",
        [port],
        [output],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    return bytes(model.SerializeToString())


def raw_rows(classes: int = 3, place: int = 2 * 8 + 3) -> NDArray[Any]:
    """YOLOX's raw answer: one sure object at an anchor point of stride 8, nothing elsewhere."""
    rows = np.zeros((ANCHORS, 5 + classes), np.float32)
    rows[:, :2] = 0.5
    rows[place, :2] = (0.25, 0.75)
    rows[place, 2:4] = np.log([2.0, 1.5])
    rows[place, 4] = 0.9
    rows[place, 6:7] = 0.8
    return rows


# Centre ((3 + 0.25) * 8, (2 + 0.75) * 8), sides 16 and 12.
RAW_BOX = [26 - 8, 22 - 6, 26 + 8, 22 + 6]


def pixel_rows(score_columns: list[float]) -> NDArray[Any]:
    """Answers in pixels: one object of centre (40, 20) and sides 20 and 10, nothing else."""
    rows = np.zeros((ANCHORS, 4 + len(score_columns)), np.float32)
    rows[:, :4] = (32, 32, 8, 8)
    rows[5] = [40, 20, 20, 10, *score_columns]
    return rows


PIXEL_BOX = [30, 15, 50, 25]


def test_yolox_boxes_scores_and_where_the_picture_lies() -> None:
    model = load_file(theirs(raw_rows()), names=NAMES)
    assert model.spec.preprocess.fit == "corner"
    answer = model.predict(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert answer.object_names == ("second",)
    assert answer.object_scores.tolist() == pytest.approx([0.72])
    assert answer.boxes is not None
    assert answer.boxes.tolist() == [pytest.approx(RAW_BOX)]
    # A picture of twice the width lies in the upper half of the input, at half its size.
    wide = model.predict(np.zeros((SIDE, 2 * SIDE, 3), np.uint8))
    assert wide.boxes is not None
    assert wide.boxes.tolist() == [pytest.approx([2 * value for value in RAW_BOX])]


def test_yolox_runs_picture_by_picture_where_the_batch_is_fixed() -> None:
    outputs = load_file(theirs(raw_rows()), names=NAMES).backend(np.stack([RED] * 3))
    assert outputs["boxes"].shape == (3, ANCHORS, 4)
    assert outputs["scores"].shape == (3, ANCHORS, 3)
    two = load_file(theirs(raw_rows(), batch=2), names=NAMES).backend(np.stack([RED] * 3))
    np.testing.assert_array_equal(two["boxes"], outputs["boxes"])


@pytest.mark.parametrize("element", ["FLOAT", "FLOAT16"])
def test_colours_and_scale(element: str) -> None:
    """YOLOX takes BGR in 0..255, Ultralytics RGB in 0..1; both also in half precision."""
    rows = raw_rows(0)
    rows[:, 4] = 1 / 255
    yolox = load_file(theirs(rows, scored=True, element=element), names=NAMES).backend(RED[None])
    assert yolox["scores"][0, 0].tolist() == pytest.approx([0, 0, 1], abs=1e-3)
    rows = pixel_rows([])
    ultralytics = load_file(
        theirs(rows, ULTRALYTICS, scored=True, transposed=True, element=element)
    )
    scores = ultralytics.backend(RED[None])["scores"]
    assert scores.dtype == np.float32
    assert scores[0, 0].tolist() == pytest.approx([1, 0, 0], abs=1e-3)


def test_boxes_that_are_decoded_already_are_refused() -> None:
    rows = np.zeros((ANCHORS, 8), np.float32)
    cells = [(x, y, s) for s in (8, 16, 32) for y in range(64 // s) for x in range(64 // s)]
    rows[:, :2] = [((x + 0.5) * s, (y + 0.5) * s) for x, y, s in cells]
    with pytest.raises(ModelError, match="already decoded"):
        load_file(theirs(rows), names=NAMES)


def test_names_come_from_a_file_an_argument_or_coco(tmp_path: Path) -> None:
    path = tmp_path / "shop.onnx"
    path.write_bytes(theirs(raw_rows()))
    with pytest.raises(ModelError, match=r"3 classes and has no class names: .*shop\.names"):
        load(path)
    with pytest.raises(ModelError, match="has 2 class names"):
        load(path, names=NAMES[:2])
    with pytest.raises(ModelError, match=r"two classes .* the same name"):
        load(path, names=("a", "b", "a"))
    with pytest.raises(ModelError, match=r"a class of .* has an empty name"):
        load(path, names=("a", " ", "b"))
    (tmp_path / "shop.names").write_text("first\nsecond\n\nthird\n", encoding="utf-8")
    assert load(path).spec.names == read_spec(path).names == NAMES
    assert load(path, names=("a", "b", "c")).spec.names == ("a", "b", "c")
    (tmp_path / "shop.names").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot be read as class names"):
        load(path)
    assert load_file(theirs(raw_rows(80))).spec.names == COCO_NAMES
    assert len(set(COCO_NAMES)) == 80
    assert COCO_NAMES[9] == "traffic light"


def test_ours_have_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has its own class names"):
        load_file(model_bytes("detect"), names=NAMES)
    with pytest.raises(UsageError, match="has its own class names"):
        load("objects-lite", names=NAMES)


@pytest.mark.parametrize("open_size", [False, True])
def test_ultralytics_detect(open_size: bool) -> None:
    rows = pixel_rows([0, 0.6, 0.1])
    batch: int | str = "batch" if open_size else 1
    file = theirs(rows, ULTRALYTICS, transposed=True, open_size=open_size, batch=batch)
    model = load_file(file)
    assert (model.spec.names, model.spec.license, model.spec.date) == (
        NAMES,
        "AGPL-3.0",
        "2025-01-02",
    )
    assert model.spec.preprocess.fit == "letterbox"
    answer = model.predict(RED)
    assert answer.object_names == ("second",)
    assert answer.boxes is not None
    assert answer.boxes.tolist() == [pytest.approx(PIXEL_BOX)]
    assert len(list(model.stream([RED] * 3, batch=3))) == 3


def test_ultralytics_with_final_boxes() -> None:
    rows = np.zeros((10, 6), np.float32)
    rows[0], rows[1] = [*PIXEL_BOX, 0.9, 2], [*PIXEL_BOX, 0.8, 2]
    model = load_file(theirs(rows, ULTRALYTICS | {"names": "['first', 'second', 'third']"}))
    answer = model.predict(RED)
    # Both stay: what the graph says is final.
    assert answer.object_names == ("third", "third")
    assert answer.object_scores.tolist() == pytest.approx([0.9, 0.8])
    rows[2] = [*PIXEL_BOX, 0.5, 3]
    with pytest.raises(ModelError, match="answers class 3, but has only 3 names"):
        load_file(theirs(rows, ULTRALYTICS)).predict(RED)


def test_yolov5() -> None:
    rows = np.tile(pixel_rows([0.5, 0.2, 0.1, 0.8]), (3, 1))
    answer = load_file(theirs(rows), names=NAMES).predict(RED)
    # The same box three times over: suppression leaves one, of its best class.
    assert answer.object_names == ("third",)
    assert answer.object_scores.tolist() == pytest.approx([0.4])


def test_ultralytics_classify() -> None:
    from onnx import ModelProto

    def classifier(row: list[float]) -> bytes:
        # The rows' graph, with the middle axis of its answer squeezed out.
        model = ModelProto.FromString(
            theirs(np.array([row]), ULTRALYTICS | {"task": "classify"}, batch=1)
        )
        from onnx import TensorProto, helper

        model.graph.node[-1].output[0] = "three"
        model.graph.node.append(helper.make_node("Squeeze", ["three", "middle"], ["output0"]))
        model.graph.output.pop()
        model.graph.output.append(
            helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 3])
        )
        return bytes(model.SerializeToString())

    model = load_file(classifier([0.2, 0.7, 0.1]))
    assert (model.spec.task, model.spec.preprocess.fit) == ("classify", "crop")
    answer = model.predict(np.zeros((50, 90, 3), np.uint8))
    assert answer.label_names == ("second", "first", "third")
    assert answer.label_scores.tolist() == pytest.approx([0.7, 0.2, 0.1])
    with pytest.raises(ModelError, match="no probabilities"):
        load_file(classifier([2.0, -1.0, 0.3])).predict(RED)


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        (np.zeros((50, 8)), {}),
        (
            pixel_rows([0, 0, 0]),
            SEGMENT | {"transposed": True},
        ),
        (np.zeros((10, 6)), {}),
        (raw_rows(), {"element": "INT32"}),
        (raw_rows(), {"open_size": True}),
        (raw_rows(), {"open_size": True, "metadata": {"imgsz": "[64, 'x']"}}),
    ],
    ids=["anchors", "segment", "six-columns", "type", "size", "imgsz"],
)
def test_what_is_not_known_is_refused(rows: NDArray[Any], changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"none of the known exports .* pixels_in .* -> output0"):
        load_file(theirs(rows, **changes), names=NAMES)


@pytest.mark.parametrize(
    "names", ["", "x", "{'a': 1}", "{1: 'a'}", "{0: 'a', 'b': 'c'}", "{[]: 1}", "3", "[" * 2000]
)
def test_damaged_names_are_none(names: str) -> None:
    file = theirs(pixel_rows([0, 0, 0]), ULTRALYTICS | {"names": names}, transposed=True)
    with pytest.raises(ModelError, match="has no class names"):
        load_file(file)


def test_what_it_was_taken_for_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(theirs(raw_rows(80)))
    with caplog.at_level(logging.INFO, "whatwhere"):
        model = load(path)
        for _ in model.stream([RED, RED]):
            pass
    (said,) = caplog.messages
    assert said.endswith("taken for YOLOX: BGR pixels 0..255, 80 classes (the names of COCO)")
    assert model.spec.architecture == "YOLOX"


def test_the_command(run: Run, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", RED)
    (tmp_path / "theirs.onnx").write_bytes(theirs(raw_rows(80)))
    done = run("predict", tmp_path / "a.png", "--model", tmp_path / "theirs.onnx", "--json")
    assert done.status == 0
    assert '"bicycle"' in done.out
    shown = run("models", "show", tmp_path / "theirs.onnx")
    assert "taken for YOLOX" in shown.out


def test_inputs_and_outputs_of_a_header() -> None:
    header = read_header(model_bytes("both"), "it")
    assert header.inputs == (Port("images", "uint8", (None, 64, 64, 3)),)
    assert [(port.name, port.shape) for port in header.outputs] == [
        ("logits", (None, 3)),
        ("boxes", (None, 16, 4)),
        ("scores", (None, 16, 3)),
    ]


def test_weights_that_are_listed_as_inputs_are_none() -> None:
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto.FromString(theirs(raw_rows()))
    model.graph.input.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1]))
    header = read_header(model.SerializeToString(), "it")
    assert [port.name for port in header.inputs] == ["pixels_in"]


@pytest.mark.parametrize("size", [(40, 100), (100, 40), (64, 64)])
def test_corner_is_a_letterbox_in_the_corner(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    canvas, geometry = Preprocess((64, 96), "corner")(image)
    height, width = round(size[0] * geometry.scale[1]), round(size[1] * geometry.scale[0])
    assert geometry.offset == (0, 0)
    assert (canvas[:height, :width] == 200).all()
    assert (canvas[height:] == 114).all()
    assert (canvas[:, width:] == 114).all()
    boxes = np.array([[1, 2, 30, 38]], np.float32)
    np.testing.assert_allclose(geometry.to_image(geometry.to_input(boxes)), boxes, atol=1e-4)


def test_a_spec_keeps_the_corner() -> None:
    spec = spec_of("detect", preprocess={"size": (64, 64), "fit": "corner"})
    model = load_file(model_bytes("detect", spec=spec))
    # Half the size in the input: these four cells fill the second of the first row there.
    answer = model.predict(picture((0, 2, 2), (0, 3, 2), (1, 2, 2), (1, 3, 2), width=128))
    assert answer.boxes is not None
    assert answer.boxes.tolist() == [[32, 0, 64, 32]]


def test_the_real_teacher(shared: Path) -> None:
    """YOLOX-nano on COCO photographs: the score says that boxes and names are right."""
    from whatwhere.data import read

    model = load(shared / "teacher" / "yolox_nano.onnx")
    part = read(shared / "coco128").split_named("val").select(range(32))
    result = evaluate(model, part)  # type: ignore[arg-type]
    assert result["AP50"] > 0.45
