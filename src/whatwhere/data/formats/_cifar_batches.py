"""Labels of CIFAR's batches, and where in the file the pixels of each picture lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.formats._plain_pickle import Array, Span, read_plain_pickle
from whatwhere.errors import DataError
from whatwhere.images import Member

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32

_CHUNK = 1 << 23


@dataclass
class Batch:
    """One file.

    Args:
        file: its path.
        labels: int64 (N,), the finest there are.
        coarse: int64 (N,), or None.
        offsets: int64 (N + 1,), first byte of each picture, and where the last one ends.
        text: whether the pixels are stored as UTF-8.
        names: names of the picture files; empty if there are none.
        rest: bytes at the end that are no whole picture.
    """

    file: Path
    labels: NDArray[np.int64]
    coarse: NDArray[np.int64] | None
    offsets: NDArray[np.int64]
    text: bool
    names: Sequence[str]
    rest: int = 0

    def path(self, number: int, name: str) -> str:
        """Path of a picture, as `images.members` reads it."""
        start, end = int(self.offsets[number]), int(self.offsets[number + 1])
        text = end - start if self.text else 0
        return str(Member(str(self.file), start, SHAPE, name, text=text))


def binary_batch(file: Path, coarse: bool) -> Batch:
    """A file of records without a header.

    Raises:
        DataError: there is not one whole record in it.
    """
    ahead = 2 if coarse else 1
    size = file.stat().st_size
    count, rest = divmod(size, PIXELS + ahead)
    if not count:
        raise DataError(f"{file} has {size} bytes, less than one picture: get it again")
    data = np.memmap(file, np.uint8, "r", shape=(count, PIXELS + ahead))
    labels = np.array(data[:, :ahead], dtype=np.int64)
    offsets = np.arange(count + 1, dtype=np.int64) * (PIXELS + ahead) + ahead
    return Batch(file, labels[:, -1], labels[:, 0] if coarse else None, offsets, False, (), rest)


def python_batch(file: Path) -> Batch:
    """A pickled dictionary with data and labels, or fine_labels and coarse_labels.

    Raises:
        DataError: it is not one, or would have to be run.
    """
    found = texts(read_plain_pickle(file))
    pixels = found.get("data")
    if not isinstance(pixels, Array) or not isinstance(pixels.data, Span):
        raise DataError(f"{file} has no array 'data' of pictures: it is not a CIFAR batch")
    count = pixels.shape[0] if pixels.shape else 0
    span = pixels.data
    flat = pixels.shape in ((count, PIXELS), (count, *SHAPE))
    if not count or not flat or not pixels.rows_first or pixels.dtype[1:] != "u1":
        raise DataError(
            f"{file}: 'data' is {pixels.dtype} {pixels.shape}, not bytes of pictures x {PIXELS}"
        )
    if span.text:
        offsets = _text_offsets(file, span, count)
    else:
        offsets = span.offset + np.arange(count + 1, dtype=np.int64) * PIXELS
        if span.length != count * PIXELS:
            raise DataError(f"{file} has {span.length} bytes for {count} pictures: get it again")
    labels = next((found[key] for key in ("fine_labels", "labels") if key in found), None)
    fine = _numbers(file, labels, count)
    if fine is None:
        raise DataError(f"{file} has no list of {count} labels: it is not a CIFAR batch")
    names = found.get("filenames")
    named = isinstance(names, list) and len(names) == count
    return Batch(
        file,
        fine,
        _numbers(file, found.get("coarse_labels"), count),
        offsets,
        span.text,
        [text(name) for name in names] if named and names else (),
    )


def text(value: Any) -> str:
    """A text that may be bytes, as Python 2's are."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def texts(value: Any) -> dict[str, Any]:
    """A dictionary by text; empty for anything else."""
    return {text(key): one for key, one in value.items()} if isinstance(value, dict) else {}


def _numbers(file: Path, value: Any, count: int) -> NDArray[np.int64] | None:
    """Whole numbers of a list or an array; None if they are not that many."""
    if (
        isinstance(value, Array)
        and re.fullmatch("[<>|][iu][1248]", value.dtype)
        and value.shape == (count,)
    ):
        data = value.data
        if isinstance(data, Span):
            with file.open("rb") as stream:
                stream.seek(data.offset)
                content = stream.read(data.length)
            data = content.decode("utf-8").encode("latin-1") if data.text else content
        if len(data) != count * np.dtype(value.dtype).itemsize:
            return None
        return np.frombuffer(data, value.dtype).astype(np.int64)
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(type(one) is int and abs(one) < 1 << 62 for one in value):
        return None
    return np.array(value, np.int64)


def _text_offsets(file: Path, span: Span, count: int) -> NDArray[np.int64]:
    """Where each picture begins among pixels that take one byte or two."""
    found: list[NDArray[np.int64]] = []
    seen = 0
    with file.open("rb") as stream:
        stream.seek(span.offset)
        for start in range(0, span.length, _CHUNK):
            data = np.frombuffer(stream.read(min(_CHUNK, span.length - start)), np.uint8)
            # Bytes 10xxxxxx go on with the character before.
            first = np.flatnonzero((data & 0xC0) != 0x80)
            found.append(first[-seen % PIXELS :: PIXELS] + start + span.offset)
            seen += first.size
    if seen != count * PIXELS:
        raise DataError(f"{file} has {seen} bytes for {count} pictures: get it again")
    return np.append(np.concatenate(found), span.offset + span.length).astype(np.int64)
