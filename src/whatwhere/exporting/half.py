"""Weights in half precision: half the file, the same computation."""

from __future__ import annotations

import numpy as np


def store_half(file: bytes) -> bytes:
    """The same model with float16 weights and a Cast behind each, which runtimes fold at load."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(file)
    casts = []
    for tensor in model.graph.initializer:
        # Small tensors (biases, constants of the box arithmetic) cost nothing and keep precision.
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 256:
            continue
        name = tensor.name
        with np.errstate(over="ignore"):
            array = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(array).all():
            continue
        tensor.CopyFrom(numpy_helper.from_array(array, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    data: bytes = model.SerializeToString()
    return data
