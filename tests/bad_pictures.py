"""Picture files of every awkward kind, made byte by byte or by an encoder."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 60, 40


def pixels() -> NDArray[np.uint8]:
    """A smooth picture of 60 x 40 pixels, BGR."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([columns * 4, rows * 6, 255 - columns * 4], axis=2).astype(np.uint8)


def encoded(suffix: str, picture: NDArray[np.generic] | None = None) -> bytes:
    done, data = cv2.imencode(suffix, pixels() if picture is None else picture)
    assert done
    return data.tobytes()


def png(
    width: int, height: int, kind: int, rows: bytes, extra: bytes = b"", depth: int = 8
) -> bytes:
    """A PNG file (RFC 2083) with the given header; `rows` are filtered scan lines."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def palette_png() -> bytes:
    table = bytes(range(256)) * 3
    extra = struct.pack(">I", len(table)) + b"PLTE" + table
    extra += struct.pack(">I", zlib.crc32(b"PLTE" + table))
    rows = b"".join(b"\x00" + bytes(range(WIDTH)) for _ in range(HEIGHT))
    return png(WIDTH, HEIGHT, 3, rows, extra)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF block (TIFF header, one entry: tag 0x0112) behind its first marker."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\x00*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    block = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def cmyk_jpeg() -> bytes:
    from PIL import Image

    return _saved(Image.fromarray(pixels()).convert("CMYK"), "JPEG")


def animated_gif() -> bytes:
    from PIL import Image

    frames = [Image.fromarray(pixels() // part).convert("P") for part in (1, 2, 3)]
    return _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _saved(picture: object, kind: str, **options: object) -> bytes:
    from io import BytesIO

    file = BytesIO()
    picture.save(file, kind, **options)  # type: ignore[attr-defined]
    return file.getvalue()


def awkward() -> dict[str, bytes]:
    """Pictures that must be read, by file name; all show `pixels()` or a version of it."""
    grey = pixels()[..., 0]
    sixteen = pixels().astype(np.uint16) * 257
    alpha = np.dstack([pixels(), np.full((HEIGHT, WIDTH), 128, np.uint8)])
    files = {
        "grey.jpg": encoded(".jpg", grey),
        "grey16.png": encoded(".png", sixteen[..., 0]),
        "sixteen bit.png": encoded(".png", sixteen),
        "alpha.png": encoded(".png", alpha),
        "palette.png": palette_png(),
        "cmyk.jpg": cmyk_jpeg(),
        "animated.gif": animated_gif(),
        "übung 写真 №1.png": encoded(".png"),
    }
    jpeg = encoded(".jpg")
    files |= {f"exif{turn}.jpg": with_orientation(jpeg, turn) for turn in range(1, 9)}
    return files


def broken() -> dict[str, bytes]:
    """Files that cannot be read, by file name."""
    jpeg = encoded(".jpg")
    return {
        "empty.jpg": b"",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut.png": encoded(".png")[:-20],
        "text.jpg": b"this is no picture\n",
        "nothing.png": png(0, 0, 2, b""),
        "flat.png": png(0, 10, 2, b""),
        "bomb.png": png(40_000, 40_000, 2, b"\x00" * 100),
        "noise.jpg": jpeg[:40] + bytes(range(256)) * 4,
    }


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
