"""Small graphs that answer as the exports of others do: constants, or means of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SIDE = 64


def answering(
    outputs: Mapping[str, Array],
    *,
    metadata: Mapping[str, str] | None = None,
    input_name: str = "images",
    shape: Sequence[int | str] = (1, 3, SIDE, SIDE),
    more: Mapping[str, Sequence[int]] | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    node: str = "",
    scaled: str = "",
) -> bytes:
    """A graph that answers these arrays whatever the picture.

    Args:
        outputs: by name, each as it is declared.
        metadata: the file's.
        input_name, shape: of its first input, float32.
        more: further int64 inputs and their shapes.
        shapes: how single outputs are declared, where not as they are.
        node: name of its nodes.
        scaled: an output (1, K, 4) that is multiplied by the further input `orig_target_sizes`.
    """
    from onnx import TensorProto, helper, numpy_helper

    ports = [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, list(shape))]
    for name, sides in (more or {}).items():
        ports.append(helper.make_tensor_value_info(name, TensorProto.INT64, list(sides)))
    nodes, weights, answers = [], [], []
    for name, values in outputs.items():
        weights.append(numpy_helper.from_array(values, f"{name}_constant"))
        last = f"{name}_constant"
        if name == scaled:
            weights.append(numpy_helper.from_array(np.array([1], np.int64), "middle"))
            nodes += [
                helper.make_node("Cast", ["orig_target_sizes"], ["sides"], to=TensorProto.FLOAT),
                helper.make_node("Concat", ["sides", "sides"], ["twice"], axis=1),
                helper.make_node("Unsqueeze", ["twice", "middle"], ["factors"]),
                helper.make_node("Mul", [last, "factors"], ["in_pixels"]),
            ]
            last = "in_pixels"
        nodes.append(helper.make_node("Identity", [last], [name], name=f"{node}/{name}"))
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        sides = list((shapes or {}).get(name, values.shape))
        answers.append(helper.make_tensor_value_info(name, kind, sides))
    graph = helper.make_graph(nodes, "theirs", ports, answers, weights)
    return _saved(helper, graph, metadata)


def averaging(
    *,
    layout: str = "nchw",
    last: str = "",
    weight: str = "mix",
    producer: str = "",
    metadata: Mapping[str, str] | None = None,
    batch: int | str = "n",
    element: str = "FLOAT",
) -> bytes:
    """A classifier of three classes whose answers are the means of its input's channels.

    Args:
        layout: "nchw" or "nhwc".
        last: "Softmax" or "Sigmoid" at its end.
        weight: name of its one matrix.
        producer: its exporter.
        metadata: the file's.
        batch, element: of its input.
    """
    from onnx import TensorProto, helper, numpy_helper

    planes = layout == "nchw"
    shape = [batch, 3, SIDE, SIDE] if planes else [batch, SIDE, SIDE, 3]
    port = helper.make_tensor_value_info("input", getattr(TensorProto, element), shape)
    axes = [2, 3] if planes else [1, 2]
    nodes = [
        helper.make_node("Cast", ["input"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", weight], ["raw"]),
        helper.make_node(last or "Identity", ["raw"], ["answer"]),
    ]
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [batch, 3])
    mix = numpy_helper.from_array(np.eye(3, dtype=np.float32), weight)
    graph = helper.make_graph(nodes, "theirs", [port], [answer], [mix])
    return _saved(helper, graph, metadata, producer)


def _saved(
    helper: Any, graph: Any, metadata: Mapping[str, str] | None, producer: str = ""
) -> bytes:
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
        producer_name=producer,
    )
    helper.set_model_props(model, dict(metadata or {}))
    return bytes(model.SerializeToString())
