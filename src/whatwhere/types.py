"""Value types: class names, boxes, predictions.

One coordinate frame everywhere: boxes are float32 (N, 4) as x1, y1, x2, y2 in absolute
pixels of the original picture after EXIF turning, continuous (width = x2 - x1, no +1),
origin at the top left corner of the top left pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whatwhere.errors import UsageError

Image: TypeAlias = NDArray[np.uint8]
"""A picture: uint8, shape (height, width, 3), RGB."""

Boxes: TypeAlias = NDArray[np.float32]
"""Boxes: float32, shape (N, 4), x1 y1 x2 y2; make them with `as_boxes`."""

Scores: TypeAlias = NDArray[np.float32]
"""Scores: float32, shape (N,), in 0..1."""

Task: TypeAlias = Literal["classify", "multilabel", "detect"]
TASKS: tuple[Task, ...] = ("classify", "multilabel", "detect")


def as_boxes(values: ArrayLike) -> Boxes:
    """Boxes from anything array-like; an empty sequence gives shape (0, 4).

    Raises:
        UsageError: the shape is not (N, 4), or a value is not finite.
    """
    boxes = np.asarray(values, dtype=np.float32)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UsageError(f"boxes must have shape (N, 4), not {boxes.shape}: give x1, y1, x2, y2")
    if not np.isfinite(boxes).all():
        raise UsageError("boxes must be finite numbers: remove NaN and infinite coordinates")
    return boxes


def box_area(boxes: Boxes) -> NDArray[np.float32]:
    """Areas in square pixels, shape (N,); an inverted box has area 0."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    area: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return area


