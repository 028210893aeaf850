"""Plain values and NumPy arrays out of a pickle, without running it.

A pickle is a program; Python's own reader calls whatever it names. Here the program is only
walked: texts, numbers, lists and dictionaries are built, and of all calls only those are
understood, not made, that NumPy writes for arrays, dtypes and scalars, and Python 3 for bytes
in protocol 2. Anything else is refused with its name. Long strings are not copied: a `Span`
says where they lie in the file. Source: the comments in CPython's Lib/pickletools.py.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatwhere.errors import DataError

MAX_BYTES = 2 << 30
"""Largest file that is walked."""

_MAX_STEPS = 2_000_000
# A picture of 32 x 32 pixels and three colours has 3072.
_SHORT = 3071


@dataclass(frozen=True, slots=True)
class Span:
    """A long string: `length` bytes from `offset` of the file.

    Args:
        offset, length: where it lies.
        text: the bytes are UTF-8, one character for each byte that is meant (Latin-1).
    """

    offset: int
    length: int
    text: bool = False


@dataclass(slots=True)
class Array:
    """A NumPy array: what is known of it, and its bytes or where they lie."""

    shape: tuple[int, ...] = ()
    dtype: str = ""
    data: bytes | Span = b""
    rows_first: bool = True


@dataclass(slots=True)
class _Type:
    """A dtype, such as "u1"; `order` is "<", ">" or "|"."""

    code: str
    order: str = "|"

    @property
    def name(self) -> str:
        return self.order.replace("=", "<") + self.code


@dataclass(frozen=True, slots=True)
class _Name:
    """A function or class that the pickle names."""

    name: str


_ARRAYS = {f"{core}.multiarray._reconstruct" for core in ("numpy.core", "numpy._core")}
_SCALARS = {f"{core}.multiarray.scalar" for core in ("numpy.core", "numpy._core")}
_BUFFERS = {f"{core}.numeric._frombuffer" for core in ("numpy.core", "numpy._core")}
_KNOWN = _ARRAYS | _SCALARS | _BUFFERS | {"numpy.ndarray", "numpy.dtype", "_codecs.encode"}


def read_plain_pickle(file: Path) -> Any:
    """The pickle's value.

    Returns:
        Dictionaries, lists, tuples, texts, bytes, numbers, `Array` and, for what is longer
        than 3071 bytes, `Span`. Texts of Python 2 are read as Latin-1.

    Raises:
        DataError: the file is no pickle, is damaged or too large, or has anything else in it.
    """
    size = file.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise DataError(f"{file} has {size} bytes: a batch has 1 to {MAX_BYTES}")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        walk = _Walk(data)
        try:
            return walk.run()
        except _RefusedError as error:
            reason = str(error)
        except (struct.error, IndexError, TypeError, ValueError, OverflowError, KeyError) as error:
            reason = f"damaged at byte {walk.place} ({type(error).__name__})"
    raise DataError(f"{file} is not read, because {reason}: get it again from its source")


class _RefusedError(Exception):
    """Why the pickle is not read."""


class _Walk:
    """One pass over the opcodes."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.place = data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        if self.data[:1] != b"\x80":
            raise _RefusedError("it is not a pickle of protocol 2 to 5")
        for _ in range(_MAX_STEPS):
            code = bytes(self._take(1))
            if code == b".":
                return self.stack.pop()
            if code == b"(":
                self.marks.append(len(self.stack))
            elif code in _PUSH:
                self.stack.append(_PUSH[code]())
            elif code in _FIXED:
                self._fixed(code)
            elif code in _STRINGS:
                self._string(code)
            else:
                self._other(code)
        raise _RefusedError(f"it has more than {_MAX_STEPS} steps")

    def _take(self, count: int) -> bytes:
        start = self.place
        if count < 0 or start + count > len(self.data):
            raise _RefusedError(f"it is cut off at byte {len(self.data)}")
        self.place += count
        return self.data[start : self.place]

    def _line(self) -> str:
        end = self.data.find(b"\n", self.place, self.place + 512)
        if end < 0:
            raise _RefusedError(f"it is damaged at byte {self.place}")
        text = self._take(end - self.place).decode("ascii", "replace")
        self.place += 1
        return text

    def _fixed(self, code: bytes) -> None:
        form, use = _FIXED[code]
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        if use == "push":
            self.stack.append(value)
        elif use == "put":
            self.memo[value] = self.stack[-1]
        elif use == "get":
            self.stack.append(self.memo[value])
        elif use == "long":
            self.stack.append(int.from_bytes(self._take(min(value, 64)), "little", signed=True))
            if value > 64:
                raise _RefusedError(f"it has a number of {value} bytes")

    def _string(self, code: bytes) -> None:
        form, kind = _STRINGS[code]
        (length,) = struct.unpack(form, self._take(struct.calcsize(form)))
        start = self.place
        if length < 0 or start + length > len(self.data):
            raise _RefusedError(f"it is cut off at byte {len(self.data)}")
        if length > _SHORT:
            self.place += length
            self.stack.append(Span(start, length, text=kind == "utf-8"))
            return
        value: Any = self._take(length)
        if kind != "bytes":
            value = value.decode(kind, "replace")
        self.stack.append(value)

    def _marked(self) -> list[Any]:
        place = self.marks.pop()
        found = self.stack[place:]
        del self.stack[place:]
        return found

    def _other(self, code: bytes) -> None:
        stack = self.stack
        if code in (b"a", b"e"):
            added = [stack.pop()] if code == b"a" else self._marked()
            self._top(list).extend(added)
        elif code in (b"s", b"u"):
            pairs = [stack.pop(), stack.pop()][::-1] if code == b"s" else self._marked()
            self._top(dict).update(zip(pairs[::2], pairs[1::2], strict=True))
        elif code in (b"t", b"l", b"d"):
            found = self._marked()
            if code == b"d":
                stack.append(dict(zip(found[::2], found[1::2], strict=True)))
            else:
                stack.append(tuple(found) if code == b"t" else found)
        elif code in (b"\x85", b"\x86", b"\x87"):
            count = code[0] - 0x84
            stack[-count:] = [tuple(stack[-count:])]
        elif code == b"\x94":
            self.memo[len(self.memo)] = stack[-1]
        elif code == b"c":
            self._name(self._line(), self._line())
        elif code == b"\x93":
            name, module = stack.pop(), stack.pop()
            self._name(module, name)
        elif code == b"R":
            arguments, called = stack.pop(), stack.pop()
            stack.append(_call(called, arguments))
        elif code == b"b":
            state = stack.pop()
            _build(stack[-1], state)
        elif code in (b"0", b"1"):
            _ = stack.pop() if code == b"0" else self._marked()
        elif code == b"2":
            stack.append(stack[-1])
        else:
            raise _RefusedError(f"it has the step {code!r} at byte {self.place - 1}")

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise _RefusedError(f"it is damaged at byte {self.place}")
        return self.stack[-1]

    def _name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise _RefusedError(f"it asks for {full[:100]!r}, which is more than plain data")
        self.stack.append(_Name(full))


def _call(called: Any, arguments: Any) -> Any:
    """What the call would give, told from its name and arguments."""
    if not isinstance(called, _Name) or not isinstance(arguments, tuple):
        raise _RefusedError("it calls what is not a function")
    name = called.name
    if name in _ARRAYS:
        return Array()
    if name == "numpy.dtype":
        return _Type(_text(arguments[0]))
    if name == "_codecs.encode":
        text, codec = arguments[0], _text(arguments[1]) if len(arguments) > 1 else ""
        if codec.lower().replace("-", "") not in ("latin1", "iso88591"):
            raise _RefusedError(f"it encodes text as {codec[:40]!r}")
        return text if isinstance(text, Span) else str(text).encode("latin-1")
    if name in _SCALARS:
        kind, data = arguments
        if not isinstance(data, bytes) or kind.code[:1] not in ("i", "u"):
            raise _RefusedError("it has a NumPy scalar that is not a whole number")
        data = data[::-1] if kind.order == ">" else data
        return int.from_bytes(data, "little", signed=kind.code[0] == "i")
    if name in _BUFFERS:
        data, kind, shape, order = arguments
        return Array(_shape(shape), kind.name, _content(data), order == "C")
    raise _RefusedError(f"it calls {name!r}")


def _build(value: Any, state: Any) -> None:
    if isinstance(value, Array):
        _, shape, kind, columns_first, data = state
        value.shape, value.dtype = _shape(shape), kind.name
        value.data, value.rows_first = _content(data), not columns_first
    elif isinstance(value, _Type):
        value.order = _text(state[1])
    else:
        raise _RefusedError("it sets the state of an object")


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(type(one) is int and one >= 0 for one in value):
        raise _RefusedError("it has an array of no shape")
    return value


def _content(value: Any) -> bytes | Span:
    if isinstance(value, str):  # of Python 2
        return value.encode("latin-1")
    if not isinstance(value, bytes | Span):
        raise _RefusedError("it has an array of objects")
    return value


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


_PUSH: dict[bytes, Any] = {
    b"N": lambda: None,
    b"\x88": lambda: True,
    b"\x89": lambda: False,
    b"}": dict,
    b"]": list,
    b")": tuple,
}
_FIXED = {
    b"\x80": ("<B", "skip"),
    b"\x95": ("<Q", "skip"),
    b"K": ("<B", "push"),
    b"M": ("<H", "push"),
    b"J": ("<i", "push"),
    b"G": (">d", "push"),
    b"\x8a": ("<B", "long"),
    b"q": ("<B", "put"),
    b"r": ("<I", "put"),
    b"h": ("<B", "get"),
    b"j": ("<I", "get"),
}
_STRINGS = {
    b"U": ("<B", "latin-1"),
    b"T": ("<i", "latin-1"),
    b"X": ("<I", "utf-8"),
    b"\x8c": ("<B", "utf-8"),
    b"\x8d": ("<Q", "utf-8"),
    b"C": ("<B", "bytes"),
    b"B": ("<I", "bytes"),
    b"\x8e": ("<Q", "bytes"),
    b"\x96": ("<Q", "bytes"),
}
