"""Understand the lines of very many YOLO label files at once.

A line is `class cx cy width height` in fractions of the picture, and may go on:

- one more number is a confidence (results);
- two numbers a point instead of a box are an outline, `class x y x y x y ...`, perhaps with
  a confidence behind it; the box is the one around it;
- where data.yaml has kpt_shape: [n, 2 or 3], n key points follow the box, `x y` or
  `x y visibility` each, perhaps with a confidence behind them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.tables import BOX

_DECIMALS = 6
"""Decimals of a pixel that outlines and key points are read to."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of several files, blank ones left out.

    Args:
        text: stripped. file: number of the file. line: from 1.
    """

    text: pl.Series
    file: NDArray[np.int64]
    line: NDArray[np.int64]


def split_lines(contents: Sequence[bytes]) -> Lines:
    """All lines of some files."""
    joined = b"\n".join(contents)
    if b"\r" in joined or b"\xef\xbb\xbf" in joined:
        contents = [
            one.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            for one in contents
        ]
        joined = b"\n".join(contents)
    counts = np.fromiter((one.count(b"\n") + 1 for one in contents), np.int64, len(contents))
    text = pl.Series("text", joined.decode("utf-8", "replace").split("\n"), pl.String)
    text = text.str.strip_chars() if contents else text.clear()
    file = np.repeat(np.arange(len(contents)), counts)
    line = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    filled = (text != "").to_numpy()
    if filled.all():
        return Lines(text, file, line)
    return Lines(text.filter(pl.Series(filled)), file[filled], line[filled])


def parse_lines(
    lines: Lines,
    sizes: NDArray[np.float64],
    classes: int,
    shape: tuple[int, int] | None,
    where: Sequence[str],
) -> tuple[pl.DataFrame, list[Finding]]:
    """The labels of some files.

    Args:
        sizes: float64 (files, 2), width and height of each file's picture.
        classes: number of classes.
        shape: kpt_shape.
        where: name of each file, for findings.

    Returns:
        Rows `file`, `line`, `number` (the class as written), x1, y1, x2, y2 in pixels, float64,
        `score`, `segmentation` and `keypoints`; and what is wrong with the other lines.
    """
    parts = pl.DataFrame({"text": lines.text}).select(pl.col("text").str.splitn(" ", 6))
    values = parts.unnest("text").select(
        *(pl.col(f"field_{at}").cast(pl.Float64, strict=False) for at in range(5)),
        more=pl.col("field_5").is_not_null(),
    )
    plain = values.select(
        ~pl.col("more")
        & pl.all_horizontal(pl.col(f"field_{at}").is_finite().fill_null(False) for at in range(5))
    ).to_series()
    found = _Found(lines, sizes)
    numbers = values.filter(plain).drop("more").to_numpy()
    found.boxes(plain.arg_true().to_numpy().astype(np.int64), numbers)
    if len(numbers) < len(plain):
        _longer(found, (~plain).arg_true().to_numpy().astype(np.int64), shape)
    table = found.table()
    number = pl.col("number")
    known = (number == number.floor()) & (number >= 0) & (number < classes)
    for row, value in table.filter(~known).select("row", "number").iter_rows():
        message = f"class {value:g} is not one of the {classes} names"
        found.faults.append((row, "unknown-class", message))
    findings = [
        Finding(kind, message, f"{where[lines.file[row]]}:{lines.line[row]}", "error", KEPT_OUT, 1)
        for row, kind, message in sorted(found.faults)
    ]
    return table.filter(known).drop("row"), findings


class _Found:
    """Gathers labels of one kind after the other."""

    def __init__(self, lines: Lines, sizes: NDArray[np.float64]) -> None:
        self.lines, self.sizes = lines, sizes
        self.frames: list[pl.DataFrame] = []
        self.faults: list[tuple[int, str, str]] = []

    def bad(self, rows: NDArray[np.int64]) -> None:
        for row in rows.tolist():
            text = self.lines.text[row][:60]
            message = f"{text!r} is not a class and a box of four numbers"
            self.faults.append((row, "bad-box", message))

    def add(self, rows: NDArray[np.int64], columns: Mapping[str, Any]) -> None:
        kinds = {"score": pl.Float64, "segmentation": pl.String, "keypoints": pl.String}
        files = self.lines.file[rows]
        frame = pl.DataFrame({"row": rows, "file": files, "line": self.lines.line[rows], **columns})
        missing = [pl.lit(None, kind).alias(name) for name, kind in kinds.items()]
        frame = frame.with_columns(one for one in missing if one.meta.output_name() not in columns)
        order = ("row", "file", "line", "number", *BOX, *kinds)
        self.frames.append(frame.select(order))

    def boxes(self, rows: NDArray[np.int64], values: NDArray[np.float64], **more: Any) -> None:
        """Lines of class, centre and size; values float64 (N, 5 or more)."""
        scale = self.sizes[self.lines.file[rows]]
        columns = {"number": values[:, 0], **more}
        for axis in (0, 1):
            centre, half = values[:, 1 + axis], values[:, 3 + axis] / 2
            columns["xy"[axis] + "1"] = (centre - half) * scale[:, axis]
            columns["xy"[axis] + "2"] = (centre + half) * scale[:, axis]
        self.add(rows, columns)

    def points(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractions x y x y ... (N, 2 n) in pixels, rounded."""
        scale = np.tile(self.sizes[self.lines.file[rows]], values.shape[1] // 2)
        return np.round(values * scale, _DECIMALS)

    def table(self) -> pl.DataFrame:
        if len(self.frames) == 1:
            return self.frames[0]
        return pl.concat(self.frames).sort("row")


def _longer(found: _Found, rows: NDArray[np.int64], shape: tuple[int, int] | None) -> None:
    """Lines that are not five numbers with one blank between them."""
    text = found.lines.text.gather(rows)
    tokens = text.str.replace_all(r"\s+", " ").str.split(" ")
    counts = tokens.list.len().to_numpy().astype(np.int64)
    flat = tokens.explode().cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    starts = np.cumsum(counts) - counts
    sound = np.logical_and.reduceat(np.isfinite(flat), starts)
    found.bad(rows[~sound])
    for count in np.unique(counts[sound]).tolist():
        chosen = np.flatnonzero(sound & (counts == count))
        values = flat[starts[chosen][:, None] + np.arange(count)]
        _one_length(found, rows[chosen], values, shape)


def _one_length(
    found: _Found,
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    shape: tuple[int, int] | None,
) -> None:
    """Lines of the same number of numbers, values float64 (N, 1 + n)."""
    count = values.shape[1] - 1
    points = 0 if shape is None else shape[0] * shape[1]
    scored = count in (5, 5 + points) or (shape is None and count >= 7 and count % 2 == 1)
    more: dict[str, Any] = {}
    if scored:
        fits = (values[:, -1] >= 0) & (values[:, -1] <= 1)
        for row in rows[~fits].tolist():
            text = found.lines.text[row].split()[-1]
            message = f"the last number, {text[:20]}, is not a confidence of 0 to 1"
            found.faults.append((row, "bad-value", message))
        rows, values, count = rows[fits], values[fits], count - 1
        more["score"] = values[:, -1]
        values = values[:, :-1]
    if rows.size == 0:
        return
    if count == 4:
        found.boxes(rows, values, **more)
    elif shape is not None and count == 4 + points:
        found.boxes(rows, values, keypoints=_keypoints(found, rows, values[:, 5:], shape), **more)
    elif shape is None and count >= 6 and count % 2 == 0:
        pixels = found.points(rows, values[:, 1:])
        xs, ys = pixels[:, 0::2], pixels[:, 1::2]
        columns = {
            "number": values[:, 0],
            "x1": xs.min(axis=1),
            "y1": ys.min(axis=1),
            "x2": xs.max(axis=1),
            "y2": ys.max(axis=1),
            "segmentation": "[[" + _joined(pixels) + "]]",
        }
        found.add(rows, columns | more)
    else:
        found.bad(rows)


def _keypoints(
    found: _Found, rows: NDArray[np.int64], values: NDArray[np.float64], shape: tuple[int, int]
) -> pl.Series:
    """COCO's x, y, visibility; without visibility, a point left of or above 0 is not there."""
    count, dims = shape
    grid = values.reshape(len(rows), count, dims)
    pixels = found.points(rows, grid[:, :, :2].reshape(len(rows), -1)).reshape(-1, count, 2)
    outside = (grid < 0).any(axis=2)
    seen = grid[:, :, 2] if dims == 3 else np.where(outside, 0.0, 2.0)
    texts = _texts(np.dstack([pixels, seen]).reshape(len(rows), -1))
    return "[" + _texts_joined(texts, len(rows)) + "]"


def _joined(values: NDArray[np.float64]) -> pl.Series:
    return _texts_joined(_texts(values), len(values))


def _texts(values: NDArray[np.float64]) -> pl.Series:
    """Each number as JSON, whole ones without a point."""
    return pl.Series(values.ravel()).cast(pl.String).str.strip_suffix(".0")


def _texts_joined(texts: pl.Series, rows: int) -> pl.Series:
    return texts.reshape((rows, len(texts) // rows)).arr.join(", ")
