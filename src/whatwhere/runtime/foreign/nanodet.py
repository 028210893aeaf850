"""NanoDet and NanoDet-Plus: class scores and four distributions of distances for each place.

https://github.com/RangiLyu/nanodet, `nanodet_plus_head.py` and `gfl_head.py`: a distance is the
mean of its distribution over 0..7, in strides (Li et al., Generalized Focal Loss, 2020). Places of
NanoDet-Plus are the corners of the cells, those of NanoDet their centres.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from whatwhere.runtime.decode import softmax
from whatwhere.runtime.foreign.facts import (
    FLOATS,
    Array,
    Candidate,
    Facts,
    Family,
    Reader,
    Unclear,
    between,
)
from whatwhere.runtime.foreign.pixels import Pixels, said
from whatwhere.runtime.foreign.yolo import STRIDES, count, grid

_BINS = 8
_SIDES = 4 * _BINS
_PIXELS = Pixels(1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), bgr=True)


def candidates(facts: Facts) -> Iterator[Candidate | Unclear]:
    """NanoDet-Plus has levels down to stride 64 and stretches pictures; NanoDet does neither."""
    if len(facts.outputs) != 1 or len(facts.inputs) != 1 or facts.size is None or facts.theirs:
        return
    (answer,) = facts.outputs
    if len(answer.shape) != 3 or answer.dtype not in FLOATS:
        return
    _, rows, columns = answer.shape
    if columns is None or columns <= _SIDES:
        return
    pixels = said(facts.hints, _PIXELS)
    for strides, title, family in zip(
        STRIDES, ("NanoDet", "NanoDet-Plus"), ("nanodet", "nanodet-plus"), strict=True
    ):
        if rows == count(facts.size, strides):
            graph = pixels.graph(facts, family, (answer.name,))
            classes = columns - _SIDES

            def check(
                answers: Sequence[Sequence[Array]], size: tuple[int, int], classes: int = classes
            ) -> str | None:
                return _check(answers, classes)

            if family == "nanodet":
                yield Candidate(title, graph, classes, check, fit="letterbox", pad=0)
            else:
                yield Candidate(title, graph, classes, check, fit="stretch")


def _check(answers: Sequence[Sequence[Array]], classes: int) -> str | None:
    if not all(between(values[..., :classes]) for (values,) in answers):
        return "its scores are not in 0..1"
    if all(between(values[..., classes:]) for (values,) in answers):
        return "its distances have no distributions"
    return None


def _read(
    answers: Sequence[Array], size: tuple[int, int], classes: int, centre: float
) -> dict[str, Array]:
    (values,) = answers
    cells, strides = grid(size, values.shape[1])
    bins = values[..., -_SIDES:].reshape(*values.shape[:2], 4, _BINS)
    distances = (softmax(bins) @ np.arange(_BINS)).astype(np.float32) * strides
    places = (cells + np.float32(centre)) * strides
    boxes = np.concatenate([places - distances[..., :2], places + distances[..., 2:]], -1)
    return {"boxes": boxes, "scores": np.ascontiguousarray(values[..., :-_SIDES])}


FAMILY = Family(
    candidates,
    {
        "nanodet": Reader(lambda answers, size, classes: _read(answers, size, classes, 0.5)),
        "nanodet-plus": Reader(lambda answers, size, classes: _read(answers, size, classes, 0.0)),
    },
)
