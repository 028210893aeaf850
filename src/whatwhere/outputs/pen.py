"""Writing words into pictures: any alphabet the font has, smooth, measured before drawn."""

from __future__ import annotations

import threading
import unicodedata
from typing import Any

import cv2

from whatwhere.types import Image

Colour = tuple[int, int, int]

_FACES = threading.local()
# Where a line's letters reach, as fractions of the font size; the same for every text, so
# that neighbouring tags have one height.
_ASCENT, _DESCENT = 0.84, 0.22


class Pen:
    """A font at one size.

    OpenCV 5 brings a TrueType font; OpenCV 4 has stroke letters for ASCII only, into which
    accents are folded ("e" for "é") and where other letters become "?".

    Args:
        size: font size in pixels.
        bold: heavier strokes.
    """

    def __init__(self, size: int, *, bold: bool = False) -> None:
        self.size = size
        self.weight = 600 if bold else 400
        self._stroke = max(1, round(size / (9 if bold else 14)))
        self._face = _face()

    @property
    def height(self) -> int:
        """Height of a line in pixels, from the highest letter to the lowest."""
        return round((_ASCENT + _DESCENT) * self.size)

    def width(self, text: str) -> int:
        """Width of a text in pixels."""
        if self._face is not None:
            box = cv2.getTextSize(
                (1 << 20, 1 << 20), text, (0, 0), self._face, self.size, self.weight
            )
            return int(box[0] + box[2])
        size, _ = cv2.getTextSize(_ascii(text), cv2.FONT_HERSHEY_SIMPLEX, self._scale, self._stroke)
        return int(size[0])

    def fit(self, text: str, width: int) -> str:
        """The text, cut with an ellipsis if it is wider than that; empty if nothing fits."""
        if self.width(text) <= width:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self.width(text[:middle].rstrip() + "…") <= width:
                low = middle
            else:
                high = middle - 1
        return text[:low].rstrip() + "…" if low else ""

    def write(self, image: Image, text: str, left: int, top: int, colour: Colour) -> None:
        """Draw a text into the picture, in place; (left, top) is the corner of its line."""
        base = (left, top + round(_ASCENT * self.size))
        if self._face is not None:
            cv2.putText(image, text, base, colour, self._face, self.size, self.weight)
            return
        face = cv2.FONT_HERSHEY_SIMPLEX
        plain = _ascii(text)
        cv2.putText(image, plain, base, face, self._scale, colour, self._stroke, cv2.LINE_AA)

    @property
    def _scale(self) -> float:
        # Hershey capitals are 21 units high at scale 1; ours reach 0.7 of the font size.
        return 0.7 * self.size / 21


def _face() -> Any:
    """The TrueType font, or None where OpenCV has none; one a thread, as it keeps a cache."""
    if not hasattr(cv2, "FontFace"):
        return None
    if not hasattr(_FACES, "sans"):
        _FACES.sans = cv2.FontFace("sans")
    return _FACES.sans


def _ascii(text: str) -> str:
    flat = unicodedata.normalize("NFKD", text.replace("…", "..."))
    bare = "".join(letter for letter in flat if not unicodedata.combining(letter))
    return bare.encode("ascii", "replace").decode("ascii")
