"""What people should know of their data before the first step; nothing here refuses them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.partial import known_pairs
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import Family

_NAMED = 5
# A class with fewer labels is learnt by heart, if at all.
_FEW = 10
# The most frequent class has so many times the labels of the rarest that has enough.
_UNEVEN = 50
# A side of an object in input pixels; most backbones see a picture in cells of 8 at best.
_TINY = 8.0
# Share of the boxes from which tiny ones are said.
_MANY = 0.2
_LARGEST = 1280
_NARROW = 10.0
# Augmentation leaves boxes of at most a pixel out.
_GONE = 1.0


def sanity_notes(
    training: Dataset,
    validation: Dataset,
    config: TrainConfig,
    family: Family,
    max_detections: int = 300,
) -> list[str]:
    """A sentence for each thing that is odd: what, how many, what to do.

    Args:
        training, validation: as they are trained on, of one list of classes.
        config: settings, with the input's size filled in.
        family: of the model.
        max_detections: boxes that the model gives a picture at most.

    Returns:
        Sentences for people; none for data that are fine.
    """
    notes = (
        _classes(training, validation) + _alike(training, config) + _shared(training, validation)
    )
    if config.task == "detect":
        boxes = _Boxes(training, config)
        notes += _sizes(boxes, config, family) + _places(boxes)
        notes += _crowds(training, validation, max_detections)
    if not family.partial and (partial := _partial(training, config)):
        notes.append(
            f"{partial}, which {family.name} takes for background: use --model yolo, or label them"
        )
    return notes


def _classes(training: Dataset, validation: Dataset) -> list[str]:
    names = list(training.names)
    learnt, scored = (_counts(data) for data in (training, validation))
    notes = []

    def said(chosen: NDArray[np.bool_]) -> tuple[str, str]:
        picked = np.flatnonzero(chosen)
        count = f"{len(picked)} of {len(names)} classes"
        return count, _list([names[place] for place in picked])

    if (chosen := (learnt == 0) & (scored == 0)).any():
        count, which = said(chosen)
        notes.append(
            f"{count} have no label to learn from or to score ({which}): they take room in the"
            " model and are never found, so leave them out of the list if they are not needed"
        )
    if (chosen := (learnt == 0) & (scored > 0)).any():
        count, which = said(chosen)
        notes.append(
            f"{count} are among the validation labels but not among those to learn from"
            f" ({which}), so each lowers the score: add training pictures or divide the data anew"
        )
    if (chosen := (learnt > 0) & (scored == 0)).any():
        count, which = said(chosen)
        notes.append(
            f"{count} have no validation label ({which}), so nothing measures them: add"
            " validation pictures or divide the data anew"
        )
    rare = (learnt > 0) & (learnt < _FEW)
    if rare.any():
        picked = sorted(np.flatnonzero(rare), key=lambda place: learnt[place])
        which = _list([f"{names[place]} {learnt[place]}" for place in picked])
        notes.append(
            f"{len(picked)} of {len(names)} classes have fewer than {_FEW} labels to learn from"
            f" ({which}): add pictures of them, or set balance=0.5 to see these more often"
        )
    enough = np.where(learnt >= _FEW, learnt, 0)
    if (enough > 0).sum() > 1:
        most = int(enough.argmax())
        least = int(np.where(enough > 0, enough, np.iinfo(np.int64).max).argmin())
        if enough[most] >= _UNEVEN * enough[least]:
            notes.append(
                f"{names[most]} has {enough[most]:,} labels and {names[least]} {enough[least]:,}:"
                " look at the scores class by class, or set balance=0.5"
            )
    return notes


def _counts(data: Dataset) -> NDArray[np.int64]:
    """Labels of each class that count."""
    kept = ~data.labels["ignore"].to_numpy().astype(np.bool_)
    classes = data.labels["class_id"].to_numpy().astype(np.int64)[kept]
    return np.bincount(classes, minlength=len(data.names)).astype(np.int64)


def _alike(training: Dataset, config: TrainConfig) -> list[str]:
    """Whole-picture labels that leave nothing to tell apart, or are not there."""
    if config.task == "detect":
        return []
    images = training.labels["image"].to_numpy().astype(np.int64)
    classes = training.labels["class_id"].to_numpy().astype(np.int64)
    pairs = np.unique(images * len(training.names) + classes)
    shown = np.bincount(pairs % len(training.names), minlength=len(training.names))
    notes = []
    empty = len(training) - len(np.unique(images))
    if config.task == "classify" and empty:
        notes.append(
            f"{empty} of {len(training)} training pictures have no label and teach nothing: label"
            " them or leave them out"
        )
    everywhere = np.flatnonzero(shown == len(training))
    if len(everywhere) == (shown > 0).sum() > 0:
        which = _list([training.names[place] for place in everywhere])
        notes.append(
            f"all {len(training)} training pictures have the same label ({which}), so the model"
            " can only learn to say it: add pictures of something else"
        )
    return notes


def _shared(training: Dataset, validation: Dataset) -> list[str]:
    known = set(training.paths)
    if count := sum(path in known for path in validation.paths):
        return [
            f"{count} of {len(validation)} validation pictures are training pictures, too, so the"
            " score is too good: divide the data anew with 'data split'"
        ]
    return []


class _Boxes:
    """Boxes that count: sides and places, in pixels of the pictures and of the input."""

    def __init__(self, data: Dataset, config: TrainConfig) -> None:
        table = data.labels
        image = table["image"].to_numpy().astype(np.int64)
        box = np.stack([table[name].to_numpy() for name in ("x1", "y1", "x2", "y2")], 1)
        frames = np.stack(
            [data.images[name].to_numpy().astype(np.float64) for name in ("width", "height")], 1
        )
        counted = np.isfinite(box).all(1) & ~table["ignore"].to_numpy().astype(np.bool_)
        # Sizes of pictures are known as far as the reader looked; the others are left out.
        counted &= (frames[image] > 0).all(1)
        self.image = image[counted]
        self.box = box[counted].astype(np.float64)
        self.frame = frames[self.image]
        self.sides = np.maximum(self.box[:, 2:] - self.box[:, :2], 0)
        height, width = config.height, config.width
        self.ratio = np.minimum(width / self.frame[:, 0], height / self.frame[:, 1])
        self.shown = self.sides * self.ratio[:, None]

    def __len__(self) -> int:
        return len(self.box)


def _sizes(boxes: _Boxes, config: TrainConfig, family: Family) -> list[str]:
    if not len(boxes):
        return []
    notes = []
    total = len(boxes)
    gone = int((boxes.shown.min(1) <= _GONE).sum())
    size = f"{config.width}x{config.height}"
    if gone:
        notes.append(
            f"{_of(gone, total)} are at most one pixel wide or high at the input of {size} and"
            " cannot be learnt: use a larger --size, or correct the labels"
        )
    extent = np.sqrt(boxes.shown.prod(1))
    tiny = int((extent < _TINY).sum())
    if tiny >= _MANY * total and not config.tile:
        text = (
            f"{_of(tiny, total)} are smaller than {_TINY:g} pixels at the input of {size}"
            f" (half of all are smaller than {np.median(extent):.1f})"
        )
        notes.append(f"{text}: {_larger(boxes, extent, config, family)}")
    narrow = boxes.sides.max(1) > _NARROW * np.maximum(boxes.sides.min(1), 1e-9)
    if narrow.sum() >= _MANY * total:
        notes.append(
            f"{_of(int(narrow.sum()), total)} are more than {_NARROW:g} times as long as wide:"
            " boxes fit such objects badly, so look at some with 'data view'"
        )
    return notes


def _larger(boxes: _Boxes, extent: NDArray[np.float64], config: TrainConfig, family: Family) -> str:
    """What makes most boxes large enough, with numbers."""
    side = max(config.height, config.width)
    # At this size the share of tiny boxes falls to what is not worth a word.
    small = max(float(np.quantile(extent, _MANY)), 1e-6)
    wanted = math.ceil(side * _TINY / small / 32) * 32
    longest = float(np.median(boxes.frame.max(1)))
    advice = []
    if wanted <= min(_LARGEST, 2 * longest):
        left = int((extent * wanted / side < _TINY).sum())
        advice.append(f"use --size {wanted} (then {_of(left, len(boxes))})")
    elif side < longest:
        # A tile is shown at the input's size; no more than four pixels of it for one.
        own = float(np.quantile(np.sqrt(boxes.sides.prod(1)), _MANY))
        tile = max(32, side // 4, math.floor(side * own / _TINY / 32) * 32)
        if tile < longest:
            advice.append(f"use --set tile={tile} to see parts of the pictures at this size")
    if family.name == "yolo" and not config.small_objects:
        advice.append("use --set small_objects=true")
    return ", or ".join(advice) or "such objects are hardly seen, so take closer pictures"


def _places(boxes: _Boxes) -> list[str]:
    if not len(boxes):
        return []
    notes = []
    total = len(boxes)
    outside = (boxes.box[:, :2] >= boxes.frame).any(1) | (boxes.box[:, 2:] <= 0).any(1)
    if outside.any():
        count = int(outside.sum())
        notes.append(
            f"{_of(count, total)} lie wholly outside their picture and are left out: check in which"
            " units and for which pictures they were written ('data check' lists them)"
        )
    whole = (boxes.sides >= 0.95 * boxes.frame).all(1)
    if whole.mean() > 0.9:
        notes.append(
            f"{_of(int(whole.sum()), total)} cover their whole picture, so there is no place to"
            " learn: train with --task multilabel"
        )
    one = len(np.unique(boxes.box.round(1), axis=0)) == 1
    if one and total > 2 and not whole.any():
        notes.append(
            f"all {total} boxes lie in the same place of their pictures: check that they are not"
            " a default of the tool that wrote them"
        )
    return notes


def _crowds(training: Dataset, validation: Dataset, limit: int) -> list[str]:
    for data, kind in ((training, "training"), (validation, "validation")):
        images = data.labels["image"].to_numpy().astype(np.int64)
        boxed = ~data.labels["x1"].is_null().to_numpy()
        counts = np.bincount(images[boxed], minlength=max(1, len(data)))
        over = int((counts > limit).sum())
        if over:
            return [
                f"{over} of {len(data)} {kind} pictures have more than the {limit} boxes that the"
                f" model gives (up to {counts.max():,}): the others are missed, so cut such"
                " pictures into tiles"
            ]
    return []


def _partial(training: Dataset, config: TrainConfig) -> str:
    """What is not known of the training pictures; "" if all is."""
    column = "complete" if config.task == "detect" else "labelled"
    known = known_pairs(training, column)  # type: ignore[arg-type]
    if known is not None and not known.all():
        count = int((~known).any(1).sum())
        return f"in {count} of {len(training)} training pictures not every class was looked for"
    ignored = int(training.labels["ignore"].to_numpy().astype(np.bool_).sum())
    if ignored and config.task == "detect":
        return f"{_of(ignored, training.labels.height)} are to be ignored"
    return ""


def _of(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{count:,} of {total:,} boxes ({share:.0f} %)"


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
