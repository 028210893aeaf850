"""Two samples in one: mixup and cutmix, with targets that say how much of each is seen."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.train.augment import Sample, together
from whatwhere.types import Image, Task

# Mixup of detectors stays near half and half, so that both pictures' objects can be seen.
_EVEN = 8.0
# Of whole pictures: Zhang et al. use 0.1 to 0.4 on ImageNet; 1 makes every share equally likely,
# as Yun et al. do for cutmix.
_MIXUP, _CUTMIX = 0.4, 1.0


def mixup_objects(a: Sample, b: Sample, rng: np.random.Generator) -> Sample:
    """Two pictures blended, with the objects of both (Ge et al., YOLOX, 2021).

    Every object counts fully. The shares are drawn from Beta(8, 8), where YOLOX has one half.

    Args:
        a, b: samples of one size, boxes in its pixels.
        rng: to draw from.
    """
    return together(_blend(a.image, b.image, rng.beta(_EVEN, _EVEN)), (a, b))


def mixup_labels(
    a: Sample, b: Sample, task: Task, classes: int, rng: np.random.Generator
) -> Sample:
    """Two pictures blended, and their targets by the same shares.

    Zhang et al., mixup: Beyond Empirical Risk Minimization (ICLR 2018). For "multilabel" the
    shares weigh the yes and no of each class in the same way: a class of both is fully there.
    A class that is unknown in one of them is unknown.

    Args:
        a, b: samples of one size with labels of the whole picture.
        task: "classify" or "multilabel".
        classes: number of classes, C.
        rng: to draw from.

    Returns:
        The sample, with `present` and `known`; `a` itself if one has no known class.
    """
    share = float(rng.beta(_MIXUP, _MIXUP))
    return _mixed(a, b, _blend(a.image, b.image, share), share, task, classes)


def cutmix_labels(
    a: Sample, b: Sample, task: Task, classes: int, rng: np.random.Generator
) -> Sample:
    """A rectangle of `b` pasted into `a`, targets by area; else as `mixup_labels`.

    Yun et al., CutMix, ICCV 2019: the rectangle has the picture's shape and a uniform place.
    """
    height, width = a.image.shape[:2]
    side = np.sqrt(1 - rng.beta(_CUTMIX, _CUTMIX))
    y, x = rng.random() * height, rng.random() * width
    top, bottom = np.clip(np.round(y + side * height * np.array([-0.5, 0.5])), 0, height)
    left, right = np.clip(np.round(x + side * width * np.array([-0.5, 0.5])), 0, width)
    region = slice(int(top), int(bottom)), slice(int(left), int(right))
    image = a.image.copy()
    image[region] = b.image[region]
    share = 1 - float((bottom - top) * (right - left)) / (height * width)
    return _mixed(a, b, image, share, task, classes)


def whole_targets(
    sample: Sample, task: Task, classes: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """How much of each class a picture shows, float32 (C,), and whether that is known, (C,).

    For "classify" one class has all, or none where the class is not known.
    """
    if sample.present is not None:
        known = np.ones(classes, bool) if sample.known is None else sample.known
        return sample.present, known
    present = np.zeros(classes, np.float32)
    known = np.ones(classes, bool)
    real = sample.classes[~sample.ignore]
    if task == "classify":
        present[real[:1]] = 1
        return present, known
    if sample.known is not None:
        known = sample.known.copy()
    present[real] = 1
    known[sample.classes] = True
    known[sample.classes[sample.ignore]] = False
    return present, known


def _mixed(a: Sample, b: Sample, image: Image, share: float, task: Task, classes: int) -> Sample:
    one, known_one = whole_targets(a, task, classes)
    two, known_two = whole_targets(b, task, classes)
    if task == "classify" and not (one.any() and two.any()):
        return a
    present = (share * one + (1 - share) * two).astype(np.float32)
    return replace(a, image=image, present=present, known=known_one & known_two)


def _blend(a: Image, b: Image, share: float) -> Image:
    blended: Image = np.asarray(cv2.addWeighted(a, share, b, 1 - share, 0), np.uint8)
    return blended
