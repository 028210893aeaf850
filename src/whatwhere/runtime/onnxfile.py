"""Look into an ONNX file without loading it: is it whole, what does its metadata say.

Reads the protobuf wire format by hand (https://protobuf.dev/programming-guides/encoding/)
with the field numbers of `onnx.proto3`, because the base install has no `onnx` and because
a damaged file should be named as such before a runtime sees it. Nothing is executed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple, TypeAlias

from whatwhere.errors import ModelError

Buffer: TypeAlias = memoryview

# Field numbers of onnx.proto3.
_MODEL_PRODUCER, _MODEL_GRAPH, _MODEL_METADATA = 2, 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_NAME, _NODE_KIND, _NODE_ATTRIBUTE = 3, 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR, _TYPE_ELEMENT, _TYPE_SHAPE = 1, 1, 2
_SHAPE_SIDE, _SIDE_LENGTH = 1, 1

# TensorProto.DataType -> NumPy's name, of the types that pictures and answers can have.
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}

_FOREIGN = {
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".ckpt": "PyTorch checkpoint",
    ".bin": "PyTorch",
    ".pkl": "pickle",
    ".safetensors": "safetensors",
    ".tflite": "TensorFlow Lite",
    ".pb": "TensorFlow",
    ".h5": "Keras",
    ".keras": "Keras",
    ".engine": "TensorRT",
    ".xml": "OpenVINO",
    ".mlpackage": "Core ML",
    ".mlmodel": "Core ML",
}


class Port(NamedTuple):
    """An input or output of a graph: NumPy's name of its type; None for a side of any length."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """What a file says beside its graph.

    Args:
        metadata: its `metadata_props`.
        external: names of the files that hold its weights; empty if they are inside.
        inputs, outputs: of its graph; weights that are listed as inputs are left out.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    external: tuple[str, ...] = ()
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()


class GraphNames(NamedTuple):
    """What a graph calls its parts: its exporter, its weights, its nodes, their kinds in order."""

    producer: str
    weights: tuple[str, ...]
    nodes: tuple[str, ...]
    kinds: tuple[str, ...]


def read_graph_names(model: Path | bytes, where: str) -> GraphNames:
    """The names inside a file that `read_header` found whole.

    Raises:
        ModelError: it cannot be read.
    """
    producer = ""
    found: dict[str, list[str]] = {"weights": [], "nodes": [], "kinds": []}
    try:
        data = memoryview(model) if isinstance(model, bytes) else _mapped(model)
        for number, value in fields(data):
            if isinstance(value, int):
                continue
            if number == _MODEL_PRODUCER:
                producer = bytes(value).decode()
            elif number == _MODEL_GRAPH:
                for tensor in _inner(value, _GRAPH_INITIALIZER):
                    found["weights"] += _texts(tensor, _TENSOR_NAME)
                for node in _inner(value, _GRAPH_NODE):
                    found["nodes"] += _texts(node, _NODE_NAME)
                    found["kinds"] += _texts(node, _NODE_KIND)
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"{where} cannot be read ({error}): copy or export it again") from error
    return GraphNames(producer, *(tuple(found[key]) for key in ("weights", "nodes", "kinds")))


def _texts(message: Buffer, number: int) -> list[str]:
    return [bytes(text).decode() for text in _inner(message, number)]


def read_header(model: Path | bytes, where: str, *, weights: bool = True) -> OnnxHeader:
    """Metadata and weight files of an ONNX model.

    Args:
        model: the file, or its bytes.
        where: what to call it in messages.
        weights: whether files that hold its weights must lie beside it; not so for a
            shipped model whose weights come from another package.

    Raises:
        ModelError: the file is missing, empty, of another kind, cut short or damaged, or its
            weights lie outside its own folder or are missing.
    """
    if isinstance(model, bytes):
        return _parse(memoryview(model), None, where, weights)
    if model.suffix.lower() in _FOREIGN:
        raise ModelError(
            f"{where} is a {_FOREIGN[model.suffix.lower()]} file, which is not loaded here (such a"
            " file may run code or has no model spec): give the .onnx file that"
            " 'whatwhere train' or 'whatwhere export' wrote"
        )
    if not model.is_file():
        raise ModelError(f"{where} is not a file: check the path of the model")
    if model.stat().st_size == 0:
        raise ModelError(f"{where} is empty: copy or export the model again")
    return _parse(_mapped(model), model.parent, where, weights)


def _mapped(model: Path) -> Buffer:
    """The file, of which only the pages between the weights are read; freed with the last view."""
    with model.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _parse(data: Buffer, folder: Path | None, where: str, weights: bool) -> OnnxHeader:
    metadata: dict[str, str] = {}
    locations: set[str] = set()
    inputs: list[Port] = []
    outputs: list[Port] = []
    graphs = 0
    try:
        for number, value in fields(data):
            if number == _MODEL_GRAPH and not isinstance(value, int):
                graphs += 1
                _locations_in_graph(value, locations)
                inputs, outputs = _ports_of_graph(value)
            elif number == _MODEL_METADATA and not isinstance(value, int):
                key, text = _entry(value)
                metadata[key] = text
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"{where} is not a whole ONNX file ({error or 'it ends in the middle'}):"
            " copy or export the model again"
        ) from error
    if graphs != 1:
        raise ModelError(f"{where} is not an ONNX file: it holds no graph; give an .onnx model")
    for location in sorted(locations) if weights else ():
        _check_location(location, folder, where)
    return OnnxHeader(metadata, tuple(sorted(locations)), tuple(inputs), tuple(outputs))


