"""TFRecord files and the Example message inside them, without TensorFlow.

Sources: the TFRecord format (https://www.tensorflow.org/tutorials/load_data/tfrecord), the
protocol buffer encoding (https://protobuf.dev/programming-guides/encoding), example.proto
and feature.proto of TensorFlow, and CRC-32C of RFC 3720. A record is its length (uint64), a
check sum of that, the data and a check sum of these, all little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78

# Bytes of a lane; shorter data go through the plain loop, which is quicker there.
_LANE = 64
_SHORT = 4096
_CHUNK = 1 << 20


class WireError(ValueError):
    """The bytes are no message of the kind that they should be."""


def _make_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


_TABLE = _make_table()
_PLAIN: list[int] = _TABLE.tolist()


@cache
def _shift(count: int) -> NDArray[np.uint32]:
    """What `count` zero bytes, a power of two, do to a state: a table for each of its bytes."""
    table = np.empty((4, 256), dtype=np.uint32)
    for place in range(4):
        state = np.arange(256, dtype=np.uint32) << np.uint32(8 * place)
        if count == 1:
            table[place] = _TABLE[state & 255] ^ (state >> np.uint32(8))
        else:
            half = _shift(count // 2)
            table[place] = _moved(_moved(state, half), half)
    return table


def _moved(state: NDArray[np.uint32], table: NDArray[np.uint32]) -> NDArray[np.uint32]:
    moved: NDArray[np.uint32] = (
        table[0][state & 255]
        ^ table[1][(state >> np.uint32(8)) & 255]
        ^ table[2][(state >> np.uint32(16)) & 255]
        ^ table[3][state >> np.uint32(24)]
    )
    return moved


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli) of some bytes.

    Long data are cut into lanes of 64 bytes that NumPy takes side by side; their sums are
    joined pair by pair, since the sum of a whole follows from those of its parts.
    """
    state = 0xFFFFFFFF
    view = memoryview(data)
    for start in range(0, len(view), _CHUNK):
        state = _continued(state, view[start : start + _CHUNK])
    return state ^ 0xFFFFFFFF


