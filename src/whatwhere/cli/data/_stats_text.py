"""The statistics of a data set in the terminal, within 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 100
MOST_CLASSES = 40
_BAR = 28
_BLOCKS = " ▁▂▃▄▅▆▇█"


def print_statistics(stats: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `whatwhere.data.statistics.statistics` counted.

    Args:
        stats: see there.
        console: by default that of stdout, at most 100 columns wide.
    """
    if console is None:
        console = Console(highlight=False)
        console.width = min(console.width, WIDTH)
    boxes = bool(stats["boxes"])
    console.print(_summary(stats))
    if stats["splits"]:
        console.print()
        console.print(_splits(stats, boxes))
    console.print()
    console.print(_classes(stats, boxes))
    console.print()
    console.print(_shapes(stats, boxes))
    console.print()
    notes = Table.grid(padding=(0, 2))
    for title, text in _notes(stats):
        notes.add_row(Text(title, "dim"), Text(text))
    console.print(notes)


def _table(*columns: str, words: int = 1) -> Table:
    """A table whose first columns hold words and the others numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < words else "right")
    return table


def _summary(stats: Mapping[str, Any]) -> Table:
    table = _table("task", "images", "labels", "boxes", "kept out", "classes", "labels an image")
    mean = stats["per_image"]["mean"]
    table.add_row(
        Text(stats["task"], "bold"),
        *(f"{stats[key]}" for key in ("images", "labels", "boxes", "kept_out")),
        f"{len(stats['classes'])}",
        "–" if mean is None else f"{mean:.2f}",
    )
    return table


def _splits(stats: Mapping[str, Any], boxes: bool) -> Table:
    names = ["split", "images", "labels", "without", "classes"]
    if boxes:
        names += ["small", "medium", "large"]
    names.append("classes differ")
    if boxes:
        names.append("sizes differ")
    table = _table(*names)
    for row in stats["by_split"]:
        cells = [f"{row[key]}" for key in ("images", "labels", "empty", "classes")]
        if boxes:
            total = sum(row["box_sizes"].values()) or 1
            cells += [_percent(count / total) for count in row["box_sizes"].values()]
        drift = row["drift"]
        keys = ["classes", "box_sizes"] if boxes else ["classes"]
        cells += ["" if drift is None else _percent(drift[key]) for key in keys]
        table.add_row(Text(row["split"] or "(none)"), *cells)
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _classes(stats: Mapping[str, Any], boxes: bool) -> Table:
    names = ["class", "", "labels", "images"]
    splits = list(stats["splits"])[:4] if len(stats["splits"]) > 1 else []
    table = _table(*names, *map(str, splits), words=2)
    table.columns[0].overflow = "ellipsis"
    table.columns[0].no_wrap = True
    table.columns[1].min_width = 4
    for column in table.columns[2:]:
        column.no_wrap = True
    rows = sorted(stats["class_table"], key=lambda row: -row["labels"])
    most = max((row["labels"] for row in rows), default=0) or 1
    for row in rows[:MOST_CLASSES]:
        table.add_row(
            Text(row["name"]),
            _bar(row["labels"] / most),
            f"{row['labels']}",
            f"{row['images']}",
            *(f"{row['splits'][split]}" for split in splits),
        )
    left = rows[MOST_CLASSES:]
    if left:
        table.add_row(
            Text(f"... and {len(left)} more", "dim"), "", str(sum(row["labels"] for row in left))
        )
    return table


def _bar(share: float) -> str:
    """A bar with eighths; what is there at all is never invisible."""
    eighths = round(share * _BAR * 8)
    if share > 0:
        eighths = max(1, eighths)
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def _shapes(stats: Mapping[str, Any], boxes: bool) -> Table:
    table = _table("", "min", "5 %", "median", "95 %", "max", "from min to max")
    table.columns[-1].justify = "left"
    table.columns[-1].no_wrap = True

    def add(title: str, values: Mapping[str, Any], digits: int) -> None:
        if values["median"] is not None:
            numbers = [values[key] for key in ("min", "p5", "median", "p95", "max")]
            table.add_row(
                title,
                *(f"{value:.{digits}f}" for value in numbers),
                spark(values.get("counts", ())),
            )

    add("labels of an image", stats["per_image"], 0)
    sizes = stats["picture_sizes"]
    add("image width", sizes["width"], 0)
    add("image height", sizes["height"], 0)
    if boxes:
        add("box width / height", stats["aspect_ratios"], 2)
        add("root of share of image", stats["relative_sizes"], 3)
    return table


def spark(counts: Sequence[int]) -> str:
    """A histogram in one line, at most 40 characters; what is there is never invisible."""
    step = -(-len(counts) // 40)
    bins = [sum(counts[place : place + step]) for place in range(0, len(counts), step or 1)]
    most = max(bins, default=0) or 1
    return "".join(_BLOCKS[max(round(8 * count / most), int(count > 0))] for count in bins)


def _notes(stats: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is worth a line only if it is there."""
    sizes = stats["picture_sizes"]
    total = max(1, stats["images"] - sizes["unknown"])
    notes = [
        (
            "images",
            ("all of one size; " if sizes["different"] == 1 else f"{sizes['different']} sizes; ")
            + ", ".join(
                f"{_percent(sizes[name] / total)} {name}"
                for name in ("landscape", "portrait", "square")
                if sizes[name]
            ),
        )
    ]
    if sizes["unknown"]:
        notes.append(("images of unknown size", str(sizes["unknown"])))
    if stats["partly_labelled"]:
        notes.append(("partly labelled", f"{stats['partly_labelled']} images"))
    for row in stats["by_split"]:
        if row["anchors"]:
            found = "  ".join(f"{width:.0f}x{height:.0f}" for width, height in row["anchors"])
            notes.append((f"anchors, {row['split'] or 'all'}", found))
    for title, key in (("flags", "flags"), ("sources", "sources"), ("findings", "findings")):
        there = {name: count for name, count in stats[key].items() if count}
        if there:
            shown = [f"{name} {count}" for name, count in list(there.items())[:8]]
            notes.append((title, ", ".join(shown)))
    groups = stats["groups"]
    if groups["count"]:
        largest = groups["largest"][0][1]
        notes.append(("groups", f"{groups['count']}, the largest of {largest} images"))
    return notes
