"""The page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Protocol

import numpy as np

from whatwhere import __version__
from whatwhere.data import Dataset
from whatwhere.errors import ImageError
from whatwhere.images import encode_image, read_image, write_atomic
from whatwhere.metrics import METRICS, PRIMARY
from whatwhere.metrics.changes import Change
from whatwhere.metrics.paired import Difference
from whatwhere.outputs.labels import PictureLabels, draw_labels, picture_labels, shrink
from whatwhere.outputs.page import page
from whatwhere.types import Image, Prediction, Task, limit_of, limits

LONG_SIDE = 380
MOST_CLASSES = 200
"""Rows of the table of classes; there the rest is left out, those that changed least."""

_STYLE = """
.range { width: 190px; height: 16px; display: block; }
.range .zero { stroke: var(--soft); stroke-width: 1; }
.range .span { stroke: var(--soft); stroke-width: 3; stroke-linecap: round; }
.range.up .span, .range.up .dot { stroke: #009e73; fill: #009e73; }
.range.down .span, .range.down .dot { stroke: #d55e00; fill: #d55e00; }
.range .dot { fill: var(--soft); }
.verdict { font-size: 19px; margin: 24px 0 0; overflow-wrap: anywhere; }
.examples.three { grid-template-columns: 1fr; }
"""


class Comparable(Protocol):
    """What the page needs of `evaluation.comparison.Comparison`; see there."""

    @property
    def task(self) -> Task: ...
    @property
    def images(self) -> int: ...
    @property
    def first(self) -> str: ...
    @property
    def second(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def numbers(self) -> Mapping[str, Difference]: ...
    @property
    def per_class(self) -> Mapping[str, Mapping[str, Difference]]: ...
    @property
    def sorted_parts(self) -> Mapping[str, Difference]: ...
    @property
    def level(self) -> float: ...
    @property
    def changes(self) -> Sequence[Change]: ...
    @property
    def worse(self) -> Sequence[Change]: ...
    @property
    def better(self) -> Sequence[Change]: ...
    @property
    def thresholds(self) -> tuple[float, float]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def data(self) -> Dataset | None: ...
    @property
    def predictions(self) -> tuple[Sequence[Prediction], Sequence[Prediction]]: ...
    @property
    def verdict(self) -> str: ...
    @property
    def labels(self) -> Comparable | None: ...


def write_comparison(
    comparison: Comparable, path: str | os.PathLike[str], *, examples: int = 8
) -> Path:
    """Write a comparison as one HTML file; whole or not at all.

    Args:
        comparison: of `compare`.
        path: the file to write.
        examples: at most so many pictures that got worse, and so many that got better.

    Raises:
        WhatwhereError: the disk is full.
    """
    one, two = comparison.first, comparison.second
    sections = _sections(comparison, examples)
    if comparison.labels is not None:
        sections += ["<h2>Labels of the whole picture</h2>", *_sections(comparison.labels, 0)]
    split = f", split {comparison.split}" if comparison.split else ""
    about = f"{comparison.source}{split} · {comparison.images:,} pictures · {comparison.task}"
    sections.append(_settings(comparison))
    target = Path(path)
    title = f"{two} against {one}"
    write_atomic(target, page(title, title, about, "".join(sections), style=_STYLE))
    return target


def _sections(comparison: Comparable, examples: int) -> list[str]:
    one, two = comparison.first, comparison.second
    made = [f'<p class="verdict">{escape(comparison.verdict)}</p>']
    if comparison.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
        made.append(f'<section class="notes"><h2>Notes</h2><ul>{items}</ul></section>')
    meaning = {metric.name: metric.definition for metric in METRICS[comparison.task]}
    hint = (
        f"Differences are {escape(two)} less {escape(one)}; the line is the interval of"
        f" {comparison.level:.0%}, drawn from the pictures; coloured where p is at most"
        f" {1 - comparison.level:.2g}."
    )
    made.append(_table("Numbers", "", comparison.numbers, comparison, hint, meaning))
    name = "f1" if comparison.task == "classify" else "AP"
    rows = {of: row[name] for of, row in comparison.per_class.items() if name in row}
    rows = dict(sorted(rows.items(), key=lambda row: _sort_key(row[1])))
    hint = "The most worsened first. p is corrected for the number of classes."
    if len(rows) > MOST_CLASSES:
        rows = {k: v for k, v in rows.items() if v.value}
        kept = sorted(rows, key=lambda k: -abs(rows[k].value or 0))[:MOST_CLASSES]
        rows = {k: v for k, v in rows.items() if k in kept}
        hint += f" Of {len(comparison.per_class)} classes those that changed most are shown."
    made.append(_table("Classes", name, rows, comparison, hint))
    if parts := comparison.sorted_parts:
        one_score, two_score = comparison.thresholds
        hint = (
            "The most worsened first, those of fewer than 30 pictures behind the others. p is"
            " corrected for the number of parts."
            f" Answers count from score {one_score:g} and {two_score:g}."
        )
        made.append(_table("Parts of the data", "", parts, comparison, hint))
    return made + _pictures(comparison, examples)


def _sort_key(one: Difference) -> float:
    return np.inf if one.value is None else one.value


def _table(
    title: str,
    of: str,
    rows: Mapping[str, Difference],
    comparison: Comparable,
    hint: str,
    meaning: Mapping[str, str] | None = None,
) -> str:
    if not rows:
        return ""
    sizes = [abs(end) for one in rows.values() for end in (one.value, one.low, one.high) if end]
    limit = max(sizes, default=1.0)
    head = "".join(
        f"<th class=number>{escape(text)}</th>"
        for text in (comparison.first, comparison.second, "difference", "")
    )
    ends = f"{comparison.level:.0%} interval"
    body = "".join(
        f'<tr><th scope=row title="{escape((meaning or {}).get(name, ""))}">{escape(name)}</th>'
        f"<td class=number>{_number(one.first)}</td><td class=number>{_number(one.second)}</td>"
        f"<td class=number>{_number(one.value, sign=True)}</td>"
        f"<td>{range_mark(one, limit, 1 - comparison.level)}</td>"
        f"<td class=number>{_ends(one)}</td>"
        f"<td class=number>{_p(one)}</td><td class=number>{one.units:,}</td></tr>"
        for name, one in rows.items()
    )
    corner = f"{of} of" if of else ""
    return (
        f'<section><h2>{title}</h2><p class="hint">{hint}</p><table><thead><tr>'
        f"<th>{escape(corner)}</th>{head}<th class=number>{ends}</th><th class=number>p</th>"
        f"<th class=number>pictures</th></tr></thead><tbody>{body}</tbody></table></section>"
    )


def range_mark(one: Difference, limit: float, error: float) -> str:
    """A difference and its interval as a small drawing; zero in the middle.

    Args:
        limit: the difference at either end.
        error: it is coloured if its p-value, corrected if there is one, is at most this.
    """
    if one.value is None:
        return ""
    p = one.p if one.adjusted is None else one.adjusted
    kind = ""
    if p is not None and p <= error and one.value:
        kind = " up" if one.value > 0 else " down"

    def at(value: float) -> str:
        return f"{95 + 90 * max(-1.0, min(1.0, value / limit)):.1f}"

    span = ""
    if one.low is not None and one.high is not None:
        span = f'<line class="span" x1="{at(one.low)}" x2="{at(one.high)}" y1="8" y2="8"/>'
    said = f"{_number(one.value, sign=True)}, interval {_ends(one)}"
    return (
        f'<svg class="range{kind}" viewBox="0 0 190 16" role="img" aria-label="{said}">'
        f"<title>{said}</title>"
        f'<line class="zero" x1="95" x2="95" y1="0" y2="16"/>{span}'
        f'<circle class="dot" cx="{at(one.value)}" cy="8" r="4"/></svg>'
    )


def _number(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:+.4f}" if sign else f"{value:.4f}"


def _ends(one: Difference) -> str:
    if one.low is None or one.high is None:
        return "–"
    return f"{one.low:+.4f} … {one.high:+.4f}"


def _p(one: Difference) -> str:
    value = one.p if one.adjusted is None else one.adjusted
    return "–" if value is None else f"{value:.3f}"


def _pictures(comparison: Comparable, examples: int) -> list[str]:
    worse, better = comparison.worse, comparison.better
    other = len(comparison.changes) - len(worse) - len(better)
    same = comparison.images - len(comparison.changes)
    words = (
        f"{len(worse):,} pictures have more mistakes than before, {len(better):,} have fewer,"
        f" {other:,} have as many other ones, {same:,} are as before."
    )
    if comparison.task != "classify":
        one, two = comparison.thresholds
        words += f" Answers count from score {one:g} and {two:g}."
    made = [f'<section><h2>Pictures</h2><p class="hint">{words}</p></section>']
    for title, chosen in (("Worse", worse), ("Better", better)):
        figures = [_figure(comparison, one) for one in chosen[:examples]]
        if shown := "".join(figures):
            kind = "examples three" if comparison.task == "detect" else "examples small"
            made.append(f'<section><h2>{title}</h2><div class="{kind}">{shown}</div></section>')
    return made


def _figure(comparison: Comparable, change: Change) -> str:
    """One changed picture; nothing if it cannot be read, which evaluation has said."""
    data = comparison.data
    if data is None:
        return ""
    try:
        image = read_image(data.paths[change.row])
    except ImageError:
        return ""
    small, ratio = shrink(image, LONG_SIDE)
    answers = [system[change.row] for system in comparison.predictions]
    if comparison.task == "detect":
        shown = [
            (f"labels: {_count(data, change.row)}", picture_labels(data, change.row)),
            *(
                (f"{name}: {mistakes} missed or wrong", _said(answer, threshold))
                for name, mistakes, answer, threshold in zip(
                    (comparison.first, comparison.second),
                    (change.before, change.after),
                    answers,
                    comparison.thresholds,
                    strict=True,
                )
            ),
        ]
        pictures = "".join(
            f'<div><span class="tag">{escape(title)}</span>'
            f'<img alt="{escape(title)}" src="{_uri(draw_labels(small, labels, scale=ratio))}">'
            "</div>"
            for title, labels in shown
        )
        words = _words(change)
    else:
        pictures = f'<div><img alt="" src="{_uri(small)}"></div>'
        true = sorted({data.names[place] for place in data.targets(change.row).class_ids})
        words = f"labels: {', '.join(true) or 'none'}"
        for name, answer, threshold in zip(
            (comparison.first, comparison.second), answers, comparison.thresholds, strict=True
        ):
            words += f" · {name}: {_best(comparison.task, answer, threshold)}"
    name = Path(data.paths[change.row]).name
    return (
        f'<figure class="example"><div class="pair">{pictures}</div><figcaption>{escape(name)}'
        f"<br><span>{escape(words)}</span></figcaption></figure>"
    )


def _count(data: Dataset, row: int) -> int:
    targets = data.targets(row).located()
    return int((~targets.ignore).sum())


def _words(change: Change) -> str:
    parts = []
    if change.lost:
        parts.append(f"no longer found: {', '.join(change.lost)}")
    if change.gained:
        parts.append(f"newly found: {', '.join(change.gained)}")
    if change.false_after != change.false_before:
        parts.append(f"wrong boxes: {change.false_before} before, {change.false_after} now")
    return " · ".join(parts)


def _said(answer: Prediction, threshold: float) -> PictureLabels:
    boxes = np.zeros((0, 4), np.float32) if answer.boxes is None else answer.boxes
    keep = np.flatnonzero(answer.object_scores >= limits(threshold, answer.object_names))
    names = [answer.object_names[place] for place in keep]
    return PictureLabels(names, boxes[keep], [False] * len(names))


def _best(task: Task, answer: Prediction, threshold: float) -> str:
    by_box = not answer.label_names and answer.boxes is not None
    names = answer.object_names if by_box else answer.label_names
    scores = answer.object_scores if by_box else answer.label_scores
    best: dict[str, float] = {}
    for name, score in zip(names, scores.tolist(), strict=True):
        best.setdefault(name, score)
    rows = list(best.items())
    said = [row for row in rows if row[1] >= limit_of(threshold, row[0])]
    kept = rows[:1] if task == "classify" else said[:8]
    return ", ".join(f"{name} {score:.2f}" for name, score in kept) or "none"


def _uri(image: Image) -> str:
    data = base64.b64encode(encode_image(image, ".jpg", 82)).decode("ascii")
    return f"data:image/jpeg;base64,{data}"


def _settings(comparison: Comparable) -> str:
    main = comparison.numbers[PRIMARY[comparison.task]]
    rows = {
        "first": comparison.first,
        "second": comparison.second,
        "data": comparison.source,
        "split": comparison.split or "all",
        "test": f"paired {main.test}: in each trial the two answers to each picture are swapped"
        " or not; two-sided",
        "many classes": "p corrected by step-down maxT (Westfall and Young, 1993)",
        "intervals": f"bootstrap over {main.units:,} pictures or groups, the same for both",
        "whatwhere": __version__,
    }
    body = "".join(
        f"<tr><th scope=row class=key-column>{escape(key)}</th><td>{escape(value)}</td></tr>"
        for key, value in rows.items()
    )
    return f"<section><h2>Settings</h2><table><tbody>{body}</tbody></table></section>"
