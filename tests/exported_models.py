"""Small models that tell colours, with layers that can be quantised, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.images import encode_image, write_atomic
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec

NAMES = ("red", "green", "blue")
SIDE = 32
MEAN, STD = 118.0, 60.0
_WIDE = 32


def colour_pictures(folder: Path, count: int = 8, seed: int = 0) -> Path:
    """A folder a colour, `count` noisy pictures in each, in the splits train and val."""
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        for place, name in enumerate(NAMES):
            for number in range(count):
                image = rng.integers(40, 160, (40, 48, 3))
                image[..., place] += 60
                path = folder / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, encode_image(image.astype(np.uint8), ".png"))
    return folder


def classifier(*, uneven: float = 1.0, seed: int = 0) -> bytes:
    """A classifier of three layers, whose logits are 4 times the mean of each colour.

    Args:
        uneven: the second layer's last channel is so many times larger than the others, and the
            third layer takes no notice of it; 8 bits for the whole lose the others.
        seed: of the weights that do nothing.
    """
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(seed)
    first = np.zeros((_WIDE, 3, 3, 3), np.float32)
    second = np.zeros((_WIDE, _WIDE, 1, 1), np.float32)
    third = np.zeros((_WIDE, 3), np.float32)
    for colour in range(3):
        first[colour, colour] = 1 / 9
        second[colour, colour, 0, 0] = 1
        third[colour, colour] = 4
    first[3:] = rng.normal(0, 0.05, first[3:].shape)
    second[3:] = rng.normal(0, 0.05, second[3:].shape)
    second[-1] *= uneven
    # Around 3, so that the rectifiers cut nothing of the colours.
    lift = np.full(_WIDE, 3, np.float32)
    weights = {
        "mean": np.full((3, 1, 1), MEAN, np.float32),
        "std": np.full((3, 1, 1), STD, np.float32),
        "w1": first,
        "b1": lift,
        "w2": second,
        "b2": np.zeros(_WIDE, np.float32),
        "w3": third,
        "b3": np.full(3, -12, np.float32),
    }
    nodes = [
        *_entrance(helper),
        helper.make_node("Conv", ["scaled", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], name="one"),
        helper.make_node("Relu", ["c1"], ["r1"], name="rectifier"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="two"),
        helper.make_node("GlobalAveragePool", ["c2"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"], name="three"),
    ]
    spec = ModelSpec(
        name="colours",
        task="classify",
        names=NAMES,
        preprocess=PreprocessSpec(size=(SIDE, SIDE), fit="stretch"),
    )
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    return _model(helper, nodes, tensors, {"logits": ["batch", 3]}, spec)


def detector() -> bytes:
    """A detector that answers a box of 8 x 8 pixels wherever one colour is the brightest."""
    from onnx import helper, numpy_helper

    cells = SIDE // 8
    first = np.zeros((_WIDE, 3, 8, 8), np.float32)
    second = np.zeros((3, _WIDE, 1, 1), np.float32)
    for colour in range(3):
        first[colour, colour] = 1 / 64
        second[:, colour, 0, 0] = -4
        second[colour, colour, 0, 0] = 8
    corner = np.arange(cells) * 8.0
    x, y = np.meshgrid(corner, corner)
    boxes = np.stack([x, y, x + 8, y + 8], -1).reshape(1, -1, 4).astype(np.float32)
    weights = {
        "mean": np.full((3, 1, 1), MEAN, np.float32),
        "std": np.full((3, 1, 1), STD, np.float32),
        "w1": first,
        "b1": np.full(_WIDE, 3, np.float32),
        "w2": second,
        "b2": np.full(3, -3, np.float32),
        "shape": np.array([0, 3, -1], np.int64),
        "grid": boxes,
        "none": np.array(0, np.float32),
    }
    nodes = [
        *_entrance(helper),
        helper.make_node("Conv", ["scaled", "w1", "b1"], ["c1"], strides=[8, 8], name="one"),
        helper.make_node("Relu", ["c1"], ["r1"], name="rectifier"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="two"),
        helper.make_node("Reshape", ["c2", "shape"], ["rows"], name="rows"),
        helper.make_node("Transpose", ["rows"], ["turned"], perm=[0, 2, 1], name="turn"),
        helper.make_node("Sigmoid", ["turned"], ["scores"], name="squash"),
        # Boxes of as many pictures as there are.
        helper.make_node("Mul", ["scores", "none"], ["nothing"], name="nothing"),
        helper.make_node("ReduceMax", ["nothing"], ["zeros"], axes=[2], keepdims=1, name="zeros"),
        helper.make_node("Add", ["zeros", "grid"], ["boxes"], name="boxes"),
    ]
    spec = ModelSpec(
        name="cells",
        task="detect",
        names=NAMES,
        preprocess=PreprocessSpec(size=(SIDE, SIDE), fit="stretch"),
        postprocess=PostprocessSpec(score_threshold=0.4),
    )
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    count = cells * cells
    ports = {"boxes": ["batch", count, 4], "scores": ["batch", count, 3]}
    return _model(helper, nodes, tensors, ports, spec)


def _entrance(helper: Any) -> list[Any]:
    return [
        helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2], name="planes"),
        helper.make_node("Cast", ["planes"], ["float"], to=1, name="float"),
        helper.make_node("Sub", ["float", "mean"], ["centred"], name="centre"),
        helper.make_node("Div", ["centred", "std"], ["scaled"], name="scale"),
    ]


def _model(
    helper: Any, nodes: list[Any], tensors: list[Any], ports: dict[str, list[Any]], spec: ModelSpec
) -> bytes:
    from onnx import TensorProto, checker

    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in ports.items()
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, spec.to_metadata())
    checker.check_model(model)
    return bytes(model.SerializeToString())
