"""Pictures that are no file under their name: frames, downloads, Pillow images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import DEFAULT_MAX_PIXELS, read_image, result_name
from whatwhere.types import Image


class PillowImage(Protocol):
    """What is used of `PIL.Image.Image`; Pillow itself is never loaded."""

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def mode(self) -> str: ...


# Exif 2.32, tag 0x0112: how the camera was turned -> the Pillow transposition that undoes it.
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A picture with a name and a way to get its pixels.

    Args:
        name: what results call it, such as `clip.mp4#120`.
        read: gives RGB pixels, uint8 (height, width, 3); gets the most pixels that are allowed,
            is called at most once, in any thread, and raises `ImageError` where it cannot.
    """

    name: str
    read: Callable[[int], Image]


Source: TypeAlias = "str | os.PathLike[str] | bytes | Image | Item | PillowImage"
"""A picture: its path, the bytes of its file, RGB pixels uint8 (height, width, 3), an item of
`Sources`, or a Pillow image."""


def broken(name: str, error: ImageError) -> Item:
    """A picture that cannot be read, for a known reason."""

    def fail(max_pixels: int) -> Image:
        raise error

    return Item(name, fail)


def file_item(name: str, data: bytes) -> Item:
    """A picture whose file is in memory."""
    return Item(name, lambda max_pixels: read_image(data, name=name, max_pixels=max_pixels))


def name_of(source: object) -> str | None:
    """What results call a source; None for bytes, arrays and Pillow images."""
    if isinstance(source, Item):
        return source.name
    return result_name(source) if isinstance(source, str | os.PathLike) else None


def check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    """Refuse pictures that are too large.

    Raises:
        ImageError: the picture has more than `max_pixels` pixels.
    """
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is {width}x{height} pixels, over the limit of {max_pixels} pixels:"
            " shrink it or raise max_pixels"
        )


def is_pillow(source: object) -> TypeGuard[PillowImage]:
    """Whether this is a Pillow image."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def pillow_pixels(picture: Any, max_pixels: int) -> Image:
    """RGB pixels of a Pillow image, uint8 (height, width, 3), as its file would give them.

    Turned as its EXIF tag says; alpha is dropped without blending; 16 bits become 8 by dropping
    the lower byte. The image itself stays as it is.

    Raises:
        ImageError: it is too large, empty, or its file is damaged.
        UsageError: its pixels have no fixed range (modes I and F).
    """
    check_size("the Pillow image", picture.width, picture.height, max_pixels)
    if not picture.width or not picture.height:
        raise ImageError("the Pillow image has no pixels")
    if picture.mode in ("I", "F"):
        raise UsageError(
            f"a Pillow image of mode {picture.mode} has no fixed range: bring it to 0..255 and"
            " mode L or RGB first"
        )
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
        if turn is not None:
            picture = picture.transpose(getattr(sys.modules["PIL.Image"].Transpose, turn))
        if picture.mode.startswith("I;16"):
            grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.array(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"the Pillow image cannot be read ({error}): check its file") from error


def pixels_of(source: Source, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image:
    """RGB pixels of a source, uint8 (height, width, 3).

    Raises:
        ImageError: the picture cannot be read, or has more pixels than this.
        UsageError: the source is none.
    """
    if isinstance(source, np.ndarray):
        return check_image(source)
    if isinstance(source, Item):
        return source.read(max_pixels)
    if is_pillow(source):
        return pillow_pixels(source, max_pixels)
    if isinstance(source, str | os.PathLike | bytes):
        return read_image(source, max_pixels=max_pixels)
    raise UsageError(
        f"a picture cannot be a {type(source).__name__}:"
        " give a path, the bytes of a file, an RGB array or a Pillow image"
    )


def check_image(image: NDArray[Any]) -> Image:
    """An array, refused if it is no picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        shape = " x ".join(str(side) for side in image.shape)
        raise UsageError(
            f"an array must be RGB, uint8, height x width x 3, not {image.dtype} {shape}:"
            " convert it first"
        )
    return image
