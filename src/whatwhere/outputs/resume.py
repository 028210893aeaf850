"""What a file of results holds already, so that a run can go on after it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from whatwhere.errors import UsageError
from whatwhere.outputs.results import CSV_COLUMNS

RESUMABLE = ("jsonl", "csv")

_PREFIX = '{"image": '
_DECODER = json.JSONDecoder()
# A longer record is none of ours.
_LONGEST = 1 << 24
_BLOCK = 1 << 16


class _Record(NamedTuple):
    name: str
    failed: bool
    end: int  # place behind its last byte


class Done:
    """The pictures of a file of results: eight bytes each, whatever they are called.

    A name that stands there twice is done twice.

    Attributes:
        pictures: how many there are.
        failures: how many of them could not be read.
        end: bytes of the file that hold whole results; the rest is to be cut off.
    """

    def __init__(self, records: Iterator[_Record]) -> None:
        self.pictures = self.failures = self.end = 0
        blocks: list[np.ndarray] = []
        block: list[int] = []
        for record in records:
            block.append(_key(record.name))
            self.pictures += 1
            self.failures += record.failed
            self.end = record.end
            if len(block) == _BLOCK:
                blocks.append(np.array(block, np.uint64))
                block.clear()
        keys = np.concatenate([*blocks, np.array(block, np.uint64)])
        self._keys, self._left = np.unique(keys, return_counts=True)

    def take(self, name: str) -> bool:
        """Whether a picture is done; each result counts for one picture of its name."""
        key = np.uint64(_key(name))
        place = int(np.searchsorted(self._keys, key))
        if place == len(self._keys) or self._keys[place] != key or not self._left[place]:
            return False
        self._left[place] -= 1
        return True


def read_done(path: str | os.PathLike[str], format: str, model: str) -> Done:
    """The results in a file that a run left, whole or not; none if there is no file.

    A last line that is cut off does not count. Nor does, in CSV, the last picture: nothing says
    whether all of its rows are there.

    Args:
        path: what `predict --out` wrote.
        format: one of `RESUMABLE`.
        model: name of the model that goes on; JSON lines say which model wrote them.

    Raises:
        UsageError: the file holds something else, or results of another model.
    """
    file = Path(path)
    if not file.exists():
        return Done(iter(()))
    with file.open("rb") as stream:
        return Done(_lines(stream, file, model) if format == "jsonl" else _rows(stream, file))


def _key(name: str) -> int:
    """Eight bytes of a name, as CSV writes it: bytes that are no text are escaped."""
    from hashlib import blake2b

    return int.from_bytes(blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest())


def _lines(stream: BinaryIO, path: Path, model: str) -> Iterator[_Record]:
    end = number = 0
    known = False  # whether the model is
    while line := stream.readline(_LONGEST):
        number += 1
        end += len(line)
        if not line.endswith(b"\n"):
            if stream.read(1):
                raise _foreign(path, number)
            return
        try:
            text = line.decode("utf-8")
            if known and text.startswith(_PREFIX + '"') and text.endswith("}\n"):
                # Ten times as quick as reading all of it.
                name, stop = _DECODER.raw_decode(text, len(_PREFIX))
                failed = text.startswith(', "error"', stop)
            else:
                row = json.loads(text)
                name, failed = row["image"], "error" in row
                if not isinstance(name, str):
                    raise TypeError(name)
                if not failed:
                    if row["model"] != model:
                        raise UsageError(
                            f"{path} holds results of {row['model']}, not of {model}: choose"
                            " another file, or the model it was begun with"
                        )
                    known = True
        except (ValueError, KeyError, TypeError) as error:
            raise _foreign(path, number) from error
        yield _Record(name, failed, end)


def _rows(stream: BinaryIO, path: Path) -> Iterator[_Record]:
    last: _Record | None = None
    for number, (row, end) in enumerate(_csv_rows(stream, path)):
        if number == 0:
            if row != list(CSV_COLUMNS):
                raise _foreign(path, 1)
            continue
        if len(row) != len(CSV_COLUMNS):
            raise _foreign(path, number + 1)
        name, failed = row[0], bool(row[-1])
        if last is not None and last.name == name:
            last = last._replace(end=end)
            continue
        if last is not None:
            yield last
        last = _Record(name, failed, end)


def _csv_rows(stream: BinaryIO, path: Path) -> Iterator[tuple[list[str], int]]:
    """Rows, and the place behind the last byte of each; names may hold line breaks."""
    end = number = 0
    text = b""
    while line := stream.readline(_LONGEST):
        number += 1
        text += line
        end += len(line)
        if len(text) >= _LONGEST:
            raise _foreign(path, number)
        # A quotation mark inside quotes is written twice, so that whole rows have an even number.
        if not line.endswith(b"\n") or text.count(b'"') % 2:
            continue
        try:
            (row,) = csv.reader([text.decode("utf-8")], strict=True)
        except (UnicodeDecodeError, ValueError, csv.Error) as error:
            raise _foreign(path, number) from error
        yield row, end
        text = b""


def _foreign(path: Path, number: int) -> UsageError:
    return UsageError(
        f"{path}:{number} is not a result that can be gone on after: choose another file, or run"
        " without --resume"
    )
