"""How bright, contrasty and sharp a picture is, from its pixels."""

from __future__ import annotations

import cv2
import numpy as np

from whatwhere.types import Image

LOOKS = ("brightness", "contrast", "sharpness")
"""What `look` measures, in its order."""

_LONG_SIDE = 512
_FLAT = 1e-3


def look(image: Image) -> tuple[float, float, float]:
    """Brightness, contrast and sharpness, of the grey picture at a long side of 512 pixels.

    Measured at one size, since blur that is finer than a model's input matters to nobody, and
    since then large and small pictures compare. Smaller pictures are taken as they are.

    Args:
        image: uint8 (height, width, 3), RGB.

    Returns:
        Brightness: mean grey level, 0 (black) to 1 (white). Contrast: its standard deviation,
        0 to 0.5. Sharpness: standard deviation of the Laplacian (Pech-Pacheco et al., Diatom
        autofocusing in brightfield microscopy, ICPR 2000) by that of the grey levels, so that
        a dark or hazy picture is not taken for a blurred one; NaN for a picture of one colour.
    """
    height, width = image.shape[:2]
    ratio = _LONG_SIDE / max(height, width)
    if ratio < 1:
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean, spread = cv2.meanStdDev(grey)
    brightness, contrast = float(mean[0, 0]) / 255, float(spread[0, 0]) / 255
    if contrast < _FLAT:
        return brightness, contrast, float("nan")
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1]
    return brightness, contrast, float(edges[0, 0]) / 255 / contrast


def tiny(image: Image, side: int = 32) -> Image:
    """The picture squeezed to a small grey square, for comparing with others.

    Args:
        image: uint8 (height, width, 3), RGB.

    Returns:
        uint8 (side, side), as `inspection.Look.thumbnail`.
    """
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
