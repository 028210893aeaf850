"""The curves of a training run: which there are, and as one picture.

The picture is drawn with OpenCV, as everything else here is. Matplotlib would draw it too, but
is 30 MB with its dependencies, takes a second to load and half a second a figure, which is
much after each epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from whatwhere.outputs.charts import PALETTE, axis_range, ticks
from whatwhere.outputs.pen import Colour, Pen
from whatwhere.types import Image

Line = list[tuple[float, float]]

# Of one panel, in pixels; the legend lies under the axis.
_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 40
_LEGEND = 20
_PAPER: Colour = (255, 255, 255)
_INK: Colour = (27, 31, 36)
_SOFT: Colour = (91, 101, 112)
_RULE: Colour = (221, 227, 232)
# OpenCV draws lines between points of 1/16 pixel.
_SHIFT = 4

_STEPS = ("epoch", "step")
_RATES = ("rate", "lr")
_OTHERS = ("seconds", "time")


def curve_groups(
    columns: Mapping[str, Sequence[float]], first: Sequence[str] = ()
) -> tuple[str, dict[str, dict[str, Line]]]:
    """The curves in the columns of a `metrics.csv`, those of one axis together.

    Args:
        columns: numbers by name, a row an epoch; NaN where there is none.
        first: names of scores, the most important first; of the scores four are kept.

    Returns:
        The name of the common axis, and lines by title of their axis: "loss", "score" (all
        that lies in 0..1) and "learning rate"; empty ones are left out.
    """
    axis = next((name for name in _STEPS if name in columns), "row")
    count = max((len(values) for values in columns.values()), default=0)
    across = columns.get(axis, [float(row) for row in range(count)])
    lines: dict[str, Line] = {}
    for name, values in columns.items():
        line = [(x, y) for x, y in zip(across, values, strict=False) if math.isfinite(x + y)]
        if line and name not in (*_STEPS, *_OTHERS):
            lines[name] = line
    rates = {name: lines.pop(name) for name in _RATES if name in lines}
    losses = {name: line for name, line in lines.items() if "loss" in name.lower()}
    scores = {
        name: line
        for name, line in lines.items()
        if name not in losses and all(0 <= y <= 1 for _, y in line)
    }
    best = sorted(scores, key=lambda name: first.index(name) if name in first else len(first))
    groups = {
        "loss": dict(list(losses.items())[: len(PALETTE)]),
        "score": {name: scores[name] for name in best[:4]},
        "learning rate": rates,
    }
    return axis, {title: group for title, group in groups.items() if group}


def draw_curves(axis: str, groups: Mapping[str, Mapping[str, Line]]) -> Image:
    """The groups of `curve_groups` side by side, RGB uint8 (H, W, 3), 480 pixels wide each."""
    rows = max((len(group) for group in groups.values()), default=0)
    panels = [
        _panel(title, axis, group, _HEIGHT + _LEGEND * -(-rows // 2) + 8)
        for title, group in groups.items()
    ]
    if not panels:
        return np.full((_HEIGHT, _WIDTH, 3), _PAPER, np.uint8)
    return np.concatenate(panels, 1)


def _panel(title: str, axis: str, lines: Mapping[str, Line], height: int) -> Image:
    panel: Image = np.full((height, _WIDTH, 3), _PAPER, np.uint8)
    points = [point for line in lines.values() for point in line]
    left, right = axis_range([x for x, _ in points])
    low, high = axis_range([y for _, y in points])
    wide, high_px = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - left) / (right - left) * wide
        return across, _TOP + (high - y) / (high - low) * high_px

    small = Pen(12)
    for value in ticks(low, high):
        down = round(place(left, value)[1])
        cv2.line(panel, (_LEFT, down), (_WIDTH - _RIGHT, down), _RULE)
        text = f"{value:.4g}"
        small.write(panel, text, _LEFT - 8 - small.width(text), down - small.height // 2, _SOFT)
    # Epochs are whole.
    for value in (tick for tick in ticks(left, right) if tick == int(tick)):
        text = f"{value:.4g}"
        across = round(place(value, low)[0]) - small.width(text) // 2
        small.write(panel, text, across, _HEIGHT - _BOTTOM + 6, _SOFT)
    small.write(panel, axis, _LEFT + (wide - small.width(axis)) // 2, _HEIGHT - _BOTTOM + 22, _SOFT)
    heading = Pen(14, bold=True)
    heading.write(panel, title, _LEFT, 8, _INK)
    inks = [_rgb(colour) for colour in PALETTE]
    # The first line is drawn last, on top of the others.
    for ink, line in reversed(list(zip(inks, lines.values(), strict=False))):
        track = np.array([place(*point) for point in line])
        fixed = np.round(track * 2**_SHIFT).astype(np.int32)
        cv2.polylines(panel, [fixed], False, ink, 2, cv2.LINE_AA, _SHIFT)
        if len(line) <= 25:
            for spot in fixed:
                cv2.circle(panel, spot.tolist(), 3 << _SHIFT, ink, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    room = wide // 2
    for number, (ink, (name, line)) in enumerate(zip(inks, lines.items(), strict=False)):
        across, top = _LEFT + number % 2 * room, _HEIGHT + number // 2 * _LEGEND
        cv2.rectangle(panel, (across, top + 2), (across + 11, top + 13), ink, cv2.FILLED)
        text = small.fit(f"{name}  {line[-1][1]:.4g}", room - 24)
        small.write(panel, text, across + 18, top + 1, _INK)
    return panel


def _rgb(colour: str) -> Colour:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue
