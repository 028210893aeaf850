"""Draw a prediction into its picture."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from whatwhere.errors import UsageError
from whatwhere.images import DEFAULT_MAX_PIXELS, read_image, write_image
from whatwhere.outputs.pen import Colour, Pen
from whatwhere.outputs.words import object_name, object_score, percent
from whatwhere.types import Boxes, Image, Prediction

# Hues that differ for most kinds of colour vision, each strong enough to stand out on dark
# and on light ground; black or white letters are readable on every one of them.
PALETTE: tuple[Colour, ...] = (
    (255, 64, 64),
    (0, 166, 255),
    (255, 176, 0),
    (24, 190, 90),
    (230, 60, 220),
    (0, 205, 205),
    (255, 112, 32),
    (124, 92, 255),
    (160, 215, 30),
    (255, 110, 170),
    (40, 105, 235),
    (0, 150, 120),
    (205, 140, 255),
    (190, 120, 50),
    (255, 230, 60),
    (200, 30, 100),
)
_INK: Colour = (16, 16, 16)
_PAPER: Colour = (255, 255, 255)
# Smaller pictures are enlarged, because letters need pixels.
MIN_SIDE = 256
CAPTION_LINES = 3
CAPTION_SCORE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """An annotated picture.

    Args:
        image: RGB uint8 (height, width, 3).
    """

    image: Image

    def save(self, path: str | os.PathLike[str], quality: int = 92) -> None:
        """Write it, whole or not at all; the suffix decides the kind.

        Raises:
            UsageError: the suffix is unknown.
            WhatwhereError: the place cannot be written.
        """
        write_image(path, self.image, quality)


class Tag(NamedTuple):
    """A rectangle in whole pixels."""

    left: int
    top: int
    width: int
    height: int

    def overlap(self, other: Tag) -> int:
        """Common area in square pixels."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(0, wide) * max(0, high)


