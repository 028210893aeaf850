"""What Pascal VOC files say beyond boxes and flags: XML elements to JSON and back.

An unknown element becomes a text, an object or, where it is repeated, a list:
`<source><database>x</database></source>` is `{"source": {"database": "x"}}`. What has no such
form in XML (numbers, empty lists, odd characters, what other formats said) is written as JSON
into an element `<extra>` of our own, so that no value of the tables is lost. XML attributes
(`<object id="7">`) and texts between elements are not read; a finding counts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Any
from xml.sax.saxutils import escape

from whatwhere.data.formats._xml import Node
from whatwhere.errors import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# What XML 1.0 has no place for, and the carriage return, which parsers turn into a newline.
_ODD = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DEEPEST = 20

OWN_OBJECT = frozenset(
    [
        "name",
        "bndbox",
        "truncated",
        "difficult",
        "occluded",
        "ignore",
        "corners",
        "attributes",
        "extra",
    ]
)
"""Elements of an object that have a column of their own."""

OWN_IMAGE = frozenset(("folder", "filename", "path", "size", "object", "extra"))
"""Elements of an annotation that have a column, or say where the file once was."""


def fits_xml(text: str) -> bool:
    """Whether a text comes back the same from an element that is read without its edges."""
    return text == text.strip() and not _ODD.search(text)


def read_extra(nodes: Iterable[Node]) -> dict[str, Any]:
    """Value of the column `extra`: {"voc": {...}}, empty if there is nothing to say."""
    found: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for node in nodes:
        if node.tag == "extra" and not node.children:
            try:
                value = json.loads(node.text)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict) and isinstance(value.get("voc", {}), dict):
                told.update(value)
                continue
        _add(found, node)
    if found or "voc" in told:
        told["voc"] = found | told.get("voc", {})
    return told


def _add(found: dict[str, Any], node: Node) -> None:
    value: Any = node.text.strip()
    if node.children:
        value = {}
        for child in node.children:
            _add(value, child)
    if node.tag not in found:
        found[node.tag] = value
    elif isinstance(found[node.tag], list):
        found[node.tag].append(value)
    else:
        found[node.tag] = [found[node.tag], value]


def write_extra(extra: dict[str, Any], own: Collection[str], indent: str) -> str:
    """The elements that `read_extra` makes this value of, one a line."""
    rest = dict(extra)
    known = rest.pop("voc", {})
    lines = []
    if isinstance(known, dict) and known:
        left = {}
        for key, value in known.items():
            if key not in own and _fits(key, value, 0):
                lines += _lines(key, value, indent)
            else:
                left[key] = value
        if left:
            rest["voc"] = left
    elif "voc" in extra:
        rest["voc"] = known
    if rest:
        lines.append(f"{indent}<extra>{escape(json.dumps(rest))}</extra>\n")
    return "".join(lines)


def _fits(key: str, value: Any, depth: int) -> bool:
    if depth > _DEEPEST or not _NAME.fullmatch(key):
        return False
    if isinstance(value, str):
        return fits_xml(value)
    if isinstance(value, dict):
        return bool(value) and all(_fits(name, one, depth + 1) for name, one in value.items())
    if isinstance(value, list) and len(value) > 1:
        return all(not isinstance(one, list) and _fits(key, one, depth) for one in value)
    return False


def _lines(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, list):
        return [line for one in value for line in _lines(key, one, indent)]
    if isinstance(value, dict):
        inner = [line for name, one in value.items() for line in _lines(name, one, indent + "\t")]
        return [f"{indent}<{key}>\n", *inner, f"{indent}</{key}>\n"]
    return [f"{indent}<{key}>{escape(value)}</{key}>\n"]


def read_attributes(node: Node) -> dict[str, Any] | None:
    """Datumaro's and CVAT's <attributes>: one <attribute> with <name> and <value> each.

    A value that is JSON is taken as such ("true", "3"), any other as a text; None where the
    element is built in another way.
    """
    found = {}
    for one in node.children:
        name, value = one.value("name"), one.value("value")
        if one.tag != "attribute" or name is None or value is None or len(one.children) != 2:
            return None
        key = _parsed(name)
        found[key if isinstance(key, str) else name] = _parsed(value)
    return found


def write_attributes(attributes: dict[str, Any], indent: str) -> str:
    """The element that `read_attributes` reads."""
    lines = [f"{indent}<attributes>\n"]
    for key, value in attributes.items():
        name, text = escape(_quoted(key, True)), escape(_quoted(value, False))
        lines.append(
            f"{indent}\t<attribute>\n{indent}\t\t<name>{name}</name>\n"
            f"{indent}\t\t<value>{text}</value>\n{indent}\t</attribute>\n"
        )
    return "".join([*lines, f"{indent}</attributes>\n"])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _quoted(value: Any, key: bool) -> str:
    """As plain text where that is read back the same; else as JSON, which is ASCII."""
    if isinstance(value, str) and fits_xml(value):
        again = _parsed(value)
        if again is value or again == value or (key and not isinstance(again, str)):
            return value
    return json.dumps(value)


def json_object(text: str, column: str, where: str) -> dict[str, Any]:
    """The object in a JSON column.

    Raises:
        UsageError: the column has something else there.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{column} of {where} is not a JSON object: {text[:60]!r}")
    return value
