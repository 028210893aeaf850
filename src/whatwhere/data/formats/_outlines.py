"""Outlines, rotated boxes and run-length masks, as annotation tools draw them.

Outlines are COCO's: [x, y, x, y, ...] in pixels. Run lengths are COCO's, too: columns first,
background first; compressed ones as in the COCO API's `rleToString`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data.formats._values import plain

Box = tuple[float, float, float, float]

MAX_MASK = 1 << 28
"""Most pixels of a picture whose masks are unpacked."""


def outline(points: Any, least: int = 3) -> list[int | float] | None:
    """[[x, y], ...] or [x, y, ...] as one outline; None if it is none of `least` points."""
    if not isinstance(points, list):
        return None
    if points and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in points):
        points = [value for one in points for value in one]
    values = [plain(value) for value in points]
    if len(values) < 2 * least or len(values) % 2 or any(value is None for value in values):
        return None
    return [value for value in values if value is not None]


def enclosing(outlines: Sequence[Sequence[float]]) -> Box:
    """The box around outlines of at least one point."""
    xs = [x for one in outlines for x in one[0::2]]
    ys = [y for one in outlines for y in one[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def turned(corners: Sequence[float], centre: tuple[float, float], degrees: float) -> list[float]:
    """Points turned clockwise, as it looks on the screen, about a centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    found = []
    for x, y in zip(corners[0::2], corners[1::2], strict=True):
        dx, dy = x - centre[0], y - centre[1]
        found += [centre[0] + dx * cos - dy * sin, centre[1] + dx * sin + dy * cos]
    return found


def ellipse_box(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> Box:
    """The box around an ellipse that is turned about its centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    dx, dy = math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)
    return cx - dx, cy - dy, cx + dx, cy + dy


def outlines_of(segmentation: Any) -> list[list[float]]:
    """The outlines of a `segmentation`; none if it has run lengths or is damaged."""
    if not isinstance(segmentation, list):
        return []
    found = [outline(one) for one in segmentation]
    return [one for one in found if one is not None] if None not in found else []


def runs_of(counts: Any) -> list[int] | None:
    """Run lengths from a list, or from COCO's compressed text; None if they are damaged."""
    if isinstance(counts, list):
        good = all(isinstance(one, int) and not isinstance(one, bool) for one in counts)
        return counts if good and min(counts, default=0) >= 0 else None
    if not isinstance(counts, str):
        return None
    runs: list[int] = []
    value = shift = 0
    for char in counts:
        code = ord(char) - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value |= -1 << shift
            if len(runs) > 2:
                value += runs[-2]
            if value < 0:
                return None
            runs.append(value)
            value = shift = 0
    return None if shift else runs


def compressed(runs: Sequence[int]) -> str:
    """COCO's compressed text of run lengths."""
    chars = []
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        while True:
            code = value & 0x1F
            value >>= 5
            more = value != -1 if code & 0x10 else value != 0
            chars.append(chr((code | 0x20 if more else code) + 48))
            if not more:
                break
    return "".join(chars)


def mask_of(segmentation: Any) -> NDArray[np.bool_] | None:
    """{counts, size} as bool (height, width); None if damaged or too large."""
    if not isinstance(segmentation, dict):
        return None
    size, runs = segmentation.get("size"), runs_of(segmentation.get("counts"))
    if runs is None or not isinstance(size, list) or len(size) != 2:
        return None
    if not all(isinstance(side, int) and side > 0 for side in size):
        return None
    height, width = size
    if height * width > MAX_MASK or sum(runs) != height * width:
        return None
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def lengths(values: NDArray[np.bool_]) -> list[int]:
    """Run lengths of flat values, those of False first."""
    edges = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff(np.concatenate([[0], edges, [values.size]]))
    return [*([0] if values.size and values[0] else []), *map(int, runs)]


def mask_runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """{counts, size} of a mask of shape (height, width), compressed."""
    height, width = mask.shape
    return {"counts": compressed(lengths(mask.T.reshape(-1))), "size": [height, width]}


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """The box around a mask; None if it is empty."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not xs.size:
        return None
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)
