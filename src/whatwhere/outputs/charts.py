"""Small charts as inline SVG: no script, no font, no network; colours follow the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

# Okabe and Ito's palette, told apart by colour-blind readers; black and yellow left out
# because they vanish on dark and light pages.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

Line = Sequence[tuple[float, float]]
"""Points (x, y)."""

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44
# Points of a line that can be read by pointing at them.
_READABLE = 26


def line_chart(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x: str,
    y: str,
    unit: bool = False,
    background: Sequence[Sequence[tuple[float, float]]] = (),
) -> str:
    """Lines over a common axis, with a legend.

    Args:
        lines: points (x, y) by name, at most as many as `PALETTE` has colours.
        x, y: axis titles.
        unit: both axes go from 0 to 1, whatever the points are.
        background: more lines, thin and grey, without a name.
    """
    points = [point for line in (*lines.values(), *background) for point in line]
    if not points:
        return ""
    left, right = (0.0, 1.0) if unit else axis_range([px for px, _ in points])
    low, high = (0.0, 1.0) if unit else axis_range([py for _, py in points])

    def place(px: float, py: float) -> str:
        across = LEFT + (px - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        down = TOP + (high - py) / (high - low) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f},{down:.1f}"

    parts = [_axes(left, right, low, high, x, y)]
    parts += [
        f'<polyline class="quiet" points="{" ".join(place(*point) for point in line)}"/>'
        for line in background
    ]
    # The first line is drawn last, on top of the others.
    for color, line in reversed(list(zip(PALETTE, lines.values(), strict=False))):
        track = " ".join(place(*point) for point in line)
        parts.append(f'<polyline class="line" stroke="{color}" points="{track}"/>')
        if len(line) == 1:
            px, py = place(*line[0]).split(",")
            parts.append(f'<circle cx="{px}" cy="{py}" r="3" fill="{color}"/>')
    for color, (name, line) in zip(PALETTE, lines.items(), strict=False):
        parts.append(_dots(name, line, color, place, x, y))
    label = f"{y} over {x}"
    svg = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
    keys = "".join(
        f'<li><span class="key" style="background:{color}"></span>{escape(name)}</li>'
        for color, name in zip(PALETTE, lines, strict=False)
    )
    return f'{svg}<ul class="legend">{keys}</ul>'


def _dots(
    name: str, line: Line, color: str, place: Callable[[float, float], str], x: str, y: str
) -> str:
    """Points that show their numbers when they are pointed at; browsers need no script for it."""
    step = max(1, -(-len(line) // _READABLE))
    shown = [*line[::step], *(line[-1:] if (len(line) - 1) % step else ())]
    dots = []
    for px, py in shown:
        across, down = place(px, py).split(",")
        words = escape(f"{name}: {x} {px:.4g}, {y} {py:.4g}")
        dots.append(
            f'<circle class="dot" cx="{across}" cy="{down}" r="6" fill="{color}">'
            f"<title>{words}</title></circle>"
        )
    return "".join(dots)


def histogram(edges: Sequence[float], counts: Sequence[int], *, x: str, y: str) -> str:
    """Bars between edges, with their counts on pointing at them.

    Args:
        edges: B + 1 rising values.
        counts: B values of at least 0.
        x, y: axis titles.
    """
    high = axis_range([0.0, float(max(counts, default=0) or 1)])[1]
    left, right = edges[0], edges[-1]
    parts = [_axes(left, right, 0.0, high, x, y)]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    for low, top, count in zip(edges, edges[1:], counts, strict=False):
        across = LEFT + (low - left) / (right - left) * width
        wide = max(1.0, (top - low) / (right - left) * width - 1)
        tall = count / high * height
        parts.append(
            f'<rect x="{across:.1f}" y="{TOP + height - tall:.1f}" width="{wide:.1f}"'
            f' height="{tall:.1f}" fill="{PALETTE[0]}"><title>'
            f"{escape(f'{x} {low:.3g} to {top:.3g}: {count:,} {y}')}</title></rect>"
        )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(f"{y} over {x}")}">{"".join(parts)}</svg>'
    )


def axis_range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value of an axis, both multiples of its step."""
    low, high = min(values), max(values)
    if high <= low:
        # Half of 1 is nothing beside a loss of 1e19.
        room = max(0.5, abs(low) * 1e-6)
        low, high = low - room, high + room
    step = _step(low, high)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _step(low: float, high: float) -> float:
    """Distance of the ticks: 1, 2 or 5 times a power of ten, at most six steps."""
    rough = (high - low) / 6
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((k * power for k in (1, 2, 5) if k * power >= rough * (1 - 1e-9)), 10 * power)


