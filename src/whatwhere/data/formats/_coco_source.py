"""A JSON file that is read a part at a time."""

from __future__ import annotations

import codecs
import json
from typing import Any, BinaryIO

from whatwhere.data.findings import Finding

BLOCK = 8 << 20
"""Bytes that are read and worked on at once."""

LONGEST = 64 << 20
"""A record or another value that is longer than this is a fault in the file."""

_BLANKS = b" \t\r\n"
_WINDOW = 1 << 12


class SyntaxFaultError(Exception):
    """The text is no JSON; the place is in bytes from the start of the file."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


class Source:
    """A file, of which the part from `place` on is at hand as it is needed."""

    def __init__(self, file: BinaryIO, block: int = BLOCK) -> None:
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
                if not last and size < LONGEST:
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
