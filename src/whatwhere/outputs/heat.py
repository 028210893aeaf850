"""Draw into a picture what an answer of a model rests on."""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.images import DEFAULT_MAX_PIXELS, read_image
from whatwhere.outputs.draw import Drawing, draw
from whatwhere.runtime.explain import Explanation
from whatwhere.types import Image, Prediction

# How much of the colour covers the picture where the map is highest, and how grey and dark the
# picture is beside it: colours of the picture must not be taken for those of the map.
_COVER = 0.62
_GREY = 0.55
_DARK = 0.8


def draw_explanation(
    explanation: Explanation, image: Image | str | os.PathLike[str] | bytes | None = None
) -> Drawing:
    """The picture, dulled, with what speaks for the answer in colours from violet to yellow.

    The answer itself is drawn like a prediction: a box with its name, or a caption.

    Args:
        image: RGB uint8 (height, width, 3), or where to read it; by default
            `explanation.image`.

    Raises:
        ImageError: the picture cannot be read.
        UsageError: there is no picture, or it has another size than the explanation's.
    """
    source = explanation.image if image is None else image
    if source is None:
        raise UsageError("the explanation does not say where its picture is: give the picture")
    limit = max(DEFAULT_MAX_PIXELS, explanation.width * explanation.height)
    pixels = source if isinstance(source, np.ndarray) else read_image(source, max_pixels=limit)
    size = (explanation.height, explanation.width)
    if pixels.shape[:2] != size:
        raise UsageError(
            f"the explanation is of a picture of {size[1]}x{size[0]} pixels, but this one has"
            f" {pixels.shape[1]}x{pixels.shape[0]}: give the same picture"
        )
    scores = np.array([explanation.score], dtype=np.float32)
    if explanation.box is None:
        answer = Prediction(size[1], size[0], label_names=(explanation.name,), label_scores=scores)
    else:
        answer = Prediction(
            size[1],
            size[0],
            object_names=(explanation.name,),
            object_scores=scores,
            boxes=explanation.box[None],
        )
    return draw(answer, heated(pixels, explanation.heat))


def heated(image: Image, heat: NDArray[np.floating]) -> Image:
    """A picture under a map: dull where the map is 0, coloured where it is high.

    Args:
        image: uint8 (height, width, 3).
        heat: (height, width), 0..1.
    """
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    dull = _DARK * (_GREY * grey.astype(np.float32) + (1 - _GREY) * image.astype(np.float32))
    levels = np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    # Inferno rises evenly in lightness, so it is read alike without colour vision and in print.
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    cover = (_COVER * np.clip(heat, 0, 1) ** 0.7)[..., None].astype(np.float32)
    mixed: Image = np.rint(dull * (1 - cover) + colours * cover).astype(np.uint8)
    return mixed
