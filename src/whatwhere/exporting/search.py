"""How far a quantised graph's answers are from the original's, and which layers do that.

The error is measured on a few canvases, without labels; the gate has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.runtime import Predictor
from whatwhere.runtime.decode import sigmoid, softmax
from whatwhere.specs import ModelSpec
from whatwhere.types import Image, box_iou

Outputs = Mapping[str, NDArray[Any]]
# What a detector finds with less is never shown, and noise in it costs little.
_LEAST_SCORE = 0.05
_ROWS = 100


def output_error(ours: Outputs, theirs: Outputs, spec: ModelSpec) -> float:
    """How far the answers of one model are from another's for a batch, in 0..1.

    Of a detector: for each box that the first finds, 1 - the best of overlap times likeness of
    its class's score that the second has to offer, averaged by score; boxes need no fixed place.
    Of a classifier: half of the summed differences of its probabilities; of a multi-label model
    their mean difference.

    Args:
        ours, theirs: raw outputs as `runtime.decode.decode` takes them, N pictures.
        spec: of the model.
    """
    if spec.task == "classify":
        apart = np.abs(softmax(ours["logits"]) - softmax(theirs["logits"]))
        return float(apart.sum(axis=-1).mean() / 2)
    if spec.task == "multilabel":
        return float(np.abs(sigmoid(ours["logits"]) - sigmoid(theirs["logits"])).mean())
    lost, total = 0.0, 0.0
    for place in range(len(ours["boxes"])):
        boxes, scores = ours["boxes"][place], ours["scores"][place]
        best = scores.max(axis=1)
        rows = np.argsort(-best, kind="stable")[:_ROWS]
        # Without any find, the best guesses are compared.
        rows = rows[(best[rows] >= _LEAST_SCORE) | (np.arange(len(rows)) < 3)]
        if not len(rows):
            continue
        classes = scores[rows].argmax(axis=1)
        overlap = box_iou(boxes[rows].astype(np.float32), theirs["boxes"][place])
        alike = 1 - np.abs(best[rows, None] - theirs["scores"][place][:, classes].T)
        kept = (overlap * np.clip(alike, 0, 1)).max(axis=1, initial=0.0)
        lost += float((best[rows] * (1 - kept)).sum())
        total += float(best[rows].sum())
    return lost / total if total else 0.0


class Meter:
    """Measures the error of files against the original on the same canvases.

    Args:
        original: loaded.
        images: canvases, uint8 (H, W, 3).
        load: a file's bytes to a predictor.
    """

    def __init__(
        self, original: Predictor, images: Sequence[Image], load: Callable[[bytes], Predictor]
    ) -> None:
        self._spec, self._load = original.spec, load
        self._images = [image[None] for image in images]
        self._wanted = [original.backend(image) for image in self._images]

    def __call__(self, file: bytes) -> float:
        """Mean error in 0..1."""
        backend = self._load(file).backend
        errors = [
            output_error(wanted, backend(image), self._spec)
            for wanted, image in zip(self._wanted, self._images, strict=True)
        ]
        return float(np.mean(errors))


def ranked(
    groups: Sequence[Sequence[str]],
    cost: Mapping[str, float],
    error_of: Callable[[Sequence[str]], float],
) -> list[int]:
    """Groups of nodes in the order in which they should go back to float.

    Greedy: by the error that 8 bits in this group alone make, for its share of the work. The
    other way round, what one group in float gains, is blind where a tensor between two groups is
    what 8 bits cannot hold: either alone gains nothing.

    Args:
        groups: names of nodes.
        cost: work of each layer, by name; other nodes count nothing.
        error_of: the error with only these nodes in 8 bits.
    """
    total = sum(cost.values()) or 1.0
    worth = []
    for group in groups:
        share = sum(cost.get(name, 0.0) for name in group) / total
        # Two per cent more, so that a layer that costs nothing is not above all others.
        worth.append(error_of(group) / (share + 0.02))
    return sorted(range(len(groups)), key=lambda place: -worth[place])


def least_passing(
    count: int, passes: Callable[[int], bool], first: int = 1
) -> tuple[int | None, int]:
    """The least number from `first` to `count` that passes, if passing grows with it.

    Doubling, then halving: few trials, since each is a whole evaluation.

    Returns:
        The number, None if not even `count` passes; and how many trials there were.
    """
    low, high, trials = first - 1, first, 0
    while True:
        high = min(high, count)
        trials += 1
        if passes(high):
            break
        if high == count:
            return None, trials
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        trials += 1
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high, trials
