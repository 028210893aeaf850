"""Where the files in a tar archive lie, without taking any out.

Read are POSIX ustar, pax and GNU archives. Source: the Open Group's description of `pax`, and
the GNU tar manual, "Basic Tar Format". Links, devices and sparse files are not files here.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = 512

_LONGEST_NAME = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in an archive.

    Args:
        name: as it stands there; nothing is written, so it may be anything.
        offset, size: where its bytes lie in the archive.
        kind: "file", or what else it is: "link", "other".
    """

    name: str
    offset: int
    size: int
    kind: str = "file"


class TarError(Exception):
    """The archive is damaged; the message is the end of a sentence."""


def tar_entries(file: Path) -> Iterator[Entry]:
    """Each file and link of the archive, in order; folders are left out.

    Raises:
        TarError: the archive is damaged or cut off from here on.
        OSError: it cannot be read.
    """
    if file.stat().st_size < BLOCK:
        raise TarError("it is shorter than one header")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from _walk(data)


def _walk(data: mmap.mmap) -> Iterator[Entry]:
    place, end = 0, len(data)
    long_name: str | None = None
    long_size: int | None = None
    while True:
        block = data[place : place + BLOCK]
        if len(block) < BLOCK:
            raise TarError(f"it is cut off at byte {end}")
        if not any(block[:8]) and block == bytes(BLOCK):
            return
        _check(block, place)
        size = _number(block[124:136], place) if long_size is None else long_size
        kind = block[156:157]
        start = place + BLOCK
        place = start + -(-size // BLOCK) * BLOCK
        if start + size > end:
            raise TarError(f"it is cut off at byte {end}, in the file at byte {start}")
        if kind == b"x":
            name, number = _pax(data[start : start + min(size, _LONGEST_NAME)])
            long_name, long_size = name or long_name, number
            continue
        if kind == b"L":
            text = data[start : start + min(size, _LONGEST_NAME)]
            long_name = _text(text.rstrip(b"\0"))
            continue
        if kind in (b"g", b"K"):
            continue
        name = long_name if long_name is not None else _name(block)
        long_name = long_size = None
        if kind in (b"0", b"\0", b"7") and not name.endswith("/"):
            yield Entry(name, start, size)
        elif kind in (b"1", b"2"):
            yield Entry(name, start, size, "link")
        elif kind != b"5":
            yield Entry(name, start, size, "other")


def _check(block: bytes, place: int) -> None:
    """Compare the header's sum, in which the sum's own place counts as spaces."""
    said = _number(block[148:156], place)
    if said != sum(block) - sum(block[148:156]) + 8 * 32:
        raise TarError(f"the header at byte {place} is damaged")


def _number(field: bytes, place: int) -> int:
    """Octal digits; or, of GNU, the bytes of the number itself."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not all(48 <= digit < 56 for digit in digits):
        raise TarError(f"the header at byte {place} is damaged")
    return int(digits, 8) if digits else 0


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    return _text(name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _pax(data: bytes) -> tuple[str | None, int | None]:
    """`path` and `size` of an extended header: `17 path=some/name\\n`."""
    name, size = None, None
    while data:
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or not len(length) + 1 < int(length[:9]) <= len(data):
            break
        record = rest[: int(length) - len(length) - 2]
        key, _, value = record.partition(b"=")
        if key == b"path":
            name = _text(value)
        elif key == b"size" and value.isdigit() and len(value) < 19:
            size = int(value)
        data = data[int(length) :]
    return name, size
