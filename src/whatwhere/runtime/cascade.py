"""A detector and a classifier as one: what the picture shows, where, and what each object is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime.predictor import Predictor, PredictorBase
from whatwhere.specs import ModelSpec, Suppress
from whatwhere.types import Boxes, Image, Label, Prediction

# Labels of the whole picture below this are left out unless a threshold is asked for: on 700
# photographs of known classes 0.12 of those between 0.10 and 0.15 were right.
MIN_LABEL = 0.15
# A crop is a square that shows this much more than the box on each side, as a fraction of
# the box's longer side: classifiers learned from photographs in which the object is whole,
# undistorted and has surroundings. On 514 boxes of ImageNet classes the name was right for
# 0.78 of the crops; for 0.67 with the box's own shape and a margin of 0.1, because the
# classifier's centre crop then cuts the ends off.
MARGIN = 0.2
# Crops that go through the classifier at once: 64 of 224 px are 10 MB, 40 MB as float32.
CROPS = 64
# A name is given when its own probability, and that of all fitting classes together, reach
# these. Chosen by looking at named crops of COCO photographs, where about half of the names
# between 0.3 and 0.4 were wrong. The figures stand in the card of "default".
MIN_SHARE = 0.35
MIN_FIT = 0.6
# Few classes fit a person (ballplayer, groom, scuba diver), so that their share says little
# about other people: an umpire is named "ballplayer" with 0.7.
MIN_SHARE_OF = {"person": 0.75}


@dataclass(frozen=True, slots=True)
class _Prepared:
    image: Image
    detector: Any
    classifier: Any


class Pair(PredictorBase):
    """A detector for the objects, a classifier for the whole picture and for each object.

    Args:
        detector: answers objects.
        classifier: answers one label a picture.
        fits: for each class of the classifier, the classes of the detector that it can be.

    Raises:
        UsageError: the models do not have these tasks.
        ModelError: `fits` does not cover the classifier's classes.
    """

    def __init__(
        self, detector: Predictor, classifier: Predictor, fits: Mapping[str, frozenset[str]]
    ) -> None:
        super().__init__(f"{detector.name}+{classifier.name}")
        if detector.spec.task != "detect" or classifier.spec.task != "classify":
            raise UsageError(
                "a pair needs a model of task detect and one of task classify, not"
                f" {detector.spec.task} ({detector.name}) and"
                f" {classifier.spec.task} ({classifier.name})"
            )
        missing = [name for name in classifier.spec.names if name not in fits]
        if missing:
            raise ModelError(
                f"{len(missing)} classes of {classifier.name} have no super-category, the first"
                f" is {missing[0]!r}: add them to the table"
            )
        self.detector = detector
        self.classifier = classifier
        self.fits = fits

    @property
    def spec(self) -> ModelSpec:
        """The detector's: its boxes are what evaluation scores."""
        return self.detector.spec

    @property
    def threads(self) -> int:
        """CPU threads that either model may use."""
        return min(self.detector.threads, self.classifier.threads)

    def in_lanes(self, lanes: int, *, trial: bool = False) -> Pair:
        """The same models, loaded for `infer` in so many threads at once."""
        return Pair(
            self.detector.in_lanes(lanes, trial=trial),
            self.classifier.in_lanes(lanes, trial=trial),
            self.fits,
        )

    def with_tiles(self, tile: int | Literal["auto"] = "auto", **options: Any) -> Pair:
        """The same pair, its detector seeing large pictures in tiles: `Predictor.with_tiles`."""
        return Pair(self.detector.with_tiles(tile, **options), self.classifier, self.fits)

    def with_suppression(self, suppress: Suppress | None = None, **options: Any) -> Pair:
        """The same pair, boxes thinned out in another way: `Predictor.with_suppression`."""
        detector = self.detector.with_suppression(suppress, **options)
        return Pair(detector, self.classifier, self.fits)

    def prepare(self, image: Image) -> _Prepared:
        """The picture as it is, for the crops, and as each model needs it."""
        return _Prepared(image, self.detector.prepare(image), self.classifier.prepare(image))

    def infer(
        self,
        prepared: Sequence[_Prepared],
        *,
        names: Sequence[str | None],
        threshold: float | None = None,
        evaluation: bool = False,
    ) -> list[Prediction]:
        """Predictions of a batch; with `evaluation` objects get no second name."""
        hesitates = self.classifier.spec.answers.hesitates
        objects = self.detector.infer(
            [item.detector for item in prepared],
            names=names,
            threshold=threshold,
            evaluation=evaluation,
        )
        labels = self.classifier.infer(
            [item.classifier for item in prepared],
            names=names,
            # A threshold given here would replace the one below which it is not sure.
            threshold=MIN_LABEL if threshold is None and not hesitates else threshold,
            evaluation=evaluation,
        )
        if hesitates and threshold is None and not evaluation:
            labels = [_above(whole, MIN_LABEL) for whole in labels]
        if evaluation:
            named: list[tuple[tuple[Label, ...], ...]] = [()] * len(prepared)
        else:
            named = self._name_objects([item.image for item in prepared], objects)
        return [
            replace(
                found,
                label_names=whole.label_names,
                label_scores=whole.label_scores,
                object_labels=rows,
                model=self.name,
                unsure=whole.unsure,
                label_set=whole.label_set,
            )
            for found, whole, rows in zip(objects, labels, named, strict=True)
        ]

    def _name_objects(
        self, images: Sequence[Image], found: Sequence[Prediction]
    ) -> list[tuple[tuple[Label, ...], ...]]:
        """For each object of each picture the classifier's name of its crop, or nothing."""
        crops: list[Any] = []
        kinds: list[str] = []
        for image, prediction in zip(images, found, strict=True):
            assert prediction.boxes is not None
            for kind, box in zip(prediction.object_names, prediction.boxes, strict=True):
                crops.append(self.classifier.prepare(crop_box(image, box)))
                kinds.append(kind)
        rows: list[tuple[Label, ...]] = []
        for start in range(0, len(crops), CROPS):
            part = crops[start : start + CROPS]
            answers = self.classifier.infer(part, names=[None] * len(part), evaluation=True)
            for kind, answer in zip(kinds[start : start + CROPS], answers, strict=True):
                rows.append(choose_name(kind, answer, self.fits))
        ends = iter(rows)
        return [tuple(next(ends) for _ in prediction.object_names) for prediction in found]


