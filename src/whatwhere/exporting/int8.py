"""A graph in 8 bits for ONNX Runtime: quantize and dequantize nodes around its layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from whatwhere.exporting.entrance import Entrance, direct
from whatwhere.exporting.ranges import Histogram, Rule
from whatwhere.runtime.onnxwrite import with_metadata

_NORMS = frozenset({"GroupNormalization", "InstanceNormalization", "LayerNormalization"})
_SHARING = frozenset({"Concat", "Max", "Min", "Where"})
"""Operators whose inputs, any of them, get the scale of the output."""


def quantised(
    model: Any,
    found: Mapping[str, Histogram],
    rule: Rule,
    nodes: Collection[str],
    metadata: Mapping[str, str],
    entrance: Entrance | None = None,
) -> bytes:
    """The model file with these nodes in 8 bits.

    Weights are int8, symmetric, with a scale for each output channel; what flows between layers
    is uint8 with one scale and zero point a tensor. Engines join the pairs of nodes and layers
    into integer layers (Jacob et al., Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, CVPR 2018).

    Args:
        model: as `graphs.folded` gives it; not changed.
        found: what flows through it.
        rule: how a range follows from that.
        nodes: names of those that are quantised; the others stay in float.
        metadata: of the file.
        entrance: where pixels enter, if the graph was changed for that.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    ranges = {}
    for name, histogram in found.items():
        low, high = rule(histogram)
        ranges[name] = (np.float32(low), np.float32(high))
    if entrance is not None:
        low, high = entrance.span
        ranges[entrance.centred] = (np.float32(low), np.float32(high))
    known = {*QDQRegistry, *QLinearOpsRegistry}
    wanted = set(nodes)
    constants = {tensor.name for tensor in copy.graph.initializer}
    possible = {
        node.name
        for node in copy.graph.node
        if node.name in wanted
        and node.op_type in known
        # A norm's own few numbers decide everything after it. ONNX Runtime lets nodes such as
        # concatenations take their inputs' scale, and refuses to do so with a constant.
        and node.op_type not in _NORMS
        and not (node.op_type in _SHARING and constants & set(node.input))
        # A tensor without a range (an index, a shape) is no activation.
        and all(name in ranges for name in node.output if name)
    }
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=sorted(possible),
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(known),
        extra_options={"MatMulConstBOnly": True},
    )
    if possible:
        quantizer.quantize_model()
        copy = quantizer.model.model
        if entrance is not None:
            direct(copy, entrance)
    copy.producer_name = "whatwhere"
    del copy.metadata_props[:]
    return with_metadata(copy.SerializeToString(), metadata, "the quantised model")
