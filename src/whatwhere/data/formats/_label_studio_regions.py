"""The regions and choices in a result of Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from whatwhere.data.formats._outlines import ellipse_box, enclosing, outline, turned
from whatwhere.data.formats._records import same
from whatwhere.data.formats._rows import Rows
from whatwhere.data.formats._values import number, text, whole
from whatwhere.data.tables import FLAGS

OWN = "whatwhere"
"""Key in a region's `meta` of the columns that Label Studio has no place for."""

_ORIGINS = {"manual": "human", "prediction": "verified", "prediction-changed": "verified"}


@dataclass
class Region:
    """A label: its classes, its box or None for one of the whole picture."""

    names: list[str]
    box: tuple[float, ...] | None
    record: str
    columns: dict[str, Any] = field(default_factory=dict)


def regions(
    results: list[Any],
    size: tuple[int | None, int | None],
    record: str,
    source: str,
    rows: Rows,
) -> Iterator[Region]:
    """Each region with what was said of it, and the choices for the whole picture.

    Results of one id are one region: its shape, its class and perhaps texts and ratings.

    Args:
        results: as in the file.
        size: of the picture; null where nobody knows.
        record: of the task.
        source: of labels that do not say it themselves.
        rows: takes the findings.
    """
    groups: dict[Any, list[dict[str, Any]]] = {}
    for place, result in enumerate(results):
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            if isinstance(result, dict) and result.get("type") == "relation":
                continue
            message = "the result has no 'value'"
            rows.find("bad-record", message, f"{record}[{place}]", boxes=1)
            continue
        key = result.get("id")
        groups.setdefault(key if isinstance(key, str) else place, []).append(result)
    for place, parts in enumerate(groups.values()):
        yield from _region(parts, size, f"{record}[{place}]", source, rows)


def _region(
    parts: list[dict[str, Any]],
    size: tuple[int | None, int | None],
    record: str,
    source: str,
    rows: Rows,
) -> Iterator[Region]:
    main = next((one for one in parts if _shape(one["value"])), parts[0])
    shape = _shape(main["value"])
    names: list[str] = []
    said: dict[str, Any] = {}
    for one in parts:
        kind = str(one.get("type"))
        words = one["value"].get(kind)
        if kind.endswith("labels") or (kind == "choices" and not shape):
            listed = words if isinstance(words, list) else [words]
            found = [text(word) for word in listed]
            if None in found and not shape:
                rows.find("no-class", "a choice has no name", record, boxes=found.count(None))
            names += [name for name in found if name]
        elif kind not in ("rectangle", "polygon", "ellipse"):
            said[text(one.get("from_name")) or kind] = words
    kind = str(main.get("type"))
    if not shape and kind != "choices":
        message = f"a result of type {kind!r} has no box and no class of the picture"
        rows.find("no-box", message, record, "warning", boxes=1)
        return
    columns = _columns(main, source, said)
    if not shape:
        details = _choices(main)
        for place, name in enumerate(names):
            more = _own(details.get(name, {})) if isinstance(details.get(name), dict) else {}
            yield Region([name], None, f"{record}.{place}", columns | more)
        return
    width, height = whole(main.get("original_width")), whole(main.get("original_height"))
    width, height = width or size[0], height or size[1]
    if width is None or height is None:
        message = "the boxes are percent of a size that neither the file nor a picture tells"
        rows.find("missing-image", message, record, boxes=1)
        return
    if number(main.get("image_rotation")) not in (None, 0.0):
        message = f"the picture was turned by {main['image_rotation']} degrees while annotating"
        rows.find("bad-box", message, record, boxes=1)
        return
    own = main.get("meta", {}).get(OWN, {}) if isinstance(main.get("meta"), dict) else {}
    box = _box(main["value"], shape, width, height, columns)
    if box is not None and not _near(own.get("box") if isinstance(own, dict) else None, box):
        for column in ("area", "keypoints", *(["segmentation"] if shape == "rectangle" else [])):
            # They belong to the box as it was before somebody moved it.
            if not (column == "segmentation" and "rectangle" in columns["extra"]):
                columns.pop(column, None)
    if box is None:
        rows.find("bad-box", f"the {kind} has no numbers that make one", record, boxes=1)
        return
    yield Region(names, box, record, columns)


def _choices(main: dict[str, Any]) -> dict[str, Any]:
    """What the writer keeps of each choice."""
    own = main["meta"].get(OWN) if isinstance(main.get("meta"), dict) else None
    found = own.get("choices") if isinstance(own, dict) else None
    return found if isinstance(found, dict) else {}


