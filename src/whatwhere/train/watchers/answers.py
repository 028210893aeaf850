"""Some validation pictures, the same throughout a run, with what the network says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Self

import numpy as np

from whatwhere.data import Dataset, Targets
from whatwhere.errors import ImageError
from whatwhere.images import read_image
from whatwhere.metrics.mistakes import mistakes
from whatwhere.outputs.contact import choose_rows, fitted, grid, headed, with_legend
from whatwhere.outputs.labels import (
    PictureLabels,
    draw_labels,
    many_colours,
    picture_labels,
    shrink,
)
from whatwhere.outputs.pen import Colour, Pen
from whatwhere.outputs.words import percent
from whatwhere.types import Boxes, Image, Labels, Prediction, Task

_PAIRS, _PAIR_SIDE = 8, 320
_SINGLES, _SINGLE_SIDE = 24, 160
_LEGEND = 40
_GAP = 4
_RIGHT: Colour = (24, 190, 90)
_WRONG: Colour = (255, 64, 64)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture at the sheet's size, `ratio` times its own, and what is in it."""

    name: str
    image: Image
    ratio: float
    labels: PictureLabels
    targets: Targets


@dataclass(frozen=True, slots=True)
class Answers:
    """Pictures that are looked at after each validation.

    Args:
        task: what is asked.
        names: of the classes.
        threshold: answers with a lower score are not drawn, except for "classify".
        rows: of the pictures in the validation set.
    """

    task: Task
    names: Labels
    threshold: float
    rows: tuple[int, ...]
    _pictures: tuple[_Picture, ...]

    @classmethod
    def choose(cls, dataset: Dataset, task: Task, threshold: float) -> Self:
        """Pictures spread over the classes, hard and empty ones among them, at most 8 or 24.

        Args:
            dataset: validation pictures; those that cannot be read are passed over.
            task: what is asked; labels for "multilabel" may look like those for "classify".
            threshold: of the score.
        """
        detect = task == "detect"
        side = _PAIR_SIDE if detect else _SINGLE_SIDE
        files = dataset.relative_paths()
        rows, pictures = [], []
        for row in choose_pictures(dataset, _PAIRS if detect else _SINGLES):
            try:
                image, ratio = shrink(read_image(dataset.paths[row]), side)
            except ImageError:
                continue  # the run says so itself
            name = PurePath(files[row]).name
            labels = picture_labels(dataset, row)
            pictures.append(_Picture(name, image, ratio, labels, dataset.targets(row)))
            rows.append(row)
        return cls(task, dataset.names, threshold, tuple(rows), tuple(pictures))

    def sheet(self, predictions: Sequence[Prediction], heading: str) -> Image:
        """The pictures with what is right and what is answered.

        Args:
            predictions: one for each of `rows`.
            heading: a line on top; what else is to be known is added.

        Returns:
            RGB uint8 (H, W, 3), at most 1340 pixels wide.
        """
        if self.task == "detect":
            return self._pairs(predictions, heading)
        cells = []
        for picture, prediction in zip(self._pictures, predictions, strict=True):
            wrong = mistakes(self.task, picture.targets, prediction, self.names, self.threshold)
            image = fitted(picture.image, _SINGLE_SIDE).copy()
            _frame(image, _WRONG if wrong else _RIGHT)
            labels = ", ".join(dict.fromkeys(picture.labels.names)) or "no label"
            cells.append((image, (self._said(prediction), f"label: {labels}")))
        heading += ": the answer, and under it the label; red frames are mistakes"
        if self.task == "multilabel":
            heading += f" from score {self.threshold:g}"
        return headed(grid(cells, min(8, len(cells)), _SINGLE_SIDE, Pen(12)), heading)

    def _said(self, prediction: Prediction) -> str:
        pairs = zip(prediction.label_names, prediction.label_scores.tolist(), strict=True)
        if self.task == "classify":
            shown = list(pairs)[:1]
        else:
            shown = [(name, score) for name, score in pairs if score >= self.threshold]
        return ", ".join(f"{name} {percent(score)}" for name, score in shown) or "nothing"

    def _pairs(self, predictions: Sequence[Prediction], heading: str) -> Image:
        # A colour for each class, the same on both sides and in every sheet of the run.
        colours = many_colours(self.names)
        counts: Counter[str] = Counter()
        cells = []
        for picture, prediction in zip(self._pictures, predictions, strict=True):
            said, scores = _above(prediction, self.threshold)
            tagged = [f"{name} {percent(s)}" for name, s in zip(said.names, scores, strict=True)]
            tag_colours = {t: colours[n] for t, n in zip(tagged, said.names, strict=True)}
            answer = PictureLabels(tagged, said.boxes, said.ignore)
            sides = [
                fitted(
                    draw_labels(
                        picture.image, labels, scale=picture.ratio, colours=inks, least=_PAIR_SIDE
                    ),
                    _PAIR_SIDE,
                )
                for labels, inks in ((picture.labels, colours), (answer, tag_colours))
            ]
            gap = np.full((sides[0].shape[0], _GAP, 3), 255, np.uint8)
            counts.update(picture.labels.names)
            for name in said.names:
                counts[name] += 0
            wrong = mistakes(self.task, picture.targets, prediction, self.names, self.threshold)
            words = f"{wrong} missed or wrong"
            if not tagged:
                words += f"; no answer from {self.threshold:g}{_best(prediction)}"
            cells.append((np.concatenate([sides[0], gap, sides[1]], 1), (picture.name, words)))
        pen = Pen(14)
        sheet = grid(cells, min(2, len(cells)), 2 * _PAIR_SIDE + _GAP, pen)
        heading += f": labels left, answers from score {self.threshold:g} right"
        shown = Counter(dict(counts.most_common(_LEGEND)))
        return with_legend(headed(sheet, heading), shown, colours, pen)


