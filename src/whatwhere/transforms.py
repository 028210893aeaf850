"""From a picture to a model's input, and boxes back again.

The only preprocessing code of Whatwhere: training, evaluation, prediction, export and
serving all call it, so a score cannot change between them. Scaling by mean and std is
not here: it is part of every model's graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from whatwhere.errors import UsageError
from whatwhere.types import Boxes, Image, clip_boxes

Fit = Literal["letterbox", "corner", "crop", "stretch"]
Resample = Literal["area", "bilinear", "bicubic"]

_ENLARGE = {"area": cv2.INTER_LINEAR, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a picture is fitted into a model's input.

    Args:
        size: (height, width) of the model's input in pixels.
        fit: "letterbox" keeps the aspect ratio and pads all around; "corner" is the same with
            the picture in the top left corner, for foreign models that were trained so;
            "crop" keeps it and cuts the longer side (classification), "stretch" ignores it.
        crop: central fraction of the shorter side that "crop" keeps, in (0, 1].
        resample: "area" averages when shrinking and is bilinear when enlarging; "bilinear"
            is OpenCV's, without anti-aliasing, for foreign models that were trained so;
            "bicubic" is sharper than "area", for classifiers that were trained with it.
        pad: grey value of the letterbox border, 0..255.

    Raises:
        UsageError: a value is out of its range.
    """

    size: tuple[int, int]
    fit: Fit = "letterbox"
    crop: float = 1.0
    resample: Resample = "area"
    pad: int = 114

    def __post_init__(self) -> None:
        height, width = self.size
        if height < 1 or width < 1:
            raise UsageError(f"input size must be at least 1x1 pixels, not {height}x{width}")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop must be in (0, 1], not {self.crop}")
        if not 0 <= self.pad <= 255:
            raise UsageError(f"pad must be in 0..255, not {self.pad}")

    def __call__(self, image: Image) -> tuple[Image, Geometry]:
        """The model's input, uint8 (height, width, 3), and the geometry that undoes it."""
        height, width = self.size
        image_height, image_width = image.shape[:2]
        if self.fit == "stretch":
            canvas = resize(image, (height, width), self.resample)
            scale = (width / image_width, height / image_height)
            return canvas, Geometry((image_height, image_width), scale, (0.0, 0.0))
        if self.fit in ("letterbox", "corner"):
            return self._letterbox(image)
        return self._crop(image)

    def _letterbox(self, image: Image) -> tuple[Image, Geometry]:
        height, width = self.size
        image_height, image_width = image.shape[:2]
        ratio = min(height / image_height, width / image_width)
        new_height = min(height, max(1, round(image_height * ratio)))
        new_width = min(width, max(1, round(image_width * ratio)))
        top, left = (height - new_height) // 2, (width - new_width) // 2
        if self.fit == "corner":
            top = left = 0
        canvas: Image = np.full((height, width, 3), self.pad, dtype=np.uint8)
        canvas[top : top + new_height, left : left + new_width] = resize(
            image, (new_height, new_width), self.resample
        )
        # Rounding makes the two scales differ by up to half a pixel over the side: keep both.
        scale = (new_width / image_width, new_height / image_height)
        return canvas, Geometry((image_height, image_width), scale, (float(left), float(top)))

    def _crop(self, image: Image) -> tuple[Image, Geometry]:
        height, width = self.size
        image_height, image_width = image.shape[:2]
        ratio = max(height / image_height, width / image_width) / self.crop
        # Cut first, so that a 10 x 40,000 picture is never blown up as a whole.
        region_height = min(image_height, int(np.ceil(height / ratio)) + 2)
        region_width = min(image_width, int(np.ceil(width / ratio)) + 2)
        y, x = (image_height - region_height) // 2, (image_width - region_width) // 2
        region = image[y : y + region_height, x : x + region_width]
        new_height = max(height, round(region_height * ratio))
        new_width = max(width, round(region_width * ratio))
        resized = resize(region, (new_height, new_width), self.resample)
        top, left = (new_height - height) // 2, (new_width - width) // 2
        canvas = np.ascontiguousarray(resized[top : top + height, left : left + width])
        scale_x, scale_y = new_width / region_width, new_height / region_height
        offset = (-x * scale_x - left, -y * scale_y - top)
        return canvas, Geometry((image_height, image_width), (scale_x, scale_y), offset)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a picture lies in a model's input: input = picture * scale + offset.

    Args:
        image_size: (height, width) of the original picture in pixels.
        scale: (x, y) input pixels per picture pixel.
        offset: (x, y) place of the picture's origin in the input, in input pixels.
    """

    image_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_input(self, boxes: Boxes) -> Boxes:
        """Boxes (N, 4) from picture pixels to input pixels, not clipped."""
        scale = np.array(self.scale * 2, dtype=np.float32)
        return boxes * scale + np.array(self.offset * 2, dtype=np.float32)

    def to_image(self, boxes: Boxes) -> Boxes:
        """Boxes (N, 4) from input pixels to picture pixels, clipped to the picture."""
        scale = np.array(self.scale * 2, dtype=np.float32)
        restored: Boxes = (boxes - np.array(self.offset * 2, dtype=np.float32)) / scale
        return clip_boxes(restored, *self.image_size)


def resize(image: Image, size: tuple[int, int], resample: Resample = "area") -> Image:
    """The picture at (height, width); a continuous coordinate x becomes x * width / old width.

    "area" averages all source pixels under a target pixel when both sides shrink. "bicubic"
    first averages a picture of more than twice the size to twice the size, because OpenCV's
    reads 4 x 4 pixels however many lie under a target pixel, and would alias.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if resample == "bicubic" and 2 * height < image.shape[0] and 2 * width < image.shape[1]:
        image = np.asarray(
            cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_AREA), np.uint8
        )
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if resample == "area" and shrinks else _ENLARGE[resample]
    resized: Image = np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
    return resized
