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
from typing import Any

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._coco_rows import Cut, UnsureError, columns, cut
from whatwhere.data.formats._coco_source import (
    BLOCK,
    LONGEST,
    Decoder,
    Source,
    SyntaxFaultError,
)
from whatwhere.errors import DataError

Part = tuple[pl.DataFrame, list[Finding]]

Rows = Callable[[pl.DataFrame, Sequence[int]], Part]
"""From columns of JSON texts and the positions of the records to typed columns."""


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
    path: Path, where: str, arrays: Mapping[str, Array], *, exact: bool = False, block: int = BLOCK
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
            if source.whole or size > LONGEST:
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
