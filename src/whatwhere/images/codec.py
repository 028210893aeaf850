"""Decode and encode pictures: always RGB, turned as EXIF says, first frame, never half."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ImageError, UsageError
from whatwhere.images.files import write_atomic
from whatwhere.images.headers import (
    DEFAULT_MAX_PIXELS,
    CutError,
    DamagedError,
    Header,
    ImageInfo,
    check_scans,
    read_header,
)
from whatwhere.images.members import member, picture_bytes, shown_path
from whatwhere.types import Image

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
)
"""Suffixes, in lower case, of files that are taken for pictures in a folder."""

Source = str | os.PathLike[str] | bytes

if "OPENCV_LOG_LEVEL" not in os.environ:
    # OpenCV describes each damaged file on stderr, without its name; our errors do both.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def probe_image(
    source: Source, *, name: str | None = None, max_pixels: int = DEFAULT_MAX_PIXELS
) -> ImageInfo:
    """Size and kind of a picture from its header; nothing is decoded.

    Args:
        source: path of a file, or its bytes.
        name: what to call it in messages; by default the path.
        max_pixels: refuse a picture with more than this many pixels.

    Raises:
        ImageError: the picture is missing, empty, cut off, too large, without pixels,
            damaged in its header, or of an unknown kind.
    """
    label = _label(source, name)
    part = None if isinstance(source, bytes) else member(source)
    if part is not None and part.crop is not None:
        whole = probe_image(part.file, max_pixels=max_pixels)
        x1, y1, x2, y2 = _inside(part.crop, whole.width, whole.height, label)
        return ImageInfo(x2 - x1, y2 - y1, whole.format)
    with _open(source, label) as file:
        return _checked_header(file, label, max_pixels, checksums=False).info()


def read_image(
    source: Source, *, name: str | None = None, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Image:
    """The first frame of a picture, RGB uint8 (height, width, 3), turned as EXIF says.

    Grey, palette, CMYK and 16-bit pictures are converted; 16 bits become 8 by dropping
    the lower byte; alpha is dropped without blending.

    Args:
        source: path of a file, or its bytes.
        name: what to call it in messages; by default the path.
        max_pixels: refuse a picture with more than this many pixels, before decoding it.

    Raises:
        ImageError: as for `probe_image`, or the pixel data are damaged.
    """
    label = _label(source, name)
    part = None if isinstance(source, bytes) else member(source)
    if part is not None and part.crop is not None:
        whole = read_image(part.file, max_pixels=max_pixels)
        x1, y1, x2, y2 = _inside(part.crop, whole.shape[1], whole.shape[0], label)
        return np.ascontiguousarray(whole[y1:y2, x1:x2])
    header, data = _content(source, label, max_pixels)
    # The decoder turns some kinds and not others; ours turns all, except TIFF, where
    # libtiff turns the common kinds whatever it is told.
    flags = cv2.IMREAD_COLOR_RGB
    if header.format != "tiff":
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    image = np.asarray(_decoded(data, flags, label), dtype=np.uint8)
    if header.format != "tiff":
        image = _turn(image, header.orientation)
    info = header.info()
    if image.shape != (info.height, info.width, 3):
        raise _damaged(
            label,
            f"its header says {info.width}x{info.height} pixels, its data"
            f" {image.shape[1]}x{image.shape[0]}",
        )
    return image


def read_thumbnail(
    source: Source,
    side: int = 32,
    *,
    name: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Image:
    """The first frame, squeezed to a square, turned as EXIF says; for comparing.

    A JPEG is decoded at down to an eighth of its size, which still reads all of its data.

    Args:
        source: path of a file, or its bytes.
        side: pixels of each side.
        name: what to call it in messages; by default the path.
        max_pixels: refuse a picture with more than this many pixels, before decoding it.

    Returns:
        RGB uint8 (side, side, 3): each pixel is the mean over its part of the picture, to
        about a hundredth of the side.

    Raises:
        ImageError: as for `read_image`.
    """
    label = _label(source, name)
    part = None if isinstance(source, bytes) else member(source)
    if part is not None and part.crop is not None:
        whole = read_image(source, name=label, max_pixels=max_pixels)
        return _squeezed(whole, side)
    header, data = _content(source, label, max_pixels)
    flags = cv2.IMREAD_COLOR_BGR
    if header.format == "jpeg":
        for scale, reduced in _REDUCED:
            if min(header.width, header.height) >= 2 * side * scale:
                flags = reduced
                break
    if header.format != "tiff":
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    image = _squeezed(_decoded(data, flags, label), side)[..., ::-1]
    return image if header.format == "tiff" else _turn(image, header.orientation)


def _content(source: Source, label: str, max_pixels: int) -> tuple[Header, NDArray[np.uint8]]:
    """A file's checked header, and its bytes as the decoder is to see them."""
    with _open(source, label) as file:
        header = _checked_header(file, label, max_pixels, checksums=True)
        file.seek(0)
        content = file.read()
    if header.format == "jpeg":
        try:
            check_scans(content)
        except DamagedError as error:
            raise _damaged(label, str(error)) from None
    data = np.frombuffer(content, dtype=np.uint8)
    if header.patches:
        data = data.copy()
        for place, new in header.patches:
            data[place : place + len(new)] = np.frombuffer(new, dtype=np.uint8)
    return header, data


