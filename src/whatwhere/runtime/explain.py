"""Why a model says what it says: maps of what an answer rests on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.images import DEFAULT_MAX_PIXELS
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.items import Source, name_of, pixels_of
from whatwhere.runtime.loading import load
from whatwhere.runtime.masking import Method, Occlusion, Progress, Rise
from whatwhere.runtime.predictor import Predictor
from whatwhere.runtime.subjects import Kind, Subject, find_subjects
from whatwhere.types import Boxes

METHODS: tuple[str, ...] = (Occlusion.name, Rise.name)
"""Names that `explain` takes; `train.explain.Gradients` is a method, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What an answer rests on.

    Args:
        image: where the picture came from, as the caller named it.
        width, height: of the picture in pixels.
        kind: "object" for a box, "label" for a class of the whole picture.
        name, score: of the answer, as the model predicts it.
        box: float32 (4,), x1 y1 x2 y2 in pixels; None for a label.
        values: float32 (height, width). Of occlusion and RISE how much more the model says it
            where a pixel is seen than where it is hidden, in score; below 0 where seeing it
            speaks against the answer. Of gradient methods a share of the answer without unit.
            0 where nothing was looked for: outside the model's input, and far from an object.
        method: its name.
        model: name of the model.
    """

    image: str | None
    width: int
    height: int
    kind: Kind
    name: str
    score: float
    box: Boxes | None
    values: NDArray[np.float32]
    method: str
    model: str

    @property
    def heat(self) -> NDArray[np.float32]:
        """What speaks for the answer, 0..1 of its highest place; all 0 if nothing does."""
        positive: NDArray[np.float32] = np.maximum(self.values, np.float32(0))
        top = float(positive.max(initial=0.0))
        return np.asarray(positive / top, np.float32) if top > 0 else positive

    @property
    def peak(self) -> tuple[float, float] | None:
        """Middle (x, y) of the pixel that speaks most for the answer; None if none does."""
        place = int(self.values.argmax())
        y, x = divmod(place, self.width)
        return (x + 0.5, y + 0.5) if self.values[y, x] > 0 else None

    @property
    def inside(self) -> float | None:
        """Share of what speaks for an object that lies in its box, 0..1; None for a label.

        The "energy-based pointing game" of Wang et al., Score-CAM, CVPR-W 2020.
        """
        if self.box is None:
            return None
        total = float(self.heat.sum(dtype=np.float64))
        x1, y1, x2, y2 = np.rint(self.box).astype(int).clip(0).tolist()
        return float(self.heat[y1:y2, x1:x2].sum(dtype=np.float64)) / total if total else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `explain --json`: plain values, without the map itself."""
        return {
            "image": self.image,
            "width": self.width,
            "height": self.height,
            "kind": self.kind,
            "name": self.name,
            "score": round(self.score, 6),
            "box": None if self.box is None else [round(float(x), 2) for x in self.box],
            "method": self.method,
            "peak": None if self.peak is None else list(self.peak),
            "highest": round(float(self.values.max(initial=0.0)), 6),
            "inside": None if self.inside is None else round(self.inside, 4),
            "model": self.model,
        }


def explain(
    model: Predictor | Pair | str | os.PathLike[str],
    picture: Source,
    *,
    name: str | None = None,
    box: Sequence[float] | None = None,
    method: Method | Literal["occlusion", "rise"] | str = "occlusion",
    most: int = 1,
    threshold: float | None = None,
    backend: str = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
) -> list[Explanation]:
    """Why a model says what it says of a picture: one map for each answer, best answer first.

    Works on any model file, without torch. Of an object only its surroundings are looked at
    (3.5 times its side), in cells that suit its size; of a label, and of a large object, all that
    the model sees of the picture.

    Args:
        model: a predictor, or what `runtime.load` takes.
        picture: a path, the bytes of a file, or RGB pixels uint8 (H, W, 3).
        name: explain this class: of a detector its best object of that class, of a classifier
            also a class that it does not choose. The best answer if left out.
        box: x1 y1 x2 y2 in pixels: explain how much an object `name` is seen there, also where
            the model does not find it.
        method: "occlusion" (225 passes, always the same), "rise" (1,000 passes, finer shapes,
            some noise), or one with other settings, such as `Rise(masks=4000, seed=1)`.
        most: explain at most so many answers.
        threshold: score that objects need; None for the model's own.
        backend: as in `runtime.load`; used only where `model` is a name or path.
        max_pixels: larger pictures are refused before they are decoded.
        progress: called after each batch of passes.

    Returns:
        An empty list if the model finds nothing (of that name) in the picture.

    Raises:
        UsageError: an unknown method or class, `most` below 1, or a box that makes no sense.
        ImageError: the picture cannot be read.
        ModelError: the model is missing, damaged, or does not do what its spec says.
    """
    if most < 1:
        raise UsageError(f"at least 1 answer must be asked for, not {most}")
    way = find_method(method)
    predictor = load(model, backend=backend) if isinstance(model, str | os.PathLike) else model
    image = pixels_of(picture, max_pixels)
    where = name_of(picture)
    found = find_subjects(predictor, image, name=name, box=box, threshold=threshold)
    return [
        explanation(subject, way(subject, progress), way.name, where)
        for subject in islice(found, most)
    ]


def explanation(
    subject: Subject, values: NDArray[np.float32], method: str, image: str | None = None
) -> Explanation:
    """The explanation of a subject from a map (H, W) over its canvas."""
    height, width = subject.geometry.image_size
    return Explanation(
        image=image,
        width=width,
        height=height,
        kind=subject.kind,
        name=subject.name,
        score=subject.score,
        box=subject.box,
        values=subject.to_picture(values),
        method=method,
        model=subject.engine.name,
    )


_KNOWN: Mapping[str, type[Occlusion] | type[Rise]] = {way.name: way for way in (Occlusion, Rise)}


def find_method(method: Method | str) -> Method:
    """A method by its name, with its usual settings; a method itself is given back.

    Raises:
        UsageError: there is none of that name.
    """
    if not isinstance(method, str):
        return method
    if method not in _KNOWN:
        raise UsageError(f"unknown method {method!r}: use one of {', '.join(METHODS)}")
    return _KNOWN[method]()
