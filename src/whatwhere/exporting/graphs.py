"""ONNX graphs made ready for quantising: folded by the engine, their layers found."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatwhere.errors import MissingExtraError, ModelError

LEAST_OPSET = 13
"""Per-channel scales came with it."""
_NEW_OPSET = 17
# Products with fewer weights than this at the end of a detector are arithmetic of boxes (a
# distribution over 16 bins becomes its mean), not layers.
_LAYER_WEIGHTS = 64
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def onnx_module() -> Any:
    """The package `onnx`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError("export", "Changing a model file") from error
    return onnx


def folded(file: bytes, where: str) -> Any:
    """The graph with constants computed and normalisation folded into layers, float32.

    ONNX Runtime's own basic optimisation does it, so that the graph is the one it would run.

    Args:
        file: an ONNX file, weights inside.
        where: what to call it in messages.

    Returns:
        An `onnx.ModelProto`, in which every node has a name of its own.

    Raises:
        ModelError: the engine refuses the graph, or it cannot be brought to a newer opset.
    """
    import onnxruntime as ort

    onnx = onnx_module()
    model = onnx.load_from_string(file)
    if opset_of(model) < LEAST_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, _NEW_OPSET)
        except Exception as error:  # a C++ library, which raises kinds of its own
            raise ModelError(
                f"{where} is of opset {opset_of(model)}, and cannot be brought to {_NEW_OPSET}"
                f" ({_first_line(error)}): export it with opset {LEAST_OPSET} or later"
            ) from error
        file = model.SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="whatwhere-") as folder:
        place = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(place)
        try:
            ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine's exceptions have no common base
            raise ModelError(f"{where} cannot be optimised ({_first_line(error)})") from error
        model = onnx.load(str(place))
    _keep_used_opsets(model)
    taken: set[str] = set()
    for place_in_graph, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place_in_graph}"
        taken.add(node.name)
    return onnx.shape_inference.infer_shapes(model)


def opset_of(model: Any) -> int:
    """Version of the standard operators."""
    return max(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _keep_used_opsets(model: Any) -> None:
    """The engine lists all the domains that it knows; other programs stumble over them."""
    used = {"" if node.domain == "ai.onnx" else node.domain for node in all_nodes(model.graph)}
    kept = [one for one in model.opset_import if one.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if len(inner.node):
                    yield from all_nodes(inner)


@dataclass(frozen=True, slots=True)
class Trunk:
    """The part of a graph that can be quantised: its layers, and all that leads to one.

    What follows the last layers (a softmax, box arithmetic) stays in float: it costs nothing,
    and coordinates in 256 steps would.

    Args:
        nodes: names, in the order of the graph.
        layers: those of them that multiply by weights.
        heads: layers that no other layer follows.
        products: of each layer, multiplications for one value that it gives.
        outputs: of each layer, the name of its tensor.
    """

    nodes: tuple[str, ...]
    layers: tuple[str, ...]
    heads: tuple[str, ...]
    products: dict[str, int]
    outputs: dict[str, str]

    def work(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Multiplications of each layer for a picture; sizes as `ranges.collect` gives them."""
        return {
            name: float(count * sizes.get(self.outputs[name], 0))
            for name, count in self.products.items()
        }


def find_trunk(model: Any) -> Trunk:
    """The trunk of a graph that `folded` gave.

    Raises:
        ModelError: it has no layer.
    """
    shapes = {one.name: tuple(one.dims) for one in model.graph.initializer}
    products, outputs = {}, {}
    for node in model.graph.node:
        shape = shapes.get(node.input[1], ()) if node.op_type in _LAYERS else ()
        if math.prod(shape) > _LAYER_WEIGHTS and shape:
            products[node.name] = _products(node, shape)
            outputs[node.name] = node.output[0]
    needed: set[str] = set()
    heads, nodes = [], []
    # Backwards: a node belongs to the trunk if something of the trunk reads it.
    for node in reversed(model.graph.node):
        read = any(name in needed for name in node.output)
        layer = node.name in products
        if layer and not read:
            heads.append(node.name)
        if layer or read:
            nodes.append(node.name)
            needed.update(name for name in node.input if name and name not in shapes)
    if not products:
        raise ModelError("the model has no layer that could be quantised")
    nodes.reverse()
    layers = tuple(name for name in nodes if name in products)
    return Trunk(tuple(nodes), layers, tuple(reversed(heads)), products, outputs)


def groups_of(trunk: Trunk, most: int = 24) -> list[tuple[str, ...]]:
    """The trunk cut into runs of nodes, each of a few layers and what follows them.

    The heads come first, as one group; then the others in the graph's order.

    Args:
        trunk: what to cut.
        most: groups, beside that of the heads.
    """
    heads = set(trunk.heads)
    inner = [name for name in trunk.layers if name not in heads]
    size = max(1, -(-len(inner) // most))
    starts = {name for place, name in enumerate(inner) if place and place % size == 0}
    groups: list[list[str]] = [[]]
    for name in trunk.nodes:
        if name in heads:
            continue
        if name in starts:
            groups.append([])
        groups[-1].append(name)
    return [tuple(trunk.heads), *(tuple(group) for group in groups if group)]


def _products(node: Any, shape: tuple[int, ...]) -> int:
    """Weights that are multiplied for each value of a layer's output."""
    if node.op_type == "MatMul":
        return shape[-2] if len(shape) > 1 else shape[0]
    if node.op_type == "Gemm":
        turned = any(one.name == "transB" and one.i for one in node.attribute)
        return shape[1] if turned else shape[0]
    return math.prod(shape) // shape[0]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
