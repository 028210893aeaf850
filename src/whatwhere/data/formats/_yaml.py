"""The part of YAML that `data.yaml` files use.

Top-level keys with a text, a list or a numbered map, in block or in bracket form. Other
YAML (anchors, tags, deeper levels) is skipped with its key, so that a script in
`download:` does no harm. This keeps a YAML library out of the installation.
"""

from __future__ import annotations

import json
import re

Value = str | list[str] | dict[str, str]


class YamlError(Exception):
    """A line that is not understood; the message has its number."""


def parse_yaml(text: str) -> dict[str, Value]:
    """Top-level keys and their values; numbers stay texts.

    Raises:
        YamlError: a bracket is not closed, a key is there twice, or a line is neither key,
            item nor comment.
    """
    found: dict[str, Value] = {}
    lines = list(enumerate(text.splitlines(), 1))
    place = 0
    while place < len(lines):
        number, line = lines[place]
        place += 1
        if not _content(line) or line.startswith(("---", "%", "...")):
            continue
        match = re.match(r"""(?:"([^"]*)"|'([^']*)'|([^\s:#][^:]*?))\s*:(?:\s+(.*))?$""", line)
        if match is None:
            raise YamlError(f"line {number} is not understood: {line.strip()[:60]!r}")
        key = next(part for part in match.groups()[:3] if part is not None)
        if key in found:
            raise YamlError(f"key {key!r} of line {number} is there twice")
        value = _content(match[4] or "")
        if value[:1] in ("[", "{"):
            while _depth(value) > 0:
                if place == len(lines):
                    raise YamlError(f"the bracket that line {number} opens is not closed")
                value += " " + _content(lines[place][1])
                place += 1
            found[key] = _flow(value, number)
            continue
        inner = []
        while place < len(lines):
            following = lines[place][1]
            if _content(following) and not following.startswith((" ", "\t", "-")):
                break
            inner.append(following)
            place += 1
        if not value:
            found[key] = _block(inner)
        elif value[0] not in "|>&*!":
            found[key] = _plain(value)
    return found


def _content(line: str) -> str:
    """The line without comment and blanks; a # inside quotes or a word stays."""
    quote, place = "", 0
    while place < len(line):
        letter = line[place]
        if quote:
            if letter == "\\" and quote == '"':
                place += 1
            elif letter == quote:
                if quote == "'" and line[place + 1 : place + 2] == "'":
                    place += 1
                else:
                    quote = ""
        elif letter in "\"'" and (place == 0 or line[place - 1] in " \t[{,:"):
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1] in " \t"):
            return line[:place].strip()
        place += 1
    return line.strip()


def quoted(text: str) -> str:
    """A text as a YAML scalar that `parse_yaml` and others read back."""
    if all(letter.isprintable() for letter in text):
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text)


def _plain(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        # YAML has escapes that JSON has not: PyYAML writes "k\xE4fer" for a letter above ASCII.
        return value if isinstance(value, str) else _ESCAPE.sub(_unescaped, text[1:-1])
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_LETTERS = dict(zip("0abtnvfreN_LP", "\0\a\b\t\n\v\f\r\x1b\x85\xa0\u2028\u2029", strict=True))


def _unescaped(match: re.Match[str]) -> str:
    """What an escape of YAML 1.2, section 5.7, stands for; the letter itself if it is none."""
    code = match[1]
    if len(code) == 1:
        return _LETTERS.get(code, code)
    number = int(code[1:], 16)
    # Halves of characters are no text.
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number < 0xE000 else match[0]


_PARTS = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')|([\[\]{},])""")


def _depth(text: str) -> int:
    marks = [match[2] for match in _PARTS.finditer(text) if match[2]]
    return sum((mark in "[{") - (mark in "]}") for mark in marks)


def _flow(text: str, number: int) -> Value:
    """`[a, b]` or `{0: a, 1: b}`."""
    if text[-1] not in "]}":
        raise YamlError(f"line {number} is not understood: {text[:60]!r}")
    inner, items, start = text[1:-1], [], 0
    for match in _PARTS.finditer(inner):
        if match[2] == ",":
            items.append(inner[start : match.start()])
            start = match.end()
    items = [item for item in [*items, inner[start:]] if item.strip()]
    if text[0] == "[":
        return [_plain(item) for item in items]
    return _map(items)


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition(":")
    return _plain(key), _plain(value)


def _map(items: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in map(_pair, items):
        if key in found:
            raise YamlError(f"key {key!r} is there twice, for {found[key]!r} and {value!r}")
        found[key] = value
    return found


def _block(lines: list[str]) -> Value:
    content = [text for line in lines if (text := _content(line))]
    if content and all(text.startswith("-") for text in content):
        return [_plain(text[1:]) for text in content]
    return _map([text for text in content if ":" in text])
