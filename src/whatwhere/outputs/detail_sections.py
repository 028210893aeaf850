"""Sections of a report on what stands behind the numbers: thresholds, errors, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

from whatwhere.metrics import FURTHER
from whatwhere.metrics.definition import Metric
from whatwhere.metrics.slices import Slices
from whatwhere.outputs.charts import (
    PALETTE,
    Line,
    bar,
    confusion_table,
    histogram,
    line_chart,
)
from whatwhere.outputs.slices import slices_html
from whatwhere.types import Task

FULL_MATRIX = 25
"""Up to this many classes the whole confusion matrix is shown."""

_ERRORS = {
    "class": "wrong class",
    "location": "poor place",
    "both": "wrong class and poor place",
    "duplicate": "found twice",
    "background": "nothing there",
    "missed": "missed",
    "false_positive": "all false boxes",
    "false_negative": "all misses",
}
"""Kinds of TIDE in words."""


class Detailed(Protocol):
    """What the sections need of `evaluation.details.Details`; see there."""

    @property
    def protocol(self) -> str: ...
    @property
    def level(self) -> float: ...
    @property
    def samples(self) -> int: ...
    @property
    def groups(self) -> str: ...
    @property
    def intervals(self) -> Mapping[str, Any]: ...
    @property
    def class_intervals(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def numbers(self) -> Mapping[str, float | None]: ...
    @property
    def per_class(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def tables(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def slices(self) -> Slices | None: ...
    def to_dict(self, *, tables: bool = False) -> dict[str, Any]: ...


def detail_sections(task: Task, found: Detailed) -> str:
    """All sections that the details of a task allow."""
    tables = found.tables
    parts = []
    if task == "detect":
        parts += [
            _errors(tables["errors"]),
            _operating(tables["operating"], tables["iou"]),
            _mixed(tables["confusion"]),
        ]
    else:
        parts.append(_curves(tables["curves"]))
    parts.append(_reliability(tables["reliability"], found.numbers))
    if found.slices is not None:
        parts.append(slices_html(found.slices))
    parts.append(_further(task, found))
    return "".join(parts)


def interval_words(found: Detailed) -> str:
    """What the intervals are, in a sentence; empty without any."""
    if not found.samples:
        return ""
    drawn = "pictures" if found.groups == "none" else f"pictures of equal {found.groups}"
    return f"Ranges: {found.level:.0%} bootstrap intervals from {found.samples:,} draws of {drawn}."


def ends(found: Detailed | None, name: str, of_class: str | None = None) -> str:
    """The interval of a number, such as "0.81-0.87"; empty if there is none."""
    if found is None:
        return ""
    rows = found.intervals if of_class is None else found.class_intervals.get(of_class, {})
    one = rows.get(name)
    if one is None or one.low is None or one.high is None:
        return ""
    return f"{one.low:.3f}–{one.high:.3f}"


def _section(title: str, body: str, hint: str = "") -> str:
    words = f'<p class="hint">{escape(hint)}</p>' if hint else ""
    return f"<section><h2>{escape(title)}</h2>{words}{body}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], wide: int = -1) -> str:
    """A table of cells that are HTML; all columns but the first and `wide` hold numbers."""

    def kind(place: int) -> str:
        return "wide" if place == wide else "name" if place == 0 else "number"

    heads = "".join(
        f'<th class="{kind(place)}">{escape(text)}</th>' for place, text in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind(place)}">{cell}</td>' for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def figure(value: float | None, digits: int = 4) -> str:
    """A number of a table; a dash for what is undefined."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def _errors(errors: Mapping[str, Any]) -> str:
    cost, count = errors["cost"], errors["count"]
    if all(value is None for value in cost.values()):
        return ""
    most = max((value or 0.0) for value in cost.values()) or 1.0
    rows = [
        [escape(words), bar((cost[name] or 0.0) / most), figure(cost[name]), str(count[name])]
        if name in count
        else [escape(words), bar((cost[name] or 0.0) / most), figure(cost[name]), ""]
        for name, words in _ERRORS.items()
        if name in cost
    ]
    hint = (
        "What AP50 would gain if no box had this kind of error (TIDE, Bolya et al., ECCV 2020)."
        " The gains do not add up."
    )
    return _section(
        "Kinds of errors", _table(["kind", "", "gain of AP50", "boxes"], rows, wide=1), hint
    )


