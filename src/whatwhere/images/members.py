"""Pictures inside other files: tar shards, IDX files, CIFAR batches, cuts of a picture.

A path such as `shard.tar!/512+20333/cat.jpg` names the bytes 512..20845 of `shard.tar` as
the picture file `cat.jpg`; `train-images.gz!/16+28x28/0.png` names raw grey pixels, rows
first; `data_batch_1.bin!/1+3x32x32/0.png` raw planes of red, green and blue; and
`shots.raw!/0+32x32x3/0.png` raw RGB pixels. Offsets count in the unpacked file if its name
ends in `.gz`. So a picture is found in constant time and nothing is kept between two reads
but the last unpacked file. `data_batch_1!/210+4608t3x32x32/0.png` are pixels that take 4608
bytes, because Python 3 wrote them as text (pickle, protocol 2). `photos.zip!/77+900z1000/cat.jpg`
is a file of 1000 bytes that takes 900, because ZIP deflated it.

`photos.zip!/2024/cat.jpg`, the name that results give such a picture, is found by looking the name
up in the ZIP or tar file.

`street.jpg!/crop+10,20,110,220/car.jpg` is the part of a picture with x from 10 to 110 and y
from 20 to 220, after EXIF turning; the picture may itself lie inside a file.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from whatwhere.errors import ImageError, UsageError

_MEMBER = re.compile(
    r"(?P<file>.+)!/(?P<offset>\d{1,18})\+(?:(?P<stored>\d{1,18})(?P<how>[tz]))?"
    r"(?P<shape>\d{1,18}(?:x\d{1,9}){0,2})/(?P<name>.+)",
    re.S,
)

_CROP = re.compile(
    r"(?P<file>.+)!/crop\+(?P<box>\d{1,9},\d{1,9},\d{1,9},\d{1,9})/(?P<name>.+)", re.S
)

MAX_UNPACKED = 2 << 30
"""Largest file, unpacked, that pictures are taken out of if it is packed with gzip."""


@dataclass(frozen=True, slots=True)
class Member:
    """A picture inside a file.

    Args:
        file: path of the file.
        offset: where the picture's bytes begin.
        shape: (length,) of a picture file; (height, width), (3, height, width) or
            (height, width, 3) of raw pixels, uint8; (height, width, 3) of a part.
        name: what to call it; its suffix says how it is to be stored by itself.
        crop: x1, y1, x2, y2 in whole pixels if it is a part of the picture `file`.
        text: bytes in the file if they are UTF-8, one character of Latin-1 for each that is
            meant; else 0.
        packed: bytes in the file if they are deflated (RFC 1951, as in ZIP); else 0.
    """

    file: str
    offset: int
    shape: tuple[int, ...]
    name: str
    crop: tuple[int, int, int, int] | None = None
    text: int = 0
    packed: int = 0

    def __str__(self) -> str:
        """The path, as `member` reads it."""
        if self.crop is not None:
            return f"{self.file}!/crop+{','.join(map(str, self.crop))}/{self.name}"
        shape = "x".join(map(str, self.shape))
        stored = f"{self.text}t" if self.text else f"{self.packed}z" if self.packed else ""
        return f"{self.file}!/{self.offset}+{stored}{shape}/{self.name}"

    @property
    def shown(self) -> str:
        """For people: the path without the place of the bytes."""
        return f"{shown_path(self.file)}!/{self.name}"


def member(path: str | os.PathLike[str]) -> Member | None:
    """The parts of a path to a picture inside a file; None for any other path."""
    text = os.fspath(path)
    if "!/" not in text:
        return None
    found = _CROP.fullmatch(text)
    if found is not None:
        x1, y1, x2, y2 = (int(side) for side in found["box"].split(","))
        shape = (y2 - y1, x2 - x1, 3)
        return Member(found["file"], 0, shape, found["name"], (x1, y1, x2, y2))
    found = _MEMBER.fullmatch(text)
    if found is None:
        from whatwhere.images.inside import find_inside

        return find_inside(text)
    sides = tuple(int(side) for side in found["shape"].split("x"))
    stored = int(found["stored"] or 0)
    written, packed = (0, stored) if found["how"] == "z" else (stored, 0)
    return Member(
        found["file"], int(found["offset"]), sides, found["name"], text=written, packed=packed
    )


def shown_path(path: str | os.PathLike[str]) -> str:
    """The path as messages show it: of a picture inside a file, without offset and shape."""
    found = member(path)
    return os.fspath(path) if found is None else found.shown


def result_name(path: str | os.PathLike[str]) -> str:
    """What results call a picture: as `shown_path` where `member` finds it by that name, too.

    So of pictures in ZIP and tar files; raw pixels and parts of pictures keep their place.
    """
    text = os.fspath(path)
    found = member(text) if "!/" in text else None
    if found is None or found.crop is not None or len(found.shape) > 1:
        return text
    archive = found.file.lower().endswith((".zip", ".tar", ".tar.gz"))
    return found.shown if archive and not found.text else text


def picture_exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file at the path, or one that the picture can lie in."""
    found = member(path)
    if found is not None and found.crop is not None:
        return picture_exists(found.file)
    return Path(path if found is None else found.file).is_file()


