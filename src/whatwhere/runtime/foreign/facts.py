"""What can be known about a model file of others before it runs, and what its user says of it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ModelError
from whatwhere.runtime.onnxfile import GraphNames, OnnxHeader, Port, read_graph_names
from whatwhere.specs import GraphSpec
from whatwhere.transforms import Fit, Resample

Array = NDArray[Any]
FLOATS = ("float32", "float16")
GREY = 114
_CONFIGS = ("config.json", "preprocessor_config.json")
# Larger files beside a model are not its configuration.
_MOST_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user says about a file; None where the file shall say it.

    Args:
        family: a key of `READERS`: what its answers are.
        names: class names in the order of its outputs; "-" for an output that is no class.
        size: (height, width) of the input, where the graph leaves it open.
        pixels: a key of `pixels.PIXELS`.
        mean, std: of the pixels, for red, green, blue; they replace those of `pixels`.
        bgr: the graph takes blue, green, red.
        fit, crop, resample: as in `transforms.Preprocess`.
        softmax: a classifier's answers are probabilities already.
        task: "classify" or "multilabel", for a graph that answers one value a class.
        license: of the weights, as an SPDX expression.
        name: of the model.
    """

    family: str | None = None
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    pixels: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    bgr: bool | None = None
    fit: Fit | None = None
    crop: float | None = None
    resample: Resample | None = None
    softmax: bool | None = None
    task: Literal["classify", "multilabel"] | None = None
    license: str | None = None
    name: str | None = None

    @property
    def says_pixels(self) -> bool:
        """Whether the user says which pixels it takes."""
        return self.pixels is not None or (self.mean is not None and self.std is not None)


class Facts:
    """A file, looked at from outside.

    Args:
        header: of the file.
        model: the file, or its bytes.
        where: what to call it in messages.
        hints: what the user says.

    Attributes:
        own: class names in its metadata.
        task: what its metadata calls its task; "" if they do not.
        theirs: whether its metadata are of the kind that Ultralytics' exporters write.
    """

    def __init__(
        self, header: OnnxHeader, model: Path | bytes, where: str, hints: Hints | None = None
    ) -> None:
        self.header, self.model, self.where = header, model, where
        self.hints = hints or Hints()
        self.metadata: Mapping[str, str] = header.metadata
        self.inputs, self.outputs = header.inputs, header.outputs
        self.own = listed_names(self.metadata.get("names", ""))
        self.task = self.metadata.get("task", "")
        self.theirs = self.metadata.get("author") == "Ultralytics" or "names" in self.metadata

    @property
    def pixels(self) -> Port:
        """The input that takes pictures: the first."""
        return self.inputs[0]

    def output(self, *names: str) -> Port | None:
        """The output of one of these names."""
        return next((port for port in self.outputs if port.name in names), None)

    @cached_property
    def layout(self) -> Literal["nchw", "nhwc", "chw"] | None:
        """Where the input has its channels; None if it takes no coloured pictures."""
        shape = self.pixels.shape
        if len(shape) == 3 and shape[0] == 3:
            return "chw"
        if len(shape) != 4:
            return None
        if shape[1] == 3:
            return "nchw"
        if shape[3] == 3:
            return "nhwc"
        return "nchw" if shape[1] is None and shape[3] is None else None

    @cached_property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the input; where the graph leaves it open, what is said of it."""
        shape, layout = self.pixels.shape, self.layout
        if layout is None:
            return None
        height, width = shape[1:3] if layout in ("nhwc", "chw") else shape[2:4]
        if layout == "chw":
            height, width = shape[1:3]
        said = self.hints.size or _sides(self.metadata.get("imgsz", "")) or self._configured_size()
        if said is not None:
            height = said[0] if height is None else height
            width = said[1] if width is None else width
        return None if height is None or width is None else (height, width)

    @cached_property
    def graph(self) -> GraphNames:
        """Names of the graph's nodes and weights, which exporters keep from their source."""
        return read_graph_names(self.model, self.where)

    @cached_property
    def beside(self) -> Mapping[str, Any]:
        """The configuration that Hugging Face's exporters put beside a model, merged.

        Keys of `preprocessor_config.json` win; nothing if the files are of another kind.
        """
        found: dict[str, Any] = {}
        if isinstance(self.model, bytes):
            return found
        folder = self.model.resolve().parent
        for place in (folder.parent, folder) if folder.name == "onnx" else (folder,):
            for name in _CONFIGS:
                found |= _read_config(place / name)
        return found if "model_type" in found or "pretrained_cfg" in found else {}

    def _configured_size(self) -> tuple[int, int] | None:
        said = self.beside.get("crop_size", self.beside.get("size"))
        if isinstance(said, dict) and {"height", "width"} <= set(said):
            return _sides(f"{said['height']}, {said['width']}")
        return None

    @cached_property
    def configured_names(self) -> tuple[str, ...] | None:
        """Class names in the configuration beside it; "-" for places that are no class."""
        table = self.beside.get("id2label")
        if not isinstance(table, dict):
            return None
        try:
            ids = {int(key): str(value) for key, value in table.items()}
        except ValueError:
            return None
        # What Hugging Face numbers because nobody named it is no name.
        if not ids or min(ids) < 0 or all(name == f"LABEL_{i}" for i, name in ids.items()):
            return None
        return tuple(ids.get(i, "-") for i in range(max(ids) + 1))


