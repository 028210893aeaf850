"""Detectors of torchvision, as `torch.onnx.export` writes them: final boxes of one picture.

`torchvision.models.detection`: the graph scales and normalises pixels 0..1 itself, and answers
boxes (K, 4) in pixels, labels (K,) from 1 (0 is the background) and scores (K,), in any order.
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
from whatwhere.runtime.foreign.pixels import said


def candidates(facts: Facts) -> Iterator[Candidate | Unclear]:
    """Three outputs that the shapes and types tell apart."""
    if len(facts.outputs) != 3 or len(facts.inputs) != 1:
        return
    boxes = [p for p in facts.outputs if p.dtype in FLOATS and p.shape[1:] == (4,)]
    labels = [p for p in facts.outputs if p.dtype == "int64" and len(p.shape) == 1]
    scores = [p for p in facts.outputs if p.dtype in FLOATS and len(p.shape) == 1]
    if (len(boxes), len(labels), len(scores)) != (1, 1, 1) or facts.layout not in ("nchw", "chw"):
        return
    if facts.size is None:
        yield Unclear(
            "it looks like a detector of torchvision, whose input is of any size: say which,"
            " with --size HEIGHT,WIDTH"
        )
        return
    outputs = (boxes[0].name, labels[0].name, scores[0].name)
    yield Candidate(
        "torchvision detector",
        said(facts.hints).graph(facts, "torchvision", outputs),
        None,
        _check,
        fit="letterbox",
        resample="area",
        final=True,
        first=1,
    )


def _read(answers: Sequence[Array], size: tuple[int, int], classes: int) -> dict[str, Array]:
    boxes, labels, scores = (values[None] for values in answers)
    return {"boxes": np.ascontiguousarray(boxes), "scores": one_hot(labels, scores, classes)}


def _check(answers: Sequence[Sequence[Array]], size: tuple[int, int]) -> str | None:
    for boxes, labels, scores in answers:
        if not between(scores):
            return "its scores are not in 0..1"
        if (labels[scores > 0] < 1).any():
            return "it answers class 0, which is the background in torchvision"
        if (boxes[:, 2:] < boxes[:, :2]).any():
            return "its boxes do not end behind where they begin"
        if boxes.size and not between(boxes / max(size), -0.1, 1.1):
            return "its boxes lie outside the picture"
    return None


FAMILY = Family(candidates, {"torchvision": Reader(_read, single=True)})
