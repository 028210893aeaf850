"""Detectors of the YOLO kind: one output, a row or a column for each place of a grid.

YOLOX: Ge et al., 2021, https://github.com/Megvii-BaseDetection/YOLOX, `YOLOXHead`. YOLOv6: Li et
al., 2022, https://github.com/meituan/YOLOv6, whose head writes an objectness of exactly 1. YOLOv5
and YOLOv7 have three boxes a cell. Ultralytics: https://docs.ultralytics.com/modes/export/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from whatwhere.runtime.foreign.facts import (
    FLOATS,
    Array,
    Candidate,
    Facts,
    Family,
    Reader,
    Unclear,
    between,
    one_hot,
)
from whatwhere.runtime.foreign.pixels import Pixels, said

STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_YOLOX = Pixels(scale=1.0, bgr=True)


def candidates(facts: Facts) -> Iterator[Candidate | Unclear]:
    """The ways to read a file with one output of rows and columns."""
    (answer,) = facts.outputs[:1]
    shape, size = answer.shape, facts.size
    if len(facts.outputs) != 1 or len(facts.inputs) != 1 or answer.dtype not in FLOATS:
        return
    if size is None or facts.task not in ("", "detect"):
        return
    outputs = (answer.name,)
    unit = said(facts.hints)
    if len(shape) == 2 and shape[1] == 7:
        graph = unit.graph(facts, "yolov7-final", outputs)
        title = "YOLOv7 with final boxes"
        yield Candidate(title, graph, None, _check_sevens, final=True, asked=True)
    if len(shape) != 3:
        return
    _, rows, columns = shape
    counts = [count(size, strides) for strides in STRIDES]
    if rows in counts and columns is not None and columns > 5 and not facts.theirs:
        classes = columns - 5
        bgr = said(facts.hints, _YOLOX)
        yield Candidate(
            "YOLOX", bgr.graph(facts, "yolox", outputs), classes, _check_raw, fit="corner"
        )
        yield Candidate(
            "YOLOX with decoded boxes",
            bgr.graph(facts, "yolox-decoded", outputs),
            classes,
            _check_decoded,
            fit="corner",
            asked=True,
        )
        yield Candidate("YOLOv6", unit.graph(facts, "yolov6", outputs), classes, _check_yolov6)
    if rows in [3 * number for number in counts] and columns is not None and columns > 5:
        graph = unit.graph(facts, "yolov5", outputs)
        yield Candidate("YOLOv5", graph, columns - 5, _check_scored)
    if rows is not None and rows > 4 and columns in (*counts, None):
        graph = unit.graph(facts, "ultralytics", outputs)
        yield Candidate("Ultralytics detect", graph, rows - 4, _check_columns)
    if columns == 6 and facts.theirs and facts.own:
        title = "Ultralytics detect with final boxes"
        graph = unit.graph(facts, "ultralytics-final", outputs)
        yield Candidate(title, graph, len(facts.own), _check_sixes, final=True)


def count(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    """Places of a grid with a cell each so many pixels, level by level."""
    return sum(-(-size[0] // s) * -(-size[1] // s) for s in strides)


def grid(size: tuple[int, int], anchors: int) -> tuple[Array, Array]:
    """Column and row (A, 2) of each anchor point, and its stride (A, 1), level by level."""
    cells, strides = [], []
    chosen = next(strides for strides in STRIDES if count(size, strides) == anchors)
    for stride in chosen:
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        ys, xs = np.mgrid[:rows, :columns].astype(np.float32)
        cells.append(np.stack([xs.ravel(), ys.ravel()], 1))
        strides.append(np.full((rows * columns, 1), stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)


def corners(values: Array) -> Array:
    """Centre and size (..., 4) to x1 y1 x2 y2."""
    half = values[..., 2:4] / 2
    return np.concatenate([values[..., :2] - half, values[..., :2] + half], -1)


def _read_yolox(answers: Sequence[Array], size: tuple[int, int], classes: int) -> dict[str, Array]:
    (values,) = answers
    cells, strides = grid(size, values.shape[1])
    centre = (values[..., :2] + cells) * strides
    # Sides beyond the picture's by far are noise of untrained anchors, and overflow.
    sides = np.exp(np.minimum(values[..., 2:4], 12)) * strides
    boxes = corners(np.concatenate([centre, sides], -1))
    return {"boxes": boxes, "scores": values[..., 5:] * values[..., 4:5]}


def _read_objects(
    answers: Sequence[Array], size: tuple[int, int], classes: int
) -> dict[str, Array]:
    (values,) = answers
    return {"boxes": corners(values), "scores": values[..., 5:] * values[..., 4:5]}


def _read_columns(
    answers: Sequence[Array], size: tuple[int, int], classes: int
) -> dict[str, Array]:
    rows = answers[0].transpose(0, 2, 1)
    return {"boxes": corners(rows), "scores": np.ascontiguousarray(rows[..., 4:])}


def _read_sixes(answers: Sequence[Array], size: tuple[int, int], classes: int) -> dict[str, Array]:
    """Rows of x1 y1 x2 y2, score, class: a score for each class, all others 0."""
    (values,) = answers
    scores = one_hot(values[..., 5], values[..., 4], classes)
    return {"boxes": np.ascontiguousarray(values[..., :4]), "scores": scores}


def _read_sevens(answers: Sequence[Array], size: tuple[int, int], classes: int) -> dict[str, Array]:
    """Rows of picture, x1 y1 x2 y2, class, score, for one picture."""
    values = answers[0][None]
    scores = one_hot(values[..., 5], values[..., 6], classes)
    return {"boxes": np.ascontiguousarray(values[..., 1:5]), "scores": scores}


def _decoded(values: Array, size: tuple[int, int]) -> bool:
    """Whether rows say places in pixels, not offsets to the grid, of a grey picture."""
    found = values[0, :, :2]
    cells, strides = grid(size, len(found))
    as_offsets = float(np.median(np.abs(found - 0.5)))
    as_pixels = float(np.median(np.abs(found / strides - cells - 0.5)))
    return not as_offsets < as_pixels or not as_offsets < 4


def _check_raw(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if any(values[..., 4:].min() < -1e-3 for (values,) in answers):
        return "its scores go below 0"
    if _decoded(answers[0][0], size):
        return (
            "its boxes are already decoded, and others answer in the same shape from other pixels:"
            " export it with raw outputs (YOLOX: without --decode_in_inference), or import it with"
            " --as yolox-decoded if it is YOLOX"
        )
    return None


def _check_decoded(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if not _decoded(answers[0][0], size):
        return "its boxes are not decoded"
    return _check_scored(answers, size)


def _check_yolov6(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if any((values[..., 4] != 1).any() for (values,) in answers):
        return "its objectness is not 1 everywhere"
    return _check_decoded(answers, size)


def _check_scored(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if not all(between(values[..., 4:]) for (values,) in answers):
        return "its scores are not in 0..1"
    return None


def _check_columns(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if not all(between(values[:, 4:]) for (values,) in answers):
        return "its scores are not in 0..1"
    if all(values[:, 2:4].max() <= 2 for (values,) in answers):
        return "its boxes are no larger than two pixels"
    return None


def _check_sixes(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    return _check_final([(values[..., :4], values[..., 4]) for (values,) in answers])


def _check_sevens(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    if any((values[:, 0] != 0).any() for (values,) in answers):
        return "its rows do not start with the number of the picture"
    return _check_final([(values[:, 1:5], values[:, 6]) for (values,) in answers])


def _check_final(found: Sequence[tuple[Array, Array]]) -> str | None:
    for boxes, scores in found:
        if not between(scores):
            return "its scores are not in 0..1"
        real = boxes[scores > 0]
        if (real[:, 2:] < real[:, :2]).any():
            return "its boxes do not end behind where they begin"
    return None


FAMILY = Family(
    candidates,
    {
        "yolox": Reader(_read_yolox),
        "yolox-decoded": Reader(_read_objects),
        "yolov5": Reader(_read_objects),
        "yolov6": Reader(_read_objects),
        "yolov7-final": Reader(_read_sevens, single=True),
        "ultralytics": Reader(_read_columns),
        "ultralytics-final": Reader(_read_sixes),
    },
)