def _decoded(data: NDArray[np.uint8], flags: int, label: str) -> cv2.typing.MatLike:
    try:
        decoded = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise _damaged(label, str(error.err or error)) from error
    if decoded is None:
        raise _damaged(label, "its pixels cannot be decoded")
    return decoded


def _squeezed(image: cv2.typing.MatLike, side: int) -> Image:
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


def encode_image(image: Image, suffix: str = ".jpg", quality: int = 95) -> bytes:
    """A picture file in memory.

    Args:
        image: RGB uint8 (height, width, 3).
        suffix: ".jpg", ".png", ".webp", ".bmp" or ".tif" (and their variants).
        quality: 1..100, for JPEG and WebP.

    Raises:
        UsageError: the array is not a picture, or the suffix is unknown.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UsageError(
            f"a picture must be uint8 of shape (height, width, 3), not {image.dtype} {image.shape}"
        )
    kind = suffix.lower()
    if kind not in IMAGE_SUFFIXES:
        raise UsageError(
            f"cannot write pictures as {suffix!r}: use .jpg, .png, .webp, .bmp or .tif"
        )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if kind == ".webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, quality]
    jpeg = kind in (".jpe", ".jfif")
    try:
        done, data = cv2.imencode(
            ".jpg" if jpeg else kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options
        )
    except cv2.error as error:
        raise UsageError(f"a picture of {image.shape} cannot be written as {suffix}") from error
    if not done:
        raise UsageError(f"a picture of {image.shape} cannot be written as {suffix}")
    return data.tobytes()


def write_image(path: str | os.PathLike[str], image: Image, quality: int = 95) -> None:
    """Write a picture, whole or not at all; the suffix decides the kind.

    Args:
        path: where to; missing folders are made.
        image: RGB uint8 (height, width, 3).
        quality: 1..100, for JPEG and WebP.

    Raises:
        UsageError: the array is not a picture, or the suffix is unknown.
        WhatwhereError: the disk is full, or the place cannot be written.
    """
    write_atomic(path, encode_image(image, Path(path).suffix, quality))


def _inside(
    crop: tuple[int, int, int, int], width: int, height: int, label: str
) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = crop
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ImageError(
            f"{label} is x {x1} to {x2} and y {y1} to {y2} of a picture of {width}x{height}"
            " pixels: the picture has changed, or its size was recorded wrongly"
        )
    return crop


def _label(source: Source, name: str | None) -> str:
    if name is not None:
        return name
    return "the picture" if isinstance(source, bytes) else shown_path(source)


def _open(source: Source, label: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if member(source) is not None:
        return io.BytesIO(picture_bytes(source))
    try:
        return Path(source).open("rb")
    except FileNotFoundError:
        raise ImageError(f"{label} does not exist: check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{label} is a folder: give a picture file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{label} cannot be opened ({reason}): check its permissions") from error


def _checked_header(file: BinaryIO, label: str, max_pixels: int, *, checksums: bool) -> Header:
    try:
        header = read_header(file, checksums=checksums)
        size = file.seek(0, os.SEEK_END)
    except CutError:
        raise _cut(label) from None
    except DamagedError as error:
        raise _damaged(label, str(error)) from None
    except OSError as error:
        raise ImageError(f"{label} cannot be read ({error.strerror}): check the disk") from error
    if size == 0:
        raise ImageError(f"{label} is empty (0 bytes): get it again from its source")
    if header is None:
        raise ImageError(
            f"{label} is not a picture of a known kind (JPEG, PNG, GIF, WebP, BMP, TIFF):"
            " convert it to JPEG or PNG"
        )
    width, height = header.width, header.height
    if width <= 0 or height <= 0:
        raise ImageError(f"{label} is {width}x{height} pixels, so there is nothing to see in it")
    if width * height > max_pixels:
        raise ImageError(
            f"{label} is {width}x{height} pixels, over the limit of {max_pixels} pixels:"
            " shrink it or raise max_pixels"
        )
    if header.end > size:
        raise _cut(label)
    return header


def _cut(label: str) -> ImageError:
    return ImageError(f"{label} is cut off before its end: get it again from its source")


def _damaged(label: str, reason: str) -> ImageError:
    return ImageError(f"{label} is damaged ({reason}): get it again from its source")


def _turn(image: Image, orientation: int) -> Image:
    """Undo the camera's turn (Exif 2.32, tag 0x0112)."""
    turned: cv2.typing.MatLike = image
    if orientation == 2:
        turned = cv2.flip(image, 1)
    elif orientation == 3:
        turned = cv2.rotate(image, cv2.ROTATE_180)
    elif orientation == 4:
        turned = cv2.flip(image, 0)
    elif orientation == 5:
        turned = cv2.transpose(image)
    elif orientation == 6:
        turned = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
    elif orientation == 7:
        turned = cv2.rotate(cv2.transpose(image), cv2.ROTATE_180)
    elif orientation == 8:
        turned = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return np.asarray(turned, dtype=np.uint8)
