"""One answer of a model, ready to be asked for again with parts of the picture hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.decode import checked_output, sigmoid, softmax
from whatwhere.runtime.predictor import Predictor
from whatwhere.runtime.tiling import Tiles
from whatwhere.transforms import Geometry
from whatwhere.types import Boxes, Image, Labels, as_boxes, box_iou

Kind = Literal["object", "label"]

# How much of the surroundings of an object is looked at: so many times its mean side, and at
# least so many times its longer one. With the whole picture in the same number of cells, an
# object of a few pixels would lie in one cell.
_AROUND = 3.5
_BEYOND = 1.6


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An answer that is to be explained.

    Args:
        engine: the model that gave it.
        canvas: the input that it gave it for, uint8 (H, W, 3): the picture, or a tile of it.
        geometry: how the picture lies in the canvas.
        kind: "object" for a box, "label" for a class of the whole picture.
        name: its class.
        score: as the model predicts it.
        box: float32 (4,), x1 y1 x2 y2 in pixels of the picture; None for a label.
    """

    engine: Predictor
    canvas: Image
    geometry: Geometry
    kind: Kind
    name: str
    score: float
    box: Boxes | None = None

    @property
    def column(self) -> int:
        """Place of the class in the model's output."""
        return _names(self.engine, self.kind).index(self.name)

    def scores(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How much the model says the same of changed canvases (N, H, W, 3), each in 0..1.

        Of a label it is its probability, before any map of scores: such a map may be level. Of
        an object it is the largest product of IoU and score of the class over all boxes, before
        suppression: as D-RISE (Petsiuk et al., CVPR 2021, section 3.2), with the score of the
        class in place of objectness times the likeness of all scores, which models without
        objectness do not have.
        """
        outputs = self.engine.backend(images)
        spec = self.engine.spec
        if self.kind == "label":
            names = _names(self.engine, "label")
            logits = checked_output(outputs, "logits", (len(images), len(names)), spec)
            whole = spec.task != "detect"
            softly = (spec.task if whole else spec.label_task) == "classify"
            answers = spec.answers if whole else spec.label_answers
            shares = (softmax if softly else sigmoid)(logits, answers.temperature)
            return np.asarray(shares[:, self.column], dtype=np.float64)
        boxes = checked_output(outputs, "boxes", (len(images), -1, 4), spec)
        shape = (len(images), boxes.shape[1], len(spec.names))
        scores = checked_output(outputs, "scores", shape, spec)[:, :, self.column]
        if not boxes.shape[1]:
            return np.zeros(len(images))
        iou = box_iou(as_boxes(boxes.reshape(-1, 4)), self.in_canvas())[:, 0]
        return np.asarray((iou.reshape(scores.shape) * scores).max(axis=1), dtype=np.float64)

    def in_canvas(self) -> Boxes:
        """The object's box in canvas pixels, (1, 4), not clipped."""
        assert self.box is not None
        return self.geometry.to_input(self.box[None])

    def area(self) -> tuple[int, int, int, int]:
        """The part of the canvas that shows the picture: x1, y1, x2, y2, at least one pixel."""
        height, width = self.geometry.image_size
        whole = as_boxes([[0, 0, width, height]])
        x1, y1, x2, y2 = np.rint(self.geometry.to_input(whole)[0]).astype(int).tolist()
        rows, columns = self.canvas.shape[:2]
        x1, y1 = min(max(x1, 0), columns - 1), min(max(y1, 0), rows - 1)
        return x1, y1, min(max(x2, x1 + 1), columns), min(max(y2, y1 + 1), rows)

    def window(self) -> tuple[int, int, int, int]:
        """The part of the canvas that is looked at, x1, y1, x2, y2: all of a small object's
        surroundings, or the whole picture.
        """
        x1, y1, x2, y2 = self.area()
        if self.box is None:
            return x1, y1, x2, y2
        left, top, right, bottom = self.in_canvas()[0].tolist()
        sides = np.array([right - left, bottom - top])
        side = round(max(_BEYOND * sides.max(), _AROUND * np.sqrt(sides.prod()), 1))
        first, last = _span((left + right) / 2, side, x1, x2)
        upper, lower = _span((top + bottom) / 2, side, y1, y2)
        return first, upper, last, lower

    def to_picture(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map over the canvas as one over the picture; 0 where the canvas does not reach."""
        height, width = self.geometry.image_size
        for axis, length in ((0, height), (1, width)):
            scale, offset = self.geometry.scale[1 - axis], self.geometry.offset[1 - axis]
            values = _sampled(values, axis, (np.arange(length) + 0.5) * scale + offset - 0.5)
        return values


def find_subjects(
    predictor: Predictor | Pair,
    image: Image,
    *,
    name: str | None = None,
    box: Sequence[float] | None = None,
    kind: Kind | None = None,
    threshold: float | None = None,
) -> Iterator[Subject]:
    """The answers of a model on a picture, best first; none if it finds nothing.

    Objects come before labels: the labels of a model that answers both are given where it finds
    no object (of that name).

    Args:
        predictor: a model, or a pair.
        image: uint8 (height, width, 3).
        name: only answers of this class; any class of a classifier, whatever its score.
        box: x1 y1 x2 y2 in pixels of the picture, to ask about an object of class `name` there,
            found or not.
        kind: only objects or only labels.
        threshold: of objects; None for the model's own.

    Raises:
        UsageError: the model does not know the name, or the box is empty, without a name, or
            for a model without boxes.
    """
    heads = [head for engine in engines_of(predictor) for head in _heads(engine)]
    heads = [head for head in heads if kind in (None, head[1])]
    if name is not None:
        known = [name for _, _, names in heads for name in names]
        if name not in known:
            Labels(dict.fromkeys(known)).id(name)
        heads = [head for head in heads if name in head[2]]
    if box is not None:
        return iter([_asked(heads, image, name, box)])
    for engine, which, _ in heads:
        if which == "object":
            found = _objects(engine, image, name, threshold)
        else:
            found = _labels(engine, image, name)
        if (first := next(found, None)) is not None:
            return chain([first], found)
    return iter(())


def engines_of(predictor: Predictor | Pair) -> list[Predictor]:
    """The models of a predictor: itself, or both of a pair."""
    if isinstance(predictor, Pair):
        return [predictor.detector, predictor.classifier]
    return [predictor]


def _heads(engine: Predictor) -> Iterator[tuple[Predictor, Kind, tuple[str, ...]]]:
    if engine.spec.task == "detect":
        yield engine, "object", engine.spec.names
    if names := _names(engine, "label"):
        yield engine, "label", names


def _names(engine: Predictor, kind: Kind) -> tuple[str, ...]:
    whole = kind == "label" and engine.spec.task == "detect"
    return engine.spec.label_names if whole else engine.spec.names


def _asked(
    heads: Sequence[tuple[Predictor, Kind, tuple[str, ...]]],
    image: Image,
    name: str | None,
    box: Sequence[float],
) -> Subject:
    if name is None:
        raise UsageError("a box alone does not say what to look for there: name a class, too")
    engine = next((engine for engine, kind, _ in heads if kind == "object"), None)
    if engine is None:
        raise UsageError(f"the model gives no boxes of {name!r}: ask without a box")
    place = as_boxes([box])[0]
    if not (place[2:] > place[:2]).all():
        raise UsageError(f"the box {tuple(box)} is empty: give x1, y1, x2, y2 in pixels")
    return _view(engine, engine.prepare(image), name, None, place)


def _objects(
    engine: Predictor, image: Image, name: str | None, threshold: float | None
) -> Iterator[Subject]:
    prepared = engine.prepare(image)
    answer = engine.infer([prepared], names=[None], threshold=threshold)[0]
    assert answer.boxes is not None
    for row, found in enumerate(answer.object_names):
        if name in (None, found):
            score, box = float(answer.object_scores[row]), answer.boxes[row]
            yield _view(engine, prepared, found, score, box)


def _labels(engine: Predictor, image: Image, name: str | None) -> Iterator[Subject]:
    prepared = engine.prepare(image)
    # All labels: also one below the threshold can be asked about.
    answer = engine.infer([prepared], names=[None], evaluation=True)[0]
    canvas, geometry = _views(prepared)[0]
    for found, score in zip(answer.label_names, answer.label_scores.tolist(), strict=True):
        if name in (None, found):
            yield Subject(engine, canvas, geometry, "label", found, score)


def _view(engine: Predictor, prepared: Any, name: str, score: float | None, box: Boxes) -> Subject:
    """The object in the canvas in which the model sees it best; `score` None for that one's."""
    views = [
        Subject(engine, canvas, geometry, "object", name, score or 0.0, box)
        for canvas, geometry in _views(prepared)
    ]
    if len(views) == 1 and score is not None:
        return views[0]
    seen = [float(view.scores(view.canvas[None])[0]) for view in views]
    best = int(np.argmax(seen))
    given = seen[best] if score is None else score
    return Subject(engine, views[best].canvas, views[best].geometry, "object", name, given, box)


def _views(prepared: Any) -> list[tuple[Image, Geometry]]:
    if isinstance(prepared, Tiles):
        return [(prepared.canvas(i), lying) for i, lying in enumerate(prepared.geometries)]
    canvas, geometry = prepared
    return [(canvas, geometry)]


def _span(centre: float, side: int, first: int, last: int) -> tuple[int, int]:
    """Start and end of a span of the given length around a place, moved to lie in first..last."""
    length = min(side, last - first)
    start = min(max(round(centre - length / 2), first), last - length)
    return start, start + length


def _sampled(
    values: NDArray[np.float32], axis: int, places: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Values at fractional places along an axis, linear between them, 0 outside."""
    length = values.shape[axis]
    inside = (places > -0.5) & (places < length - 0.5)
    held = np.clip(places, 0, length - 1)
    low = held.astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    shape = (-1, 1) if axis == 0 else (1, -1)
    share = (held - low).astype(np.float32).reshape(shape)
    mixed = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    sampled: NDArray[np.float32] = mixed * inside.reshape(shape).astype(np.float32)
    return sampled
