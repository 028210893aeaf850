"""Random changes to training samples, in NumPy and OpenCV.

Every function takes the generator it draws from. The caller makes one for each sample
from (seed, epoch, position), so a sample depends on nothing else: not on the worker that
makes it, nor on what was drawn before. That is what makes runs repeat and resume exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.train.config import TrainConfig
from whatwhere.types import Boxes, Image, box_area

# An object of which less than this is still seen is no example, but no background either.
_SEEN = 0.3
_GREY = (114, 114, 114)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture and its objects; boxes float32 (N, 4) in its pixels.

    Args:
        classes: int64 (N,).
        ignore: bool (N,).
        known: bool (C,), classes whose absence is known; None for all.
    """

    image: Image
    boxes: Boxes
    classes: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    known: NDArray[np.bool_] | None = None


def place(
    sample: Sample, canvas: Image, scale: tuple[float, float], offset: tuple[float, float]
) -> Sample:
    """Paste a picture into `canvas` at scale and offset; what sticks out is cut off."""
    height, width = canvas.shape[:2]
    matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]])
    # OpenCV's pixel centres are whole numbers, ours lie at halves.
    matrix[:, 2] += 0.5 * np.array(scale) - 0.5
    cv2.warpAffine(
        sample.image,
        matrix,
        (width, height),
        dst=canvas,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    factors = np.array(scale * 2, np.float32)
    moved = sample.boxes * factors + np.array(offset * 2, np.float32)
    limits = np.array([width, height, width, height], np.float32)
    clipped: Boxes = np.clip(moved, 0, limits).astype(np.float32)
    seen = box_area(clipped) / np.maximum(box_area(moved), 1e-6)
    sides = clipped[:, 2:] - clipped[:, :2]
    keep = (sides > 1).all(1)
    return Sample(
        canvas,
        clipped[keep],
        sample.classes[keep],
        (sample.ignore | (seen < _SEEN))[keep],
        sample.known,
    )


def affine(
    sample: Sample, size: tuple[int, int], config: TrainConfig, rng: np.random.Generator
) -> Sample:
    """One picture, zoomed and moved at random, on a canvas of (height, width)."""
    height, width = size
    fit = min(height / sample.image.shape[0], width / sample.image.shape[1])
    # Half of the samples stay at the size that prediction will see.
    zoom = config.zoom ** rng.uniform(-1, 1) if rng.random() < 0.5 else 1.0
    aspect = np.exp(rng.uniform(-0.1, 0.1)) if zoom != 1.0 else 1.0
    scale = (fit * zoom * aspect, fit * zoom / aspect)
    free_x = width - sample.image.shape[1] * scale[0]
    free_y = height - sample.image.shape[0] * scale[1]
    offset = (free_x * rng.random(), free_y * rng.random())
    return place(sample, blank(size), scale, offset)


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
        tile = np.full(region.shape, _GREY[0], np.uint8)
        part = place(sample, tile, (scale, scale), (offset_x, offset_y))
        region[:] = tile
        shift = np.array([0 if left else cx, 0 if top else cy] * 2, np.float32)
        parts.append((part.boxes + shift, part))
    known = [part.known for _, part in parts if part.known is not None]
    return Sample(
        canvas,
        np.concatenate([boxes for boxes, _ in parts]).astype(np.float32),
        np.concatenate([part.classes for _, part in parts]),
        np.concatenate([part.ignore for _, part in parts]),
        np.logical_and.reduce(known) if known else None,
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
        image = image[:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < config.vertical_flip:
        image = image[::-1]
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1)
    return Sample(
        np.ascontiguousarray(image),
        boxes.astype(np.float32),
        sample.classes,
        sample.ignore,
        sample.known,
    )


def recolour(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Brightness, contrast and saturation changed by up to `strength`, hue a little."""
    if strength == 0:
        return image
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    levels = np.arange(256, dtype=np.float32)
    # One table for brightness and contrast together; a tint of each channel stands for hue.
    tint = 1 + 0.1 * strength * rng.uniform(-1, 1, 3)
    base = (levels * brightness - 128) * contrast + 128
    table = np.clip(base[:, None] * tint, 0, 255).astype(np.uint8)
    changed = cv2.LUT(image, table.reshape(256, 1, 3))
    if rng.random() < 0.5:
        grey = cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY)
        changed = cv2.addWeighted(
            changed, saturation, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), 1 - saturation, 0
        )
    result: Image = np.asarray(changed, np.uint8)
    return result


def blank(size: tuple[int, int]) -> Image:
    """A grey canvas of (height, width)."""
    canvas: Image = np.full((*size, 3), _GREY[0], np.uint8)
    return canvas
