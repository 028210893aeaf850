"""Label maps of the TensorFlow object detection API: item { id: 1 name: 'cat' }."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._label_files import read_lines

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[\w.+-]+)"""
    r"""|(?P<mark>[{}:,;<>\[\]])"""
)


@dataclass
class LabelMap:
    """The classes of a data set.

    Args:
        ids: number of each class by its name, in the file's order.
        shown: what to call a class, by its name: the display name if it has one.
    """

    ids: dict[str, int] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)


def read_label_map(file: Path, where: str, findings: list[Finding]) -> LabelMap:
    """The items of a file that have a name and a number."""
    found = LabelMap()
    lines = read_lines(file, where, findings)
    taken: set[int] = set()
    for line, item in _items("\n".join(lines or [])):
        name, number = item.get("name", ""), item.get("id", "")
        place = f"{where}:{line}"
        if not name.strip() or not re.fullmatch(r"\d{1,9}", number):
            message = "the item has no name and number"
            findings.append(Finding("bad-record", message, place, "error", KEPT_OUT))
        elif name in found.ids or int(number) in taken:
            message = f"class {number}, {name!r}, is there already; the first counts"
            findings.append(Finding("duplicate-class", message, place, "error", KEPT_OUT))
        else:
            found.ids[name] = int(number)
            taken.add(int(number))
            shown = item.get("display_name", "").strip()
            if shown and shown not in found.shown.values():
                found.shown[name] = shown
    return found


def _items(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and fields of each item; what is not understood is passed over."""
    depth, key, item, start = 0, "", dict[str, str](), 1
    place = 0
    line = 1
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            place += 1
            continue
        if found["mark"] in ("{", "<"):
            depth += 1
            if depth == 1:
                item, start = {}, line
            key = ""
        elif found["mark"] in ("}", ">"):
            depth = max(0, depth - 1)
            if depth == 0 and item:
                yield start, item
                item = {}
        elif found["word"] or found["text"]:
            value = found["word"] or _unquoted(found["text"])
            if key and depth == 1:
                item.setdefault(key, value)
                key = ""
            elif found["word"]:
                key = value
        line += found[0].count("\n")
        place = found.end()


def _unquoted(text: str) -> str:
    """A quoted string of the text format, whose escapes are those of Python."""
    try:
        value = ast.literal_eval(f"b{text}" if text.isascii() else text)
    except (ValueError, SyntaxError):
        return text[1:-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def label_map_text(names: Sequence[str], ids: Sequence[int]) -> str:
    """The text of a label map."""
    items = []
    for name, number in zip(names, ids, strict=True):
        quoted = name.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        quoted = quoted.replace("\r", "\\r")
        items.append(f"item {{\n\tid: {number}\n\tname: '{quoted}'\n}}\n")
    return "\n".join(items)
