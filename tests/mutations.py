"""Ways to damage a file or a folder, decided by a seeded generator of random numbers."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["values", "damage", "removal"]
Mutate = Callable[[bytes, random.Random], bytes]

ODD_VALUES = [
    *(b"0", b"-1", b"-0.0", b"1e400", b"-1e400", b"1e-400", b"nan", b"NaN", b"inf", b"-Infinity"),
    *(b"99999999999999999999", b"2147483648", b"4294967295", b"-9223372036854775809", b"1e18"),
    *(b"0x10", b"1_000", b"1,5", b"", b" ", b"null", b"true", b"None", b"[]", b"{}", b"''"),
    *(b"../secret", b"/etc/passwd", b"..\\..\\secret", b"a/../../b", b"\xc3\xa4", b"\xff\xfe"),
    *("١٢".encode(), "½".encode(), b"A" * 300, b"%s%n", b"$(id)", b"!!python/object:os.system"),
]
"""What may stand where a number or a word is expected."""

_TOKEN = re.compile(rb"[\w.+-]+")


def _tokens(data: bytes, rng: random.Random) -> list[re.Match[bytes]]:
    """Some of the words and numbers of a file; of large ones not all are looked for."""
    if len(data) > 50_000:
        start = rng.randrange(len(data) - 20_000)
        return list(_TOKEN.finditer(data, start, start + 20_000))
    return list(_TOKEN.finditer(data))


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut_off(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def cut_head(data: bytes, rng: random.Random) -> bytes:
    return data[rng.randrange(len(data) + 1) :]


def remove_part(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice([1, 2, 7, 50]) :]


def double_part(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = start + rng.choice([1, 4, 60, 500])
    return data[:end] + data[start:end] + data[end:]


def insert_bytes(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    junk = rng.choice(
        [b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b'"', b"<", b",", b"{", b"\n", b"\\"]
    )
    return data[:start] + junk * rng.choice([1, 1, 3]) + data[start:]


def overwrite_number(data: bytes, rng: random.Random) -> bytes:
    """Four or eight bytes of a binary header: counts and sizes that would fill the memory."""
    place = min(rng.choice([0, 4, 8, 12, 16, rng.randrange(len(data) + 1)]), max(0, len(data) - 8))
    value = rng.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\xff" * 8, b"\0\0\0\x40"])
    return data[:place] + value + data[place + len(value) :]


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def remove_line(data: bytes, rng: random.Random) -> bytes:
    lines = _lines(data)
    if lines:
        lines.pop(rng.randrange(len(lines)))
    return b"".join(lines)


def double_line(data: bytes, rng: random.Random) -> bytes:
    lines = _lines(data)
    if lines:
        place = rng.randrange(len(lines))
        lines.insert(place, lines[place])
    return b"".join(lines)


def shuffle_lines(data: bytes, rng: random.Random) -> bytes:
    lines = _lines(data)
    rng.shuffle(lines)
    return b"".join(lines)


def empty(data: bytes, rng: random.Random) -> bytes:
    return rng.choice([b"", b"\n", b" ", b"\0" * 100, b"null", b"{}", b"[]", b"<a/>"])


def odd_value(data: bytes, rng: random.Random) -> bytes:
    found = _tokens(data, rng)
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(ODD_VALUES) + data[one.end() :]


def odd_number(data: bytes, rng: random.Random) -> bytes:
    """A number becomes another one, or none at all; words stay."""
    found = [one for one in _tokens(data, rng) if re.fullmatch(rb"-?\d+(\.\d+)?", one[0])]
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(ODD_VALUES[:20]) + data[one.end() :]


def swap_words(data: bytes, rng: random.Random) -> bytes:
    found = _tokens(data, rng)
    if len(found) < 2:
        return data
    one, two = sorted(rng.sample(found, 2), key=lambda match: match.start())
    middle = data[one.end() : two.start()]
    return data[: one.start()] + two[0] + middle + one[0] + data[two.end() :]


def deep(data: bytes, rng: random.Random) -> bytes:
    count = rng.choice([200, 5_000, 100_000])
    start = rng.randrange(len(data) + 1)
    opening = rng.choice([b"[", b'{"a":', b"<a>", b"(", b"- ", b"  "]) * count
    return data[:start] + opening + data[start:]


def long_line(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.choice([b"9", b"a", b" ", b",", b"0."]) * 1_000_000 + data[start:]


def bomb(data: bytes, rng: random.Random) -> bytes:
    """XML whose entities would grow to gigabytes, or be another file."""
    start = data.find(b"?>") + 2 if data.startswith(b"<?xml") else 0
    body = re.sub(rb">([^<>\s]+)<", rb">&z;<", data[start:], count=3)
    if rng.random() < 0.5:
        head = b'<!DOCTYPE a [<!ENTITY z SYSTEM "file:///etc/passwd">]>'
    else:
        head = b'<!DOCTYPE a [<!ENTITY e0 "lollollollol">'
        for level in range(1, 12):
            head += b'<!ENTITY e%d "%s">' % (level, b"&e%d;" % (level - 1) * 10)
        head += b'<!ENTITY z "&e11;">]>'
    return data[:start] + head + body


def aliases(data: bytes, rng: random.Random) -> bytes:
    """YAML whose references would grow to gigabytes."""
    text = b"a0: &a0 [x, x]\n"
    for level in range(1, 30):
        text += b"a%d: &a%d [*a%d, *a%d]\n" % (level, level, level - 1, level - 1)
    return text + data if rng.random() < 0.5 else data + text


def as_utf16(data: bytes, rng: random.Random) -> bytes:
    return data.decode("utf-8", "replace").encode("utf-16")


def as_latin1(data: bytes, rng: random.Random) -> bytes:
    return data.decode("utf-8", "replace").encode("latin-1", "replace")


def byte_order_mark(data: bytes, rng: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + data


def carriage_returns(data: bytes, rng: random.Random) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", rng.choice([b"\r\n", b"\r"]))


def decimal_commas(data: bytes, rng: random.Random) -> bytes:
    return re.sub(rb"(\d)\.(\d)", rb"\1,\2", data)


_JSON_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 2**63, 10**30, "", "x", "1", "nan", "../secret"),
    *([], {}, [[]], [None], [1, 2], ["a"], {"a": 1}, [[[[1]]]], "/etc/passwd", "\0", "\ud800"),
]


def json_value(data: bytes, rng: random.Random) -> bytes:
    """A value inside JSON, no list and no object, becomes one of another kind."""
    return _other_value(data, rng, False)


def json_part(data: bytes, rng: random.Random) -> bytes:
    """A list or an object inside JSON, with all that it has, becomes something else."""
    return _other_value(data, rng, True)


def _other_value(data: bytes, rng: random.Random, parts: bool) -> bytes:
    content, lines = _parsed(data)
    if content is None:
        return odd_value(data, rng)
    row = rng.randrange(len(content)) if lines and content else 0
    places = _places(content[row] if lines and content else content)
    places = [place for place in places if isinstance(place[0][place[1]], (list, dict)) == parts]
    if not places:
        return data
    box, key = rng.choice(places)
    if isinstance(box, dict) and rng.random() < 0.15:
        box["x" if key == "a" else "a"] = box.pop(key)
    elif isinstance(box, dict) and rng.random() < 0.15:
        del box[key]
    else:
        box[key] = rng.choice(_JSON_VALUES)
    return _dumped(content, lines)


def json_record(data: bytes, rng: random.Random) -> bytes:
    """A list inside JSON loses an element, gets it twice, or is turned round."""
    content, lines = _parsed(data)
    places = [] if content is None else _places(content)
    lists = [box for box, key in places if isinstance(box, list) and box]
    if not lists:
        return remove_line(data, rng)
    one = rng.choice(lists)
    turn = rng.randrange(3)
    if turn == 0:
        one.pop(rng.randrange(len(one)))
    elif turn == 1:
        one.append(rng.choice(one))
    else:
        one.reverse()
    return _dumped(content, lines)


def _parsed(data: bytes) -> tuple[Any, bool]:
    """JSON, or a list of JSON lines and True; None for anything else."""
    try:
        return json.loads(data), False
    except ValueError:
        pass
    try:
        rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    except ValueError:
        return None, False
    return (rows, True) if rows else (None, False)


def _dumped(content: Any, lines: bool) -> bytes:
    if lines:
        return "".join(json.dumps(row) + "\n" for row in content).encode()
    return json.dumps(content).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Each container with each of its keys."""
    found: list[tuple[Any, Any]] = []
    waiting = [content]
    while waiting and len(found) < 50_000:
        one = waiting.pop()
        if isinstance(one, dict):
            found += [(one, key) for key in one]
            waiting += one.values()
        elif isinstance(one, list):
            found += [(one, key) for key in range(len(one))]
            waiting += one
    return found