Check = Callable[[Sequence[Sequence[Array]], tuple[int, int]], str | None]
"""What the answers to the trial's pictures say against a candidate, see there."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to read a file.

    Args:
        title: what the file would be, for people.
        graph: how it is fed and read.
        width: classes that the graph counts, with those that are none; None if not to be seen.
        check: what its answers to the trial's pictures, grey first, say against it; None if
            nothing. Each picture's answers are in the order of `graph.outputs`.
        task: what it answers.
        fit, crop, resample, pad: as in `transforms.Preprocess`.
        final: its boxes need no suppression.
        asked: only if the user says so.
        named: class names that go with it.
        first: place of the first class among the graph's, where names leave out what is before.
        note: what was taken for granted, for people.
    """

    title: str
    graph: GraphSpec
    width: int | None
    check: Check
    task: Literal["classify", "multilabel", "detect"] = "detect"
    fit: Fit = "letterbox"
    crop: float = 1.0
    resample: Resample = "bilinear"
    pad: int = GREY
    final: bool = False
    asked: bool = False
    named: tuple[str, ...] | None = None
    first: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Unclear:
    """A form that was known, but for something that its user has to say.

    Args:
        reason: what, and how to say it.
    """

    reason: str


# A module's function that gives all ways to read a file that it knows.
Candidates = Callable[[Facts], Iterator[Candidate | Unclear]]


@dataclass(frozen=True, slots=True)
class Reader:
    """How the answers of one family are read.

    Args:
        read: answers of N pictures in the order of `GraphSpec.outputs`, the input's (height,
            width), and the number of classes that the graph counts -> `boxes` (N, A, 4), x1 y1 x2
            y2 in input pixels, with `scores` (N, A, C); or `logits` (N, C).
        single: it answers one picture at a time.
    """

    read: Callable[[Sequence[Array], tuple[int, int], int], dict[str, Array]]
    single: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A file's worth of families.

    Args:
        candidates: the ways to read a file that it knows.
        readers: by the name that `GraphSpec.family` gives them.
    """

    candidates: Candidates
    readers: Mapping[str, Reader] = field(default_factory=dict)


def between(values: Array, low: float = 0.0, high: float = 1.0) -> bool:
    """Whether all values lie in the range, within what half precision rounds away."""
    return not values.size or bool(values.min() >= low - 1e-3 and values.max() <= high + 1e-3)


def listed_names(text: str) -> tuple[str, ...] | None:
    """Class names in metadata: a Python dict or list of text; None if it is neither."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, dict):
        if set(value) != set(range(len(value))):
            return None
        value = [value[key] for key in range(len(value))]
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) and value else None


def said_of(ports: Sequence[Port]) -> str:
    """Inputs or outputs, for messages."""
    texts = [
        f"{port.name} {port.dtype} {'x'.join('?' if s is None else str(s) for s in port.shape)}"
        for port in ports[:4]
    ]
    return ", ".join(texts) or "none"


def one_hot(ids: Array, scores: Array, classes: int) -> Array:
    """Scores (N, K) of classes (N, K) as a table (N, K, classes); rows of score 0 are empty.

    Raises:
        ModelError: a row has a class that the table has no place for.
    """
    found = ids.astype(np.int64)
    used = scores > 0
    if used.any() and (found[used].min() < 0 or found[used].max() >= classes):
        worst = found[used].min() if found[used].min() < 0 else found[used].max()
        raise ModelError(
            f"the model answers class {worst}, but has only {classes} names: give all names"
        )
    table = np.zeros((*found.shape, classes), np.float32)
    places = np.clip(found, 0, classes - 1)[..., None]
    np.put_along_axis(table, places, np.where(used, scores, 0)[..., None], -1)
    return table


def _sides(text: str) -> tuple[int, int] | None:
    try:
        height, width = (int(side) for side in ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return (height, width) if min(height, width) >= 1 else None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {}
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def checked_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Class names, each there and given once.

    Raises:
        ModelError: they are not.
    """
    if len(set(names)) != len(names):
        raise ModelError(f"two classes of {where} have the same name: correct its names")
    if not all(name.strip() for name in names):
        raise ModelError(f"a class of {where} has an empty name: correct its names")
    return tuple(names)
