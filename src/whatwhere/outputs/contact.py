"""A sheet of annotated pictures of a data set, with a legend of its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

import cv2
import numpy as np
import polars as pl

from whatwhere.data import Dataset
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import read_image
from whatwhere.outputs.draw import Drawing
from whatwhere.outputs.labels import (
    PictureLabels,
    draw_labels,
    many_colours,
    picture_labels,
    shrink,
    smallest_box,
    zoom,
)
from whatwhere.outputs.pen import Colour, Pen
from whatwhere.transforms import resize
from whatwhere.types import Image

Hard = Literal["smallest", "crowded"]
HARD: tuple[Hard, ...] = ("smallest", "crowded")

_PAPER: Colour = (250, 250, 250)
_INK: Colour = (27, 31, 36)
_SOFT: Colour = (91, 101, 112)
_PANEL: Colour = (228, 232, 236)
_GAP = 12
MOST = 1000


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of pictures.

    Args:
        drawing: the sheet.
        rows: row numbers of the pictures on it, in reading order.
        unreadable: what is wrong with pictures that were left out.
    """

    drawing: Drawing
    rows: tuple[int, ...]
    unreadable: tuple[str, ...]


def choose_rows(
    dataset: Dataset,
    count: int,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    hard: Hard | None = None,
) -> list[int]:
    """Row numbers of pictures to look at.

    Args:
        count: at most so many.
        classes: only pictures that show one of these.
        seed: by chance, the same for the same seed.
        hard: "smallest" for the pictures with the smallest boxes (of these classes), smallest
            first, or the smallest pictures where there are no boxes; "crowded" for those with
            most labels.

    Raises:
        UsageError: an unknown class.
    """
    labels = dataset.labels
    if classes is not None:
        ids = [dataset.names.id(name) for name in classes]
        labels = labels.filter(pl.col("class_id").is_in(ids))
    if hard == "crowded":
        counts = labels.group_by("image").len().sort(["len", "image"], descending=[True, False])
        return [int(row) for row in counts["image"][:count]]
    if hard == "smallest":
        return _smallest(dataset, labels)[:count]
    if classes is None:
        rows = np.arange(len(dataset))
    else:
        rows = labels["image"].unique().sort().to_numpy().astype(np.int64)
    chosen = np.random.default_rng(seed).permutation(rows)[:count]
    return [int(row) for row in np.sort(chosen)]


def _smallest(dataset: Dataset, labels: pl.DataFrame) -> list[int]:
    boxed = labels.filter(pl.col("x1").is_not_null() & ~pl.col("ignore"))
    if boxed.height:
        area = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
        first = boxed.group_by("image").agg(area.min().alias("area")).sort("area", "image")
        return [int(row) for row in first["image"]]
    shown = labels["image"].unique()
    sizes = dataset.images.select("width", "height").with_row_index("image")
    sizes = sizes.filter(pl.col("image").is_in(shown.implode())).drop_nulls()
    order = sizes.sort(pl.min_horizontal("width", "height"), "image")
    return [int(row) for row in order["image"]]


