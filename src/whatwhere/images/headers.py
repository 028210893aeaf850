"""Size, orientation, frames and completeness of a picture file, without decoding it.

A few bytes per format are read, each with a bounds check, so that a bomb is refused
before a decoder sees it and a cut file is not shown half grey. Sources: ITU-T T.81 (JPEG),
Exif 2.32, PNG third edition, GIF89a, the WebP container (RFC 9649), TIFF 6.0 with the
BigTIFF extension, and Microsoft's BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

DEFAULT_MAX_PIXELS = 200_000_000
"""Largest picture that is decoded unless the caller says otherwise, width x height."""

# More blocks than any real file has; ends the walk through a file made to waste time.
_MAX_BLOCKS = 1_000_000
# Encoders write 1 to some 20. Each costs a pass over all pixels and can be 40 bytes long, so that
# a file of a megabyte could keep a decoder busy for an hour.
_MAX_SCANS = 100
_MAX_SEGMENTS = 100_000
# Files have a few, of some kB; each may unpack to 8 MB.
_MAX_TEXTS = 64
# In the data of a scan 0xFF is followed by 0x00 or is a restart marker (T.81, B.1.1.5).
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a picture file says about itself.

    Args:
        width, height: pixels after EXIF turning.
        format: "jpeg", "png", "gif", "webp", "bmp" or "tiff".
        orientation: EXIF orientation, 1..8; 1 if there is none.
        frames: pictures in the file; only the first is read.
    """

    width: int
    height: int
    format: str
    orientation: int = 1
    frames: int = 1


class CutError(Exception):
    """The file ends before the picture does."""


class DamagedError(Exception):
    """The file contradicts its format; the message says where."""


@dataclass(slots=True)
class Header:
    """A file's own words: size before turning, and where the picture's data must end."""

    format: str
    width: int
    height: int
    orientation: int = 1
    frames: int = 1
    end: int = 0
    patches: list[tuple[int, bytes]] = field(default_factory=list)

    def info(self) -> ImageInfo:
        turned = self.orientation >= 5
        width, height = (self.height, self.width) if turned else (self.width, self.height)
        return ImageInfo(width, height, self.format, self.orientation, self.frames)


