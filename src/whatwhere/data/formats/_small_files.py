"""Read and write very many small text files, as formats with one file a picture need it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MAX_TEXT = 64 << 20
"""Largest label file of one picture, in bytes; nobody draws a million boxes."""

_PIECE = 1 << 16
# A file that is in memory takes 5 microseconds, one that must be fetched 100 and more.
_SLOW = 50e-6

Item = TypeVar("Item")


def read_small(path: str) -> bytes | OSError:
    """A file's content, or why it cannot be had (larger than `MAX_TEXT`, not a file)."""
    try:
        place = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        return error
    try:
        data = os.read(place, _PIECE)
        if len(data) < _PIECE:
            return data
        pieces, length = [data], len(data)
        while data := os.read(place, _PIECE * 16):
            pieces.append(data)
            length += len(data)
            if length > MAX_TEXT:
                return OSError(0, f"larger than {MAX_TEXT >> 20} MiB", path)
        return b"".join(pieces)
    except OSError as error:
        return error
    finally:
        os.close(place)


def read_all(paths: Sequence[str], count: int = 2048) -> Iterator[list[bytes | OSError]]:
    """The content of each file, in order, `count` files at a time.

    One thread reads what the system has in memory; where that turns out slow, because the
    files come from a disk or a network, eight ask at once.
    """
    threads = 1
    with ThreadPoolExecutor(8) as pool:
        for start in range(0, len(paths), count):
            part = paths[start : start + count]
            begun = time.perf_counter()
            if threads == 1:
                answers = [read_small(path) for path in part]
                threads = 8 if time.perf_counter() - begun > _SLOW * len(part) else 1
            else:
                answers = list(pool.map(read_small, part, chunksize=16))
            yield answers


def write_all(files: Iterable[tuple[str, bytes]]) -> None:
    """Write each (path, content); the folders are there, the files are not.

    For a folder that as a whole is made under a temporary name.

    Raises:
        OSError: the disk is full, or a file is there already.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for path, data in files:
        place = os.open(path, flags, 0o666)
        try:
            done = os.write(place, data)
            while done < len(data):
                done += os.write(place, data[done:])
        finally:
            os.close(place)


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a second thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
