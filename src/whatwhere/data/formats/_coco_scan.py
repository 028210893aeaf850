"""A large JSON object, read piece by piece: its long arrays as columns, the rest as values.

Only a few blocks of the file are in memory at once, and what a block does not show beyond
doubt (see `_coco_rows`) makes the whole file be read record by record.
"""

from __future__ import annotations

import codecs
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._coco_rows import Cut, UnsureError, columns, cut
from whatwhere.errors import DataError

Part = tuple[pl.DataFrame, list[Finding]]

Rows = Callable[[pl.DataFrame, Sequence[int]], Part]
"""From columns of JSON texts and the positions of the records to typed columns."""

_BLANKS = b" \t\r\n"
_BLOCK = 8 << 20
_WINDOW = 1 << 12
# A record or another value that is longer than this is a fault in the file.
_LONGEST = 64 << 20


class SyntaxFaultError(Exception):
    """The text is no JSON; the place is in bytes from the start of the file."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


class Source:
    """A file, of which the part from `place` on is at hand as it is needed."""

    def __init__(self, file: BinaryIO, block: int = _BLOCK) -> None:
        self.file, self.block = file, block
        self.data = bytearray()
        self.pos = self.start = 0
        self.whole = False

    @property
    def place(self) -> int:
        """Where in the file the next byte is."""
        return self.start + self.pos

    def want(self, count: int) -> None:
        """Have so many bytes after the current place, or all that there are."""
        missing = count - (len(self.data) - self.pos)
        if missing <= 0 or self.whole:
            return
        rest = memoryview(self.data)[self.pos :]
        fresh = bytearray(len(rest) + missing)
        fresh[: len(rest)] = rest
        rest.release()
        length = len(fresh) - missing
        while length < len(fresh):
            with memoryview(fresh) as view:
                got = self.file.readinto(view[length:])  # type: ignore[attr-defined]
            if not got:
                self.whole = True
                break
            length += got
        del fresh[length:]
        self.data, self.start, self.pos = fresh, self.start + self.pos, 0

    def peek(self) -> int:
        """The next byte that is not white space; -1 at the end."""
        while True:
            self.want(1)
            if self.pos >= len(self.data):
                return -1
            byte = self.data[self.pos]
            if byte not in _BLANKS:
                return byte
            self.pos += 1

    def take(self, wanted: str) -> str:
        """The next character, which must be one of these."""
        byte = self.peek()
        if byte < 0 or chr(byte) not in wanted:
            expected = " or ".join(repr(one) for one in wanted)
            raise SyntaxFaultError(f"Expecting {expected}", self.place)
        self.pos += 1
        return chr(byte)

    def ahead(self, size: int) -> bytearray:
        """A copy of so many bytes from here on, fewer at the end of the file."""
        self.want(size)
        return self.data[self.pos : self.pos + size]

    def give(self, size: int) -> bytearray:
        """At least so many bytes from here on, without a copy; to be followed by `back`."""
        if self.pos:
            del self.data[: self.pos]
            self.start, self.pos = self.start + self.pos, 0
        self.want(size)
        given, self.data = self.data, bytearray()
        return given

    def back(self, given: bytearray, used: int) -> None:
        """Go on after the first `used` bytes of what was given."""
        self.data = given[used:]
        self.start += used

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The value that begins here."""
        self.peek()
        size = _WINDOW
        while True:
            self.want(size)
            part = bytes(memoryview(self.data)[self.pos : self.pos + size])
            last = self.whole and self.pos + size >= len(self.data)
            try:
                text = codecs.getincrementaldecoder("utf-8")().decode(part, last)
                found, end = decoder.raw_decode(text)
            except UnicodeDecodeError as error:
                raise SyntaxFaultError(
                    f"not UTF-8: {error.reason}", self.place + error.start
                ) from None
            except RecursionError:
                raise SyntaxFaultError("too deeply nested", self.place) from None
            except ValueError as error:
                if not last and size < _LONGEST:
                    size *= 8
                    continue
                at = error.pos if isinstance(error, json.JSONDecodeError) else 0
                message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise SyntaxFaultError(message, self.place + len(text[:at].encode())) from None
            # A number at the end of the window may go on after it.
            if end < len(text) or last:
                self.pos += len(text[:end].encode())
                return found
            size *= 8


