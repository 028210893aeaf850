"""CVAT's XML, one picture or track at a time, and its shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.formats._outlines import (
    MAX_MASK,
    Box,
    ellipse_box,
    enclosing,
    lengths,
    mask_box,
    mask_of,
    mask_runs,
    outline,
    runs_of,
    turned,
)
from whatwhere.data.formats._values import flag, number
from whatwhere.data.formats._xml import Node, XmlError

_DEEPEST = 100
_CHUNK = 1 << 18


def elements(path: Path) -> Iterator[Node]:
    """The children of the root element, each as soon as it has ended.

    So a file of any length needs the memory of its largest picture or track. The root
    itself comes first, without children.

    Raises:
        XmlError: the file is not well-formed or has a document type; what came before is
            sound.
        OSError: it cannot be read.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    stack: list[Node] = []
    done: list[Node] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) > _DEEPEST:
            raise XmlError(f"elements nested too deeply in line {parser.CurrentLineNumber}")
        node = Node(tag, parser.CurrentLineNumber, attributes)
        if not stack:
            done.append(Node(tag, node.line, attributes))
        elif len(stack) > 1:
            stack[-1].children.append(node)
        stack.append(node)

    def end(_: str) -> None:
        node = stack.pop()
        if len(stack) == 1:
            done.append(node)

    def text(data: str) -> None:
        if len(stack) > 1:
            stack[-1].text += data

    def refuse(*_: object) -> None:
        raise XmlError(f"a document type or entity in line {parser.CurrentLineNumber}")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                parser.Parse(chunk, not chunk)
            except expat.ExpatError as error:
                yield from done
                reason = expat.ErrorString(error.code)
                raise XmlError(f"not well-formed XML: {reason} in line {error.lineno}") from None
            except (ValueError, LookupError) as error:
                raise XmlError(f"not readable as XML: {error}") from None
            yield from done
            done.clear()
            if not chunk:
                return


CUBOID = tuple(
    f"{axis}{corner}{side}" for side in "12" for corner in ("tl", "bl", "tr", "br") for axis in "xy"
)
"""Attributes of a cuboid: the corners of its two faces."""

SIDES = ("xtl", "ytl", "xbr", "ybr")
"""Attributes of a box: x1, y1, x2, y2."""

SHAPES = {"box", "polygon", "ellipse", "cuboid", "mask"}


def geometry(
    tag: str, attributes: dict[str, str], size: tuple[int | None, int | None]
) -> tuple[Box, Any] | None:
    """The box around a shape and its segmentation, None for a plain box.

    Args:
        tag: one of `SHAPES`.
        attributes: of the XML element.
        size: width and height of the picture, for masks.

    Returns:
        None if the numbers make no such shape.
    """
    if tag == "polygon":
        points = corners(attributes.get("points", ""))
        return None if points is None else (enclosing([points]), [points])
    if tag == "mask":
        return _mask(attributes, size)
    names = {"box": SIDES, "ellipse": ("cx", "cy", "rx", "ry")}
    values = [number(attributes.get(name)) for name in names.get(tag, CUBOID)]
    degrees = number(attributes.get("rotation", "0"))
    found = [value for value in values if value is not None]
    if len(found) < len(values) or degrees is None:
        return None
    if tag == "ellipse":
        cx, cy, rx, ry = found
        return ellipse_box(cx, cy, rx, ry, degrees), None
    if tag == "cuboid":
        return enclosing([found]), None
    x1, y1, x2, y2 = found
    if degrees % 360 == 0:
        return (x1, y1, x2, y2), None
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    points = turned([x1, y1, x2, y1, x2, y2, x1, y2], middle, degrees)
    return enclosing([points]), [points]


def corners(text: str) -> list[int | float] | None:
    """Points such as "1.5,2;3,4;5,6" as one outline; None if it is none."""
    return outline([value for pair in text.split(";") for value in pair.split(",")])


def skeleton(node: Node, names: Sequence[str]) -> tuple[Box | None, list[int | float]] | None:
    """The box around the visible points of a skeleton, and its key points as in COCO.

    Points that are `outside` become 0, 0, 0, as COCO writes them; not those of our own
    writer, whose skeletons have the sides of a box, too.

    Args:
        node: the element, with a <points> for each point.
        names: of the points, in their order.

    Returns:
        None if its points are not these; a box of None if no point is visible.
    """
    sides = [number(node.attributes.get(side)) for side in SIDES]
    own = None not in sides
    found: dict[str, list[int | float]] = {}
    for one in node.children:
        if one.tag == "attribute":
            continue
        name = one.attributes.get("label", "").strip()
        point = outline([list(one.attributes.get("points", "").split(","))], 1)
        if one.tag != "points" or name in found or name not in names or point is None:
            return None
        seen = 1 if flag(one.attributes.get("occluded")) else 2
        seen = 0 if flag(one.attributes.get("outside")) else seen
        found[name] = [*point, seen] if seen or own else [0, 0, 0]
    points = [found.get(name, [0, 0, 0]) for name in names if not own or name in found]
    visible = [point[:2] for point in points if point[2]]
    box = enclosing(visible) if visible else None
    if own:
        box = tuple(side or 0.0 for side in sides)  # type: ignore[assignment]
    return (box, [value for point in points for value in point]) if points else None


def all_outside(node: Node) -> bool:
    """Whether a skeleton has points, and none of them is in the frame."""
    points = [one for one in node.children if one.tag == "points"]
    hidden = all(flag(one.attributes.get("outside")) for one in points)
    return node.tag == "skeleton" and bool(points) and hidden and SIDES[0] not in node.attributes


def _mask(
    attributes: dict[str, str], size: tuple[int | None, int | None]
) -> tuple[Box, Any] | None:
    """Row by row inside its box, background first."""
    names = ("left", "top", "width", "height")
    values = [number(attributes.get(name)) for name in names]
    found = [int(value) for value in values if value is not None and 0 <= value < 2**31]
    if len(found) < 4:
        return None
    left, top, width, height = found
    box = (float(left), float(top), float(left + width), float(top + height))
    try:
        runs = runs_of([int(run) for run in attributes.get("rle", "").split(",")])
    except ValueError:
        return None
    if runs is None or width * height > MAX_MASK or sum(runs) != width * height:
        return None
    if not size[0] or not size[1] or size[0] * size[1] > MAX_MASK:
        return box, None
    values_ = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    mask = np.zeros((size[1], size[0]), np.bool_)
    part = values_[: max(0, size[1] - top), : max(0, size[0] - left)]
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return box, mask_runs(mask)


def mask_attributes(segmentation: Any, size: tuple[int | None, int | None]) -> dict[str, str]:
    """Attributes of a mask element for run lengths of a picture of this size; {} if they
    do not fit it, or are of nothing."""
    mask: NDArray[np.bool_] | None = mask_of(segmentation)
    box = None if mask is None or mask.shape != (size[1], size[0]) else mask_box(mask)
    if mask is None or box is None:
        return {}
    x1, y1, x2, y2 = (int(value) for value in box)
    runs = lengths(mask[y1:y2, x1:x2].reshape(-1))
    sides = {"left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
    return {"rle": ", ".join(map(str, runs))} | {key: str(value) for key, value in sides.items()}
