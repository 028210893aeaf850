"""Many pictures in one flat file that is mapped into memory: the cache between runs.

Layout: the pixels of each picture, uint8 rows x columns x 3, one after the other; the index;
the messages of unreadable pictures as JSON; a footer. Several processes may map one file:
they share its pages, and the system drops pages when memory is short.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whatwhere.images.members import member
from whatwhere.types import Image

Picture: TypeAlias = tuple[Image, tuple[int, int]]
"""A picture at working size, uint8 (H, W, 3), and its original (height, width)."""

_MAGIC = b"WWPICS01"
# Bytes of the index, bytes of the messages, checksum of both, key, magic.
_FOOTER = struct.Struct("<QQI32s8s")
_INDEX = np.dtype(
    [
        ("offset", "<i8"),  # -1: not in the file
        ("rows", "<i4"),
        ("columns", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("checksum", "<u4"),
    ]
)


class DamagedFileError(Exception):
    """The file is not what was asked for; the text says why."""


def key_of(paths: Sequence[str], about: str) -> bytes:
    """A digest of pictures and of what is done with them, 32 bytes.

    Args:
        paths: of the pictures; size and time of change of each file count, not its content.
        about: all else that the pixels depend on.
    """
    digest = hashlib.sha256(f"{_MAGIC!r} {about}".encode())
    for path in paths:
        try:
            found = Path(_container(path)).stat()
            state = f"{found.st_size} {found.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"\n{path}\0{state}".encode("utf-8", "surrogateescape"))
    return digest.digest()


def _container(path: str) -> str:
    """The file that a path lies in."""
    found = member(path)
    return path if found is None else _container(found.file)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in a block with this path.

    The lock saves work only: files appear whole under their name without it, too. So where
    a system has no such locks, nothing is waited for. It ends with its process.
    """
    with path.open("ab") as file:
        if sys.platform != "win32":
            import fcntl

            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Writer:
    """Writes such a file.

    Args:
        file: at its start.
        count: number of pictures.
        key: from `key_of`.
    """

    def __init__(self, file: BinaryIO, count: int, key: bytes) -> None:
        self._file, self._key, self._end = file, key, 0
        self._index = np.zeros(count, _INDEX)
        self._index["offset"] = -1

    def add(self, i: int, picture: Picture) -> None:
        """Write picture `i`."""
        image, original = picture
        data = np.ascontiguousarray(image).data
        self._file.write(data)
        checksum = zlib.crc32(data)
        self._index[i] = (self._end, *image.shape[:2], *original, checksum)
        self._end += image.nbytes

    def finish(self, unreadable: Mapping[int, str]) -> None:
        """Write what follows the pixels."""
        tail = self._index.tobytes()
        messages = json.dumps({str(i): text for i, text in unreadable.items()}).encode()
        self._file.write(tail + messages)
        checksum = zlib.crc32(messages, zlib.crc32(tail))
        self._file.write(_FOOTER.pack(len(tail), len(messages), checksum, self._key, _MAGIC))


class PictureFile:
    """A file of pictures, mapped into memory for reading.

    Args:
        path: of the file.
        count: number of pictures that it is about.
        key: from `key_of`.
        workers: threads that check it.

    Raises:
        DamagedFileError: the file is cut, damaged, of other pictures, or no such file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, count: int, key: bytes, workers: int) -> None:
        size = path.stat().st_size
        if size < _FOOTER.size:
            raise DamagedFileError(f"it has {size} bytes")
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = size - _FOOTER.size
        index, messages, checksum, its_key, magic = _FOOTER.unpack_from(self._map, end)
        if magic != _MAGIC or its_key != key:
            raise DamagedFileError("it is no cache of these pictures")
        start = end - index - messages
        if start < 0 or index != count * _INDEX.itemsize:
            raise DamagedFileError("its index has another length than it says")
        tail = self._map[start:end]
        if zlib.crc32(tail) != checksum:
            raise DamagedFileError("its index is damaged")
        self._index: NDArray[Any] = np.frombuffer(tail[:index], _INDEX)
        self.unreadable = {int(i): str(text) for i, text in json.loads(tail[index:]).items()}
        self._check(workers)

    def __getitem__(self, i: int) -> Picture | None:
        """Picture `i`, a view into the file that cannot be changed; None if it is not there."""
        offset, rows, columns, height, width, _ = self._index[i].item()
        if offset < 0:
            return None
        flat = np.frombuffer(self._map, np.uint8, rows * columns * 3, offset)
        return flat.reshape(rows, columns, 3), (height, width)

    def __len__(self) -> int:
        """Number of pictures that are in the file."""
        return int((self._index["offset"] >= 0).sum())

    def _check(self, workers: int) -> None:
        """Compare the pixels with their checksums: reading is much quicker than decoding."""

        def wrong(i: int) -> bool:
            found = self[i]
            return found is not None and zlib.crc32(found[0].data) != self._index["checksum"][i]

        with ThreadPoolExecutor(workers) as pool:
            damaged = sum(pool.map(wrong, range(len(self._index))))
        if damaged:
            raise DamagedFileError(f"{damaged} pictures in it are damaged")
