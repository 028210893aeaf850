"""A graph of others behind the interface of our own: the same input, the same outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ModelError
from whatwhere.runtime.backends import INPUT, Backend
from whatwhere.runtime.foreign import classifiers, detr, nanodet, torchvision, yolo
from whatwhere.runtime.foreign.facts import Array, Reader
from whatwhere.runtime.foreign.pixels import feed, further
from whatwhere.runtime.onnxfile import Port
from whatwhere.specs import GraphSpec, ModelSpec

READERS: Mapping[str, Reader] = {
    **yolo.FAMILY.readers,
    **nanodet.FAMILY.readers,
    **detr.FAMILY.readers,
    **torchvision.FAMILY.readers,
    **classifiers.FAMILY.readers,
}
"""How the answers of each family are read."""


class ForeignBackend:
    """A graph of others that takes and answers what a graph of ours does.

    Args:
        backend: the loaded graph.
        spec: with `graph`.
        where: what to call it in messages.

    Raises:
        ModelError: the graph has not the inputs and outputs that its spec says.
    """

    name: ClassVar[str] = "foreign"

    def __init__(self, backend: Backend, spec: ModelSpec, where: str) -> None:
        if spec.graph is None:
            raise ModelError(f"{where} is a graph of ours: it needs no reading")
        self._backend, self._spec, self._where, self._graph = backend, spec, where, spec.graph
        self._check_ports()
        self.threads = backend.threads
        height, width = self._size = spec.preprocess.size
        self._reader = READERS[self._graph.family]
        self._batch = _batch(backend, self._graph)
        columns = self._graph.columns
        self._width = max(columns) + 1 if columns else len(spec.names)
        self._columns = np.array(columns, np.intp) if columns else None
        self.inputs: tuple[Port, ...] = (Port(INPUT, "uint8", (None, height, width, 3)),)
        classes = len(spec.names)
        if spec.task == "detect":
            self.outputs: tuple[Port, ...] = (
                Port("boxes", "float32", (None, None, 4)),
                Port("scores", "float32", (None, None, classes)),
            )
        else:
            self.outputs = (Port("logits", "float32", (None, classes)),)

    @property
    def engine(self) -> str:
        """Name of the engine that runs the graph."""
        return self._backend.name

    def with_lanes(self, lanes: int, *, trial: bool = False) -> ForeignBackend:
        """The same graph, loaded for so many calls at once; see `Backend.with_lanes`."""
        # The trial of engines feeds one input with a batch of one.
        plain = len(self._backend.inputs) == 1 and self._backend.inputs[0].shape[0] in (None, 1)
        plain &= self._graph.layout != "chw"
        loaded = self._backend.with_lanes(lanes, trial=trial and plain)
        return ForeignBackend(loaded, self._spec, self._where)

    def __call__(
        self, images: Array, more: Mapping[str, Array] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, float32, for pictures uint8 (N, height, width, 3), RGB."""
        parts = []
        for part, count in self._groups(images):
            answers = raw_answers(self._backend, self._graph, part)
            made = self._reader.read(answers, self._size, self._width)
            parts.append({name: values[:count] for name, values in made.items()})
        outputs = parts[0] if len(parts) == 1 else _joined(parts)
        return {name: self._chosen(name, values) for name, values in outputs.items()}

    def feeds(self, images: Array) -> Iterator[dict[str, Array]]:
        """What the graph itself gets for these pictures, by input, batch by batch.

        For what runs the graph beside the runtime, such as calibration for quantising it.
        """
        for part, _ in self._groups(images):
            yield fed(self._backend, self._graph, part)

    def _groups(self, images: Array) -> Iterator[tuple[Array, int]]:
        """Batches as the graph takes them, and how many pictures of each are real."""
        size = self._batch or len(images)
        for start in range(0, len(images), size):
            part = images[start : start + size]
            count = len(part)
            if count < size:
                part = np.concatenate([part, np.repeat(part[-1:], size - count, 0)])
            yield part, count

    def _chosen(self, name: str, values: Array) -> NDArray[np.float32]:
        """The columns that are classes, in the order of the names."""
        if name == "boxes" or self._columns is None:
            return values.astype(np.float32, copy=False)
        if values.shape[-1] < self._width:
            raise ModelError(
                f"{self._where} answers {values.shape[-1]} classes, but its spec counts"
                f" {self._width}: import it again"
            )
        if self._graph.family in _BY_LABEL:
            self._check_dropped(values, self._columns)
        return np.ascontiguousarray(values[..., self._columns], dtype=np.float32)

    def _check_dropped(self, scores: Array, columns: Array) -> None:
        """Final boxes of a class without a name would be lost without a word."""
        dropped = np.setdiff1d(np.arange(scores.shape[-1]), columns)
        used = dropped[scores[..., dropped].reshape(-1, len(dropped)).any(0)]
        if len(used):
            raise ModelError(
                f"{self._where} answers class {used[0]}, which has no name: give all names"
            )

    def _check_ports(self) -> None:
        graph = self._graph
        if graph.family not in READERS:
            raise ModelError(
                f"{self._where} is of family {graph.family!r}, which this version does not know:"
                " update whatwhere, or import the file again"
            )
        inputs = {port.name for port in self._backend.inputs[1:]}
        outputs = {port.name for port in self._backend.outputs}
        missing = set(graph.outputs) - outputs
        if missing or inputs != {graph.sizes, graph.mask} - {""}:
            raise ModelError(
                f"{self._where} does not fit its own model spec: it has the further inputs"
                f" {', '.join(sorted(inputs)) or 'none'} and the outputs"
                f" {', '.join(sorted(outputs))}; import it again"
            )


# Families whose scores are a table made from labels.
_BY_LABEL = {"yolov7-final", "ultralytics-final", "labelled", "torchvision"}


def raw_answers(backend: Backend, graph: GraphSpec, images: Array) -> list[Array]:
    """What the graph answers for pictures uint8 (N, H, W, 3), in the order of its spec."""
    feeds = fed(backend, graph, images)
    found = backend(feeds.pop(backend.inputs[0].name), feeds)
    return [found[name] for name in graph.outputs]


def fed(backend: Backend, graph: GraphSpec, images: Array) -> dict[str, Array]:
    """The graph's inputs by name for pictures uint8 (N, H, W, 3); a fixed batch is filled up."""
    first = backend.inputs[0]
    ports = {port.name: port for port in backend.inputs}
    size = _batch(backend, graph)
    if size is not None and len(images) < size:
        images = np.repeat(images[:1], size, 0)
    more = further(graph, ports, len(images), (images.shape[1], images.shape[2]))
    return {first.name: feed(images, graph, first.dtype), **more}


def _batch(backend: Backend, graph: GraphSpec) -> int | None:
    """Pictures that the graph takes at once; None for any number."""
    if graph.layout == "chw" or READERS[graph.family].single:
        return 1
    return backend.inputs[0].shape[0]


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Outputs of several batches as those of one; short ones are filled up with rows of 0."""
    joined = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name != "logits":
            rows = max(value.shape[1] for value in values)
            values = [
                value
                if value.shape[1] == rows
                else np.pad(value, ((0, 0), (0, rows - value.shape[1]), (0, 0)))
                for value in values
            ]
        joined[name] = np.concatenate(values)
    return joined
