"""Random changes to training samples, in NumPy and OpenCV.

Every function takes the generator it draws from. The caller makes one for each sample
from (seed, epoch, position), so a sample depends on nothing else: not on the worker that
makes it, nor on what was drawn before. That is what makes runs repeat and resume exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.train.config import TrainConfig
from whatwhere.types import Boxes, Image, box_area

# An object of which less than this is still seen is no example, but no background either.
_SEEN = 0.3
# Nor is one whose shorter side is below this many pixels of the canvas.
LEAST_SIDE = 1.0
# The finest level of a detector looks at cells of 8 pixels.
_CELL = 8.0
_GREY = 114
# Share of red, green and blue in the grey of each (ITU-R BT.601), for all three channels.
_LUMA = np.array([[0.299, 0.587, 0.114]] * 3)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture and its objects; boxes float32 (N, 4) in its pixels.

    Args:
        classes: int64 (N,).
        ignore: bool (N,).
        known: bool (C,), classes whose absence is known; None for all.
        present: float32 (C,), how much of each class a mixed picture shows, in place of
            `classes`; None for a picture that is not mixed.
        said: float32 (N,), scores that a teacher gave beforehand, NaN for labels by people;
            None without such a teacher.
    """

    image: Image
    boxes: Boxes
    classes: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    known: NDArray[np.bool_] | None = None
    present: NDArray[np.float32] | None = None
    said: NDArray[np.float32] | None = None

    def objects(self, image: Image, boxes: Boxes, rows: NDArray[Any]) -> Sample:
        """Some of the objects, with boxes (N, 4) of all in pixels of another picture."""
        said = None if self.said is None else self.said[rows]
        return replace(
            self,
            image=image,
            boxes=boxes[rows],
            classes=self.classes[rows],
            ignore=self.ignore[rows],
            said=said,
        )