def _near(kept: Any, box: tuple[float, ...]) -> bool:
    """Whether the box is still where the writer put it; yes if nothing was kept."""
    if kept is None:
        return True
    values = [number(one) for one in kept] if isinstance(kept, list) else []
    if len(values) != 4:
        return False
    return all(
        one is not None and abs(one - two) < 0.01 for one, two in zip(values, box, strict=True)
    )


def _shape(value: dict[str, Any]) -> str:
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    # A key point has a width, too, but no height.
    return "rectangle" if {"x", "y", "width", "height"} <= value.keys() else ""


def _columns(main: dict[str, Any], source: str, said: dict[str, Any]) -> dict[str, Any]:
    meta = main.get("meta")
    meta = dict(meta) if isinstance(meta, dict) else {}
    own = meta.pop(OWN, None)
    columns = _own(own if isinstance(own, dict) else {})
    if source == "model":
        columns["source"] = source
    elif main.get("origin") in _ORIGINS:
        columns.setdefault("source", _ORIGINS[main["origin"]])
    score = number(main.get("score"))
    if score is not None and 0 <= score <= 1:
        columns["score"] = score
    columns["attributes"] = columns.get("attributes", {}) | said
    columns["extra"] = columns.get("extra", {}) | ({"meta": meta} if meta else {})
    return columns


def _own(own: dict[str, Any]) -> dict[str, Any]:
    """Columns as the writer keeps them, each of the right kind or left out."""
    kinds: dict[str, Any] = dict.fromkeys(FLAGS, bool)
    kinds |= {"source": str, "track": str, "area": (int, float), "score": (int, float)}
    kinds |= {"segmentation": (list, dict), "keypoints": list, "attributes": dict, "extra": dict}
    return {
        key: own[key]
        for key, kind in kinds.items()
        if isinstance(own.get(key), kind) and (kind is bool or not isinstance(own[key], bool))
    }


def _box(
    value: dict[str, Any], shape: str, width: int, height: int, columns: dict[str, Any]
) -> tuple[float, ...] | None:
    """x1, y1, x2, y2 in pixels; outlines and what else is needed go to the columns."""
    if shape == "polygon":
        points = outline(value["points"])
        if points is None:
            return None
        sides = (width, height) * (len(points) // 2)
        pixels = [_pixels(one, side) for one, side in zip(points, sides, strict=True)]
        kept = columns.get("segmentation")
        if not (isinstance(kept, list) and kept and same(_flat(kept), pixels)):
            columns["segmentation"] = [pixels]
        return enclosing([pixels])
    if shape == "ellipse":
        keys = ("x", "y", "radiusX", "radiusY", "rotation")
        columns["extra"] = columns["extra"] | {"ellipse": {key: value.get(key, 0) for key in keys}}
        columns.pop("segmentation", None)
        return percent_ellipse(value, width, height)
    names = ("x", "y", "width", "height")
    values = [number(value.get(key)) for key in names]
    degrees = number(value.get("rotation", 0))
    if None in values or degrees is None:
        return None
    x, y, w, h = (
        _pixels(one or 0.0, side)
        for one, side in zip(values, (width, height, width, height), strict=True)
    )
    if degrees % 360 == 0:
        return x, y, x + w, y + h
    corners = turned([x, y, x + w, y, x + w, y + h, x, y + h], (x, y), degrees)
    columns["segmentation"] = [corners]
    rectangle = {key: value[key] for key in names} | {"rotation": degrees}
    columns["extra"] = columns["extra"] | {"rectangle": rectangle}
    return enclosing([corners])


def percent_ellipse(value: dict[str, Any], width: int, height: int) -> tuple[float, ...] | None:
    """The box in pixels around an ellipse; None if it has no numbers."""
    values = [number(value.get(key)) for key in ("x", "y", "radiusX", "radiusY")]
    degrees = number(value.get("rotation", 0))
    if None in values or degrees is None:
        return None
    x, rx = (_pixels(one or 0.0, width) for one in values[0::2])
    y, ry = (_pixels(one or 0.0, height) for one in values[1::2])
    return ellipse_box(x, y, rx, ry, degrees)


def _flat(outlines: list[Any]) -> list[Any]:
    found = outline(outlines[0]) if len(outlines) == 1 else None
    return found or []


def _pixels(percent: float, side: int) -> float:
    return percent * side / 100