def picture_bytes(path: str | os.PathLike[str]) -> bytes:
    """The picture file's content; raw pixels are given as PNG, parts as their suffix says.

    Raises:
        ImageError: the file is missing, cannot be read, or ends before the picture does.
    """
    found = member(path)
    try:
        if found is None:
            return Path(path).read_bytes()
        return _member_bytes(found)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"{shown_path(path)} does not exist: check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{shown_path(path)} is a folder: give a picture file") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown_path(path)} cannot be read ({reason}): check the file") from error


def _member_bytes(found: Member) -> bytes:
    if found.crop is not None:
        # Decoding builds on this module.
        from whatwhere.images.codec import encode_image, read_image

        return encode_image(read_image(str(found)), Path(found.name).suffix)
    length = math.prod(found.shape)
    stored = found.text or found.packed or length
    if max(length, stored) > MAX_UNPACKED:
        raise ImageError(f"{found.shown} would be {length} bytes: the path is wrong")
    if found.file.endswith(".gz"):
        data = unpacked(found.file)[found.offset : found.offset + stored]
    else:
        with Path(found.file).open("rb") as file:
            file.seek(found.offset)
            data = file.read(stored)
    if found.text:
        data = data.decode("utf-8").encode("latin-1")
    if found.packed:
        # No more than is said to be there: a few bytes can unpack to gigabytes.
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, max(length, 1))
    if len(data) < length:
        raise ImageError(f"{found.shown} is cut off before its end: get {found.file} again")
    if len(found.shape) == 1:
        return data
    pixels = np.frombuffer(data, np.uint8).reshape(found.shape)
    if pixels.ndim == 3 and found.shape[0] == 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.size == 0 or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ImageError(f"{found.shown} has no pixels of shape {found.shape}")
    image = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise UsageError(f"{found.shown} cannot be stored as PNG")
    return encoded.tobytes()


class _Last:
    """The last unpacked file, since neighbours are read one after the other."""

    lock = threading.Lock()
    key: tuple[str, int, int] | None = None
    data = b""


def unpacked(path: str) -> bytes:
    """The content of a gzip file; of the last one it is kept. Errors as of `unpack_gzip`."""
    stat = os.stat(path)  # noqa: PTH116 - a string that is opened a million times
    key = (path, stat.st_mtime_ns, stat.st_size)
    with _Last.lock:
        if _Last.key != key:
            _Last.data = unpack_gzip(path)
            _Last.key = key
        return _Last.data


def unpack_gzip(path: str | os.PathLike[str], limit: int = MAX_UNPACKED) -> bytes:
    """The content of a gzip file.

    Raises:
        ImageError: it is larger than `limit` bytes.
        OSError, EOFError, zlib.error: it cannot be read, or is damaged.
    """
    with gzip.open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ImageError(f"{os.fspath(path)} unpacks to more than {limit} bytes: unpack it first")
    return data
