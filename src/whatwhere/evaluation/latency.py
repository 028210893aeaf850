"""How long an answer takes here: the models of the package, timed on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whatwhere.runtime import load
from whatwhere.types import Image

TIMED = {"classify": "imagenet-lite0", "detect": "objects-lite"}
"""Shipped models that stand for a classifier (multi-label ones cost the same) and a detector."""

_WARM, _RUNS = 2, 7


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds for one picture in memory, from pixels to answer.

    Args:
        model: what was timed.
        ms: median.
        size: (height, width) of the model's input.
    """

    model: str
    ms: float
    size: tuple[int, int]


def latency(predictor: Any, images: Sequence[Image], runs: int = _RUNS) -> float:
    """Median milliseconds for one picture at a time, after two that do not count.

    Args:
        predictor: as `load` gives it.
        images: RGB uint8 (H, W, 3), used in turn.
        runs: how many pictures are timed.
    """
    for place in range(_WARM):
        predictor.predict_images([images[place % len(images)]])
    taken = []
    for place in range(runs):
        start = time.perf_counter()
        predictor.predict_images([images[place % len(images)]])
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1e3


def shipped_latency(height: int = 480, width: int = 640) -> Mapping[str, Latency]:
    """`TIMED` on a picture of this size: by task, "multilabel" as "classify".

    Raises:
        ModelError: the installation is incomplete.
    """
    picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    made = {}
    for task, name in TIMED.items():
        predictor = load(name)
        size = predictor.spec.preprocess.size
        made[task] = Latency(name, latency(predictor, [picture]), (size[0], size[1]))
    made["multilabel"] = made["classify"]
    return made
