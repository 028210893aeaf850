"""Which nodes of a graph go to 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from whatwhere.exporting.int8 import quantised
from whatwhere.exporting.ranges import RULES, collect

RNG = np.random.default_rng(0)
SHAPE = (1, 8, 8, 8)


def graph(kind: str) -> Any:
    """Two layers with a norm between them, or joined with a constant."""
    weights = {
        "w1": RNG.normal(0, 0.3, (8, 8, 3, 3)),
        "w2": RNG.normal(0, 0.3, (4, 12 if kind == "joined" else 8, 1, 1)),
        "scale": np.full(8, 1.5),
        "shift": np.full(8, 0.2),
        "grid": RNG.normal(0, 1, (1, 4, 8, 8)),
    }
    between = {
        "norm": helper.make_node("InstanceNormalization", ["a", "scale", "shift"], ["b"]),
        "layer norm": helper.make_node("LayerNormalization", ["a", "scale", "shift"], ["b"]),
        "joined": helper.make_node("Concat", ["a", "grid"], ["b"], axis=1),
    }[kind]
    between.name = "between"
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="one", pads=[1, 1, 1, 1]),
        between,
        helper.make_node("Conv", ["b", "w2"], ["y"], name="two"),
    ]
    used = {name for node in nodes for name in node.input}
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, SHAPE)],
        [helper.make_tensor_value_info("y", 1, [1, 4, 8, 8])],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in weights.items()
            if name in used
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("kind", ["norm", "layer norm", "joined"])
def test_norms_and_joined_constants_stay_in_float(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = graph(kind)
    images = RNG.normal(0, 1, (16, *SHAPE)).astype(np.float32)
    names = [node.name for node in model.graph.node]
    found, _ = collect(model, names, ({"x": image} for image in images))
    made = quantised(model, found, RULES["minmax"], names, {})
    assert not caplog.records, "ONNX Runtime's own complaints"
    kept = {node.name: node for node in onnx.load_from_string(made).graph.node}
    assert "QuantizeLinear" in {node.op_type for node in kept.values()}
    constants = set(kept["between"].input) & {"scale", "shift", "grid"}
    assert constants == ({"grid"} if kind == "joined" else {"scale", "shift"})
    answers = [
        ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": images[0]})
        for file in (model.SerializeToString(), made)
    ]
    spread = float(np.abs(answers[0][0]).max())
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=0.05 * spread)
