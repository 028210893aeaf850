"""Pixels are 8-bit numbers already: a quantised graph takes them as they are.

Graphs of ours begin with (pixel - mean) / deviation in float. Quantised, that would be computed
only to be rounded to 8 bits again, in a seventh of the whole time of a small detector. Folded
into the first layer, the pixels themselves are its input, with the scale 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FAR = 16
"""Grey levels between one zero point for all colours and the mean of each, at most."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where pixels enter a graph that `folded_pixels` changed.

    Args:
        pixels: name of the uint8 tensor.
        centred: name of the float tensor pixel - zero, which the first layer takes.
        zero: the pixel value that stands for 0.
    """

    pixels: str
    centred: str
    zero: int

    @property
    def span(self) -> tuple[float, float]:
        """The range of `centred` that 256 levels of scale 1 cover."""
        return -float(self.zero), 255.0 - self.zero


def folded_pixels(model: Any) -> tuple[Any, Entrance | None]:
    """The graph with the scaling of its pixels folded into its first layer.

    What stays is pixel - zero. A layer pads with 0, which was the mean of each colour and is the
    zero point now: at the picture's border that differs by the few levels that colours' means lie
    apart. Elsewhere the numbers are the same.

    Args:
        model: an `onnx.ModelProto`; not changed.

    Returns:
        A changed copy, and where pixels enter; the model itself and None if it does not begin so.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    found = _chain(model)
    if found is None:
        return model, None
    chain, layer, slope, offset = found
    weights = _constant(model, layer.input[1])
    if weights is None or weights.ndim != 4 or weights.shape[1] != len(slope):
        return model, None
    bias = np.zeros(len(weights), np.float32)
    if len(layer.input) > 2 and layer.input[2]:
        given = _constant(model, layer.input[2])
        if given is None:
            return model, None
        bias = given
    means = -offset / slope
    zero = int(np.clip(np.rint(means.mean()), 0, 255))
    if np.abs(means - zero).max() > _FAR:
        return model, None
    scaled = weights.astype(np.float64) * slope[None, :, None, None]
    shift = (weights.astype(np.float64).sum(axis=(2, 3)) * (slope * zero + offset)).sum(axis=1)
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    pixels, centred = f"{chain[0].input[0]}_planes", f"{chain[0].input[0]}_centred"
    names = [f"{layer.name}_{part}" for part in ("pixel_weights", "pixel_bias", "pixel_zero")]
    values = (scaled, bias + shift, np.array(zero))
    for name, value in zip(names, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    begin = [
        helper.make_node("Transpose", [chain[0].input[0]], [pixels], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [pixels], [f"{pixels}_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{pixels}_float", names[2]], [centred]),
    ]
    for node in begin:
        node.name = f"{node.op_type}_{node.output[0]}"
    gone = {node.name for node in chain}
    kept = [node for node in graph.node if node.name not in gone]
    del graph.node[:]
    graph.node.extend([*begin, *kept])
    (first,) = [node for node in graph.node if node.name == layer.name]
    del first.input[:]
    first.input.extend([centred, names[0], names[1]])
    shape = [side.dim_value or side.dim_param for side in _shape_of(model, layer.input[0])]
    for name, kind in ((pixels, TensorProto.UINT8), (centred, TensorProto.FLOAT)):
        graph.value_info.append(helper.make_tensor_value_info(name, kind, shape or None))
    return copy, Entrance(pixels, centred, zero)


def direct(model: Any, entrance: Entrance) -> None:
    """Let the first layer take the pixels without computing what they already are.

    Args:
        model: quantised, with the range `Entrance.span`; changed in place.
        entrance: of `folded_pixels`.
    """
    graph = model.graph
    rounding = [
        node
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] == entrance.centred
    ]
    for quantize in rounding:
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == quantize.output[0]:
                    node.input[place] = entrance.pixels
        graph.node.remove(quantize)
    if rounding and not any(entrance.centred in node.input for node in graph.node):
        dead = (entrance.centred, f"{entrance.pixels}_float")
        for node in [node for node in graph.node if node.output[0] in dead]:
            graph.node.remove(node)


def _chain(model: Any) -> tuple[list[Any], Any, NDArray[Any], NDArray[Any]] | None:
    """What lies between the pixels and the first layer: slope * pixel + offset by colour."""
    from onnx import TensorProto

    graph = model.graph
    if len(graph.input) != 1:
        return None
    port = graph.input[0]
    if port.type.tensor_type.elem_type != TensorProto.UINT8:
        return None
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {one.name for one in graph.output}
    chain: list[Any] = []
    name, turned = port.name, False
    slope, offset = np.ones(3), np.zeros(3)
    while True:
        found = readers.get(name, [])
        if len(found) != 1 or name in outputs:
            return None
        (node,) = found
        if node.op_type == "Conv":
            plain = all(one.i == 1 for one in node.attribute if one.name == "group")
            whole = chain and turned and plain and node.input[0] == name and (slope != 0).all()
            return (chain, node, slope, offset) if whole else None
        if node.op_type == "Transpose":
            perm = [list(one.ints) for one in node.attribute if one.name == "perm"]
            if turned or perm != [[0, 3, 1, 2]]:
                return None
            turned = True
        elif node.op_type != "Cast":
            if node.op_type not in _STEPS or node.input[0] != name:
                return None
            by = _by_colour(_constant(model, node.input[1]), turned)
            if by is None:
                return None
            slope, offset = _STEPS[node.op_type](slope, offset, by)
        chain.append(node)
        name = node.output[0]


_STEPS: Mapping[str, Any] = {
    "Sub": lambda slope, offset, by: (slope, offset - by),
    "Add": lambda slope, offset, by: (slope, offset + by),
    "Mul": lambda slope, offset, by: (slope * by, offset * by),
    "Div": lambda slope, offset, by: (slope / by, offset / by),
}


def _by_colour(values: NDArray[Any] | None, turned: bool) -> NDArray[np.float64] | None:
    """A constant as one number for each colour; None if it is none."""
    if values is None:
        return None
    if values.size == 1:
        return np.full(3, float(values.reshape(-1)[0]))
    axis = -3 if turned else -1
    fits = values.size == 3 and values.ndim >= -axis and values.shape[axis] == 3
    return values.reshape(3).astype(np.float64) if fits else None


def _constant(model: Any, name: str) -> NDArray[Any] | None:
    from onnx import numpy_helper

    for one in model.graph.initializer:
        if one.name == name:
            values: NDArray[Any] = numpy_helper.to_array(one)
            return values
    return None


def _shape_of(model: Any, name: str) -> Any:
    for one in model.graph.value_info:
        if one.name == name:
            return one.type.tensor_type.shape.dim
    return ()
