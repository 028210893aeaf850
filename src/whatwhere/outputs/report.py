"""The report of an evaluation: one HTML file that needs nothing else.

It opens without a network, in light and dark, and prints. Names come from data sets that
others made, so every one of them is escaped.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

from whatwhere import __version__
from whatwhere.data import Dataset
from whatwhere.errors import DataError
from whatwhere.images import write_atomic
from whatwhere.metrics import METRICS, PRIMARY
from whatwhere.metrics.mistakes import mistakes
from whatwhere.outputs.charts import (
    PALETTE,
    bar,
    confusion_table,
    frequent_confusions,
    line_chart,
)
from whatwhere.outputs.curves import curve_groups
from whatwhere.outputs.detail_sections import (
    FULL_MATRIX,
    Detailed,
    detail_sections,
    ends,
    interval_words,
)
from whatwhere.outputs.examples import examples_html, picture_uri
from whatwhere.outputs.gallery import doubts_html, mistakes_html
from whatwhere.outputs.leak_section import Leaked, leaks_html
from whatwhere.outputs.page import page
from whatwhere.types import Prediction, Task, score_words

_HEADLINES: dict[Task, tuple[str, ...]] = {
    "classify": ("accuracy", "top5", "f1"),
    "multilabel": ("mAP", "precision", "recall", "f1"),
    "detect": ("AP", "AP50", "AP75", "AR100"),
}


class Reportable(Protocol):
    """What a report needs of `evaluation.Result`; see there."""

    @property
    def task(self) -> Task: ...
    @property
    def images(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...
    @property
    def per_class(self) -> Mapping[str, Mapping[str, float | None]]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def model(self) -> str | None: ...
    @property
    def source(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def threshold(self) -> float: ...
    @property
    def seconds(self) -> float | None: ...
    @property
    def curves(self) -> Mapping[str, Any] | None: ...
    @property
    def confusion(self) -> Sequence[Sequence[int]] | None: ...
    @property
    def data(self) -> Dataset | None: ...
    @property
    def predictions(self) -> Sequence[Prediction]: ...
    @property
    def details(self) -> Detailed | None: ...
    @property
    def leaks(self) -> Leaked | None: ...
    def to_dict(self) -> dict[str, Any]: ...


def write_report(
    result: Reportable,
    path: str | os.PathLike[str],
    *,
    training: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    examples: int = 12,
    sheets: Sequence[str | os.PathLike[str]] = (),
) -> Path:
    """Write an evaluation as one HTML file; whole or not at all.

    With details, the same as JSON is written beside it, under the same name.

    Args:
        result: of `evaluate` or `evaluate_predictions`.
        path: the file to write.
        training: a run's `metrics.csv`, to show its curves.
        settings: more rows for the table of settings, such as a run's `config.json`.
        examples: at most this many pictures, with labels and predictions drawn; 0 for none.
        sheets: picture files to show whole, such as a run's samples.

    Returns:
        The path that was written.

    Raises:
        DataError: `training` is not a table of numbers.
        WhatwhereError: the disk is full.
    """
    who = result.model or "Saved predictions"
    sections = [_headline(result)]
    notes = [*result.notes, *(result.details.notes if result.details else ())]
    if notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in notes)
        sections.append(f'<section class="notes"><h2>Notes</h2><ul>{items}</ul></section>')
    sections.append(leaks_html(result.leaks, result.metrics, result.data, examples))
    sections += [_charts(result), _classes(result)]
    if result.details is not None:
        sections.append(detail_sections(result.task, result.details))
    if training is not None:
        sections.append(_training(Path(training)))
    if sheets:
        sections.append(_sheets([Path(sheet) for sheet in sheets]))
    if examples > 0:
        sections.append(_examples(result, examples))
        if result.details is not None:
            sections += [mistakes_html(result, examples), doubts_html(result, 2 * examples)]
    sections += [_all_numbers(result), _settings(result, settings or {})]
    target = Path(path)
    title = f"{who} on {result.source}"
    write_atomic(target, page(title, who, _subtitle(result), "".join(sections)))
    if result.details is not None:
        values = result.to_dict() | result.details.to_dict(tables=True)
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1)
        write_atomic(target.with_suffix(".json"), text + "\n")
    return target


def _subtitle(result: Reportable) -> str:
    split = f", split {result.split}" if result.split else ""
    return f"{result.source}{split} · {result.images:,} pictures · {result.task}"


def _headline(result: Reportable) -> str:
    definitions = {metric.name: metric.definition for metric in METRICS[result.task]}
    tiles = "".join(
        f'<div class="tile{" main" if name == PRIMARY[result.task] else ""}"'
        f' title="{escape(definitions[name])}"><b>{number(result.metrics[name])}</b>'
        f"<span>{escape(name)}</span><small>{ends(result.details, name)}</small></div>"
        for name in _HEADLINES[result.task]
    )
    words = interval_words(result.details) if result.details is not None else ""
    hint = f'<p class="hint">{escape(words)}</p>' if words else ""
    return f'<section class="tiles">{tiles}</section>{hint}'


def number(value: float | None) -> str:
    """Four digits, a whole number as it is, a dash for what is undefined."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _charts(result: Reportable) -> str:
    if result.confusion is not None:
        names = list(result.per_class)
        if len(names) <= FULL_MATRIX:
            body = confusion_table(result.confusion, names)
            hint = "Rows: right class. Columns: predicted class. Shade: share of the row."
            return (
                "<section><h2>Confusion matrix</h2>"
                f'<p class="hint">{hint}</p><div class="scroll">{body}</div></section>'
            )
        body = frequent_confusions(result.confusion, names)
        return f"<section><h2>Most frequent confusions</h2>{body}</section>"
    curves = result.curves
    if curves is None or curves["all classes"] is None:
        return ""
    per_class: Mapping[str, Sequence[float]] = curves["per_class"]
    lines = {}
    background: list[list[tuple[float, float]]] = []
    if 1 < len(per_class) < len(PALETTE):
        lines = {name: _points(curve) for name, curve in per_class.items()}
    elif len(per_class) > 1:
        background = [_points(curve) for curve in per_class.values()]
    mean = "mean of classes" if len(per_class) > 1 else next(iter(per_class))
    chart = line_chart(
        {mean: _points(curves["all classes"]), **lines},
        x=curves["x"],
        y=curves["y"],
        unit=True,
        background=background,
    )
    hint = f'<p class="hint">Grey: each of the {len(background)} classes.</p>' if background else ""
    figures = f"<figure>{chart}</figure>"
    if curves.get("by_iou"):
        by_iou = line_chart({"AP, mean of classes": curves["by_iou"]}, x="IoU threshold", y="AP")
        figures += f"<figure>{by_iou}</figure>"
    return (
        f'<section><h2>Precision and recall</h2>{hint}<div class="figures">{figures}</div>'
        "</section>"
    )


