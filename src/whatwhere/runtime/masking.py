"""Which parts of a picture an answer rests on, found by hiding them; for any model file.

A map gives, for each pixel of the model's input, how much more the model says it where the pixel
is seen than where it is hidden; below 0 where seeing it speaks against the answer. What is hidden
has the mean colour of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.runtime.subjects import Subject
from whatwhere.types import Image

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the passes through the model done, and their total."""

Map: TypeAlias = NDArray[np.float32]


class Method(Protocol):
    """A way to explain an answer."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def __call__(self, subject: Subject, progress: Progress | None = None) -> Map:
        """A map over the subject's canvas, float32 (H, W); see the module for its unit."""
        ...


@dataclass(frozen=True, slots=True)
class Occlusion:
    """A patch moves over the picture; what it costs to hide a place is the map.

    Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014. A patch
    covers 2 x 2 cells and moves by one, so each cell is hidden four times, by patches that stick
    out at the border.

    Args:
        cells: along the longer side of what is looked at; (cells + 1)² passes for a square.
        batch: canvases that go through the model together.
    """

    name: ClassVar[str] = "occlusion"
    cells: int = 14
    batch: int = 16

    def __post_init__(self) -> None:
        _at_least("cells", self.cells, 2)
        _at_least("batch", self.batch, 1)

    def __call__(self, subject: Subject, progress: Progress | None = None) -> Map:
        x1, y1, x2, y2 = window = subject.window()
        rows, columns = _grid(x2 - x1, y2 - y1, self.cells)
        ys = np.rint(np.linspace(y1, y2, rows + 1)).astype(int)
        xs = np.rint(np.linspace(x1, x2, columns + 1)).astype(int)
        fill = mean_colour(subject)
        places = [(row, column) for row in range(rows + 1) for column in range(columns + 1)]

        def hidden() -> Iterator[Image]:
            for row, column in places:
                changed = subject.canvas.copy()
                top, bottom = ys[max(row - 1, 0)], ys[min(row + 1, rows)]
                left, right = xs[max(column - 1, 0)], xs[min(column + 1, columns)]
                changed[top:bottom, left:right] = fill
                yield changed

        whole = float(subject.scores(subject.canvas[None])[0])
        scores = asked(subject, hidden(), len(places), self.batch, progress)
        cost = (whole - scores).reshape(rows + 1, columns + 1)
        cells = (cost[:-1, :-1] + cost[1:, :-1] + cost[:-1, 1:] + cost[1:, 1:]) / 4
        return placed(cells, window, subject)


@dataclass(frozen=True, slots=True)
class Rise:
    """Half of the picture is hidden by chance, many times; what was seen when the model still
    said it is the map.

    Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC
    2018; for objects D-RISE, CVPR 2021. In place of the mean score of the masks that show a
    pixel it gives the slope of the score over the mask: the same but for a constant and a
    factor, with less noise from how often chance shows a pixel.

    Args:
        masks: passes; the paper takes 4,000 to 8,000.
        cells: of a mask, along the longer side of what is looked at.
        share: of the cells that are seen.
        seed: the same seed gives the same masks.
        batch: canvases that go through the model together.
    """

    name: ClassVar[str] = "rise"
    masks: int = 1000
    cells: int = 8
    share: float = 0.5
    seed: int = 0
    batch: int = 16

    def __post_init__(self) -> None:
        _at_least("masks", self.masks, 2)
        _at_least("cells", self.cells, 2)
        _at_least("batch", self.batch, 1)
        if not 0 < self.share < 1:
            raise UsageError(f"the share of cells that are seen must be in 0..1, not {self.share}")

    def __call__(self, subject: Subject, progress: Progress | None = None) -> Map:
        x1, y1, x2, y2 = window = subject.window()
        shape = (y2 - y1, x2 - x1)
        fill = mean_colour(subject).astype(np.float32)
        seen = subject.canvas[y1:y2, x1:x2].astype(np.float32) - fill
        # Two walks over the same masks: the first for the model, the second for the sums.
        walks = [self._masks(shape) for _ in range(2)]

        def hidden() -> Iterator[Image]:
            for mask in walks[0]:
                changed = subject.canvas.copy()
                changed[y1:y2, x1:x2] = np.rint(seen * mask[..., None] + fill)
                yield changed

        scores = asked(subject, hidden(), self.masks, self.batch, progress)
        centred = scores - scores.mean()
        total, squares, product = (np.zeros(shape) for _ in range(3))
        for score, mask in zip(centred, walks[1], strict=True):
            total += mask
            squares += mask * mask
            product += score * mask
        spread = squares - total * total / self.masks
        slope = np.divide(product, spread, out=np.zeros(shape), where=spread > 1e-9)
        return placed(slope, window, subject)

    def _masks(self, shape: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
        """Smooth masks, float32 of the shape, 1 where the picture is seen."""
        random = np.random.default_rng(self.seed)
        rows, columns = _grid(shape[1], shape[0], self.cells)
        high, wide = -(-shape[0] // rows), -(-shape[1] // columns)
        size = ((columns + 1) * wide, (rows + 1) * high)
        for _ in range(self.masks):
            coarse = (random.random((rows + 1, columns + 1)) < self.share).astype(np.float32)
            smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
            y, x = int(random.integers(high)), int(random.integers(wide))
            yield np.asarray(smooth[y : y + shape[0], x : x + shape[1]], dtype=np.float32)


def asked(
    subject: Subject,
    canvases: Iterator[Image],
    total: int,
    batch: int,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Scores of changed canvases, float64 (total,), some at a time."""
    found: list[float] = []
    while len(found) < total:
        some = [next(canvases) for _ in range(min(batch, total - len(found)))]
        found += subject.scores(np.stack(some)).tolist()
        if progress is not None:
            progress(len(found), total)
    return np.array(found, dtype=np.float64)


def mean_colour(subject: Subject) -> NDArray[np.uint8]:
    """The mean colour of the picture in the canvas, uint8 (3,)."""
    x1, y1, x2, y2 = subject.area()
    colour: NDArray[np.uint8] = np.rint(subject.canvas[y1:y2, x1:x2].mean(axis=(0, 1))).astype(
        np.uint8
    )
    return colour


def placed(cells: NDArray[np.floating], window: tuple[int, int, int, int], subject: Subject) -> Map:
    """A coarse map of a window as one of the whole canvas, smooth; 0 outside the window."""
    x1, y1, x2, y2 = window
    values = np.zeros(subject.canvas.shape[:2], dtype=np.float32)
    coarse = np.asarray(cells, dtype=np.float32)
    values[y1:y2, x1:x2] = cv2.resize(coarse, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
    return values


def _grid(width: int, height: int, cells: int) -> tuple[int, int]:
    """Rows and columns of about square cells, never smaller than a pixel."""
    side = max(width, height) / min(cells, max(width, height))
    return max(1, round(height / side)), max(1, round(width / side))


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{name} must be at least {least}, not {value}")