def _above(answer: Prediction, least: float) -> Prediction:
    """The prediction without labels of less score."""
    count = int((answer.label_scores >= np.float32(least)).sum())
    return replace(
        answer, label_names=answer.label_names[:count], label_scores=answer.label_scores[:count]
    )


def choose_name(
    kind: str, answer: Prediction, fits: Mapping[str, frozenset[str]]
) -> tuple[Label, ...]:
    """The best class that fits an object's kind, or nothing if the crop does not convince.

    Nothing, too, where the classifier is not sure.

    Args:
        kind: the detector's class.
        answer: all classes of the classifier with their probabilities for the crop, best first.
        fits: for each class of the classifier, the kinds that it can be.
    """
    if answer.unsure:
        return ()
    rows = zip(answer.label_names, answer.label_scores.tolist(), strict=True)
    fitting = [Label(name, score) for name, score in rows if kind in fits[name]]
    if not fitting or sum(label.score for label in fitting) < MIN_FIT:
        return ()
    return (fitting[0],) if fitting[0].score >= MIN_SHARE_OF.get(kind, MIN_SHARE) else ()


def crop_box(image: Image, box: Boxes, margin: float = MARGIN) -> Image:
    """A square part of a picture around a box, at least 1 x 1 pixels; a view.

    At the border the square moves inwards; it is cut only where the picture is smaller.

    Args:
        image: uint8 (height, width, 3).
        box: float32 (4,), x1 y1 x2 y2 in pixels of the picture.
        margin: on each side, as a fraction of the box's longer side.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    side = max(x2 - x1, y2 - y1) * (1 + 2 * margin)
    top, bottom = _span((y1 + y2) / 2, side, image.shape[0])
    left, right = _span((x1 + x2) / 2, side, image.shape[1])
    return image[top:bottom, left:right]


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    """First pixel and end of a span of the given length that lies in 0..limit."""
    length = min(max(round(side), 1), limit)
    start = min(max(round(centre - side / 2), 0), limit - length)
    return start, start + length


def read_supercategories(path: Path) -> dict[str, frozenset[str]]:
    """The table of fitting classes: a heading, then `class TAB kind,kind` or `class TAB -`.

    Raises:
        ModelError: the file is missing or a line is of another form; the message names it.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing from the installation: install whatwhere again")
    table: dict[str, frozenset[str]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[1:], 2):
        name, tab, kinds = line.partition("\t")
        if not (name and tab and kinds) or name in table:
            raise ModelError(f"{path}:{number} is not a new class with its kinds: correct the line")
        table[name] = frozenset() if kinds == "-" else frozenset(kinds.split(","))
    return table