def _axes(left: float, right: float, low: float, high: float, x: str, y: str) -> str:
    parts = []
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    for value in ticks(low, high):
        down = TOP + (high - value) / (high - low) * height
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}"'
            f' y2="{down:.1f}"/><text x="{LEFT - 6}" y="{down + 4:.1f}" class="tick end">'
            f"{value:.4g}</text>"
        )
    for value in ticks(left, right):
        across = LEFT + (value - left) / (right - left) * width
        parts.append(
            f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 16}" class="tick mid">{value:.4g}</text>'
        )
    middle = TOP + height / 2
    parts.append(
        f'<text x="{LEFT + width / 2:.0f}" y="{HEIGHT - 8}" class="title mid">{escape(x)}</text>'
        f'<text x="13" y="{middle:.0f}" transform="rotate(-90 13 {middle:.0f})"'
        f' class="title mid">{escape(y)}</text>'
    )
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Round values from low on, at most seven, of which the last is at most high."""
    step = _step(low, high)
    count = math.floor((high - low) / step + 1e-9)
    # Rounded, so that no tick reads -5.6e-17.
    return [round(low + place * step, 12) for place in range(count + 1)]


def bar(value: float | None) -> str:
    """A horizontal bar for a value in 0..1; nothing for None."""
    if value is None:
        return ""
    return f'<span class="bar"><span style="width:{100 * value:.1f}%"></span></span>'


def confusion_table(
    matrix: Sequence[Sequence[int]], names: Sequence[str], *, columns: Sequence[str] = ()
) -> str:
    """A table of counts, shaded by the share of its row.

    Args:
        matrix: rows the right class, columns the predicted one, last column no answer.
        names: of the classes.
        columns: names of the columns, if they are not the classes and "no answer".
    """
    silent = any(row[-1] for row in matrix)
    columns = columns or ([*names, "no answer"] if silent else list(names))
    head = "".join(f"<th scope=col><div>{escape(name)}</div></th>" for name in columns)
    rows = []
    for place, (name, row) in enumerate(zip(names, matrix, strict=True)):
        total = sum(row) or 1
        cells = []
        for column, count in enumerate(row[: len(columns)]):
            kind = "hit" if column == place else "miss"
            # Square root: a confusion of one in a hundred must not be invisible.
            shade = (count / total) ** 0.5
            cells.append(
                f'<td class="{kind}" style="--shade:{shade:.2f}">{count if count else "·"}</td>'
            )
        rows.append(f"<tr><th scope=row>{escape(name)}</th>{''.join(cells)}</tr>")
    return (
        f'<table class="confusion"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def frequent_confusions(
    matrix: Sequence[Sequence[int]], names: Sequence[str], limit: int = 20
) -> str:
    """The most frequent wrong answers as a table, for sets of many classes."""
    columns = [*names, "no answer"]
    pairs = [
        (count, names[row], columns[column], sum(counts))
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = "".join(
        f"<tr><td>{escape(true)}</td><td>{escape(said)}</td><td class=number>{count}</td>"
        f"<td class=number>{100 * count / total:.1f} %</td></tr>"
        for count, true, said, total in pairs[:limit]
    )
    return (
        "<table><thead><tr><th>right class</th><th>predicted</th><th class=number>pictures</th>"
        f"<th class=number>share of the class</th></tr></thead><tbody>{rows}</tbody></table>"
    )
