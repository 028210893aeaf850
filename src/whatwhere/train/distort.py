"""One strong random change to a classifier's sample: TrivialAugment, in NumPy and OpenCV.

Müller & Hutter, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation (ICCV 2021),
the "wide" set of operations. A picture gets one of them, of a strength drawn at random; there is
nothing to tune. Differences: pictures are moved by a share of their side in place of 32 pixels,
and what comes in from outside is grey.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.types import Image

# The largest strengths of the paper's wide set; its 32 pixels are of ImageNet's 224.
_SHEAR, _MOVE, _DEGREES, _ENHANCE = 0.99, 32 / 224, 135.0, 0.99
_BITS = (2, 8)
_GREY = 114
# Share of red, green and blue in the grey of each (ITU-R BT.601), for all three channels.
_LUMA = np.array([[0.299, 0.587, 0.114]] * 3)
# Pillow's SMOOTH, from which its sharpness blends.
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
_LEVELS = np.arange(256)

# A picture and a strength in -1..1 -> the changed picture.
Operation: TypeAlias = Callable[[Image, float], Image]


def distort(image: Image, chance: float, rng: np.random.Generator) -> Image:
    """With this chance one operation at random, at a strength of -1..1 at random.

    Args:
        image: uint8 (height, width, 3), RGB.
        chance: 0..1; at 0 nothing is drawn.
        rng: to draw from.
    """
    if chance == 0 or rng.random() >= chance:
        return image
    name = _NAMES[rng.integers(len(_NAMES))]
    return OPERATIONS[name](image, float(rng.uniform(-1, 1)))


def _warp(image: Image, matrix: NDArray[np.float64]) -> Image:
    """Moved by an affine map (2, 2) about the picture's middle."""
    height, width = image.shape[:2]
    # Centres of pixels are at whole numbers for OpenCV.
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    full = np.concatenate([matrix, (middle - matrix @ middle)[:, None]], 1)
    return _moved(image, full)


def _moved(image: Image, matrix: NDArray[np.float64]) -> Image:
    height, width = image.shape[:2]
    moved: Image = np.asarray(
        cv2.warpAffine(
            image,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(_GREY, _GREY, _GREY),
        ),
        np.uint8,
    )
    return moved


def _rotate(image: Image, strength: float) -> Image:
    angle = np.deg2rad(_DEGREES * strength)
    cos, sin = np.cos(angle), np.sin(angle)
    return _warp(image, np.array([[cos, -sin], [sin, cos]]))


def _shift(image: Image, x: float, y: float) -> Image:
    height, width = image.shape[:2]
    return _moved(image, np.array([[1, 0, x * width], [0, 1, y * height]], float))


def _linear(image: Image, matrix: NDArray[np.float64], shift: float = 0.0) -> Image:
    """Colours (3,) multiplied by a matrix (3, 3), and something added."""
    full = np.concatenate([matrix, np.full((3, 1), shift)], 1).astype(np.float32)
    changed: Image = np.asarray(cv2.transform(image, full), np.uint8)
    return changed


def _saturate(image: Image, strength: float) -> Image:
    share = 1 + _ENHANCE * strength
    return _linear(image, share * np.eye(3) + (1 - share) * _LUMA)


def _contrast(image: Image, strength: float) -> Image:
    share = 1 + _ENHANCE * strength
    mean = float(image.reshape(-1, 3).mean(0) @ _LUMA[0])
    return _linear(image, share * np.eye(3), (1 - share) * mean)


def _sharpen(image: Image, strength: float) -> Image:
    share = 1 + _ENHANCE * strength
    smooth = cv2.filter2D(image, -1, _SMOOTH, borderType=cv2.BORDER_REPLICATE)
    changed: Image = np.asarray(cv2.addWeighted(image, share, smooth, 1 - share, 0), np.uint8)
    return changed


def _table(image: Image, levels: NDArray[np.integer]) -> Image:
    """Each value looked up in a table of (256,), or of (256, 3) with one for each channel."""
    table = np.clip(levels, 0, 255).astype(np.uint8)
    wide = table if table.ndim == 1 else table[None]
    changed: Image = np.asarray(cv2.LUT(image, wide), np.uint8)
    return changed


def _posterize(image: Image, strength: float) -> Image:
    least, most = _BITS
    bits = most - round((most - least) * abs(strength))
    return _table(image, _LEVELS & (0xFF << (8 - bits)))


def _solarize(image: Image, strength: float) -> Image:
    limit = 255 * (1 - abs(strength))
    return _table(image, np.where(limit > _LEVELS, _LEVELS, 255 - _LEVELS))


def _stretch(image: Image, strength: float) -> Image:
    """The darkest value of each channel becomes 0, the brightest 255."""
    low = image.min((0, 1)).astype(float)
    span = image.max((0, 1)) - low
    scaled = (_LEVELS[:, None] - low) * 255 / np.maximum(span, 1)
    return _table(image, np.where(span > 0, scaled, _LEVELS[:, None]).astype(np.int64))


def _equalize(image: Image, strength: float) -> Image:
    """Each channel with about the same number of pixels at every value."""
    channels = [cv2.equalizeHist(np.ascontiguousarray(image[..., c])) for c in range(3)]
    equal: Image = np.stack(channels, -1).astype(np.uint8)
    return equal


OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, strength: image,
    "shear x": lambda image, s: _warp(image, np.array([[1, _SHEAR * s], [0, 1]], float)),
    "shear y": lambda image, s: _warp(image, np.array([[1, 0], [_SHEAR * s, 1]], float)),
    "move x": lambda image, s: _shift(image, _MOVE * s, 0.0),
    "move y": lambda image, s: _shift(image, 0.0, _MOVE * s),
    "rotate": _rotate,
    "brightness": lambda image, s: _linear(image, (1 + _ENHANCE * s) * np.eye(3)),
    "saturation": _saturate,
    "contrast": _contrast,
    "sharpness": _sharpen,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _stretch,
    "equalize": _equalize,
}
"""By name; a strength of 0 leaves the picture as it is, except for the last two."""
_NAMES = tuple(OPERATIONS)