def _points(curve: Sequence[float]) -> list[tuple[float, float]]:
    last = len(curve) - 1
    return [(place / last, value) for place, value in enumerate(curve)]


def _classes(result: Reportable) -> str:
    if not result.per_class:
        return ""
    keys = list(next(iter(result.per_class.values())))
    shown = keys[0] if result.task != "classify" else "f1"
    sure = result.details is not None and result.details.samples
    head = "".join(f"<th class=number>{escape(key)}</th>" for key in keys)
    if sure:
        head += f"<th class=number>interval of {escape(shown)}</th>"
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td class=wide>{bar(row[shown])}</td>"
        + "".join(f"<td class=number>{number(row[key])}</td>" for key in keys)
        + (f"<td class=number>{ends(result.details, shown, name)}</td>" if sure else "")
        + "</tr>"
        for name, row in result.per_class.items()
    )
    return (
        "<section><h2>Classes</h2><table><thead><tr><th>class</th>"
        f"<th class=wide>{escape(shown)}</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "</section>"
    )


def _examples(result: Reportable, count: int) -> str:
    data, task, threshold = result.data, result.task, result.threshold
    if data is None or len(result.predictions) != len(data):
        return ""
    wrong = [
        mistakes(task, data.targets(row), prediction, data.names, threshold)
        for row, prediction in enumerate(result.predictions)
    ]
    return examples_html(task, data, result.predictions, wrong, threshold, count)


def _training(file: Path) -> str:
    """Charts of the numeric columns of a run's table: losses, and what lies in 0..1."""
    known = [metric.name for task in METRICS for metric in METRICS[task]]
    axis, groups = curve_groups(read_columns(file), known)
    figures = "".join(
        f"<figure>{line_chart(groups[title], x=axis, y=title)}</figure>"
        for title in ("loss", "score")
        if title in groups
    )
    if not figures:
        return ""
    return f'<section><h2>Training</h2><div class="figures">{figures}</div></section>'


def read_columns(file: Path) -> dict[str, list[float]]:
    """Columns of a CSV table by name; an empty cell is NaN.

    Raises:
        DataError: the file is missing or a cell is not a number; the message has the line.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            columns: dict[str, list[float]] = {name: [] for name in reader.fieldnames or ()}
            for row in reader:
                for name, values in columns.items():
                    cell = row[name]
                    try:
                        values.append(float(cell) if cell else math.nan)
                    except ValueError:
                        raise DataError(
                            f"{file}:{reader.line_num} has {cell!r} in the column {name}:"
                            " give a table of numbers"
                        ) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): check the path") from error
    return columns


def _sheets(files: Sequence[Path]) -> str:
    shown = "".join(
        f'<p class="hint">{escape(file.name)}</p>'
        f'<img alt="{escape(file.stem)}" style="width:100%" src="{picture_uri(file)}">'
        for file in files
    )
    return f"<section><h2>Pictures of the training</h2>{shown}</section>"


def _all_numbers(result: Reportable) -> str:
    rows = "".join(
        f"<tr><th scope=row class=name>{escape(metric.name)}</th>"
        f"<td class=number>{number(result.metrics[metric.name])}</td>"
        f"<td class=number>{ends(result.details, metric.name)}</td>"
        f"<td>{escape(metric.definition)} <cite>{escape(metric.source)}</cite></td></tr>"
        for metric in METRICS[result.task]
    )
    sure = "interval" if result.details is not None else ""
    return (
        "<section><h2>All numbers</h2><table><thead><tr><th>name</th><th class=number>value</th>"
        f"<th class=number>{sure}</th><th>meaning</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


def _settings(result: Reportable, more: Mapping[str, Any]) -> str:
    rows: dict[str, Any] = {
        "model": result.model or "saved predictions",
        "data": result.source,
        "split": result.split or "all",
        "pictures": f"{result.images:,}",
        "task": result.task,
    }
    if result.seconds:
        rate = result.images / result.seconds
        rows["time"] = f"{result.seconds:.1f} s, {rate:.1f} pictures a second"
    rows |= {"answers count from": score_words(result.threshold), **more}
    rows["whatwhere"] = __version__
    body = "".join(
        f"<tr><th scope=row class=key-column>{escape(str(key))}</th>"
        f"<td>{escape(str(value))}</td></tr>"
        for key, value in rows.items()
    )
    return f"<section><h2>Settings</h2><table><tbody>{body}</tbody></table></section>"