def place(
    sample: Sample, canvas: Image, scale: tuple[float, float], offset: tuple[float, float]
) -> Sample:
    """Paste a picture into `canvas` at scale and offset; what sticks out is cut off.

    Pixels are copied or resized as `transforms.resize` does it, so scale and offset are met
    within a pixel of the canvas, and the boxes follow what was really done.

    An object of which little is still seen, or which is too small for an example, is marked
    `ignore`: it is there, so its place is no background either. A region to ignore that is
    smaller than a cell of a detector is enlarged to one, or no anchor would notice it.

    Args:
        sample: boxes in pixels of its picture.
        canvas: uint8 (H, W, 3); changed.
        scale: (x, y), canvas pixels a picture pixel.
        offset: (x, y), where the picture's origin lies on the canvas.

    Returns:
        The canvas with the boxes in its pixels, all of them within it.
    """
    height, width = canvas.shape[:2]
    x = _span(sample.image.shape[1], scale[0], offset[0], width)
    y = _span(sample.image.shape[0], scale[1], offset[1], height)
    if x is None or y is None:
        return sample.objects(canvas, sample.boxes, np.zeros(0, np.int64))
    part = sample.image[y.first : y.end, x.first : x.end]
    if part.shape[:2] != (y.size, x.size):
        # 240 x 320 to 200 x 150: 0.05 ms bilinear, 0.30 ms by area, 0.48 ms as warpAffine.
        # Down to half the size each source pixel still counts in the bilinear one.
        small = 2 * y.size < part.shape[0] or 2 * x.size < part.shape[1]
        method = cv2.INTER_AREA if small else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(part, (x.size, y.size), interpolation=method))
    top, left = max(0, y.start), max(0, x.start)
    shown = part[top - y.start : height - y.start, left - x.start : width - x.start]
    canvas[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    factors = np.array([x.scale, y.scale] * 2, np.float32)
    moved = sample.boxes * factors + np.array([x.offset, y.offset] * 2, np.float32)
    limits = np.array([width, height] * 2, np.float32)
    clipped: Boxes = np.minimum(np.maximum(moved, 0), limits).astype(np.float32)
    sides = clipped[:, 2:] - clipped[:, :2]
    seen = box_area(clipped) / np.maximum(box_area(moved), 1e-6)
    tiny = (sides < LEAST_SIDE).any(1)
    ignore = sample.ignore | (seen < _SEEN) | tiny
    if (ignore & tiny).any():
        clipped = np.where((ignore & tiny)[:, None], _grown(clipped, limits), clipped)
    keep = (sides > 0).all(1)
    return replace(sample, ignore=ignore).objects(canvas, clipped, np.flatnonzero(keep))


class _Span(NamedTuple):
    """One axis of `place`: source pixels first..end become `size` pixels at `start`."""

    first: int
    end: int
    start: int
    size: int

    @property
    def scale(self) -> float:
        return self.size / (self.end - self.first)

    @property
    def offset(self) -> float:
        return self.start - self.first * self.scale


def _span(length: int, scale: float, offset: float, limit: int) -> _Span | None:
    """What of a picture's axis is seen in 0..limit; None if nothing is."""
    # More than is seen, so that rounding leaves no gap and the border has its neighbours.
    spare = 1 + math.ceil(1 / scale)
    first = max(0, math.floor(-offset / scale) - spare)
    end = min(length, math.ceil((limit - offset) / scale) + spare)
    if end <= first:
        return None
    start = round(offset + first * scale)
    size = max(1, round((end - first) * scale))
    return _Span(first, end, start, size) if start < limit and start + size > 0 else None


def _grown(boxes: Boxes, limits: Boxes) -> Boxes:
    """Boxes around the same centres with sides of at least `_CELL`, cut at the canvas."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum(boxes[:, 2:] - boxes[:, :2], _CELL) / 2
    grown = np.concatenate([centre - half, centre + half], 1)
    inside: Boxes = np.minimum(np.maximum(grown, 0), limits).astype(np.float32)
    return inside


def affine(
    sample: Sample, size: tuple[int, int], config: TrainConfig, rng: np.random.Generator
) -> Sample:
    """One picture, zoomed and moved at random, on a canvas of (height, width)."""
    height, width = size
    fit = min(height / sample.image.shape[0], width / sample.image.shape[1])
    zoom, aspect = random_zoom(config, rng)
    scale = (fit * zoom * aspect, fit * zoom / aspect)
    free_x = width - sample.image.shape[1] * scale[0]
    free_y = height - sample.image.shape[0] * scale[1]
    offset = (free_x * rng.random(), free_y * rng.random())
    return place(sample, blank(size), scale, offset)


def random_zoom(config: TrainConfig, rng: np.random.Generator) -> tuple[float, float]:
    """Enlargement and change of the aspect ratio (x by it, y by its inverse)."""
    # Half of the samples stay at the size that prediction will see.
    zoom = config.zoom ** rng.uniform(-1, 1) if rng.random() < 0.5 else 1.0
    return zoom, float(np.exp(rng.uniform(-0.1, 0.1))) if zoom != 1.0 else 1.0


def mosaic(
    samples: list[Sample], size: tuple[int, int], config: TrainConfig, rng: np.random.Generator
) -> Sample:
    """Four pictures around a random centre (Bochkovskiy et al., YOLOv4, 2020)."""
    height, width = size
    canvas = blank(size)
    cx, cy = rng.uniform(0.35, 0.65) * width, rng.uniform(0.35, 0.65) * height
    cx, cy = float(round(cx)), float(round(cy))
    parts = []
    for index, sample in enumerate(samples):
        left, top = index % 2 == 0, index < 2
        region = canvas[
            slice(0, int(cy)) if top else slice(int(cy), height),
            slice(0, int(cx)) if left else slice(int(cx), width),
        ]
        rows, columns = sample.image.shape[:2]
        fit = min(height / rows, width / columns)
        scale = fit * rng.uniform(0.5, 1.1)
        # The corner of the picture that points to the centre lies at the centre.
        offset_x = region.shape[1] - columns * scale if left else 0.0
        offset_y = region.shape[0] - rows * scale if top else 0.0
        part = place(sample, region, (scale, scale), (offset_x, offset_y))
        shift = np.array([0 if left else cx, 0 if top else cy] * 2, np.float32)
        parts.append(replace(part, boxes=(part.boxes + shift).astype(np.float32)))
    return together(canvas, parts)


def together(image: Image, parts: Sequence[Sample]) -> Sample:
    """A picture with the objects of several samples, whose boxes are in its pixels already."""
    known = [part.known for part in parts if part.known is not None]
    said = [part.said for part in parts if part.said is not None]
    return Sample(
        image,
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.ignore for part in parts]),
        np.logical_and.reduce(known) if known else None,
        said=np.concatenate(said) if said else None,
    )


def crop(
    image: Image, size: tuple[int, int], config: TrainConfig, rng: np.random.Generator
) -> Image:
    """A random part of a picture at (height, width), for classification.

    The area and aspect ratio vary as in Szegedy et al., Going Deeper with Convolutions (2015),
    but the smallest area is 1 / zoom squared.
    """
    rows, columns = image.shape[:2]
    area = rows * columns * rng.uniform(1 / config.zoom**2, 1.0)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))) * columns / rows
    height = min(rows, max(1, round(float(np.sqrt(area / aspect)))))
    width = min(columns, max(1, round(float(np.sqrt(area * aspect)))))
    y, x = rng.integers(0, rows - height + 1), rng.integers(0, columns - width + 1)
    part = image[y : y + height, x : x + width]
    shrinks = size[0] <= height and size[1] <= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Image = np.asarray(cv2.resize(part, (size[1], size[0]), interpolation=method))
    return resized


def mirror(sample: Sample, config: TrainConfig, rng: np.random.Generator) -> Sample:
    """Flipped sideways and upside down by chance."""
    image, boxes = sample.image, sample.boxes
    height, width = image.shape[:2]
    if rng.random() < config.flip:
        # 0.01 ms for 320 x 320; a copy of the reversed array takes 0.36 ms.
        image = np.asarray(cv2.flip(image, 1))
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < config.vertical_flip:
        image = np.asarray(cv2.flip(image, 0))
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1)
    return replace(sample, image=image, boxes=boxes.astype(np.float32))


def recolour(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Brightness, contrast and saturation changed by up to `strength`, hue a little.

    All of it is linear in the colours, so one matrix does it in one pass over the pixels.
    """
    if strength == 0:
        return image
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    # A tint of each channel stands for hue.
    tint = 1 + 0.1 * strength * rng.uniform(-1, 1, 3)
    gain = brightness * contrast * tint
    shift = 128 * (1 - contrast) * tint
    mix = np.eye(3)
    if rng.random() < 0.5:
        mix = saturation * mix + (1 - saturation) * _LUMA
    matrix = np.concatenate([mix * gain, (mix @ shift)[:, None]], 1).astype(np.float32)
    changed: Image = np.asarray(cv2.transform(image, matrix), np.uint8)
    return changed


def blank(size: tuple[int, int]) -> Image:
    """A grey canvas of (height, width)."""
    canvas: Image = np.full((*size, 3), _GREY, np.uint8)
    return canvas
