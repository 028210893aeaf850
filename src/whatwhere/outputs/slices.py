"""The section of a report about parts of the data."""

from __future__ import annotations

from html import escape

from whatwhere.metrics.slices import Slice, Slices
from whatwhere.outputs.charts import bar
from whatwhere.types import score_words


def slices_html(found: Slices, count: int = 40) -> str:
    """A table of the worst parts with their intervals; empty if there is no part.

    Args:
        found: of `evaluation.slices`.
        count: at most so many parts; how many are left out is said.
    """
    if not found.parts:
        return ""
    rows = "".join(_row(one) for one in (found.whole, *found.parts[:count]))
    level = found.whole.numbers[found.whole.main].level
    hint = (
        f"Numbers are over all labels of a part. First come the parts whose {level:.0%} interval"
        " ends furthest below the number of the whole; parts of fewer than 30 pictures come last."
        " A marked part is worse than the whole beyond chance, all parts taken together."
    )
    if "accuracy" not in found.whole.numbers:
        hint += f" Answers from {score_words(found.threshold)}."
    left = len(found.parts) - count
    notes = [*([f"{left} better parts are not shown"] if left > 0 else []), *found.notes]
    words = "".join(f"<br>{escape(note)}." for note in notes)
    return (
        f'<section><h2>Parts of the data, worst first</h2><p class="hint">{hint}{words}</p>'
        "<table><thead><tr><th>by</th><th>part</th><th class=number>pictures</th>"
        "<th class=number>labels</th><th>number</th><th class=wide></th>"
        "<th class=number>value</th><th class=number>interval</th>"
        f"<th class=number>less the whole</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _row(one: Slice) -> str:
    number = one.numbers[one.main]
    name = f"{escape(one.part)}{' <b>worse</b>' if one.worse else ''}"
    interval = "–"
    if number.low is not None and number.high is not None:
        interval = f"{number.low:.3f} to {number.high:.3f}"
    return (
        f"<tr><td>{escape(one.attribute) or 'the whole'}</td><th scope=row>{name}</th>"
        f"<td class=number>{one.pictures:,}</td><td class=number>{one.labels:,}</td>"
        f"<td>{one.main}</td><td class=wide>{bar(number.value)}</td>"
        f"<td class=number>{_short(number.value)}</td><td class=number>{interval}</td>"
        f"<td class=number>{'' if one.gap is None else f'{one.gap:+.3f}'}</td></tr>"
    )


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
