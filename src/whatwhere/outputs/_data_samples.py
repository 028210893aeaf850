"""The pictures of a data page: samples of each class, and those that are hard."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from itertools import pairwise
from pathlib import PurePath

import numpy as np

from whatwhere.data import Dataset
from whatwhere.errors import ImageError
from whatwhere.images import encode_image, read_image
from whatwhere.outputs.contact import Hard, choose_rows
from whatwhere.outputs.labels import (
    PictureLabels,
    draw_labels,
    many_colours,
    picture_labels,
    shrink,
    smallest_box,
    zoom,
)
from whatwhere.outputs.pen import Colour
from whatwhere.types import Image

LONG_SIDE = 288
"""Pixels of a sample: sharp at half of that on dense screens, and about 15 kB."""

MOST_SAMPLES = 240
"""Samples of all classes together, so that the page stays below some megabytes."""

_OTHER: Colour = (200, 204, 208)
_QUALITY = 80
# The samples are shown at less than half their size.
_STROKE = 4


class Samples:
    """Sections of sample pictures; a picture that cannot be read is left out.

    Attributes:
        shown: the classes that have samples; the heading of one has the id "class-7".
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.paths = dataset.relative_paths()
        self.shown: set[int] = set()
        # One colour a class on the whole page, frequent classes first.
        counts = dataset.stats()["classes"]
        self.colours = many_colours(sorted(counts, key=lambda name: -counts[name]))
        # The same picture is often the sample of several classes.
        self._read = lru_cache(32)(self._small)

    def _small(self, row: int) -> tuple[Image, float] | None:
        try:
            return shrink(read_image(self.dataset.paths[row]), LONG_SIDE)
        except ImageError:
            return None  # reading or checking the data set names it

    def classes(self, count: int, counts: Mapping[str, int]) -> str:
        """Samples of each class, evenly spread over its pictures.

        Args:
            count: pictures a class.
            counts: labels of each class, which the headings tell.
        """
        dataset = self.dataset
        rows = self._rows_by_class()
        present = [number for number in range(len(dataset.names)) if len(rows[number])]
        chosen, hint = self._chosen(present, counts, count)
        blocks = []
        for number in chosen:
            name = str(dataset.names[number])
            of_class = rows[number]
            places = np.linspace(0, len(of_class) - 1, min(count, len(of_class)))
            figures = [self._of_class(int(of_class[round(place)]), name) for place in places]
            if any(figures):
                self.shown.add(number)
                blocks.append(
                    f'<div class="kind" id="class-{number}"><h3>{escape(name)}</h3>'
                    f'<p class="hint">{_count(counts[name], "label")} in'
                    f" {_count(len(of_class), 'picture')}</p>"
                    f'<div class="thumbs">{"".join(figures)}</div></div>'
                )
        if not blocks:
            return ""
        return (
            f"<section><h2>Samples of each class</h2>{hint}"
            f'<div class="kinds">{"".join(blocks)}</div></section>'
        )

    def _rows_by_class(self) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        dataset = self.dataset
        classes = dataset.labels["class_id"].to_numpy().astype(np.int64)
        image = dataset.labels["image"].to_numpy().astype(np.int64)
        pairs = np.unique(classes * len(dataset) + image)
        edges = np.searchsorted(pairs, np.arange(len(dataset.names) + 1) * len(dataset))
        return [pairs[a:b] % len(dataset) for a, b in pairwise(edges.tolist())]

    def _chosen(
        self, present: Sequence[int], counts: Mapping[str, int], each: int
    ) -> tuple[list[int], str]:
        """The classes to show, and what is said about those left out."""
        room = max(2, MOST_SAMPLES // max(1, each))
        boxes = self.dataset.task == "detect"
        words = ["Coloured: the class; grey: others; dashed: ignored."] if boxes else []
        chosen = list(present)
        if len(present) > room:
            order = sorted(present, key=lambda number: -counts[self.dataset.names[number]])
            chosen = sorted({*order[: room // 2], *order[-(room - room // 2) :]})
            words.append(
                f"The {room // 2} most frequent and the {room - room // 2} rarest of"
                f" {len(present)} classes."
            )
        return chosen, f'<p class="hint">{" ".join(words)}</p>' if words else ""

    def _of_class(self, row: int, name: str) -> str:
        found = self._read(row)
        if found is None:
            return ""
        image, scale = found
        truth = picture_labels(self.dataset, row)
        if truth.boxes is not None:
            colours = dict.fromkeys(truth.names, _OTHER) | {name: self.colours[name]}
            # The class itself is drawn last, over the others.
            own = [place for place, one in enumerate(truth.names) if one == name]
            other = [place for place, one in enumerate(truth.names) if one != name]
            for places, stroke in ((other, 2), (own, _STROKE)):
                image = draw_labels(
                    image,
                    _part(truth, places),
                    scale=scale,
                    colours=colours,
                    tags=False,
                    least=96,
                    stroke=stroke,
                )
                scale = found[1] * image.shape[1] / found[0].shape[1]
        return self._figure(image, self._name(row))

    def hard(self, count: int) -> str:
        """The smallest objects, the most crowded pictures and some without labels."""
        dataset = self.dataset
        boxes = dataset.task == "detect"
        groups: list[tuple[str, str, list[int], bool]] = []
        if boxes:
            rows = self._hard_rows("smallest", count)
            groups.append(("Smallest objects", "Seen close.", rows, True))
        elif dataset.images["width"].n_unique() > 1 or dataset.images["height"].n_unique() > 1:
            rows = self._hard_rows("smallest", count)
            groups.append(("Smallest pictures", "", rows, False))
        if dataset.task != "classify":
            rows = self._hard_rows("crowded", count)
            groups.append(("Most labels", "", rows, False))
        counts = np.bincount(dataset.labels["image"].to_numpy(), minlength=len(dataset))
        empty = np.flatnonzero(counts == 0)
        if empty.size:
            places = np.linspace(0, empty.size - 1, min(count, empty.size)).round().astype(int)
            hint = f"{_count(int(empty.size), 'picture')}: is there really nothing to see?"
            groups.append(("Without labels", hint, empty[np.unique(places)].tolist(), False))
        parts = []
        for title, hint, rows, close in groups:
            figures = "".join(self._hard_one(row, close) for row in rows)
            if figures:
                note = f'<p class="hint">{escape(hint)}</p>' if hint else ""
                parts.append(
                    f'<h3>{escape(title)}</h3>{note}<div class="thumbs big">{figures}</div>'
                )
        if not parts:
            return ""
        return f"<section><h2>Worth a look</h2>{''.join(parts)}</section>"

    def _hard_rows(self, hard: Hard, count: int) -> list[int]:
        return choose_rows(self.dataset, count, hard=hard)

    def _hard_one(self, row: int, close: bool) -> str:
        truth = picture_labels(self.dataset, row)
        words = [_count(len(truth.names), "label")]
        smallest = smallest_box(truth)
        try:
            image = read_image(self.dataset.paths[row])
        except ImageError:
            return ""
        height, width = image.shape[:2]
        if close and smallest is not None and truth.boxes is not None:
            wide, high = truth.boxes[smallest, 2:] - truth.boxes[smallest, :2]
            words = [f"{truth.names[smallest]}, {wide:.0f} x {high:.0f} pixels"]
            image, truth = zoom(image, truth)
        elif truth.boxes is None:
            words = [", ".join(dict.fromkeys(truth.names)) or "no label", f"{width} x {height}"]
        small, scale = shrink(image, LONG_SIDE + 96)
        drawn = draw_labels(small, truth, scale=scale, colours=self.colours)
        return self._figure(drawn, self._name(row), " · ".join(words))

    def _name(self, row: int) -> str:
        return PurePath(self.paths[row]).name

    def _figure(self, image: Image, name: str, words: str = "") -> str:
        data = base64.b64encode(encode_image(image, ".jpg", _QUALITY)).decode("ascii")
        note = f"<span>{escape(words)}</span>" if words else ""
        return (
            f'<figure class="thumb"><img alt="" loading="lazy" src="data:image/jpeg;base64,{data}">'
            f'<figcaption title="{escape(name)}">{escape(name)}{note}</figcaption></figure>'
        )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def _part(truth: PictureLabels, places: Sequence[int]) -> PictureLabels:
    assert truth.boxes is not None
    return PictureLabels(
        [truth.names[place] for place in places],
        truth.boxes[list(places)],
        [truth.ignore[place] for place in places],
    )