def contact_sheet(
    dataset: Dataset,
    rows: Sequence[int],
    *,
    columns: int | None = None,
    cell: int = 320,
    outlines: bool = False,
    close: bool = False,
) -> Sheet:
    """Pictures with their labels in a grid, and under it what the colours mean.

    Args:
        rows: row numbers of the pictures; those that cannot be read are left out.
        columns: pictures side by side; by default so that the sheet is about square.
        cell: width and height of a picture's place in pixels.
        outlines: draw outlines of objects instead of boxes, where there are any.
        close: show only the surroundings of the smallest object of each picture.

    Raises:
        UsageError: there is nothing to show, or more than 1000 pictures.
    """
    if len(rows) > MOST:
        raise UsageError(f"{len(rows)} pictures are too many for a sheet: at most {MOST}")
    if not 64 <= cell <= 2048:
        raise UsageError(f"a picture's place is 64 to 2048 pixels wide, not {cell}")
    truths = [picture_labels(dataset, row, outlines=outlines) for row in rows]
    counts = Counter(name for truth in truths for name in truth.names)
    colours = many_colours(name for name, _ in counts.most_common())
    pen = Pen(max(12, cell // 22))
    names = dataset.relative_paths()
    cells, kept, unreadable = [], [], []
    for row, truth in zip(rows, truths, strict=True):
        try:
            image = read_image(dataset.paths[row])
        except ImageError as error:
            unreadable.append(str(error))
            continue
        caption = _caption(PurePath(names[row]).name, truth, close=close)
        if close:
            image, truth = zoom(image, truth)
        small, ratio = shrink(image, cell)
        drawn = draw_labels(small, truth, scale=ratio, colours=colours, least=cell)
        cells.append((fitted(drawn, cell), caption))
        kept.append(row)
    if not cells:
        raise UsageError(f"there is no readable picture to show: {(unreadable or ['none'])[0]}")
    wide = columns or max(1, round((len(cells)) ** 0.5))
    wide = min(wide, len(cells))
    sheet = grid(cells, wide, cell, pen)
    if dataset.task == "detect":
        sheet = with_legend(sheet, counts, colours, pen)
    return Sheet(Drawing(sheet), tuple(kept), tuple(unreadable))


def _caption(file: str, truth: PictureLabels, *, close: bool) -> tuple[str, str]:
    """Two lines: the more important one first."""
    if truth.boxes is None:
        return ", ".join(dict.fromkeys(truth.names)) or "no label", file
    count = len(truth.names)
    smallest = smallest_box(truth) if close else None
    if smallest is not None:
        wide, high = truth.boxes[smallest, 2:] - truth.boxes[smallest, :2]
        return file, f"{truth.names[smallest]}, {wide:.0f}x{high:.0f} pixels"
    return file, f"{count} box" + ("" if count == 1 else "es")


def fitted(image: Image, side: int) -> Image:
    """The picture, enlarged or shrunk so that its longer side is that long."""
    height, width = image.shape[:2]
    ratio = side / max(height, width)
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    return image if size == (height, width) else resize(image, size)


def grid(
    cells: Sequence[tuple[Image, tuple[str, str]]], columns: int, side: int, pen: Pen
) -> Image:
    """Rows as high as their highest picture, each picture over its two lines of words.

    Args:
        cells: a picture, at most `side` pixels wide, and its two lines.
        columns: pictures side by side.
        side: width of a picture's place in pixels.
        pen: writes the lines; too long ones are cut.
    """
    line = pen.height + 3
    width = columns * (side + _GAP) + _GAP
    strips = [np.full((_GAP, width, 3), _PAPER, np.uint8)]
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        high = max(image.shape[0] for image, _ in row)
        strip = np.full((high + 2 * line + 6 + _GAP, width, 3), _PAPER, np.uint8)
        for place, (image, words) in enumerate(row):
            left = _GAP + place * (side + _GAP)
            strip[:high, left : left + side] = _PANEL
            height, wide = image.shape[:2]
            top, inner = (high - height) // 2, left + (side - wide) // 2
            strip[top : top + height, inner : inner + wide] = image
            pen.write(strip, pen.fit(words[0], side), left, high + 4, _INK)
            pen.write(strip, pen.fit(words[1], side), left, high + 4 + line, _SOFT)
        strips.append(strip)
    return np.concatenate(strips)


def headed(sheet: Image, text: str) -> Image:
    """The sheet with a line of words on top."""
    pen = Pen(18, bold=True)
    band = np.full((pen.height + _GAP, sheet.shape[1], 3), _PAPER, np.uint8)
    pen.write(band, pen.fit(text, sheet.shape[1] - 2 * _GAP), _GAP, _GAP, _INK)
    return np.concatenate([band, sheet])


def with_legend(sheet: Image, counts: Counter[str], colours: dict[str, Colour], pen: Pen) -> Image:
    """The sheet with a swatch, name and number for each class below it, in rows.

    Args:
        counts: how often each class is on the sheet.
        colours: of each of these classes.
    """
    width = sheet.shape[1]
    swatch, line = pen.size, pen.height + 8
    spots: list[tuple[int, int, str, str]] = []
    left, top = _GAP, 4
    for name, count in counts.most_common():
        text = pen.fit(f"{name}  {count}", width - 3 * _GAP - swatch)
        needed = swatch + 6 + pen.width(text) + 18
        if left > _GAP and left + needed > width - _GAP:
            left, top = _GAP, top + line
        spots.append((left, top, name, text))
        left += needed
    legend = np.full((top + line + _GAP, width, 3), _PAPER, np.uint8)
    for left, top, name, text in spots:
        corner = (left + swatch - 1, top + 2 + swatch - 1)
        cv2.rectangle(legend, (left, top + 2), corner, colours[name], cv2.FILLED)
        pen.write(legend, text, left + swatch + 6, top, _INK)
    return np.concatenate([sheet, legend])
