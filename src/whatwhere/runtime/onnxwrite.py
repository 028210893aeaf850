"""Write an ONNX file again with small changes, byte for byte the same elsewhere.

The counterpart of `onnxfile`: the base install has no `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from whatwhere.errors import ModelError
from whatwhere.runtime.onnxfile import Buffer, fields

# Field numbers of onnx.proto3.
_MODEL_METADATA = 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


def with_metadata(model: bytes, entries: Mapping[str, str], where: str) -> bytes:
    """The same model with other metadata.

    Args:
        model: an ONNX file.
        entries: replace its entries of the same names; others stay.
        where: what to call the model in messages.

    Raises:
        ModelError: the file is damaged.
    """
    parts: list[bytes | Buffer] = []
    try:
        for number, value in fields(memoryview(model)):
            if number == _MODEL_METADATA and not isinstance(value, int):
                known = [text for part, text in fields(value) if part == _ENTRY_KEY]
                if any(bytes(text).decode() in entries for text in known):
                    continue
            parts.extend(field(number, value))
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"{where} is not a whole ONNX file ({error}): copy or export the model again"
        ) from error
    for key, text in entries.items():
        pair = [*field(_ENTRY_KEY, key.encode()), *field(_ENTRY_VALUE, text.encode())]
        parts.extend(message(_MODEL_METADATA, pair))
    return b"".join(parts)


def message(number: int, parts: list[bytes | Buffer]) -> Iterator[bytes | Buffer]:
    """A message of these bytes as a field."""
    yield varint(number << 3 | 2) + varint(sum(len(part) for part in parts))
    yield from parts


def field(number: int, value: int | bytes | Buffer) -> Iterator[bytes | Buffer]:
    """One field as bytes; the messages rewritten here have only numbers and byte strings."""
    if isinstance(value, int):
        yield varint(number << 3) + varint(value)
    else:
        yield from message(number, [value])


def varint(value: int) -> bytes:
    """A number as little-endian base 128."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
