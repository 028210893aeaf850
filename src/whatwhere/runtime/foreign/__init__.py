"""Detectors and classifiers of others: recognised by their graph and metadata, run as ours.

What is known: YOLOX (Ge et al., 2021; https://github.com/Megvii-BaseDetection/YOLOX) as its
exporter writes it, with raw outputs, and the exports of Ultralytics (detect and classify, with
and without suppression inside) and of YOLOv5 and YOLOv7. Nothing else is guessed at: a graph
whose answers could be read in two ways is refused, because boxes that are nearly right are
worse than none.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ModelError
from whatwhere.runtime.backends import INPUT, Backend
from whatwhere.runtime.coco import COCO_NAMES
from whatwhere.runtime.onnxfile import OnnxHeader, Port
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec

NAMES_SUFFIX = ".names"
"""A file of this suffix beside a model holds its class names, one a line."""

_FLOATS = ("float32", "float16")
_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_GREY = 114
_LOG = logging.getLogger(__name__)

Array = NDArray[Any]
# Answers of a graph -> the outputs of the contract; the size of the input is (height, width).
_Reader = Callable[[Array, tuple[int, int]], dict[str, Array]]


@dataclass(frozen=True, slots=True)
class Foreign:
    """How a graph of others is fed and read.

    Args:
        title: what it was taken for, for people.
        spec: what ours would say about it.
        bgr: colours in the order blue, green, red.
        scale: of pixels 0..255.
        read: the graph's one output, as outputs of ours.
        raw: its boxes should be raw, which is checked with a picture.
        dtype: of the input.
    """

    title: str
    spec: ModelSpec
    bgr: bool
    scale: float
    read: _Reader
    raw: bool
    dtype: str


def recognise(
    header: OnnxHeader, where: str, names: Sequence[str] | None = None, name: str = "model"
) -> Foreign:
    """What a file without our metadata is.

    Args:
        header: of the file.
        where: what to call it in messages.
        names: its class names, in the order of its outputs; they win over its own.
        name: for the spec.

    Raises:
        ModelError: it is none of the known exports, or it needs class names.
    """
    ports = f"{_ports(header.inputs)} -> {_ports(header.outputs)}"
    unknown = ModelError(
        f"{where} is not a Whatwhere model, and none of the known exports of others (YOLOX with"
        f" raw outputs, Ultralytics detect and classify, YOLOv5): {ports}; give a file written by"
        " 'whatwhere train' or 'whatwhere export'"
    )
    if len(header.inputs) != 1 or len(header.outputs) != 1:
        raise unknown
    (pixels,), (answer,) = header.inputs, header.outputs
    size = _size(pixels, header.metadata)
    if size is None or pixels.dtype not in _FLOATS or answer.dtype not in _FLOATS:
        raise unknown
    own = _own_names(header.metadata)
    match = _match(answer.shape, size, header.metadata, own or names)
    if match is None:
        raise unknown
    chosen = _names(names, own, match.classes, where)
    classify = match.task == "classify"
    spec = ModelSpec(
        name=name,
        task="classify" if classify else "detect",
        names=chosen,
        preprocess=PreprocessSpec(size=size, fit=match.fit, resample="bilinear", pad=_GREY),
        postprocess=PostprocessSpec(
            score_threshold=0.0 if classify else 0.25, nms_iou=0.6, end_to_end=match.final
        ),
        architecture=match.title,
        source=f"a file of others, taken for {match.title}",
        license=header.metadata.get("license", ""),
        date=header.metadata.get("date", "")[:10],
    )
    return Foreign(match.title, spec, match.bgr, match.scale, match.read, match.raw, pixels.dtype)


class ForeignBackend:
    """A graph of others behind the interface of our own: the same input, the same outputs.

    Args:
        backend: the loaded graph.
        foreign: how it is fed and read.
        where: what to call it in messages.

    Raises:
        ModelError: its answer to a grey picture is not what it was taken for.
    """

    name: ClassVar[str] = "foreign"

    def __init__(self, backend: Backend, foreign: Foreign, where: str) -> None:
        self._backend, self._foreign, self._where = backend, foreign, where
        self.threads = backend.threads
        height, width = self._size = foreign.spec.preprocess.size
        # A graph that was exported for a batch of one runs picture by picture.
        self._batch = backend.inputs[0].shape[0]
        self.inputs: tuple[Port, ...] = (Port(INPUT, "uint8", (None, height, width, 3)),)
        if foreign.raw:
            self._check_raw(where)
        classes = len(foreign.spec.names)
        if foreign.spec.task == "classify":
            self.outputs: tuple[Port, ...] = (Port("logits", "float32", (None, classes)),)
        else:
            self.outputs = (
                Port("boxes", "float32", (None, None, 4)),
                Port("scores", "float32", (None, None, classes)),
            )

    @property
    def engine(self) -> str:
        """Name of the engine that runs the graph."""
        return self._backend.name

    def with_lanes(self, lanes: int, *, trial: bool = False) -> ForeignBackend:
        """The same graph, loaded for so many calls at once; see `Backend.with_lanes`."""
        loaded = self._backend.with_lanes(lanes, trial=trial)
        return ForeignBackend(loaded, self._foreign, self._where)

    def __call__(self, images: Array) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, float32, for pictures uint8 (N, height, width, 3), RGB."""
        return self._foreign.read(self._raw(images), self._size)

    def _raw(self, images: Array) -> Array:
        if self._foreign.bgr:
            images = images[..., ::-1]
        pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
        if self._foreign.scale != 1:
            pixels *= np.float32(self._foreign.scale)
        pixels = pixels.astype(self._foreign.dtype, copy=False)
        size = self._batch or len(pixels)
        answers = []
        for start in range(0, len(pixels), size):
            part = pixels[start : start + size]
            count = len(part)
            if count < size:
                part = np.concatenate([part, np.repeat(part[-1:], size - count, 0)])
            (values,) = self._backend(part).values()
            answers.append(values[:count])
        return np.concatenate(answers).astype(np.float32, copy=False)

    def _check_raw(self, where: str) -> None:
        """YOLOX answers offsets, others of the same shape answer pixels: a picture tells."""
        grey = np.full((1, *self._size, 3), _GREY, np.uint8)
        found = self._raw(grey)[0, :, :2]
        grid, strides = _grid(self._size, len(found))
        as_offsets = float(np.median(np.abs(found - 0.5)))
        as_pixels = float(np.median(np.abs(found / strides - grid - 0.5)))
        if not as_offsets < as_pixels or not as_offsets < 4:
            raise ModelError(
                f"{where} looks like YOLOX, but its boxes are already decoded, and YOLOv6 and"
                " others answer in the same shape from other pixels: export it with raw outputs"
                " (YOLOX: without --decode_in_inference)"
            )


