"""Flags, attributes and the like of a shape or tag in CVAT's XML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from whatwhere.data.formats._cvat_labels import OWN
from whatwhere.data.formats._cvat_xml import SIDES
from whatwhere.data.formats._flags import take_flags
from whatwhere.data.formats._values import flag, index, number, plain
from whatwhere.data.formats._xml import Node

_ANY = {"label", "occluded", "source", "z_order", "group_id", "frame", "outside", "keyframe"}
_KNOWN = {
    "box": {*SIDES, "rotation"},
    "polygon": {*SIDES, "points"},
    "mask": {*SIDES, "rle", "left", "top", "width", "height"},
    "skeleton": {*SIDES},
}
"""Attributes that are read, of every shape and tag and of some."""

_SOURCES = {"manual": "human", "auto": "model", "semi-auto": "verified"}


def label_columns(node: Node, kinds: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Flags, source, attributes and extra of a shape or tag."""
    given, name = node.attributes, node.attributes.get("label", "").strip()
    attributes: dict[str, Any] = {}
    typed: dict[str, Any] = {}
    exact: set[str] = set()
    for one in node.children:
        key = one.attributes.get("name")
        if one.tag != "attribute" or key is None:
            continue
        if one.attributes.get(OWN + "type") == "json":
            try:
                typed[key] = json.loads(one.text)
                continue
            except (ValueError, RecursionError):
                attributes[key] = one.text
                continue
        attributes[key] = one.text.strip()
        if one.attributes.get(OWN + "type"):
            attributes[key] = one.text
            exact.add(key)
    columns = take_flags(attributes, words=True)
    for key, value in attributes.items():
        kind = "text" if key in exact else kinds.get((name, key), "")
        typed[key] = _typed(value, kind)
    occluded = flag(given.get("occluded"))
    columns["occluded"] = True if occluded else columns.get("occluded")
    source = given.get("source", "")
    columns["source"] = _SOURCES.get(source)
    extra: dict[str, Any] = {}
    if source and source not in _SOURCES:
        extra["source"] = source
    for key in ("z_order", "group_id"):
        value = index(given.get(key))
        if value and not (key == "group_id" and given.get(OWN + "part") == given.get(key)):
            extra[key] = value
    rotated = node.tag == "box" and number(given.get("rotation")) not in (None, 0.0)
    if rotated or node.tag in ("ellipse", "cuboid"):
        extra[node.tag] = _others(given, _ANY)
    else:
        more = _others(given, _ANY | _KNOWN.get(node.tag, set()))
        extra |= {"more": more} if more else {}
    return columns | {"attributes": typed, "extra": extra}


def _others(given: Mapping[str, str], known: set[str]) -> dict[str, str]:
    return {
        key: value for key, value in given.items() if key not in known and not key.startswith(OWN)
    }


def group_of(node: Node, place: int) -> Any:
    """What shapes of one object have in common; a number if it stands alone."""
    given = node.attributes
    group = index(given.get(OWN + "part")) or index(given.get("group_id"))
    if node.tag != "polygon" or not group:
        return place
    return given.get("label"), group


def unread(node: Node) -> Iterator[tuple[Node, str]]:
    """Elements in a shape or tag that are not read, and what they stand in."""
    for one in node.children:
        if node.tag == "skeleton" and one.tag == "points":
            # Its points are numbers in a list, which have no attributes.
            yield from ((child, "points") for child in one.children)
        elif one.tag != "attribute":
            yield one, node.tag


def _typed(value: str, kind: str) -> Any:
    """The value as the kind of field that it was typed into."""
    if kind == "checkbox":
        found = flag(value)
        return value if found is None else found
    if kind == "number":
        amount = plain(value)
        return value if amount is None else amount
    return value


def parsed(value: str) -> Any:
    """The value, or the text itself if it is not JSON."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
