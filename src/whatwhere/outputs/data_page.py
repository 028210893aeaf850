"""A data set as one HTML file: numbers, plots and sample pictures; it needs nothing else.

It opens without a network, in light and dark, on a telephone, and prints. Names come from data
sets that others made, so every one of them is escaped; the only script, which sorts and
searches the table of classes, is allowed by its hash.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from whatwhere import __version__
from whatwhere.data import Dataset, Finding
from whatwhere.data.anchors import SIDE
from whatwhere.data.statistics import statistics
from whatwhere.images import write_atomic
from whatwhere.outputs._data_samples import Samples
from whatwhere.outputs._data_style import SCRIPT, STYLE
from whatwhere.outputs.charts import bar
from whatwhere.outputs.page import page
from whatwhere.outputs.plots import (
    SIZE_COLOURS,
    SIZE_STYLE,
    bubbles,
    frequent_pairs,
    heat_map,
    histogram,
    legend,
    pair_matrix,
    rectangles,
    shares,
)

MATRIX = 20
"""Up to this many classes the whole co-occurrence matrix is shown."""


def write_data_page(
    dataset: Dataset,
    path: str | os.PathLike[str],
    *,
    samples: int = 4,
    hard: int = 8,
) -> Path:
    """Write what a data set consists of as one HTML file; whole or not at all.

    Args:
        dataset: of `read`.
        path: the file to write.
        samples: sample pictures of each class; 240 of all classes together at most. 0 for none.
        hard: pictures in each row of those that are hard. 0 for none.

    Returns:
        The path that was written.

    Raises:
        WhatwhereError: the disk is full.
    """
    stats = statistics(dataset)
    pictures = Samples(dataset)
    of_classes = pictures.classes(samples, stats["classes"]) if samples > 0 else ""
    sections = [
        _tiles(stats),
        _notes(stats, dataset.findings),
        _splits(stats),
        _classes(stats, pictures.shown),
        _figures(stats),
        _pairs(stats),
        of_classes,
        pictures.hard(hard) if hard > 0 else "",
        _facts(stats, dataset),
    ]
    name = Path(dataset.source).name if dataset.source else "Data set"
    subtitle = f"{dataset.source} · {dataset.recognised or dataset.format} · {dataset.task}"
    target = Path(path)
    text = page(name, name, subtitle, "".join(sections), style=STYLE + SIZE_STYLE, script=SCRIPT)
    write_atomic(target, text)
    return target


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _tiles(stats: Mapping[str, Any]) -> str:
    mean = stats["per_image"]["mean"]
    tiles = [
        (f"{stats['images']:,}", "pictures", "main"),
        (f"{stats['labels']:,}", "boxes" if stats["boxes"] == stats["labels"] else "labels", ""),
        (f"{len(stats['classes']):,}", "classes", ""),
    ]
    if stats["task"] != "classify":
        tiles.append(("–" if mean is None else f"{mean:.1f}", "labels a picture", ""))
        tiles.append((f"{stats['per_image']['empty']:,}", "pictures without labels", ""))
    tiles.append((f"{stats['kept_out']:,}", "labels kept out", ""))
    cells = "".join(
        f'<div class="tile {kind}"><b>{number}</b><span>{escape(words)}</span></div>'
        for number, words, kind in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _notes(stats: Mapping[str, Any], findings: Sequence[Finding]) -> str:
    """What stands out, in sentences."""
    notes = []
    first = {finding.kind: finding for finding in reversed(findings)}
    for kind, count in stats["findings"].items():
        such = f"{count:,} x {kind}, such as " if count > 1 else f"{kind}: "
        notes.append(f"{such}{first[kind]}")
    counts = {name: count for name, count in stats["classes"].items() if count}
    absent = [name for name, count in stats["classes"].items() if not count]
    if absent:
        more = f" and {len(absent) - 6} more" if len(absent) > 6 else ""
        notes.append(f"{len(absent)} classes have no labels: {', '.join(absent[:6])}{more}.")
    if counts:
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] >= 10 * counts[least]:
            notes.append(
                f"{most!r} has {counts[most] / counts[least]:.0f} times the labels of {least!r}."
            )
    for row in stats["by_split"]:
        drift = row["drift"]
        if drift and row["split"] is not None:
            for key, words in (("classes", "class frequencies"), ("box_sizes", "box sizes")):
                if drift[key] is not None and drift[key] >= 0.15:
                    notes.append(
                        f"The {words} of {row['split']} differ from those of {drift['from']} by"
                        f" {_percent(drift[key])}."
                    )
    if stats["partly_labelled"]:
        notes.append(
            f"In {stats['partly_labelled']:,} pictures only the classes that they name were"
            " looked for: no label of another class does not mean that it is absent."
        )
    unknown = stats["picture_sizes"]["unknown"]
    if unknown:
        notes.append(f"The size of {unknown:,} pictures is not known.")
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="notes"><h2>Notes</h2><ul>{items}</ul></section>'


def _splits(stats: Mapping[str, Any]) -> str:
    rows = stats["by_split"]
    if not stats["splits"]:
        return ""
    boxes = bool(stats["boxes"])
    keys = ["classes", "box_sizes"] if boxes else ["classes"]
    keys = keys if len(rows) > 1 else []
    body = []
    for row in rows:
        drift = row["drift"] or {}
        cells = [
            f"{row['images']:,}",
            _percent(row["images"] / max(1, stats["images"])),
            f"{row['labels']:,}",
            f"{row['empty']:,}",
            f"{row['classes']:,}",
        ]
        numbers = "".join(f"<td class=number>{cell}</td>" for cell in cells)
        sizes = f"<td>{shares(row['box_sizes'], SIZE_COLOURS)}</td>" if boxes else ""
        away = "".join(
            f"<td class=number>{_percent(drift[key]) if drift else ''}</td>" for key in keys
        )
        name = escape(row["split"] or "(none)")
        body.append(f"<tr><th scope=row class=name>{name}</th>{numbers}{sizes}{away}</tr>")
    heads = ["pictures", "share", "labels", "without", "classes"]
    head = "".join(f"<th class=number>{name}</th>" for name in heads)
    hints = []
    if keys:
        first = escape(str(rows[0]["split"]))
        hints.append(f"Classes differ: total variation distance from {first}.")
    if boxes and keys:
        hints.append(
            "Sizes differ: largest gap between the distributions of box sizes (Kolmogorov-Smirnov)."
        )
    if boxes:
        head += "<th>small, medium, large</th>"
        hints.append("Small: below 32 x 32 square pixels; large: from 96 x 96 (COCO).")
    titles = {"classes": "classes differ", "box_sizes": "sizes differ"}
    head += "".join(f"<th class=number>{titles[key]}</th>" for key in keys)
    hint = " ".join(hints)
    return (
        f'<section><h2>Splits</h2><p class="hint">{hint}</p><div class="scroll"><table><thead><tr>'
        f"<th>split</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"{legend(SIZE_COLOURS) if boxes else ''}</section>"
    )


def _classes(stats: Mapping[str, Any], linked: Container[int]) -> str:
    table = stats["class_table"]
    if not table:
        return ""
    boxes = bool(stats["boxes"])
    splits = list(stats["splits"]) if len(stats["splits"]) > 1 else []
    ignored = any(row["ignored"] for row in table)
    most = max(row["labels"] for row in table) or 1
    numbers = ["labels", "pictures", *splits] + (["ignored"] if ignored else [])
    body = []
    for number, row in sorted(enumerate(table), key=lambda pair: -pair[1]["labels"]):
        name = escape(row["name"])
        link = f'<a href="#class-{number}">{name}</a>' if number in linked else name
        values = [row["labels"], row["images"], *(row["splits"][split] for split in splits)]
        values += [row["ignored"]] if ignored else []
        cells = "".join(f'<td class=number data-v="{value}">{value:,}</td>' for value in values)
        size = ""
        if boxes:
            total = sum(row["sizes"].values()) or 1
            size = (
                f'<td data-v="{row["sizes"]["small"] / total:.4f}">'
                f"{shares(row['sizes'], SIZE_COLOURS)}</td>"
            )
        body.append(
            f'<tr><th scope=row data-v="{name}">{link}</th>'
            f'<td class=wide data-v="{row["labels"]}">{bar(row["labels"] / most)}</td>'
            f"{cells}{size}</tr>"
        )
    heads = [("class", ""), ("", "wide"), *((name, "number") for name in numbers)]
    heads += [("small, medium, large", "number")] if boxes else []
    head = "".join(
        f'<th class="{kind}"{sort}>'
        + (f"<button type=button>{escape(name)}</button>" if name else "")
        + "</th>"
        for (name, kind), sort in zip(
            heads,
            ["", "", ' aria-sort="descending"', *[""] * len(heads)],
            strict=False,
        )
    )
    tall = " tall" if len(table) > 20 else ""
    search = (
        '<div class="tools"><input id="search" type="search" placeholder="Search a class"'
        f' aria-label="Search a class"><span id="shown">{len(table):,} classes</span></div>'
    )
    return (
        f'<section><h2>Classes</h2>{search}<div class="scroll{tall}"><table class="sortable">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div></section>"
    )


def _figure(title: str, chart: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{chart}</figure>" if chart else ""


def _figures(stats: Mapping[str, Any]) -> str:
    """The plots; one that would show a single value is left out."""
    parts = []
    many = stats["per_image"]
    if many["min"] != many["max"]:
        parts.append(_figure("Labels of a picture", _counts_chart(many)))
    sizes = stats["picture_sizes"]
    if sizes["different"] > 1:
        chart = bubbles(sizes["common"], x="width", y="height")
        more = sizes["different"] - len(sizes["common"])
        words = f", the {len(sizes['common'])} most frequent of {sizes['different']}"
        parts.append(_figure("Picture sizes" + (words if more > 0 else ""), chart))
    if stats["boxes"]:
        relative, aspect = stats["relative_sizes"], stats["aspect_ratios"]
        edges = relative["edges"]
        parts.append(
            _figure(
                "Box sizes, as the root of their share of the picture",
                histogram(
                    relative["counts"],
                    _between(edges, "{:g}"),
                    x="root of the share",
                    y="boxes",
                    marks=[(place * (len(edges) - 1) / 5, f"{place / 5:g}") for place in range(6)],
                ),
            )
        )
        marks = [(2.0 * place, text) for place, text in enumerate(_RATIOS)]
        parts.append(
            _figure(
                "Aspect ratios",
                histogram(
                    aspect["counts"],
                    _between(aspect["edges"], "{:.2g}"),
                    x="width : height",
                    y="boxes",
                    marks=marks,
                ),
            )
        )
        parts.append(
            _figure(
                "Where the boxes' centres are, pictures stretched to a square",
                heat_map(stats["positions"], label="density of box centres in the picture"),
            )
        )
        rest = "(none)" if stats["splits"] else "all"
        anchors = {row["split"] or rest: row["anchors"] for row in stats["by_split"]}
        parts.append(
            _figure(
                f"Typical boxes (k-means) at a long side of {SIDE} pixels",
                rectangles(anchors, side=float(SIDE)),
            )
        )
    if not any(parts):
        return ""
    return f'<section><h2>Shapes</h2><div class="figures">{"".join(parts)}</div></section>'


_RATIOS = ("1:8", "1:4", "1:2", "1:1", "2:1", "4:1", "8:1")


def _between(edges: Sequence[float], form: str) -> list[str]:
    texts = [form.format(edge) for edge in edges]
    return [f"{one} to {two}" for one, two in pairwise(texts)]


def _counts_chart(many: Mapping[str, Any]) -> str:
    edges, counts = many["edges"], many["counts"]
    step = edges[1] - edges[0]
    names = [
        f"{low} labels" if step == 1 else f"{low} to {low + step - 1} labels" for low in edges[:-1]
    ]
    # A mark under the middle of its bar where a bar is one number, else at its left edge.
    every = max(1, -(-len(counts) // 8))
    shift = 0.5 if step == 1 else 0.0
    marks = [(place + shift, f"{edges[place]:,}") for place in range(0, len(counts), every)]
    return histogram(counts, names, x="labels", y="pictures", marks=marks)


def _pairs(stats: Mapping[str, Any]) -> str:
    pairs = stats["co_occurrence"]
    names, counts = pairs["names"], pairs["counts"]
    if stats["task"] == "classify" or len(names) < 2:
        return ""
    hint = ""
    if len(names) <= MATRIX:
        body = f'<div class="scroll">{pair_matrix(names, counts)}</div>'
        hint = "Pictures that show both classes. Shade: share of the pictures of the row's class."
    else:
        body = f'<div class="scroll">{frequent_pairs(names, counts)}</div>'
        hint = "The pairs of classes that are in most pictures together."
        if pairs["left_out"]:
            hint += f" Counted for the {len(names)} most frequent classes."
    return f'<section><h2>Together in a picture</h2><p class="hint">{hint}</p>{body}</section>'


def _range(values: Mapping[str, float]) -> str:
    return f"{values['min']:g} to {values['max']:g}"


def _facts(stats: Mapping[str, Any], dataset: Dataset) -> str:
    sizes = stats["picture_sizes"]
    rows = {"source": dataset.source, "format": dataset.recognised or dataset.format}
    width, height = sizes["width"], sizes["height"]
    if width["median"] is not None:
        rows["picture size"] = (
            f"{_range(width)} wide, {_range(height)} high, {sizes['different']:,} different"
            if sizes["different"] > 1
            else f"{width['max']:g} x {height['max']:g}"
        )
        shapes = [
            f"{sizes[name]:,} {name}" for name in ("landscape", "portrait", "square") if sizes[name]
        ]
        rows["picture shape"] = ", ".join(shapes)
    for key in ("flags", "sources"):
        there = {name: count for name, count in stats[key].items() if count}
        if there:
            rows[key] = ", ".join(f"{name} {count:,}" for name, count in there.items())
    groups = stats["groups"]
    if groups["count"]:
        name, count = groups["largest"][0]
        rows["groups"] = f"{groups['count']:,}; the largest is {name} of {count:,} pictures"
    for row in stats["by_split"]:
        if row["anchors"]:
            shown = ", ".join(f"{wide:.0f} x {high:.0f}" for wide, high in row["anchors"])
            rows[f"typical boxes, {row['split'] or 'all'}"] = (
                f"{shown} (mean IoU with the best: {row['anchor_fit']:.2f})"
            )
    rows["whatwhere"] = __version__
    body = "".join(
        f"<tr><th scope=row class=key-column>{escape(key)}</th><td>{escape(str(value))}</td></tr>"
        for key, value in rows.items()
    )
    return f"<section><h2>Facts</h2><table><tbody>{body}</tbody></table></section>"
