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
from typing import TypeAlias

from whatwhere.errors import ModelError

Buffer: TypeAlias = memoryview

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

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


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """What a file says beside its graph.

    Args:
        metadata: its `metadata_props`.
        external: names of the files that hold its weights; empty if they are inside.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    external: tuple[str, ...] = ()


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
    with model.open("rb") as file:
        # Mapped, so that only the pages between the weights are read; freed with the last view.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _parse(memoryview(mapped), model.parent, where, weights)


def _parse(data: Buffer, folder: Path | None, where: str, weights: bool) -> OnnxHeader:
    metadata: dict[str, str] = {}
    locations: set[str] = set()
    graphs = 0
    try:
        for number, value in fields(data):
            if number == _MODEL_GRAPH and not isinstance(value, int):
                graphs += 1
                _locations_in_graph(value, locations)
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
    return OnnxHeader(metadata, tuple(sorted(locations)))


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