def _operating(operating: Mapping[str, Any], iou: Mapping[str, Any]) -> str:
    at = operating["all"]["at"]["threshold"]
    reached = "the model's own score of their class" if at is None else f"score {at:g}"
    rows = []
    for name, row in [("all classes", operating["all"]), *operating["per_class"].items()]:
        now, best = row["at"], row["best"]
        rows.append(
            [
                escape(name),
                *(figure(now[key], 3) for key in ("precision", "recall", "f1")),
                *(str(now[key]) for key in ("true", "false", "missed")),
                figure(best and best["threshold"], 3),
                figure(best and best["f1"], 3),
            ]
        )
    head = ["class", "precision", "recall", "F1", "right", "false", "missed", "best score", "F1"]
    hint = (
        f"Boxes of {reached} or more, right from IoU {operating['iou']:g} on; last columns: the"
        " score from which F1 is largest on these pictures."
    )
    body = _table(head, rows)
    whole = iou["all"]
    if whole["count"]:
        chart = histogram(iou["bins"], whole["histogram"], x="IoU of a right box", y="boxes")
        body += f'<div class="figures"><figure>{chart}</figure></div>'
    return _section("At a threshold", body, hint)


def _mixed(confusion: Mapping[str, Any]) -> str:
    names = confusion["names"]
    if len(names) > FULL_MATRIX + 1:
        rows = [
            [escape(true), escape(said), str(count)]
            for true, said, count in confusion["swaps"][:20]
        ]
        body = _table(["right class", "predicted", "boxes"], rows)
        return _section("Most frequent confusions", body)
    hint = (
        "Rows: right class. Columns: predicted class. Last row: boxes where nothing is; last"
        " column: missed objects."
    )
    body = confusion_table(confusion["matrix"], names, columns=names)
    return _section("Confusion matrix", f'<div class="scroll">{body}</div>', hint)


def _curves(curves: Mapping[str, Any]) -> str:
    figures = []
    for curve in curves.values():
        if curve["all classes"] is None:
            continue
        per_class: Mapping[str, Sequence[float]] = curve["per_class"]
        lines: dict[str, Line] = {"mean of classes": _points(curve["all classes"])}
        background: list[Line] = []
        if len(per_class) < len(PALETTE):
            lines |= {name: _points(values) for name, values in per_class.items()}
        else:
            background = [_points(values) for values in per_class.values()]
        chart = line_chart(lines, x=curve["x"], y=curve["y"], unit=True, background=background)
        figures.append(f"<figure>{chart}</figure>")
    if not figures:
        return ""
    return _section("Each class against the rest", f'<div class="figures">{"".join(figures)}</div>')


def _points(curve: Sequence[float]) -> Line:
    last = len(curve) - 1
    return [(place / last, value) for place, value in enumerate(curve)]


def _reliability(tables: Mapping[str, Any], numbers: Mapping[str, float | None]) -> str:
    bins = tables["bins"]
    points = [
        (confidence, accuracy)
        for confidence, accuracy in zip(bins["confidence"], bins["accuracy"], strict=True)
        if confidence is not None and accuracy is not None
    ]
    if not points:
        return ""
    chart = line_chart(
        {"this model": points}, x="score", y="share right", unit=True, background=[[(0, 0), (1, 1)]]
    )
    counts = histogram(bins["edges"], bins["count"], x="score", y="answers")
    said = [f"{name} {figure(numbers[name])}" for name in ("ece", "d_ece") if name in numbers]
    hint = (
        "On the grey line a score is the share of answers that are right; below it the model is"
        f" too sure. {', '.join(said)}."
    )
    return _section(
        "Calibration",
        f'<div class="figures"><figure>{chart}</figure><figure>{counts}</figure></div>',
        hint,
    )


def _further(task: Task, found: Detailed) -> str:
    meaning: dict[str, Metric] = {metric.name: metric for metric in FURTHER[task]}
    rows = "".join(
        f"<tr><th scope=row class=name>{escape(name)}</th><td class=number>{figure(value)}</td>"
        f"<td>{escape(meaning[name].definition)}"
        f"{' Smaller is better.' if meaning[name].smaller_is_better else ''}"
        f" <cite>{escape(meaning[name].source)}</cite></td></tr>"
        for name, value in found.numbers.items()
    )
    if not rows:
        return ""
    return _section(
        "Further numbers",
        "<table><thead><tr><th>name</th><th class=number>value</th><th>meaning</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>",
        f"Protocol: {found.protocol}." if found.protocol else "",
    )
