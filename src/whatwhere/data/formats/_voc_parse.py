"""Read the XML of very many annotations, quickly where they look alike.

One program writes all its files to one pattern, down to the blanks. So the first file is
read by a real parser, and its text without the values becomes a regular expression; a file
that it describes to the last tag needs no parser. All others do, and teach their own pattern.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from whatwhere.data.formats._voc_extra import (
    OWN_IMAGE,
    OWN_OBJECT,
    read_attributes,
    read_extra,
)
from whatwhere.data.formats._xml import Node, XmlError, parse_xml_bytes

SIDES = ("xmin", "ymin", "xmax", "ymax")
TEXTS = ("name", *SIDES, "difficult", "truncated", "occluded", "ignore", "pose")
COLUMNS = ("image", "line", *TEXTS, "corners", "extra", "attributes")

_MOST_SHAPES = 8
_VALUE = "([^<&>\r\n]*)"
_OWN = (("filename",), ("size", "width"), ("size", "height"))
_LEAF = re.compile(r"<([A-Za-z_][\w.-]*)>([^<&>\r\n]*)</\1>")
_ENCODING = re.compile(r"""<\?xml[^>]*encoding=["']([^"']*)["']""")


@dataclass(slots=True)
class Head:
    """What stands before the objects; `size` as it was written.

    `unread` counts what no column has, in the whole file: see `_unread`.
    """

    filename: str
    width: str
    height: str
    extra: str | None
    unread: int = 0


@dataclass(slots=True)
class _Shape:
    """A pattern of annotation files.

    Args:
        head, object: expressions for what stands before the objects and for one object.
        tail: what stands behind them.
        fields: what the groups of `object` are.
        paths: elements that the groups of `head` are.
        first, lines, last: line of the first object, lines of each, lines without them.
        letters: of one object without its values.
        tags: how many there are without the objects, and in one object.
        own, rest: groups of `head` that are `_OWN`, and those that say something else.
        rows, images: the texts of the objects; the pictures with their numbers of objects.
        known: head values that were seen -> what they mean.
        unread: attributes of the root element.
    """

    head: re.Pattern[str]
    object: re.Pattern[str]
    tail: str
    fields: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]
    first: int
    lines: int
    last: int
    letters: int
    tags: tuple[int, int]
    own: tuple[int, ...]
    rest: tuple[int, ...]
    known: dict[tuple[str, ...], str | None] = field(default_factory=dict)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    images: list[tuple[int, int]] = field(default_factory=list)
    unread: int = 0


class Parser:
    """Gathers the objects of annotations until `take` is called."""

    def __init__(self) -> None:
        self._shapes: list[_Shape] = []
        self._slow: list[tuple[Any, ...]] = []
        self._learned = 0

    def head_of(self, data: bytes, image: int) -> tuple[Head, int]:
        """Read one annotation; its objects belong to picture number `image`.

        Returns:
            What stands before the objects, and how many objects there are.

        Raises:
            XmlError: it is not well-formed, not an annotation, or has a document type.
        """
        text = None
        if b"&" not in data:
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError:
                text = None
        if text is not None:
            for place, shape in enumerate(self._shapes):
                found = _matched(shape, text)
                if found is not None:
                    if place:
                        self._shapes.insert(0, self._shapes.pop(place))
                    match, objects = found
                    shape.rows += objects
                    count = len(objects)
                    shape.images.append((image, count))
                    head = _head_of_shape(shape, match.groups())
                    head.unread = shape.unread
                    return head, count
        tree = parse_xml_bytes(data)
        if tree.tag != "annotation":
            raise XmlError(f"the XML is <{tree.tag}>, not <annotation>")
        unread = _unread(tree)
        # labelImg's <annotation verified="yes"> is the same in all files of a pattern; of a file
        # with others no pattern is made, since it would not count them.
        if text is not None and unread == len(tree.attributes) and self._learned < _MOST_SHAPES:
            shape_or_none = _learn(tree, text)
            if shape_or_none is not None:
                self._learned += 1
                shape_or_none.unread = unread
                self._shapes.insert(0, shape_or_none)
        objects_seen = [node for node in tree.children if node.tag == "object"]
        self._slow += [_slow_row(node, image) for node in objects_seen]
        return replace(_head_of_tree(tree), unread=unread), len(objects_seen)

    def drop(self, image: int) -> None:
        """Forget the objects of a picture that was the last one read."""
        for shape in self._shapes:
            while shape.images and shape.images[-1][0] == image:
                _, count = shape.images.pop()
                del shape.rows[len(shape.rows) - count :]
        while self._slow and self._slow[-1][0] == image:
            self._slow.pop()

    def take(self) -> pl.DataFrame:
        """All objects since the last call, as texts, in the order of pictures and lines."""
        kinds = dict.fromkeys(COLUMNS, pl.String) | {"image": pl.UInt32, "line": pl.UInt32}
        frames = []
        for shape in self._shapes:
            if shape.rows:
                columns: dict[str, Any] = _places(shape)
                columns |= dict(zip(shape.fields, zip(*shape.rows, strict=True), strict=True))
                frames.append(_frame(columns, kinds))
                shape.rows, shape.images = [], []
        if self._slow:
            columns = dict(zip(COLUMNS, zip(*self._slow, strict=True), strict=True))
            frames.append(_frame(columns, kinds))
            self._slow = []
        if not frames:
            return pl.DataFrame(schema=kinds)
        if len(frames) == 1:
            return frames[0]
        return pl.concat(frames).sort("image", "line", maintain_order=True)


def _places(shape: _Shape) -> dict[str, Any]:
    """Picture and line of each object of a shape."""
    images, counts = np.array(shape.images, np.int64).T
    order = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return {"image": np.repeat(images, counts), "line": shape.first + order * shape.lines}


def _frame(columns: dict[str, Any], kinds: dict[str, Any]) -> pl.DataFrame:
    count = len(columns["image"])
    return pl.DataFrame(
        [
            pl.Series(name, columns[name], kind)
            if name in columns
            else pl.Series(name, [None], kind).extend_constant(None, count - 1)
            for name, kind in kinds.items()
        ]
    )


def _matched(shape: _Shape, text: str) -> tuple[re.Match[str], list[tuple[str, ...]]] | None:
    """The head and the objects if the text has nothing else."""
    match = shape.head.match(text)
    if match is None or not text.endswith(shape.tail):
        return None
    objects = shape.object.findall(text, match.end())
    count = len(objects)
    if text.count("<") != shape.tags[0] + count * shape.tags[1]:
        return None
    # Text between the objects would be passed over.
    letters = count * shape.letters + sum(map(len, chain.from_iterable(objects)))
    if match.end() + letters + len(shape.tail) != len(text):
        return None
    if text.count("\n") != shape.last + count * shape.lines:
        return None
    return match, objects


def _learn(tree: Node, text: str) -> _Shape | None:
    """The pattern of a file, None if it is not simple enough to be one."""
    encoding = _ENCODING.match(text)
    if encoding and encoding[1].lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
        return None
    begin, stop = text.find("<object>"), text.rfind("</object>")
    if begin < 0 or stop < 0 or "\r" in text.replace("\r\n", "") or "<!" in text:
        return None
    # With the blanks before it; a search for them would take quadratic time in a file of blanks.
    begin = len(text[:begin].rstrip())
    top, stop = text[:begin], stop + len("</object>")
    end = text.index("</object>", begin) + len("</object>")
    first, tail = text[begin:end], text[stop:]
    nodes = [node for node in tree.children if node.tag == "object"]
    if not re.fullmatch(r"\s*</annotation>\s*", tail) or not nodes:
        return None
    paths = [path for path in _leaves(tree) if path[0] != "object"]
    fields = _fields(nodes[0])
    head, tags = _pattern(top)
    one, inner = _pattern(first)
    if fields is None or tags != [path[-1] for path in paths] or len(set(paths)) != len(paths):
        return None
    if inner != [name for name, _ in fields]:
        return None
    shape = _Shape(
        re.compile(head),
        re.compile(one),
        tail,
        tuple(name for name, _ in fields),
        tuple(paths),
        top.count("\n") + first[: first.index("<")].count("\n") + 1,
        first.count("\n"),
        top.count("\n") + tail.count("\n"),
        len(first) - sum(len(match[2]) for match in _LEAF.finditer(first)),
        (top.count("<") + tail.count("<"), first.count("<")),
        tuple(paths.index(path) if path in paths else -1 for path in _OWN),
        tuple(at for at, path in enumerate(paths) if path not in (*_OWN, ("folder",), ("path",))),
    )
    found = _matched(shape, text)
    # What was learned must say the same as the parser.
    if found is None or len(found[1]) != len(nodes):
        return None
    return shape if _head_of_shape(shape, found[0].groups()) == _head_of_tree(tree) else None


def _unread(node: Node) -> int:
    """How many XML attributes, and texts between elements, there are: no column has them."""
    mixed = bool(node.children and node.text.strip())
    return len(node.attributes) + mixed + sum(map(_unread, node.children))


def _pattern(text: str) -> tuple[str, list[str]]:
    """An expression for this text with any values, and the elements that have them."""
    parts, tags, place = [], [], 0
    for match in _LEAF.finditer(text):
        parts += [re.escape(text[place : match.start(2)]), _VALUE]
        tags.append(match[1])
        place = match.end(2)
    return "".join([*parts, re.escape(text[place:])]), tags


def _leaves(node: Node) -> list[tuple[str, ...]]:
    """Path of each element without elements in it, in their order."""
    found: list[tuple[str, ...]] = []
    for child in node.children:
        below = _leaves(child) if child.children else [()]
        found += [(child.tag, *path) for path in below]
    return found


def _fields(node: Node) -> list[tuple[str, tuple[str, ...]]] | None:
    """The elements of an object, None if they are not the usual ones, each at most once."""
    found = []
    for path in _leaves(node):
        name = path[-1]
        inner = name in SIDES
        if name not in TEXTS or len(path) != 1 + inner or (inner and path[0] != "bndbox"):
            return None
        found.append((name, path))
    names = [name for name, _ in found]
    return found if len(set(names)) == len(names) and {"name", *SIDES} <= set(names) else None


def _head_of_shape(shape: _Shape, values: tuple[str, ...]) -> Head:
    """As `_head_of_tree`; what is the same in many files is understood once."""
    filename, width, height = (values[at] if at >= 0 else "" for at in shape.own)
    key = tuple([values[at] for at in shape.rest])
    if key not in shape.known:
        if len(shape.known) > 10_000:
            shape.known.clear()
        root = Node("annotation", 1)
        for path, value in zip(shape.paths, values, strict=True):
            node = root
            for tag in path:
                child = node.children[-1] if node.children else None
                if child is None or child.tag != tag or tag == path[-1]:
                    child = Node(tag, 1)
                    node.children.append(child)
                node = child
            node.text = value
        shape.known[key] = _head_of_tree(root).extra
    return Head(filename.strip(), width, height, shape.known[key])


def _head_of_tree(tree: Node) -> Head:
    extra = read_extra(node for node in tree.children if node.tag not in OWN_IMAGE - {"extra"})
    told = extra.get("voc", {})
    if told.get("segmented") in ("0", ""):
        del told["segmented"]
    source = told.get("source")
    if isinstance(source, dict) and all(
        value in ("", "Unknown", "Unspecified") for value in source.values()
    ):
        del told["source"]
    depth = tree.value("size", "depth") or "3"
    if depth != "3":
        told = {**told, "depth": depth}
    if told:
        extra["voc"] = told
    else:
        extra.pop("voc", None)
    return Head(
        tree.value("filename") or "",
        tree.value("size", "width") or "",
        tree.value("size", "height") or "",
        json.dumps(extra, ensure_ascii=False) if extra else None,
    )


def _slow_row(node: Node, image: int) -> tuple[Any, ...]:
    values: dict[str, Any] = {name: node.value(name) for name in TEXTS}
    values |= {side: node.value("bndbox", side) for side in SIDES}
    pose = values["pose"]
    known = OWN_OBJECT - {"extra", "attributes"}
    rest = [one for one in node.children if one.tag not in known]
    attributes = next((one for one in rest if one.tag == "attributes"), None)
    told = None if attributes is None else read_attributes(attributes)
    rest = [one for one in rest if told is None or one is not attributes]
    extra = read_extra(rest)
    if isinstance(pose, str) and "voc" in extra and extra["voc"].get("pose") in ("", "Unspecified"):
        del extra["voc"]["pose"]
        if not extra["voc"]:
            del extra["voc"]
    values["pose"] = None
    values |= {
        "image": image,
        "line": node.line,
        "corners": node.value("corners"),
        "extra": json.dumps(extra, ensure_ascii=False) if extra else None,
        "attributes": json.dumps(told, ensure_ascii=False) if told else None,
    }
    return tuple(values[name] for name in COLUMNS)