class Window:
    """Reads of a binary file that never run over its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def at(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset`, or `CutError`."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise CutError
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) != count:
            raise CutError
        return data

    def contains(self, needle: bytes, start: int) -> bool:
        """Whether `needle` occurs at or after `start`; the end of the file is tried first."""
        tail = max(start, self.size - 4096)
        if needle in self.at(tail, self.size - tail):
            return True
        return tail > start and needle in self.at(start, self.size - start)


def read_header(file: BinaryIO, *, checksums: bool = False) -> Header | None:
    """The header of a picture, or None for a file of unknown kind.

    Args:
        file: opened for reading in binary mode.
        checksums: also compare the checksums of a PNG's chunks, which reads all of it.

    Raises:
        CutError: the file ends before the picture does.
        DamagedError: the file contradicts its format.
    """
    window = Window(file)
    start = window.at(0, min(window.size, 16))
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(window, checksums)
    for magic, parse in _PARSERS:
        if start.startswith(magic) and (magic != b"RIFF" or start[8:12] in (b"WEBP", b"")):
            try:
                return parse(window)
            except struct.error as error:
                raise DamagedError(str(error)) from error
    return None


def check_scans(data: bytes) -> None:
    """Refuse a JPEG that is made to waste time.

    Args:
        data: the file, which `read_header` has found to be whole.

    Raises:
        DamagedError: it has over 100 scans.
    """
    if data.count(b"\xff\xda") <= _MAX_SCANS:
        return
    # Some of them may lie inside other segments, or behind the picture.
    place, scans = 2, 0
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None or data[found.start() + 1] == 0xD9:
            return
        scans += data[found.start() + 1] == 0xDA
        if scans > _MAX_SCANS:
            raise DamagedError(f"it has over {_MAX_SCANS} scans")
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    raise DamagedError("too many segments")


def exif_orientation(data: bytes) -> int:
    """Orientation in an Exif block (a small TIFF file); 1 where it has none or is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        return 1
    (entries,) = struct.unpack_from(order + "H", data, start)
    for place in range(start + 2, min(start + 2 + entries * 12, len(data) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag == 0x0112 and kind == 3:
            (value,) = struct.unpack_from(order + "H", data, place + 8)
            return int(value) if 1 <= value <= 8 else 1
    return 1


def _jpeg(window: Window) -> Header:
    header: Header | None = None
    orientation = 1
    place = 2
    for _ in range(_MAX_BLOCKS):
        mark, kind = window.at(place, 2)
        if mark != 0xFF:
            raise DamagedError(f"no JPEG marker at byte {place}")
        if kind == 0xFF:  # fill byte
            place += 1
            continue
        if kind == 0x01 or 0xD0 <= kind <= 0xD8:  # these have no length
            place += 2
            continue
        if kind == 0xD9:
            raise DamagedError("it has no picture data")
        (length,) = struct.unpack(">H", window.at(place + 2, 2))
        if length < 2:
            raise DamagedError(f"segment of length {length} at byte {place}")
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", window.at(place + 5, 4))
            header = Header("jpeg", width, height)
        elif kind == 0xE1 and window.at(place + 4, min(6, length - 2)) == b"Exif\0\0":
            orientation = exif_orientation(window.at(place + 10, length - 8))
        elif kind == 0xDA:
            if header is None:
                raise DamagedError("picture data before its size")
            # A thumbnail's end marker lies before this, inside its segment.
            if not window.contains(b"\xff\xd9", place + 2 + length):
                raise CutError
            header.orientation = orientation
            return header
        place += 2 + length
    raise DamagedError("too many segments")


def _png(window: Window, checksums: bool) -> Header:
    length, kind = struct.unpack(">I4s", window.at(8, 8))
    if kind != b"IHDR" or length != 13:
        raise DamagedError("the first chunk is not IHDR")
    width, height = struct.unpack(">II", window.at(16, 8))
    header = Header("png", width, height)
    place, has_data, texts = 8, False, 0
    for _ in range(_MAX_BLOCKS):
        length, kind = struct.unpack(">I4s", window.at(place, 8))
        if place + 12 + length > window.size:
            raise CutError
        critical = not kind[0] & 0x20
        if checksums and critical:
            (stored,) = struct.unpack(">I", window.at(place + 8 + length, 4))
            if zlib.crc32(window.at(place + 4, 4 + length)) != stored:
                raise DamagedError(f"wrong checksum of the chunk at byte {place}")
        if kind == b"eXIf":
            header.orientation = exif_orientation(window.at(place + 8, length))
        elif kind == b"acTL" and length == 8:
            (header.frames,) = struct.unpack(">I", window.at(place + 8, 4))
        elif kind in (b"zTXt", b"iTXt"):
            texts += 1
            if texts > _MAX_TEXTS:
                raise DamagedError(f"it has over {_MAX_TEXTS} compressed texts")
        elif kind == b"IDAT":
            has_data = True
        elif kind == b"IEND":
            if not has_data:
                raise DamagedError("it has no picture data")
            header.frames = max(header.frames, 1)
            return header
        place += 12 + length
    raise DamagedError("too many chunks")


def _bmp(window: Window) -> Header:
    (offset, size) = struct.unpack("<II", window.at(10, 8))
    if size == 12:
        width, height, _, bits = struct.unpack("<HHHH", window.at(18, 8))
        compression = 0
    elif size >= 40:
        width, height, _, bits, compression = struct.unpack("<iiHHI", window.at(18, 16))
    else:
        raise DamagedError(f"unknown BMP header of {size} bytes")
    header = Header("bmp", width, abs(height))
    if compression in (0, 3, 6) and width > 0:
        header.end = int(offset) + (width * bits + 31) // 32 * 4 * abs(height)
    return header


def _gif(window: Window) -> Header:
    width, height, flags = struct.unpack("<HHB", window.at(6, 5))
    header = Header("gif", width, height, frames=0)
    place = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    blocks = 0
    while blocks < _MAX_BLOCKS:
        kind = window.at(place, 1)[0]
        if kind == 0x3B:
            if header.frames == 0:
                raise DamagedError("it has no picture data")
            return header
        if kind == 0x2C:
            flags = window.at(place + 9, 1)[0]
            place += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
            header.frames += 1
        elif kind == 0x21:
            place += 2
        else:
            raise DamagedError(f"unknown block at byte {place}")
        while count := window.at(place, 1)[0]:
            place += 1 + count
            blocks += 1
        place += 1
        blocks += 1
    raise DamagedError("too many blocks")


def _webp(window: Window) -> Header:
    (size,) = struct.unpack("<I", window.at(4, 4))
    end = size + 8
    if end > window.size:
        raise CutError
    header: Header | None = None
    place, frames, orientation, has_data = 12, 0, 1, False
    for _ in range(_MAX_BLOCKS):
        if place + 8 > end:
            break
        kind, length = struct.unpack("<4sI", window.at(place, 8))
        if place + 8 + length > end:
            raise CutError
        if kind == b"VP8X":
            flags = window.at(place + 8, 10)
            width = int.from_bytes(flags[4:7], "little") + 1
            height = int.from_bytes(flags[7:10], "little") + 1
            header = header or Header("webp", width, height)
        elif kind == b"VP8 ":
            start, width, height = struct.unpack("<3sHH", window.at(place + 11, 7))
            if start != b"\x9d\x01\x2a":
                raise DamagedError("no VP8 start code")
            header = header or Header("webp", width & 0x3FFF, height & 0x3FFF)
            has_data = True
        elif kind == b"VP8L":
            signature, bits = struct.unpack("<BI", window.at(place + 8, 5))
            if signature != 0x2F:
                raise DamagedError("no VP8L signature")
            header = header or Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            has_data = True
        elif kind == b"ANMF":
            frames += 1
            has_data = True
        elif kind == b"EXIF":
            data = window.at(place + 8, length)
            orientation = exif_orientation(data.removeprefix(b"Exif\0\0"))
        place += 8 + length + (length & 1)
    if header is None or not has_data:
        raise DamagedError("it has no picture data")
    header.frames, header.orientation = max(frames, 1), orientation
    return header


_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


def _tiff(window: Window) -> Header:
    order = "<" if window.at(0, 2) == b"II" else ">"
    (version,) = struct.unpack(order + "H", window.at(2, 2))
    big = version == 43
    word, counter, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    word_size, counter_size = struct.calcsize(word), struct.calcsize(order + counter)
    (place,) = struct.unpack(order + word, window.at(8 if big else 4, word_size))

    def values(data: bytes, at: int) -> tuple[int, ...]:
        """The numbers of one entry, stored in it or at the place that it names."""
        _, kind, count = struct.unpack_from(f"{order}HH{word}", data)
        letter = _TIFF_TYPES.get(kind)
        if letter is None:
            return ()
        size = struct.calcsize(letter) * count
        start = at + 4 + word_size
        if size > word_size:
            (start,) = struct.unpack_from(order + word, data, 4 + word_size)
        return struct.unpack(f"{order}{count}{letter}", window.at(start, size))

    tags: dict[int, tuple[int, ...]] = {}
    extra = 0
    frames, seen = 0, set()
    while place and place not in seen and frames < 100_000:
        seen.add(place)
        (entries,) = struct.unpack(order + counter, window.at(place, counter_size))
        first = place + counter_size
        table = window.at(first, entries * entry)
        if frames == 0:
            for at in range(0, len(table), entry):
                (tag,) = struct.unpack_from(order + "H", table, at)
                if tag in (256, 257, 258, 273, 274, 279, 324, 325, 338):
                    tags[tag] = values(table[at : at + entry], first + at)
                if tag == 338:
                    extra = first + at + 4 + word_size
        frames += 1
        (place,) = struct.unpack(order + word, window.at(first + entries * entry, word_size))
    size = [tags.get(tag, ()) for tag in (256, 257)]
    if not all(len(value) == 1 for value in size):
        raise DamagedError("it has no width or height")
    header = Header("tiff", size[0][0], size[1][0], frames=frames)
    (orientation, *_) = tags.get(274) or (1,)
    header.orientation = orientation if 1 <= orientation <= 8 else 1
    offsets = tags.get(273) or tags.get(324) or ()
    counts = tags.get(279) or tags.get(325) or ()
    if not offsets:
        raise DamagedError("it has no picture data")
    header.end = max((a + b for a, b in zip(offsets, counts, strict=False)), default=0)
    if tags.get(338) == (2,):
        # Alpha is dropped, so the decoder must not multiply the colours by it first:
        # call it "associated", which means that this has been done.
        header.patches.append((extra, struct.pack(order + "H", 1)))
    return header


_PARSERS: tuple[tuple[bytes, Callable[[Window], Header]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
)