def choose_pictures(dataset: Dataset, count: int) -> list[int]:
    """Row numbers of up to `count` pictures that show as much as possible of a data set.

    One with the smallest object, one with the most objects, one without any where boxes
    are asked for; then for one class after the other, evenly spread from frequent to rare,
    a picture that shows it; the rest evenly over all.
    """
    if not len(dataset):
        return []
    chosen: dict[int, None] = {}
    if dataset.labels.height:
        chosen |= dict.fromkeys(choose_rows(dataset, 1, hard="smallest"))
    images = dataset.labels["image"].to_numpy().astype(np.int64)
    classes = dataset.labels["class_id"].to_numpy().astype(np.int64)
    if dataset.task == "detect":
        chosen |= dict.fromkeys(choose_rows(dataset, 1, hard="crowded"))
        empty = np.setdiff1d(np.arange(len(dataset)), images)
        chosen |= dict.fromkeys(empty[len(empty) // 2 :][:1].tolist())
    totals = np.bincount(classes, minlength=1)
    order = np.argsort(-totals, kind="stable")[: np.count_nonzero(totals)]
    spread = order[np.linspace(0, max(0, len(order) - 1), min(count, len(order))).astype(int)]
    for wanted in spread[::-1]:
        showing = np.unique(images[classes == wanted])
        if len(chosen) < count and not set(showing.tolist()) & chosen.keys():
            chosen[int(showing[len(showing) // 2])] = None
    for row in np.linspace(0, len(dataset) - 1, 2 * count).astype(int).tolist():
        if len(chosen) < count:
            chosen[row] = None
    return sorted(list(chosen)[:count])


def _above(prediction: Prediction, threshold: float) -> tuple[PictureLabels, list[float]]:
    """The objects of at least that score, and their scores."""
    boxes: Boxes = np.zeros((0, 4), np.float32) if prediction.boxes is None else prediction.boxes
    keep = np.flatnonzero(prediction.object_scores >= threshold)
    names = [prediction.object_names[place] for place in keep]
    found = PictureLabels(names, boxes[keep], [False] * len(keep))
    return found, prediction.object_scores[keep].tolist()


def _best(prediction: Prediction) -> str:
    if not prediction.object_names:
        return ""
    best = int(np.argmax(prediction.object_scores))
    score = percent(float(prediction.object_scores[best]))
    return f", the best is {prediction.object_names[best]} {score}"


def _frame(image: Image, colour: Colour) -> None:
    """A border of four pixels, in place."""
    image[:4] = image[-4:] = image[:, :4] = image[:, -4:] = colour