def _check_location(location: str, folder: Path | None, where: str) -> None:
    plain = location == PurePosixPath(location).name == PureWindowsPath(location).name
    if not plain or location in ("", ".", ".."):
        raise ModelError(
            f"{where} keeps its weights in {location!r}, outside its own folder:"
            " only files beside the model are read; export it again as one file"
        )
    if folder is None:
        raise ModelError(
            f"{where} keeps its weights in the file {location!r}:"
            " load it by its path, not from bytes"
        )
    if not (folder / location).is_file():
        raise ModelError(
            f"{where} needs its weights beside it, in {location!r}: copy that file too"
        )


def fields(data: Buffer) -> Iterator[tuple[int, int | Buffer]]:
    """Number and value of each field of a message.

    Raises:
        ValueError, IndexError: the bytes are not a message, or are cut short.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("it is of another kind or damaged")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("it is of another kind or damaged")
        if at + size > end:
            raise ValueError(f"it is cut short by {at + size - end:,} bytes, or of another kind")
        yield number, data[at : at + size]
        at += size


def _varint(data: Buffer, at: int) -> tuple[int, int]:
    """A little-endian base-128 number and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("it is of another kind or damaged")


def _entry(data: Buffer) -> tuple[str, str]:
    """A StringStringEntryProto."""
    parts = {number: bytes(value) for number, value in fields(data) if not isinstance(value, int)}
    return parts.get(_ENTRY_KEY, b"").decode(), parts.get(_ENTRY_VALUE, b"").decode()


def _ports_of_graph(graph: Buffer) -> tuple[list[Port], list[Port]]:
    """Inputs and outputs; files of old versions list their weights as inputs, too."""
    found: dict[int, list[Port]] = {_GRAPH_INPUT: [], _GRAPH_OUTPUT: []}
    for number, value in fields(graph):
        if number in found and not isinstance(value, int):
            found[number].append(_port(value))
    inputs, outputs = found[_GRAPH_INPUT], found[_GRAPH_OUTPUT]
    if len(inputs) > 1:
        weights = {
            bytes(name).decode()
            for tensor in _inner(graph, _GRAPH_INITIALIZER)
            for name in _inner(tensor, _TENSOR_NAME)
        }
        inputs = [port for port in inputs if port.name not in weights]
    return inputs, outputs


def _port(value: Buffer) -> Port:
    """A ValueInfoProto; the type of what is no tensor is "other"."""
    name, dtype = "", "other"
    shape: list[int | None] = []
    for number, part in fields(value):
        if number == _VALUE_NAME and not isinstance(part, int):
            name = bytes(part).decode()
        elif number == _VALUE_TYPE and not isinstance(part, int):
            for tensor in _inner(part, _TYPE_TENSOR):
                for inner, about in fields(tensor):
                    if inner == _TYPE_ELEMENT and isinstance(about, int):
                        dtype = _TYPES.get(about, "other")
                    elif inner == _TYPE_SHAPE and not isinstance(about, int):
                        shape += [_side(side) for side in _inner(about, _SHAPE_SIDE)]
    return Port(name, dtype, tuple(shape))


def _inner(data: Buffer, wanted: int) -> Iterator[Buffer]:
    """The messages of one field number in a message."""
    for number, value in fields(data):
        if number == wanted and not isinstance(value, int):
            yield value


def _side(data: Buffer) -> int | None:
    """A length; None where it is left open, or has a name only."""
    lengths = [value for number, value in fields(data) if number == _SIDE_LENGTH]
    return lengths[0] if lengths and isinstance(lengths[0], int) and lengths[0] > 0 else None


def _locations_in_graph(graph: Buffer, found: set[str]) -> None:
    for number, value in fields(graph):
        if isinstance(value, int):
            continue
        if number == _GRAPH_INITIALIZER:
            _locations_in_tensor(value, found)
        elif number == _GRAPH_NODE:
            for inner, attribute in fields(value):
                if inner == _NODE_ATTRIBUTE and not isinstance(attribute, int):
                    _locations_in_attribute(attribute, found)


def _locations_in_attribute(attribute: Buffer, found: set[str]) -> None:
    for number, value in fields(attribute):
        if isinstance(value, int):
            continue
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _locations_in_tensor(value, found)
        elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            _locations_in_graph(value, found)


def _locations_in_tensor(tensor: Buffer, found: set[str]) -> None:
    for number, value in fields(tensor):
        if number == _TENSOR_EXTERNAL and not isinstance(value, int):
            key, text = _entry(value)
            if key == "location":
                found.add(text)
