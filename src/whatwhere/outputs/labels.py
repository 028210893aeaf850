"""Pictures with their labels drawn, as people set them: no scores, ignored ones dashed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from whatwhere.outputs.draw import MIN_SIDE, PALETTE, Tag, class_colours, ink_on, tag_places
from whatwhere.outputs.pen import Colour, Pen
from whatwhere.transforms import resize
from whatwhere.types import Boxes, Image

if TYPE_CHECKING:
    # Only for its type: drawing needs no tables.
    from whatwhere.data import Dataset

_INK: Colour = (16, 16, 16)
# Where there are more boxes than this, only those get a name that it does not hide.
_FEW = 8


@dataclass(frozen=True, slots=True, eq=False)
class PictureLabels:
    """What a data set says of one picture.

    Args:
        names: class name of each label.
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels; NaN for a label without a box; None in
            a data set without boxes.
        ignore: bool (N,).
        outlines: for each label, polygons as float32 (M, 2) in pixels.
    """

    names: Sequence[str]
    boxes: Boxes | None
    ignore: Sequence[bool]
    outlines: Sequence[Sequence[Boxes]] = ()


def picture_labels(dataset: Dataset, row: int, *, outlines: bool = False) -> PictureLabels:
    """The labels of picture `row`; with the outlines of its objects in place of boxes."""
    targets = dataset.targets(row)
    names = [str(dataset.names[number]) for number in targets.class_ids]
    found: list[list[Boxes]] = []
    if outlines and targets.boxes is not None:
        start, end = dataset.rows_of(row)
        found = [_polygons(text) for text in dataset.labels["segmentation"][start:end]]
    return PictureLabels(names, targets.boxes, targets.ignore.tolist(), found)


def _polygons(text: str | None) -> list[Boxes]:
    """The polygons of a `segmentation`; none for run lengths, which have no outline."""
    if text is None:
        return []
    parts = json.loads(text)
    if not isinstance(parts, list):
        return []
    return [np.asarray(part, np.float32).reshape(-1, 2) for part in parts if len(part) >= 6]


def shrink(image: Image, long_side: int) -> tuple[Image, float]:
    """The picture with at most that long side, and the factor that boxes shrink by."""
    height, width = image.shape[:2]
    ratio = min(1.0, long_side / max(height, width))
    if ratio == 1:
        return image, 1.0
    return resize(image, (max(1, round(height * ratio)), max(1, round(width * ratio)))), ratio


def draw_labels(
    image: Image,
    labels: PictureLabels,
    *,
    scale: float = 1.0,
    colours: Mapping[str, Colour] | None = None,
    tags: bool = True,
    least: int = MIN_SIDE,
    stroke: int | None = None,
) -> Image:
    """A new picture with boxes and class names.

    Args:
        image: RGB uint8 (height, width, 3).
        labels: boxes count in pixels of the picture divided by `scale`.
        scale: what the picture was shrunk by before drawing, so that lines stay sharp.
        colours: by class name; by default `class_colours` of the names.
        tags: write names at boxes; at small ones only where there are few.
        least: a picture with a shorter side is enlarged by a whole factor.
        stroke: width of lines in pixels; by default it suits the picture, thinner for small
            boxes.
    """
    factor = max(1, min(-(-least // min(image.shape[:2])), 4 * least // max(image.shape[:2])))
    size = (image.shape[0] * factor, image.shape[1] * factor)
    canvas = image.copy() if factor == 1 else np.ascontiguousarray(resize(image, size, "bicubic"))
    if labels.boxes is None or not len(labels.boxes):
        return canvas
    palette = class_colours(labels.names) if colours is None else colours
    known = np.flatnonzero(np.isfinite(labels.boxes).all(axis=1))
    boxes = labels.boxes * np.float32(scale * factor)
    mean = float(np.sqrt(size[0] * size[1]))
    usual = max(1, round(mean * 0.006))
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    areas = (boxes[known, 2] - boxes[known, 0]) * (boxes[known, 3] - boxes[known, 1])
    order = known[np.argsort(-areas, kind="stable")]
    for place in order:
        colour = palette[labels.names[place]]
        # Thin boxes get thin lines, or a crowd of them would be nothing but lines.
        wide = stroke or max(1, min(usual, round(float(sides[place]) / 8)))
        shapes = labels.outlines[place] if labels.outlines else ()
        for outline in shapes:
            points = np.round(outline * scale * factor).astype(np.int32)
            cv2.polylines(canvas, [points], True, colour, wide, cv2.LINE_AA)
        if not shapes:
            _frame(canvas, boxes[place], colour, wide, dashed=bool(labels.ignore[place]))
    if tags:
        _write_names(canvas, labels.names, boxes, order.tolist(), palette, usual, mean)
    return canvas


def many_colours(names: Iterable[str]) -> dict[str, Colour]:
    """A colour for each name, most important first; 48 are different.

    The first 16 get what `class_colours` would give each alone or the next free one, later
    ones darker and lighter shades of them.
    """
    colours: dict[str, Colour] = {}
    left: list[Colour] = []
    for place, name in enumerate(dict.fromkeys(names)):
        if not left:
            left = [_shade(colour, place // len(PALETTE) % 3) for colour in PALETTE]
        wanted = _shade(next(iter(class_colours([name]).values())), place // len(PALETTE) % 3)
        colour = wanted if wanted in left else left[0]
        left.remove(colour)
        colours[name] = colour
    return colours


def _shade(colour: Colour, kind: int) -> Colour:
    red, green, blue = colour
    if kind == 1:
        return (int(red * 0.6), int(green * 0.6), int(blue * 0.6))
    if kind == 2:
        return ((red + 255) // 2, (green + 255) // 2, (blue + 255) // 2)
    return colour


def smallest_box(labels: PictureLabels) -> int | None:
    """Position of the box with the least area that is not ignored; None without boxes."""
    if labels.boxes is None:
        return None
    usable = np.isfinite(labels.boxes).all(axis=1) & ~np.asarray(labels.ignore, np.bool_)
    if not usable.any():
        return None
    sides = labels.boxes[:, 2:] - labels.boxes[:, :2]
    return int(np.where(usable, sides.prod(axis=1), np.inf).argmin())


def zoom(
    image: Image, labels: PictureLabels, *, times: float = 7.0, least: int = 64
) -> tuple[Image, PictureLabels]:
    """The surroundings of the smallest box that is not ignored; the whole without boxes.

    Args:
        times: side of the part, as a multiple of the box's longer side.
        least: and at least so many pixels.

    Returns:
        The part of the picture, square where the picture allows it, and its labels.
    """
    smallest = smallest_box(labels)
    if smallest is None or labels.boxes is None:
        return image, labels
    sides = labels.boxes[smallest, 2:] - labels.boxes[smallest, :2]
    height, width = image.shape[:2]
    side = max(least, round(times * float(sides.max())))
    middle = (labels.boxes[smallest, :2] + labels.boxes[smallest, 2:]) / 2
    left = max(0, min(round(float(middle[0]) - side / 2), width - side))
    top = max(0, min(round(float(middle[1]) - side / 2), height - side))
    right, bottom = min(width, left + side), min(height, top + side)
    boxes = labels.boxes - np.array([left, top, left, top], np.float32)
    seen = (boxes[:, 2] > 0) & (boxes[:, 3] > 0)
    seen &= (boxes[:, 0] < right - left) & (boxes[:, 1] < bottom - top)
    kept = np.flatnonzero(seen).tolist()
    shift = np.array([left, top], np.float32)
    outlines = [[line - shift for line in labels.outlines[one]] for one in kept if labels.outlines]
    part = PictureLabels(
        [labels.names[one] for one in kept],
        boxes[kept],
        [labels.ignore[one] for one in kept],
        outlines,
    )
    return np.ascontiguousarray(image[top:bottom, left:right]), part


def _frame(canvas: Image, box: Boxes, colour: Colour, stroke: int, *, dashed: bool) -> None:
    height, width = canvas.shape[:2]
    inset = stroke // 2
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    left, top = max(x1, inset), max(y1, inset)
    right, bottom = min(x2 - 1, width - 1 - inset), min(y2 - 1, height - 1 - inset)
    right, bottom = max(right, left), max(bottom, top)
    # A dark line around the coloured one parts it from ground of its own colour.
    if not dashed:
        for ink, wide in ((_INK, stroke + 2), (colour, stroke)):
            cv2.rectangle(canvas, (left, top), (right, bottom), ink, wide, cv2.LINE_AA)
        return
    dash = 4 * stroke + 4
    for ink, wide in ((_INK, stroke + 2), (colour, stroke)):
        for x in range(left, right + 1, 2 * dash):
            for y in (top, bottom):
                cv2.line(canvas, (x, y), (min(x + dash, right), y), ink, wide, cv2.LINE_AA)
        for y in range(top, bottom + 1, 2 * dash):
            for x in (left, right):
                cv2.line(canvas, (x, y), (x, min(y + dash, bottom)), ink, wide, cv2.LINE_AA)


def _write_names(
    canvas: Image,
    names: Sequence[str],
    boxes: Boxes,
    order: Sequence[int],
    colours: Mapping[str, Colour],
    stroke: int,
    mean: float,
) -> None:
    """Names of the boxes, large ones first; one that finds no room is left out."""
    height, width = canvas.shape[:2]
    pen = Pen(max(11, round(mean * 0.034)), bold=True)
    pad = max(2, pen.size // 5)
    placed: list[Tag] = []
    for place in order:
        text = pen.fit(names[place], max(60, width // 2))
        wide, high = pen.width(text) + 2 * pad, pen.height + pad // 2
        if wide > width or high > height:
            continue
        sides = boxes[place, 2:] - boxes[place, :2]
        if len(order) > _FEW and float(sides.prod()) < 1.5 * wide * high:
            continue
        options = tag_places(boxes[place], wide, high, stroke, (height, width))
        costs = [sum(tag.overlap(other) for other in placed) for tag in options]
        best = int(np.argmin(costs))
        if costs[best] > 0.15 * wide * high:
            continue
        tag = options[best]
        colour = colours[names[place]]
        corner = (tag.left + tag.width - 1, tag.top + tag.height - 1)
        cv2.rectangle(canvas, (tag.left, tag.top), corner, colour, cv2.FILLED)
        pen.write(canvas, text, tag.left + pad, tag.top + pad // 4, ink_on(colour))
        placed.append(tag)