def box_iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Intersection over union of every pair, shape (len(a), len(b)), in 0..1.

    Two boxes of zero area have IoU 0.
    """
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0, None)
    inter = sides[..., 0] * sides[..., 1]
    union = box_area(a)[:, None] + box_area(b)[None, :] - inter
    iou: NDArray[np.float32] = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


def clip_boxes(boxes: Boxes, height: int, width: int) -> Boxes:
    """Boxes cut to the picture, 0 <= x <= width and 0 <= y <= height; a new array."""
    limits = np.array([width, height, width, height], dtype=np.float32)
    clipped: Boxes = np.clip(boxes, np.float32(0), limits)
    return clipped


class Labels(Sequence[str]):
    """The class names of a data set or model, in the order of their ids.

    Names are the contract: ids are positions here and mean nothing outside.

    Raises:
        UsageError: a name is empty or occurs twice.
    """

    __slots__ = ("_index", "_names")

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(str(name) for name in names)
        self._index = {name: position for position, name in enumerate(self._names)}
        if len(self._index) != len(self._names):
            twice = next(name for name in self._names if self._names.count(name) > 1)
            raise UsageError(f"class name {twice!r} occurs twice: give each class its own name")
        if any(not name.strip() for name in self._names):
            raise UsageError(f"class {self._names.index('')} has no name: name every class")

    def id(self, name: str) -> int:
        """Position of a name.

        Raises:
            UsageError: the name is unknown; the message proposes near ones.
        """
        try:
            return self._index[name]
        except KeyError:
            from difflib import get_close_matches

            near = get_close_matches(name, self._names, 3) or list(self._names[:5])
            raise UsageError(f"unknown class {name!r}: did you mean {', '.join(near)}?") from None

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, position: Any) -> Any:
        return self._names[position]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and other._names == self._names

    def __hash__(self) -> int:
        return hash(self._names)

    def __repr__(self) -> str:
        return f"Labels({list(self._names)!r})"


class Label(NamedTuple):
    """A class name and its score in 0..1."""

    name: str
    score: float


def _no_scores() -> Scores:
    return np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a model says about one picture: labels of the whole, objects with boxes, or both.

    Args:
        width, height: size of the picture in pixels, after EXIF turning.
        image: where the picture came from, as the caller named it.
        label_names, label_scores: what the whole picture shows, best first.
        object_names, object_scores: one entry a box, best first.
        boxes: float32 (N, 4) in pixels of the original picture; None if nothing was looked for.
        object_labels: for each box, what a second model says about its crop (may be empty).
        model: name of the model or pair of models.
        ms: milliseconds spent on this picture, from bytes to answer.
        unsure: whether a model that can say "not sure" does, so that no label is given; None if
            it cannot.
        label_set: classes of a conformal set, best first: the right one is among them with the
            chance that the model's spec states; None if the model gives none.

    Raises:
        UsageError: names, scores and boxes are not of one length.
    """

    width: int
    height: int
    image: str | None = None
    label_names: tuple[str, ...] = ()
    label_scores: Scores = field(default_factory=_no_scores)
    object_names: tuple[str, ...] = ()
    object_scores: Scores = field(default_factory=_no_scores)
    boxes: Boxes | None = None
    object_labels: tuple[tuple[Label, ...], ...] = ()
    model: str | None = None
    ms: float | None = None
    unsure: bool | None = None
    label_set: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        labels, objects = len(self.label_names), len(self.object_names)
        if self.label_scores.shape != (labels,):
            raise UsageError(f"{labels} labels need {labels} scores, not {self.label_scores.shape}")
        if self.object_scores.shape != (objects,):
            raise UsageError(
                f"{objects} objects need {objects} scores, not {self.object_scores.shape}"
            )
        if self.boxes is None:
            if objects:
                raise UsageError(f"{objects} objects need boxes of shape ({objects}, 4)")
        elif self.boxes.shape != (objects, 4):
            raise UsageError(
                f"{objects} objects need boxes of shape ({objects}, 4), not {self.boxes.shape}"
            )
        if self.object_labels and len(self.object_labels) != objects:
            raise UsageError(f"{objects} objects need {objects} lists of labels or none")

    @property
    def names(self) -> tuple[str, ...]:
        """Class name of each row: of the objects if boxes were looked for, else of the labels."""
        return self.label_names if self.boxes is None else self.object_names

    @property
    def scores(self) -> Scores:
        """Score of each row, float32 (N,), best first."""
        return self.label_scores if self.boxes is None else self.object_scores

    def __len__(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `predict --json`: plain Python values, boxes rounded to 0.01 px.

        `unsure` and `label_set` are there only if the model gives them.
        """
        per_object = self.object_labels or ((),) * len(self.object_names)
        boxes = np.zeros((0, 4), np.float32) if self.boxes is None else self.boxes
        return {
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "labels": [
                {"name": name, "score": round(float(score), 6)}
                for name, score in zip(self.label_names, self.label_scores, strict=True)
            ],
            "objects": [
                {
                    "name": name,
                    "score": round(float(score), 6),
                    "box": [round(float(value), 2) for value in box],
                    "labels": [
                        {"name": label.name, "score": round(float(label.score), 6)}
                        for label in labels
                    ],
                }
                for name, score, box, labels in zip(
                    self.object_names, self.object_scores, boxes, per_object, strict=True
                )
            ],
            "model": self.model,
            "ms": None if self.ms is None else round(self.ms, 2),
            **({} if self.unsure is None else {"unsure": self.unsure}),
            **({} if self.label_set is None else {"label_set": list(self.label_set)}),
        }


class Cut(float):
    """A threshold that differs by class. As a number it is that of classes without their own.

    So whatever takes one threshold takes this, too, and what knows classes asks `limit_of`.

    Args:
        usual: of classes that `own` does not name.
        own: by class name.
    """

    own: Mapping[str, float]

    def __new__(cls, usual: float, own: Mapping[str, float]) -> Self:
        made = super().__new__(cls, usual)
        made.own = dict(own)
        return made

    def __getnewargs__(self) -> tuple[float, Mapping[str, float]]:  # type: ignore[override]
        return float(self), self.own


def limit_of(threshold: float, name: str) -> float:
    """The score from which an answer of a class counts.

    A class's own threshold is rounded as the scores of predictions are, to float32, so that a
    score that was chosen as threshold reaches it.
    """
    if isinstance(threshold, Cut) and name in threshold.own:
        return float(np.float32(threshold.own[name]))
    return float(threshold)


def limits(threshold: float, names: Iterable[str]) -> NDArray[np.float64]:
    """`limit_of` each of these classes, float64 (C,)."""
    return np.array([limit_of(threshold, name) for name in names], dtype=np.float64)


def score_words(threshold: float) -> str:
    """Such as "score 0.25", for a sentence."""
    if not isinstance(threshold, Cut):
        return f"score {threshold:g}"
    ends = min(threshold.own.values()), max(threshold.own.values())
    between = f"{ends[0]:.3g}" if ends[0] == ends[1] else f"{ends[0]:.3g} to {ends[1]:.3g}"
    return f"the model's own score of each class ({between})"