class Decoder:
    """Python's JSON parser, which also notes keys that occur twice in one object."""

    def __init__(self) -> None:
        self.doubles: list[str] = []
        self.json = json.JSONDecoder(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            self.doubles += sorted({key for key in keys if keys.count(key) > 1})
        return found

    def said(self, place: str) -> list[Finding]:
        """What was noted since the last call."""
        keys, self.doubles = self.doubles, []
        return [
            Finding("duplicate-key", f"{key!r} occurs twice; the last one counts", place)
            for key in keys
        ]


def as_texts(record: Mapping[str, Any], known: Sequence[str]) -> dict[str, str]:
    """A record as `_coco_rows.columns` gives it: JSON texts of known keys, and `extra`."""
    texts = {key: _dumped(record[key]) for key in known if key in record}
    others = [f"{_dumped(key)}: {_dumped(record[key])}" for key in record if key not in texts]
    if others:
        texts["extra"] = ", ".join(others)
    return texts


def _dumped(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # Half of a surrogate pair can only be written as an escape.
    return text if text.isascii() or _is_sound(text) else json.dumps(value)


def _is_sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class Scanned:
    """What is in a file.

    Args:
        frames: typed columns of each array that was asked for; None if the file has none.
        rest: the values of all other keys at the top.
        findings: records that are no objects, keys that occur twice, and what `Rows` found.
    """

    frames: dict[str, pl.DataFrame | None]
    rest: dict[str, Any]
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Array:
    """An array of objects: the keys that get columns, and what makes them typed columns."""

    known: Sequence[str]
    rows: Rows


LIST = ""
"""Name of the array in a file that has no object at its top but that array."""


def scan(
    path: Path, where: str, arrays: Mapping[str, Array], *, exact: bool = False, block: int = _BLOCK
) -> Scanned:
    """Read a file.

    Args:
        path: the file.
        where: its name in findings.
        arrays: what to make of which array at the top; `LIST` where there is nothing else.
        exact: parse record by record; else only where quicker ways are in doubt.
        block: bytes to read at once.

    Raises:
        DataError: it is not JSON, with line and column; or an array occurs twice.
    """
    try:
        with path.open("rb") as file, ThreadPoolExecutor(_THREADS) as pool:
            source = Source(file, block)
            try:
                return _top(source, where, arrays, None if exact else pool)
            except UnsureError:
                pool.shutdown(cancel_futures=True)
            except SyntaxFaultError as fault:
                if not exact:
                    # The quick way finds the fault late; the other one finds it first.
                    return scan(path, where, arrays, exact=True, block=block)
                line, column = _line(path, fault.place)
                raise DataError(
                    f"{path} is not valid JSON (line {line}, column {column}: {fault}):"
                    " get it again or repair it"
                ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return scan(path, where, arrays, exact=True, block=block)


_THREADS = min(4, os.cpu_count() or 1)


def _line(path: Path, place: int) -> tuple[int, int]:
    line, column = 1, 1
    with path.open("rb") as file:
        while place > 0 and (part := file.read(min(place, 1 << 20))):
            place -= len(part)
            breaks = part.count(b"\n")
            line += breaks
            column = len(part) - part.rfind(b"\n") if breaks else column + len(part)
    return line, column


def _top(
    source: Source, where: str, arrays: Mapping[str, Array], pool: ThreadPoolExecutor | None
) -> Scanned:
    found = Scanned(dict.fromkeys(arrays), {}, [])
    if source.ahead(3) == codecs.BOM_UTF8:
        source.pos += 3
    decoder = Decoder()
    if source.peek() == ord("[") and LIST in arrays:
        _array(source, where, LIST, arrays[LIST], pool, found)
    elif source.peek() == ord("{"):
        source.pos += 1
        while not (source.peek() == ord("}") and not found.rest and not any_frame(found)):
            if source.peek() != ord('"'):
                raise SyntaxFaultError(
                    "Expecting property name enclosed in double quotes", source.place
                )
            key = source.value(decoder.json)
            source.take(":")
            if key in arrays and source.peek() == ord("["):
                if found.frames[key] is not None:
                    raise DataError(f"{where} has two lists {key!r}: leave one of them out")
                _array(source, where, key, arrays[key], pool, found)
            else:
                if key in found.rest:
                    decoder.doubles.append(key)
                found.rest[key] = source.value(decoder.json)
            found.findings += decoder.said(f"{where}#{key}")
            if source.take(",}") == "}":
                break
        else:
            source.pos += 1
    else:
        found.rest[LIST] = source.value(decoder.json)
    if source.peek() >= 0:
        raise SyntaxFaultError("Extra data", source.place)
    return found


def any_frame(found: Scanned) -> bool:
    """Whether an array was found."""
    return any(frame is not None for frame in found.frames.values())


def _array(
    source: Source,
    where: str,
    name: str,
    array: Array,
    pool: ThreadPoolExecutor | None,
    found: Scanned,
) -> None:
    source.pos += 1
    way = (
        _slow(source, where, name, array)
        if pool is None
        else _quick(source, where, name, array, pool)
    )
    frames = []
    for frame, findings in way:
        frames.append(frame)
        found.findings += findings
    schema = dict.fromkeys((*array.known, "extra"), pl.String)
    empty, _ = array.rows(pl.DataFrame(schema=schema), [])
    found.frames[name] = pl.concat([empty, *frames])


def _quick(
    source: Source, where: str, name: str, array: Array, pool: ThreadPoolExecutor
) -> Iterator[Part]:
    """Blocks of records, in their order; a few are worked on at the same time."""
    pending: deque[Future[Part]] = deque()
    position = 0
    if source.peek() == ord("]"):
        source.pos += 1
        return
    more = True
    while more:
        if source.peek() != ord("{"):
            raise UnsureError
        size = source.block
        block = source.give(size)
        records = cut(block)
        while not records.length:
            if source.whole or size > _LONGEST:
                raise UnsureError
            source.back(block, 0)
            size *= 4
            block = source.give(size)
            records = cut(block)
        source.back(block, records.length)
        try:
            more = source.take(",]") == ","
        except SyntaxFaultError:
            raise UnsureError from None
        pending.append(pool.submit(_block, block, records, position, f"{where}#{name}", array))
        position += len(records.starts)
        if len(pending) > _THREADS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _block(block: bytearray, records: Cut, position: int, place: str, array: Array) -> Part:
    decoder, doubles = Decoder(), []

    def parse(text: str, row: int) -> dict[str, str]:
        record = decoder.json.decode(text)
        doubles.extend(decoder.said(f"{place}[{position + row}]"))
        return as_texts(record, array.known)

    raw = columns(block, records, array.known, parse)
    positions = range(position, position + raw.height)
    frame, findings = array.rows(raw, positions)
    return frame, doubles + findings


_ROWS = 20_000


def _slow(source: Source, where: str, name: str, array: Array) -> Iterator[Part]:
    """The same, record by record."""
    decoder = Decoder()
    texts: dict[str, list[str | None]] = {}
    positions: list[int] = []
    findings: list[Finding] = []
    names = (*array.known, "extra")

    def part() -> Part:
        raw = pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String))
        frame, more = array.rows(raw, positions)
        return frame, findings + more

    position = -1
    going = source.peek() != ord("]")
    if not going:
        source.pos += 1
    texts = {one: [] for one in names}
    while going:
        position += 1
        record = source.value(decoder.json)
        place = f"{where}#{name}[{position}]"
        findings += decoder.said(place)
        if isinstance(record, dict):
            found = as_texts(record, array.known)
            for one in names:
                texts[one].append(found.get(one))
            positions.append(position)
        else:
            message = f"the record is {type(record).__name__}, not an object"
            lost = int(name not in ("images", "categories"))
            findings.append(Finding("bad-record", message, place, "error", KEPT_OUT, lost))
        going = source.take(",]") == ","
        if len(positions) == _ROWS:
            yield part()
            texts, positions, findings = {one: [] for one in names}, [], []
    yield part()