def draw(
    prediction: Prediction, image: Image | str | os.PathLike[str] | bytes | None = None
) -> Drawing:
    """Boxes with their names, and a caption of what the whole picture shows.

    Each class has a colour of its own, the same in every picture unless two classes of one
    picture would share it. Names stay inside the picture and off each other where there is
    room; where there is none, a crowded name is left out and the colours are explained in
    the caption. A picture with a side below 256 pixels is enlarged by a whole factor.

    Args:
        prediction: what to draw.
        image: RGB uint8 (height, width, 3), or where to read it; by default
            `prediction.image`.

    Raises:
        ImageError: the picture cannot be read.
        UsageError: there is no picture, or it has another size than the prediction's.
    """
    pixels = _pixels(prediction, image)
    factor = -(-MIN_SIDE // min(pixels.shape[:2]))
    # A strip of 1 x 10,000 pixels must not become 256 x 2,560,000.
    factor = max(1, min(factor, 4 * MIN_SIDE // max(pixels.shape[:2])))
    method = cv2.INTER_CUBIC
    canvas = np.ascontiguousarray(
        pixels
        if factor == 1
        else cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=method)
    ).astype(np.uint8, copy=factor == 1)
    height, width = canvas.shape[:2]
    # The geometric mean suits panoramas better than either side.
    scale = float(np.sqrt(height * width))
    pen = Pen(max(13, round(scale * 0.026)), bold=True)
    stroke = max(2, round(scale * 0.0045))
    boxes = np.zeros((0, 4), np.float32) if prediction.boxes is None else prediction.boxes * factor
    colours = class_colours(prediction.object_names)
    _draw_boxes(canvas, boxes, [colours[name] for name in prediction.object_names], stroke)
    tags, unnamed = _draw_tags(canvas, prediction, boxes, colours, pen, stroke)
    _draw_caption(canvas, prediction, colours if unnamed else {}, boxes, tags, pen)
    return Drawing(canvas)


def class_colours(names: Iterable[str]) -> dict[str, Colour]:
    """A colour for each class name; the same name gets the same one in every picture.

    Only when two names of this picture want the same colour does the one that comes later in
    the alphabet take the next free one; with more names than colours they repeat.
    """
    colours: dict[str, Colour] = {}
    taken: set[int] = set()
    for name in sorted(set(names)):
        # crc32, not hash(): that of a string changes with every start of Python.
        slot = zlib.crc32(name.encode()) % len(PALETTE)
        while slot in taken and len(taken) < len(PALETTE):
            slot = (slot + 1) % len(PALETTE)
        taken.add(slot)
        colours[name] = PALETTE[slot]
    return colours


def _pixels(prediction: Prediction, image: Image | str | os.PathLike[str] | bytes | None) -> Image:
    source = prediction.image if image is None else image
    if source is None:
        raise UsageError("the prediction does not say where its picture is: give draw the picture")
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or not source.size:
            raise UsageError(
                f"a picture must be uint8 (height, width, 3), not {source.dtype} {source.shape}"
            )
        pixels = source
    else:
        # The size was accepted when the prediction was made; it must not be refused now.
        limit = max(DEFAULT_MAX_PIXELS, prediction.width * prediction.height)
        pixels = read_image(source, max_pixels=limit)
    size = (prediction.height, prediction.width)
    if pixels.shape[:2] != size:
        raise UsageError(
            f"the prediction is of a picture of {size[1]}x{size[0]} pixels, but this one has"
            f" {pixels.shape[1]}x{pixels.shape[0]}: give the same picture"
        )
    return pixels


def _draw_boxes(canvas: Image, boxes: Boxes, colours: Sequence[Colour], stroke: int) -> None:
    height, width = canvas.shape[:2]
    inset = stroke // 2
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for position in np.argsort(-areas, kind="stable"):
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[position])
        start = (max(x1, inset), max(y1, inset))
        end = (min(x2 - 1, width - 1 - inset), min(y2 - 1, height - 1 - inset))
        # A thin dark line around the coloured one parts it from ground of its own colour.
        cv2.rectangle(canvas, start, end, _INK, stroke + 2, cv2.LINE_AA)
        cv2.rectangle(canvas, start, end, colours[position], stroke, cv2.LINE_AA)


def _draw_tags(
    canvas: Image,
    prediction: Prediction,
    boxes: Boxes,
    colours: dict[str, Colour],
    pen: Pen,
    stroke: int,
) -> tuple[list[Tag], int]:
    """Name the objects, best first; returns where the tags lie and how many found no room."""
    height, width = canvas.shape[:2]
    pad = max(2, pen.size // 4)
    high = pen.height + pad
    placed: list[Tag] = []
    unnamed = 0
    for position, name in enumerate(prediction.object_names):
        score = f" {percent(object_score(prediction, position))}"
        room = max(MIN_SIDE // 2, width // 2) - 2 * pad - pen.width(score)
        text = pen.fit(object_name(prediction, position), room) + score
        wide = pen.width(text) + 2 * pad
        options = tag_places(boxes[position], wide, high, stroke, (height, width))
        costs = [sum(tag.overlap(other) for other in placed) for tag in options]
        best = int(np.argmin(costs))
        if costs[best] > 0.25 * wide * high:
            unnamed += 1
            continue
        tag = options[best]
        colour = colours[name]
        corner = (tag.left + tag.width - 1, tag.top + tag.height - 1)
        cv2.rectangle(canvas, (tag.left, tag.top), corner, colour, cv2.FILLED)
        pen.write(canvas, text, tag.left + pad, tag.top + pad // 2, ink_on(colour))
        placed.append(tag)
    return placed, unnamed


def tag_places(box: Boxes, wide: int, high: int, stroke: int, size: tuple[int, int]) -> list[Tag]:
    """Where the tag of a box may lie, the best place first; all inside the picture."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    edge = (stroke + 1) // 2 + 1
    left, right = x1 - edge, x2 + edge - wide
    above, inside, below, low = y1 - edge - high + 1, y1 - edge, y2 + edge - 1, y2 + edge - high
    corners = [(left, above), (left, inside), (right, above), (right, inside)]
    corners += [(left, below), (left, low), (right, below), (right, low)]
    places: list[Tag] = []
    moved: list[Tag] = []
    for x, y in corners:
        tag = Tag(
            min(max(x, 0), max(0, size[1] - wide)),
            min(max(y, 0), max(0, size[0] - high)),
            wide,
            high,
        )
        # A place that had to be moved down or up would cover the box's own border or content.
        (places if tag.top == y else moved).append(tag)
    return places + moved


def _draw_caption(
    canvas: Image,
    prediction: Prediction,
    legend: dict[str, Colour],
    boxes: Boxes,
    tags: Sequence[Tag],
    pen: Pen,
) -> None:
    """What the whole picture shows, and the meaning of the colours if asked for."""
    rows: list[tuple[str, Colour | None]] = [
        (f"{name}  {percent(float(score))}", None)
        for name, score in zip(prediction.label_names, prediction.label_scores, strict=True)
        if score >= CAPTION_SCORE
    ]
    if prediction.unsure:
        rows = [("not sure", None)]
    rows = rows[:CAPTION_LINES]
    for name, colour in legend.items():
        rows.append((f"{name}: {prediction.object_names.count(name)}", colour))
    if not rows:
        return
    height, width = canvas.shape[:2]
    pad = max(3, round(pen.size * 0.4))
    line = pen.height + max(1, pen.size // 8)
    swatch = pen.size if legend else 0
    rows = rows[: max(1, (height - 2 * pad) // line)]
    texts = [pen.fit(text, width - 4 * pad - swatch) for text, _ in rows]
    wide = max(pen.width(text) for text in texts) + 2 * pad + swatch
    high = line * len(rows) + 2 * pad
    edge = pad // 2
    spots = [
        Tag(left, top, wide, high)
        for top in (height - high - edge, edge)
        for left in (edge, width - wide - edge)
    ]
    objects = [Tag(int(x1), int(y1), int(x2 - x1), int(y2 - y1)) for x1, y1, x2, y2 in boxes]
    panel = min(
        spots,
        key=lambda spot: (
            sum(spot.overlap(tag) for tag in tags),
            sum(spot.overlap(box) for box in objects),
        ),
    )
    left, top = max(0, panel.left), max(0, panel.top)
    ground = canvas[top : top + high, left : left + wide]
    ground[:] = (ground * 0.3).astype(np.uint8)
    for index, (text, (_, mark)) in enumerate(zip(texts, rows, strict=True)):
        y = top + pad + index * line
        if mark is not None:
            side = round(pen.size * 0.7)
            corner = (left + pad, y + (line - side) // 2)
            end = (corner[0] + side - 1, corner[1] + side - 1)
            cv2.rectangle(canvas, corner, end, mark, cv2.FILLED)
        pen.write(canvas, text, left + pad + (swatch if mark else 0), y, _PAPER)


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is read more easily on a colour (relative luminance, WCAG 2)."""
    shares = [(value / 255) ** 2.2 for value in colour]
    luminance = 0.2126 * shares[0] + 0.7152 * shares[1] + 0.0722 * shares[2]
    # Contrast with white is 1.05 / (L + 0.05), with black (L + 0.05) / 0.05: equal at 0.179.
    return _INK if luminance > 0.25 else _PAPER
