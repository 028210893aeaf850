"""The XML elements that say what a label says, for both of CVAT's files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import quoteattr

from whatwhere.data.formats._cvat_labels import OWN, Declarations, clean, key_points, tidy
from whatwhere.data.formats._cvat_xml import SIDES, geometry, mask_attributes
from whatwhere.data.formats._flags import flag_attributes
from whatwhere.data.formats._outlines import enclosing, outlines_of
from whatwhere.data.formats._records import Record, same

SOURCES = {"human": "manual", "model": "auto", "verified": "semi-auto"}


@dataclass
class Drawn:
    """An element.

    Args:
        tag: its name.
        given: its attributes; None is left out.
        points: attributes of the <points> of a skeleton.
    """

    tag: str
    given: dict[str, str | None]
    points: list[dict[str, str | None]] = field(default_factory=list)


def drawn(
    label: Record, size: tuple[int | None, int | None], declared: Declarations
) -> tuple[list[Drawn], bool]:
    """The shapes of a label: one, or a polygon for each outline.

    Returns:
        The shapes, and whether there are run lengths that do not fit the picture.
    """
    box: tuple[float, ...] = label.box or (0.0,) * 4
    sides: dict[str, str | None] = {
        side: as_text(value) for side, value in zip(SIDES, box, strict=True)
    }
    points = key_points(label.keypoints)
    more: dict[str, str | None] = {}
    if label.keypoints is not None:
        more = {OWN + "keypoints": json.dumps(label.keypoints)}
    for tag in ("box", "ellipse", "cuboid"):
        given = label.extra.get(tag)
        if isinstance(given, dict):
            known = {key: str(value) for key, value in given.items() if is_name(key)}
            found = geometry(tag, known, size)
            if found is not None and same(found[0], box):
                return [Drawn(tag, {**known, **more})], False
    outlines, misfit = outlines_of(label.segmentation), False
    if isinstance(label.segmentation, dict):
        mask = mask_attributes(label.segmentation, size)
        if mask:
            found = geometry("mask", mask, size)
            around = found is not None and same(found[0], box)
            return [Drawn("mask", {**mask, **({} if around else sides), **more})], False
        misfit = True
    if outlines:
        if same(enclosing(outlines), box):
            sides = {}
        shapes = []
        for one in outlines:
            pairs = zip(one[0::2], one[1::2], strict=True)
            text = ";".join(f"{as_text(x)},{as_text(y)}" for x, y in pairs)
            shapes.append(Drawn("polygon", {"points": text, **sides, **more}))
        return shapes, misfit
    seen = [points[at : at + 2] for at in range(0, len(points), 3) if points[at + 2]]
    # A skeleton in CVAT has no box but the one around its points.
    if seen and same(enclosing(seen), box):
        names = declared.points(label.name)
        return [Drawn("skeleton", sides, _points(points, names))], misfit
    return [Drawn("box", sides | more)], misfit


def _points(points: list[int | float], names: list[str]) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = []
    for place, name in enumerate(names[: len(points) // 3]):
        x, y, seen = points[3 * place : 3 * place + 3]
        state = {"outside": str(int(seen == 0)), "occluded": str(int(seen == 1))}
        found.append({"label": name, "points": f"{as_text(x)},{as_text(y)}", **state})
    return found


def base(label: Record) -> dict[str, str | None]:
    """Attributes of any shape."""
    more = label.extra.get("more")
    found: dict[str, str | None] = {
        key: str(value)
        for key, value in (more.items() if isinstance(more, dict) else ())
        if is_name(key) and key not in ("frame", "outside", "keyframe", "rotation")
    }
    found["label"] = label.name
    word = label.extra.get("source")
    if "source" in label.values:
        found["source"] = SOURCES.get(label.values["source"])
    elif isinstance(word, str):
        found["source"] = word
    found["occluded"] = str(int("occluded" in label.flags))
    found["z_order"] = str(label.extra.get("z_order", 0))
    if "group_id" in label.extra:
        found["group_id"] = str(label.extra["group_id"])
    return found


def said(label: Record, declared: Declarations, tracks: bool) -> dict[str, Any]:
    """What CVAT calls the attributes of a shape, flags among them.

    Args:
        tracks: whether the track is told by other means.
    """
    flags = flag_attributes(label)
    flags.pop("occluded", None)
    if tracks:
        flags.pop("track_id", None)
    for key in flags:
        kind = "text" if key in ("track_id", "score") else "checkbox"
        declared.used(label.name, key, kind)
    for key, value in label.attributes.items():
        declared.used(label.name, key, "checkbox" if isinstance(value, bool) else "text")
    return {key: as_text(value) for key, value in flags.items()} | label.attributes


def element_lines(
    tag: str,
    given: dict[str, str | None],
    attributes: dict[str, Any],
    declared: Declarations,
    points: list[dict[str, str | None]] | None = None,
    *,
    name: str,
) -> list[str]:
    """The lines of a shape or tag of the class `name`."""
    head = f"    <{tag}{attribute_text(given)}"
    if not attributes and not points:
        return [f"{head}/>"]
    lines = [f"{head}>"]
    for point in points or []:
        lines.append(f"      <points{attribute_text(point)}/>")
    for key, value in attributes.items():
        kind, text = "", value
        if not isinstance(value, str):
            kind, text = f' {OWN}type="json"', json.dumps(value, ensure_ascii=False)
        elif value != value.strip() or not declared.takes_text(name, key):
            kind = f' {OWN}type="text"'
        lines.append(f"      <attribute name={quoted(key)}{kind}>{tidy(text)}</attribute>")
    return [*lines, f"    </{tag}>"]


def attribute_text(given: dict[str, str | None]) -> str:
    """Attributes of an element, a blank before each."""
    return "".join(f" {key}={quoted(value)}" for key, value in given.items() if value is not None)


def quoted(value: str) -> str:
    """The value of an attribute, in quotation marks."""
    return quoteattr(clean(value))


def is_name(key: Any) -> bool:
    """Whether an attribute of an element may be called so."""
    return isinstance(key, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", key) is not None


def as_text(value: Any) -> str:
    """A number or truth value as CVAT writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
