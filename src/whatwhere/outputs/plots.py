"""Plots of a data set as inline SVG and HTML: histograms, heat map, sizes, shares, matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from whatwhere.outputs.charts import BOTTOM, HEIGHT, LEFT, PALETTE, RIGHT, TOP, WIDTH, ticks

_WIDE, _HIGH = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_BASE = TOP + _HIGH

SIZE_COLOURS = {"small": "var(--small)", "medium": "var(--medium)", "large": "var(--large)"}
"""One hue from light to dark, since the sizes have an order; `SIZE_STYLE` says which."""

SIZE_STYLE = """
:root { --small: #8ecdf2; --medium: #2b8cc4; --large: #00456b; }
@media (prefers-color-scheme: dark) { :root { --small: #d3ecfa; --medium: #62b3e3;
  --large: #25699a; } }
"""


def svg(label: str, body: str, height: int = HEIGHT) -> str:
    """An SVG picture of the charts' width; the label is for readers who cannot see it."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{escape(label)}">{body}</svg>'
    )


def _short(value: float) -> str:
    """A number in little room: 1200 becomes 1.2k."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.4g}"


def _frame(
    across: Sequence[tuple[float, str]],
    up: Sequence[tuple[float, str]],
    x: str,
    y: str,
    left: float = LEFT,
    wide: float = _WIDE,
) -> str:
    """Axes: ticks at places from 0 to 1 of the plot's `wide` pixels, and what stands there."""
    parts = []
    for place, text in up:
        down = _BASE - place * _HIGH
        parts.append(
            f'<line class="grid" x1="{left:.1f}" x2="{left + wide:.1f}" y1="{down:.1f}"'
            f' y2="{down:.1f}"/><text x="{left - 6:.1f}" y="{down + 4:.1f}" class="tick end">'
            f"{escape(text)}</text>"
        )
    for place, text in across:
        parts.append(
            f'<text x="{left + place * wide:.1f}" y="{_BASE + 16}" class="tick mid">'
            f"{escape(text)}</text>"
        )
    middle, edge = TOP + _HIGH / 2, left - 39
    parts.append(
        f'<text x="{left + wide / 2:.0f}" y="{HEIGHT - 8}" class="title mid">{escape(x)}</text>'
        f'<text x="{edge:.0f}" y="{middle:.0f}" transform="rotate(-90 {edge:.0f} {middle:.0f})"'
        f' class="title mid">{escape(y)}</text>'
    )
    return "".join(parts)


def _even(right: float, top: float, x: str, y: str) -> tuple[str, float, float]:
    """Axes from 0 with one scale for both, in the middle; their left edge and the scale."""
    scale = min(_WIDE / right, _HIGH / top)
    wide, top = right * scale, _HIGH / scale
    left = LEFT + (_WIDE - wide) / 2
    frame = _frame(
        [(value / right, _short(value)) for value in ticks(0, right)],
        [(value / top, _short(value)) for value in ticks(0, top)],
        x,
        y,
        left,
        wide,
    )
    return frame, left, scale


def histogram(
    counts: Sequence[int],
    names: Sequence[str],
    *,
    x: str,
    y: str,
    marks: Sequence[tuple[float, str]],
) -> str:
    """Bars side by side.

    Args:
        counts: one a bar.
        names: what each bar stands for, shown when pointed at.
        x, y: axis titles.
        marks: words under the axis, at places from 0 (left of the first bar) to the number
            of bars.
    """
    most = max(counts, default=0)
    if not most:
        return ""
    # Counts are whole.
    up = [value for value in ticks(0, most) if value == int(value)]
    top = max(most, up[-1])
    step = _WIDE / len(counts)
    gap = min(2.0, step * 0.15)
    bars = "".join(
        f'<rect class="bin" x="{LEFT + place * step + gap / 2:.1f}"'
        f' y="{_BASE - _HIGH * count / top:.1f}" width="{step - gap:.1f}"'
        f' height="{_HIGH * count / top:.1f}"><title>{escape(name)}: {count:,}</title></rect>'
        for place, (count, name) in enumerate(zip(counts, names, strict=True))
        if count
    )
    frame = _frame(
        [(place / len(counts), text) for place, text in marks],
        [(value / top, _short(value)) for value in up],
        x,
        y,
    )
    return svg(f"{y} by {x}", frame + bars)


def heat_map(grid: Sequence[Sequence[int]], *, label: str) -> str:
    """Cells shaded by their count, in a square frame."""
    most = max((count for row in grid for count in row), default=0)
    if not most:
        return ""
    side = 300
    left, cell = (WIDTH - side) / 2, side / len(grid)
    # Opacities are quantised, and neighbours of one opacity are one rectangle: a small file.
    parts = []
    for down, row in enumerate(grid):
        start = 0
        levels = [round(20 * count / most) for count in row]
        for place in range(1, len(levels) + 1):
            if place == len(levels) or levels[place] != levels[start]:
                if levels[start]:
                    parts.append(
                        f'<rect class="heat" x="{left + start * cell:.1f}" y="{down * cell:.1f}"'
                        f' width="{(place - start) * cell:.1f}" height="{cell:.1f}"'
                        f' fill-opacity="{levels[start] / 20:.2f}"/>'
                    )
                start = place
    frame = f'<rect class="frame" x="{left:.1f}" y="0.5" width="{side}" height="{side - 1}"/>'
    return svg(label, "".join(parts) + frame, side)


def bubbles(points: Sequence[tuple[float, float, int]], *, x: str, y: str) -> str:
    """Points whose area grows with their count.

    Args:
        points: x, y, count.
    """
    if not points:
        return ""
    # One scale for both axes, so that a square picture lies on the diagonal.
    right = 1.08 * max(px for px, _, _ in points)
    top = 1.08 * max(py for _, py, _ in points)
    frame, left, scale = _even(right, top, x, y)
    most = max(count for _, _, count in points)
    dots = "".join(
        f'<circle class="dot" cx="{left + px * scale:.1f}" cy="{_BASE - py * scale:.1f}"'
        f' r="{2.5 + 11 * (count / most) ** 0.5:.1f}"><title>{px:g} x {py:g}: {count:,}</title>'
        "</circle>"
        for px, py, count in sorted(points, key=lambda point: -point[2])
    )
    diagonal = min(right, top) * scale
    line = (
        f'<line class="quiet" x1="{left:.1f}" y1="{_BASE}" x2="{left + diagonal:.1f}"'
        f' y2="{_BASE - diagonal:.1f}"/>'
    )
    return svg(f"{y} by {x}", frame + line + dots)


def rectangles(groups: Mapping[str, Sequence[Sequence[float]]], *, side: float) -> str:
    """Typical boxes of each group, laid on one corner, with a legend.

    Args:
        groups: width and height of each box, by name of the group.
        side: pixels of both axes.
    """
    shown = {name: boxes for name, boxes in list(groups.items())[: len(PALETTE)] if boxes}
    if not shown:
        return ""
    right, top = (
        min(side, 1.08 * max(box[axis] for boxes in shown.values() for box in boxes))
        for axis in (0, 1)
    )
    frame, left, scale = _even(right, top, "width", "height")
    shapes = "".join(
        f'<rect class="outline" stroke="{colour}" x="{left:.1f}" y="{_BASE - high * scale:.1f}"'
        f' width="{wide * scale:.1f}" height="{high * scale:.1f}">'
        f"<title>{escape(name)}: {wide:.0f} x {high:.0f}</title></rect>"
        for colour, (name, boxes) in zip(PALETTE, shown.items(), strict=False)
        for wide, high in boxes
    )
    return svg("typical boxes", frame + shapes) + legend(dict(zip(shown, PALETTE, strict=False)))


def legend(colours: Mapping[str, str]) -> str:
    """Names and their colours."""
    keys = "".join(
        f'<li><span class="key" style="background:{colour}"></span>{escape(name)}</li>'
        for name, colour in colours.items()
    )
    return f'<ul class="legend">{keys}</ul>'


def shares(parts: Mapping[str, int], colours: Mapping[str, str]) -> str:
    """One bar divided by the counts."""
    total = sum(parts.values())
    if not total:
        return ""
    cells = "".join(
        f'<span style="width:{100 * count / total:.2f}%;background:{colours[name]}"'
        f' title="{escape(name)}: {count:,} ({100 * count / total:.1f} %)"></span>'
        for name, count in parts.items()
        if count
    )
    return f'<span class="shares">{cells}</span>'


def pair_matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """In how many pictures two classes are together, shaded by the share of the row's class."""
    head = "".join(f"<th scope=col><div>{escape(name)}</div></th>" for name in names)
    rows = []
    for place, (name, row) in enumerate(zip(names, counts, strict=True)):
        own = row[place] or 1
        cells = []
        for column, count in enumerate(row):
            if column == place:
                cells.append(f'<td class="own">{count:,}</td>')
                continue
            shade = min(1.0, count / own) ** 0.5
            tip = f"{escape(name)} with {escape(names[column])}: {count:,}"
            cells.append(
                f'<td class="hit" style="--shade:{shade:.2f}" title="{tip}">'
                f"{f'{count:,}' if count else '·'}</td>"
            )
        rows.append(f"<tr><th scope=row>{escape(name)}</th>{''.join(cells)}</tr>")
    return (
        f'<table class="confusion"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def frequent_pairs(names: Sequence[str], counts: Sequence[Sequence[int]], limit: int = 30) -> str:
    """The pairs of classes that are together in most pictures, as a table."""
    pairs = [
        (counts[one][two], one, two)
        for one in range(len(names))
        for two in range(one + 1, len(names))
        if counts[one][two]
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = "".join(
        f"<tr><td class=name>{escape(names[one])}</td><td class=name>{escape(names[two])}</td>"
        f"<td class=number>{count:,}</td>"
        f"<td class=number>{100 * count / (counts[one][one] or 1):.0f} %</td>"
        f"<td class=number>{100 * count / (counts[two][two] or 1):.0f} %</td></tr>"
        for count, one, two in pairs[:limit]
    )
    return (
        "<table><thead><tr><th>class</th><th>and class</th><th class=number>pictures</th>"
        "<th class=number>of the first</th><th class=number>of the second</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