MUTATIONS: dict[str, tuple[Kind, Mutate]] = {
    "odd number": ("values", odd_number),
    "odd value": ("damage", odd_value),
    "JSON value": ("damage", json_value),
    "swapped words": ("damage", swap_words),
    "flipped bits": ("damage", flip_bits),
    "inserted bytes": ("damage", insert_bytes),
    "long line": ("damage", long_line),
    "deep nesting": ("damage", deep),
    "overwritten number": ("damage", overwrite_number),
    "entities": ("damage", bomb),
    "aliases": ("damage", aliases),
    "UTF-16": ("damage", as_utf16),
    "Latin-1": ("damage", as_latin1),
    "byte order mark": ("values", byte_order_mark),
    "carriage returns": ("values", carriage_returns),
    "decimal commas": ("damage", decimal_commas),
    "doubled line": ("values", double_line),
    "doubled part": ("damage", double_part),
    "cut off": ("removal", cut_off),
    "cut head": ("removal", cut_head),
    "removed part": ("removal", remove_part),
    "removed line": ("removal", remove_line),
    "shuffled lines": ("removal", shuffle_lines),
    "JSON record": ("removal", json_record),
    "JSON part": ("removal", json_part),
    "empty": ("removal", empty),
}


@dataclass
class Change:
    """A changed file, and how to have the sound one back."""

    name: str
    kind: Kind
    file: Path
    sound: bytes

    def undo(self) -> None:
        self.file.write_bytes(self.sound)


