"""A network of another library, ready to be exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray
from torch import nn

from whatwhere.specs import ModelSpec
from whatwhere.types import Image


class Answer(NamedTuple):
    """What a library answers for one picture.

    Args:
        boxes: float32 (K, 4), x1 y1 x2 y2 in pixels of the picture.
        scores: float32 (K,), in 0..1.
        names: of the classes, K of them.
    """

    boxes: NDArray[Any]
    scores: NDArray[Any]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A network with its weights.

    Args:
        net: takes uint8 images (N, H, W, 3), gives `boxes` and `scores`.
        spec: of the model file.
        answer: the library's own answer for a picture of exactly the input's size, by its own
            network, preprocessing and postprocessing.
        least: scores below this are not compared: the library would not give such boxes.
        notes: sentences for people.
    """

    net: nn.Module
    spec: ModelSpec
    answer: Callable[[Image], Answer]
    least: float
    notes: tuple[str, ...] = ()
