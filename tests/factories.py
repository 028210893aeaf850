"""Tiny ONNX models whose answers can be foreseen from the colours of a picture.

All take pictures of 64 x 64 pixels and know three classes, in the order of the channels.
`logits` grow with the mean of a channel; an object is a cell of the 4 x 4 grid that is
coloured in one channel more than in the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec

SIZE, GRID = 64, 4
CELL = SIZE // GRID
NAMES = ("red", "green", "blue")
KINDS = ("classify", "multilabel", "detect", "both")


def spec_of(kind: str, **changes: Any) -> ModelSpec:
    """The spec that fits `model_bytes(kind)`; changes replace its fields."""
    fields: dict[str, Any] = {
        "name": f"tiny-{kind}",
        "task": "detect" if kind == "both" else kind,
        "names": NAMES,
        "label_names": ("reddish", "greenish", "bluish") if kind == "both" else (),
        "preprocess": PreprocessSpec(size=(SIZE, SIZE), pad=0),
        "postprocess": PostprocessSpec(score_threshold=0.5, top=2),
        "license": "Apache-2.0",
    }
    return ModelSpec(**(fields | changes))


def model_bytes(
    kind: str,
    metadata: Mapping[str, str] | None = None,
    *,
    spec: ModelSpec | None = None,
    external: str | None = None,
    dtype: str = "uint8",
    input_name: str = "images",
    fixed_batch: int | None = None,
    leave_out: str | None = None,
) -> bytes:
    """An ONNX file of one of `KINDS`.

    Args:
        metadata: its `metadata_props`; by default those of `spec`, or of `spec_of(kind)`.
        external: name of the file that its weights are said to lie in.
        dtype, input_name, fixed_batch, leave_out: faults that loading must notice.
    """
    from onnx import TensorProto, external_data_helper, helper, numpy_helper

    batch: int | str = "N" if fixed_batch is None else fixed_batch
    element = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    port = helper.make_tensor_value_info(input_name, element, [batch, SIZE, SIZE, 3])
    nodes = [helper.make_node("Cast", [input_name], ["pixels"], to=TensorProto.FLOAT)]
    weights: dict[str, NDArray[Any]] = {}
    outputs: dict[str, list[int | str]] = {}
    if kind != "detect":
        weights["mix"] = (np.eye(3, dtype=np.float32) * 3 - 1) / 32
        nodes += [
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["mean", "mix"], ["logits"]),
        ]
        outputs["logits"] = [batch, 3]
    if kind in ("detect", "both"):
        cells = GRID * GRID
        y, x = (side.ravel() * CELL for side in np.mgrid[:GRID, :GRID])
        weights |= {
            "filter": ((np.eye(3) * 1.5 - 0.5) / 255).reshape(3, 3, 1, 1).astype(np.float32),
            "cells": np.stack([x, y, x + CELL, y + CELL], 1)[None].astype(np.float32),
            "flat": np.array([0, 3, cells], np.int64),
            "first": np.array([0], np.int64),
            "tail": np.array([cells, 4], np.int64),
            "low": np.array(0, np.float32),
            "high": np.array(1, np.float32),
        }
        sides = [CELL, CELL]
        nodes += [
            helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node(
                "AveragePool", ["planes"], ["means"], kernel_shape=sides, strides=sides
            ),
            helper.make_node("Conv", ["means", "filter"], ["contrast"]),
            helper.make_node("Clip", ["contrast", "low", "high"], ["clipped"]),
            helper.make_node("Reshape", ["clipped", "flat"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["scores"], perm=[0, 2, 1]),
            helper.make_node("Shape", ["pixels"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["batch"]),
            helper.make_node("Concat", ["batch", "tail"], ["full"], axis=0),
            helper.make_node("Expand", ["cells", "full"], ["boxes"]),
        ]
        outputs |= {"boxes": [batch, cells, 4], "scores": [batch, cells, 3]}
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    if external is not None:
        tensor = next(item for item in initializers if item.name in ("mix", "filter"))
        external_data_helper.set_external_data(tensor, external)
        tensor.ClearField("raw_data")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [port],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
            if name != leave_out
        ],
        initializers,
    )
    # An older format than the newest, so that both engines read it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    entries = (spec or spec_of(kind)).to_metadata() if metadata is None else dict(metadata)
    helper.set_model_props(model, entries)
    return bytes(model.SerializeToString())


def write_model(path: Path, kind: str, **options: Any) -> Path:
    """`model_bytes` in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model_bytes(kind, **options))
    return path


def picture(
    *coloured: tuple[int, int, int], height: int = SIZE, width: int = SIZE
) -> NDArray[np.uint8]:
    """A black picture with cells (row, column, channel) of full colour; cells are CELL wide."""
    image = np.zeros((height, width, 3), np.uint8)
    for row, column, channel in coloured:
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL, channel] = 255
    return image