def announce(foreign: Foreign, where: str) -> None:
    """Say what a file was taken for, on the log; Python shows such lines on stderr."""
    names = foreign.spec.names
    kind = "the names of COCO" if names == COCO_NAMES else f"{names[0]}, ..."
    colours = "BGR" if foreign.bgr else "RGB"
    _LOG.warning(
        "%s is not of Whatwhere; taken for %s: %s pixels 0..%g, %d classes (%s)",
        where,
        foreign.title,
        colours,
        255 * foreign.scale,
        len(names),
        kind,
    )


def read_names(file: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line; empty lines are passed over.

    Raises:
        ModelError: it is missing or not text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read as class names ({error}): check it") from error
    return tuple(line.strip() for line in lines if line.strip())


@dataclass(frozen=True, slots=True)
class _Match:
    title: str
    classes: int | None
    read: _Reader
    task: str = "detect"
    fit: Any = "letterbox"
    bgr: bool = False
    scale: float = 1 / 255
    raw: bool = False
    final: bool = False


def _match(
    shape: tuple[int | None, ...],
    size: tuple[int, int],
    metadata: Mapping[str, str],
    names: Sequence[str] | None,
) -> _Match | None:
    """The export that answers in this shape."""
    theirs = metadata.get("author") == "Ultralytics" or "names" in metadata
    task = metadata.get("task", "detect")
    if task == "classify" and theirs and len(shape) == 2:
        title = "Ultralytics classify"
        return _Match(title, shape[1], _probabilities, task=task, fit="crop")
    if task != "detect" or len(shape) != 3:
        return None
    _, rows, columns = shape
    counts = [_count(size, strides) for strides in _STRIDES]
    if rows in counts and columns is not None and columns > 5 and not theirs:
        return _Match("YOLOX", columns - 5, _yolox, fit="corner", bgr=True, scale=1.0, raw=True)
    if rows in [3 * count for count in counts] and columns is not None and columns > 5:
        return _Match("YOLOv5", columns - 5, _with_objectness)
    if rows is not None and rows > 4 and columns in (*counts, None):
        return _Match("Ultralytics detect", rows - 4, _columns)
    if columns == 6 and theirs and names:
        count = len(names)
        return _Match(
            "Ultralytics detect with final boxes",
            count,
            lambda values, size: _final(values, count),
            final=True,
        )
    return None


def _count(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    return sum(-(-size[0] // s) * -(-size[1] // s) for s in strides)


def _grid(size: tuple[int, int], anchors: int) -> tuple[Array, Array]:
    """Column and row (A, 2) of each anchor point, and its stride (A, 1), level by level."""
    cells, strides = [], []
    chosen = next(strides for strides in _STRIDES if _count(size, strides) == anchors)
    for stride in chosen:
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        ys, xs = np.mgrid[:rows, :columns].astype(np.float32)
        cells.append(np.stack([xs.ravel(), ys.ravel()], 1))
        strides.append(np.full((rows * columns, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)


def _corners(values: Array) -> Array:
    """Centre and size (..., 4) to x1 y1 x2 y2."""
    half = values[..., 2:4] / 2
    return np.concatenate([values[..., :2] - half, values[..., :2] + half], -1)


def _yolox(values: Array, size: tuple[int, int]) -> dict[str, Array]:
    grid, strides = _grid(size, values.shape[1])
    centre = (values[..., :2] + grid) * strides
    # Sides beyond the picture's by far are noise of untrained anchors, and overflow.
    sides = np.exp(np.minimum(values[..., 2:4], 12)) * strides
    boxes = _corners(np.concatenate([centre, sides], -1))
    return {"boxes": boxes, "scores": values[..., 5:] * values[..., 4:5]}


def _with_objectness(values: Array, size: tuple[int, int]) -> dict[str, Array]:
    return {"boxes": _corners(values), "scores": values[..., 5:] * values[..., 4:5]}


def _columns(values: Array, size: tuple[int, int]) -> dict[str, Array]:
    rows = values.transpose(0, 2, 1)
    return {"boxes": _corners(rows), "scores": np.ascontiguousarray(rows[..., 4:])}


def _final(values: Array, classes: int) -> dict[str, Array]:
    """Rows of x1 y1 x2 y2, score, class: a score for each class, all others 0."""
    ids = values[..., 5].astype(np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= classes):
        raise ModelError(
            f"the model answers class {ids.max()}, but has only {classes} names: give all names"
        )
    scores = np.zeros((*ids.shape, classes), np.float32)
    np.put_along_axis(scores, ids[..., None], values[..., 4:5], -1)
    return {"boxes": np.ascontiguousarray(values[..., :4]), "scores": scores}


def _probabilities(values: Array, size: tuple[int, int]) -> dict[str, Array]:
    if values.size and (values.min() < -1e-3 or abs(float(values[0].sum()) - 1) > 1e-2):
        raise ModelError(
            "the classifier's answers are no probabilities, as Ultralytics exports them:"
            " export it again, with its softmax"
        )
    return {"logits": np.log(np.clip(values, 1e-12, 1))}


def _names(
    given: Sequence[str] | None, own: tuple[str, ...] | None, count: int | None, where: str
) -> tuple[str, ...]:
    """Class names: those given, the file's own, or COCO's where their number fits."""
    names = tuple(given) if given else own
    if names is None and count == len(COCO_NAMES):
        return COCO_NAMES
    if names is None or (count is not None and len(names) != count):
        had = "no class names" if names is None else f"{len(names)} class names"
        file = Path(where).with_suffix(NAMES_SUFFIX).name
        raise ModelError(
            f"{where} answers {count or 'some'} classes and has {had}: write them into {file}"
            " beside it, one a line in the order of its outputs, or give names=... from Python"
        )
    if len(set(names)) != len(names):
        raise ModelError(f"two classes of {where} have the same name: correct its names")
    if not all(name.strip() for name in names):
        raise ModelError(f"a class of {where} has an empty name: correct its names")
    return names


def _own_names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """The class names in a file's metadata: a Python dict or list of text."""
    try:
        value = ast.literal_eval(metadata.get("names", ""))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, dict):
        if set(value) != set(range(len(value))):
            return None
        value = [value[key] for key in range(len(value))]
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) and value else None


def _size(port: Port, metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """(height, width) of the input N x 3 x H x W; where the graph leaves it open, `imgsz`."""
    if len(port.shape) != 4 or port.shape[1] not in (3, None):
        return None
    height, width = port.shape[2:]
    if height is None or width is None:
        try:
            value = ast.literal_eval(metadata.get("imgsz", ""))
            height, width = (int(side) for side in value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    return (height, width) if min(height, width) >= 1 else None


def _ports(ports: Sequence[Port]) -> str:
    """Inputs or outputs, for messages."""
    texts = [
        f"{port.name} {port.dtype} {'x'.join('?' if s is None else str(s) for s in port.shape)}"
        for port in ports[:4]
    ]
    return ", ".join(texts) or "none"
