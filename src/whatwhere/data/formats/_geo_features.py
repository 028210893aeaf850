"""The features of a GeoJSON file, before it is known where they lie in a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.formats._geo_write import KEPT
from whatwhere.data.formats._values import number


class Feature:
    """A feature: class, picture, rings of coordinates (N, 2), other properties."""

    def __init__(
        self,
        name: str | None,
        image: str | None,
        rings: list[NDArray[np.float64]] | None,
        properties: dict[str, Any],
        record: str,
    ) -> None:
        self.name, self.image, self.rings = name, image, rings
        self.properties, self.record, self.copied = properties, record, False

    def copy(self) -> Feature:
        """The same for another picture."""
        found = Feature(self.name, self.image, self.rings, dict(self.properties), self.record)
        found.copied = True
        return found

    def middle(self) -> list[float]:
        """The middle of the box around it."""
        points = np.concatenate(self.rings or [])
        low, high = points.min(axis=0), points.max(axis=0)
        middle: list[float] = ((low + high) / 2).tolist()
        return middle

    def kept(self) -> dict[str, Any]:
        """Columns among the properties, which lose them."""
        found: dict[str, Any] = {}
        for key, kind in KEPT.items():
            value = self.properties.get(key)
            if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
                found[key] = self.properties.pop(key)
        if found.get("score") is not None and not 0 <= found["score"] <= 1:
            self.properties["score"] = found.pop("score")
        if found.get("iscrowd"):
            found.setdefault("ignore", True)
        return found


def rings_of(geometry: Any) -> list[NDArray[np.float64]] | None:
    """The outer rings of a polygon or more, each without its repeated last point."""
    if not isinstance(geometry, dict):
        return None
    parts = geometry.get("coordinates")
    if geometry.get("type") == "Polygon":
        parts = [parts]
    elif geometry.get("type") != "MultiPolygon":
        return None
    found = []
    for part in parts if isinstance(parts, list) else []:
        ring = part[0] if isinstance(part, list) and part else None
        if not isinstance(ring, list) or len(ring) < 3:
            return None
        points = [
            [number(value) for value in point[:2]] if isinstance(point, list) else []
            for point in ring
        ]
        if any(len(point) != 2 or None in point for point in points):
            return None
        values = np.array(points, np.float64)
        found.append(values[:-1] if (values[0] == values[-1]).all() and len(values) > 3 else values)
    return found or None


def holes_in(geometry: dict[str, Any]) -> int:
    """Number of holes in a geometry that `rings_of` understood."""
    parts = geometry["coordinates"]
    parts = [parts] if geometry.get("type") == "Polygon" else parts
    return sum(len(part) - 1 for part in parts)


def is_box(outline: list[float], box: tuple[float, ...]) -> bool:
    """Whether the outline is, to a hundredth of a pixel, the box itself."""
    if len(outline) != 8:
        return False
    x1, y1, x2, y2 = box
    sides = [(abs(x - x1) < 0.01, abs(y - y1) < 0.01) for x, y in _pairs(outline)]
    near = [
        min(abs(x - x1), abs(x - x2)) < 0.01 and min(abs(y - y1), abs(y - y2)) < 0.01
        for x, y in _pairs(outline)
    ]
    return all(near) and len(set(sides)) == 4


def _pairs(outline: list[float]) -> list[tuple[float, float]]:
    return list(zip(outline[0::2], outline[1::2], strict=True))