def _continued(state: int, data: memoryview) -> int:
    if len(data) < _SHORT:
        for byte in data:
            state = _PLAIN[(state ^ byte) & 255] ^ (state >> 8)
        return state
    lanes = -(-len(data) // _LANE)
    padded = np.zeros(lanes * _LANE, dtype=np.uint8)
    # Zeros in front change nothing as long as the state is zero; it is put into the data.
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    start = padded.size - len(data)
    padded[start : start + 4] ^= np.frombuffer(struct.pack("<I", state), np.uint8)
    columns = np.ascontiguousarray(padded.reshape(lanes, _LANE).T)
    sums = np.zeros(lanes, dtype=np.uint32)
    for column in columns:
        sums = _TABLE[(sums ^ column) & 255] ^ (sums >> np.uint32(8))
    width = _LANE
    while sums.size > 1:
        if sums.size % 2:
            sums = np.concatenate([np.zeros(1, dtype=np.uint32), sums])
        sums = _moved(sums[0::2], _shift(width)) ^ sums[1::2]
        width *= 2
    return int(sums[0])


def masked_crc(data: bytes | memoryview) -> int:
    """The check sum as TFRecord stores it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Args:
        number: from 0; offset: of its data in the file; data: the bytes.
        fault: what is wrong, or None. Without data nothing after it can be read.
    """

    number: int
    offset: int
    data: bytes
    fault: str | None = None


def records(file: Path) -> Iterator[Record]:
    """Every record of a file; memory is taken for one of them, at most the file's size.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        place, number = 0, 0
        while place < size:
            header = stream.read(12)
            if len(header) < 12:
                yield Record(number, place, b"", "the file ends within a record's header")
                return
            length, check = struct.unpack("<QI", header)
            if masked_crc(header[:8]) != check:
                yield Record(number, place, b"", "the check sum of the length is wrong")
                return
            if length > size - place - 16:
                yield Record(number, place, b"", "the file ends before the record does")
                return
            data = stream.read(length)
            (check,) = struct.unpack("<I", stream.read(4))
            fault = None if masked_crc(data) == check else "the check sum of the data is wrong"
            yield Record(number, place + 12, data, fault)
            place += 16 + length
            number += 1


def first_length_is_right(head: bytes) -> bool:
    """Whether a file begins as a TFRecord file does."""
    return len(head) >= 12 and masked_crc(head[:8]) == struct.unpack("<I", head[8:12])[0]


def write_record(stream: BinaryIO, data: bytes) -> None:
    """Add one record."""
    length = struct.pack("<Q", len(data))
    stream.write(length + struct.pack("<I", masked_crc(length)))
    stream.write(data)
    stream.write(struct.pack("<I", masked_crc(data)))


Span = tuple[int, int]
Feature = list[Span] | list[float] | list[int]


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, place
    raise WireError(f"a number does not end, at byte {place}")


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, Span]]:
    """Number, wire type and place of each field of a message."""
    place = start
    while place < end:
        key, place = _varint(data, place, end)
        kind = key & 7
        if kind == 0:
            after = _varint(data, place, end)[1]
        elif kind == 1:
            after = place + 8
        elif kind == 5:
            after = place + 4
        elif kind == 2:
            length, place = _varint(data, place, end)
            after = place + length
        else:
            raise WireError(f"wire type {kind}, at byte {place}")
        if after > end:
            raise WireError(f"a field ends after its message, at byte {place}")
        yield key >> 3, kind, (place, after)
        place = after


def parse_example(data: bytes) -> dict[str, Feature]:
    """The features of an Example: floats, whole numbers, or places of byte strings in `data`.

    Raises:
        WireError: it is no Example.
    """
    found: dict[str, Feature] = {}
    for number, kind, span in _fields(data, 0, len(data)):
        if number != 1 or kind != 2:
            continue
        for inner, inner_kind, entry in _fields(data, *span):
            if inner != 1 or inner_kind != 2:
                continue
            key, value = "", None
            for part, part_kind, place in _fields(data, *entry):
                if part == 1 and part_kind == 2:
                    key = data[place[0] : place[1]].decode("utf-8", "replace")
                elif part == 2 and part_kind == 2:
                    value = place
            if value is not None:
                found[key] = _feature(data, value)
    return found


def _feature(data: bytes, span: Span) -> Feature:
    for number, kind, place in _fields(data, *span):
        if kind != 2:
            continue
        if number == 1:
            return [one for field, wire, one in _fields(data, *place) if field == 1 and wire == 2]
        if number == 2:
            return _floats(data, place)
        if number == 3:
            return _numbers(data, place)
    return []


def _floats(data: bytes, span: Span) -> list[float]:
    values: list[float] = []
    for field, wire, (start, end) in _fields(data, *span):
        if field == 1 and wire in (2, 5):
            if (end - start) % 4:
                raise WireError(f"floats of {end - start} bytes, at byte {start}")
            values += struct.unpack(f"<{(end - start) // 4}f", data[start:end])
    return values


def _numbers(data: bytes, span: Span) -> list[int]:
    values: list[int] = []
    for field, wire, (start, end) in _fields(data, *span):
        if field != 1 or wire not in (0, 2):
            continue
        place = start
        while place < end:
            value, place = _varint(data, place, end)
            values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _number_bytes(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _message(number: int, content: bytes) -> bytes:
    return _number_bytes(number << 3 | 2) + _number_bytes(len(content)) + content


def example_bytes(features: dict[str, Iterable[bytes] | Sequence[float] | Sequence[int]]) -> bytes:
    """An Example; the type of a feature is that of its first value, bytes if there is none."""
    entries = []
    for key in sorted(features):
        values = list(features[key])
        if values and isinstance(values[0], float):
            packed = struct.pack(f"<{len(values)}f", *values)
            content = _message(2, _message(1, packed))
        elif values and isinstance(values[0], int):
            packed = b"".join(_number_bytes(value) for value in values if isinstance(value, int))
            content = _message(3, _message(1, packed))
        else:
            texts = (value for value in values if isinstance(value, bytes))
            content = _message(1, b"".join(_message(1, text) for text in texts))
        entries.append(_message(1, _message(1, key.encode()) + _message(2, content)))
    return _message(1, b"".join(entries))