@dataclass
class Structure:
    """A changed folder, of which the sound one was put aside."""

    name: str
    kind: Kind
    folder: Path
    aside: Path

    def undo(self) -> None:
        shutil.rmtree(self.folder)
        self.aside.rename(self.folder)


def structural(folder: Path, rng: random.Random) -> Structure:
    """Take away, double, rename or exchange a file or a folder, or make it a link."""
    aside = folder.with_name(f"{folder.name}-aside")
    shutil.copytree(folder, aside, symlinks=True)
    everything = sorted(folder.rglob("*"))
    files = [path for path in everything if path.is_file()]
    one, other = rng.choice(everything), rng.choice(files)
    what = rng.choice(
        ["gone", "renamed", "doubled", "exchanged", "folder", "link", "loop", "stray"]
    )
    where = one.relative_to(folder)
    if what == "gone":
        _remove(one)
    elif what == "renamed":
        one.rename(
            one.with_name(rng.choice(["x", "ä.txt", one.name.upper(), f".{one.name}", "a b"]))
        )
    elif what == "doubled":
        copy = one.with_name(f"copy of {one.name}")
        shutil.copytree(one, copy) if one.is_dir() else shutil.copyfile(one, copy)
    elif what == "exchanged":
        one = rng.choice(files)
        data = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(data)
    elif what == "folder":
        other.unlink()
        other.mkdir()
    elif what == "link":
        other.unlink()
        other.symlink_to("/etc/hostname")
    elif what == "loop":
        other.unlink()
        other.symlink_to(other.name)
    else:
        parent = one if one.is_dir() else one.parent
        name = rng.choice(["a.txt", "b.json", "c.xml", "d.csv", "e.jpg", "f.yaml", "g"])
        (parent / name).write_bytes(rng.choice([b"", b"\0\xff", b"{}", b"<a/>", b"1 2 3\n"]))
    return Structure(f"{what}: {where}", "removal", folder, aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
