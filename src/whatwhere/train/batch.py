"""What one training step works on."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

NO_CLASS = -100
"""In place of a class id where there is none; PyTorch's losses pass over it."""


@dataclass(frozen=True, slots=True)
class BoxTargets:
    """The boxes of a batch; G is the largest number of boxes of a picture.

    Args:
        boxes: (N, G, 4), x1 y1 x2 y2 in input pixels; padding is zero.
        classes: (N, G) int64.
        valid: (N, G) bool, False for padding.
        ignore: (N, G) bool, True for regions in which nothing is an error.
        known: (N, C) bool, False where a picture's labels say nothing about a class;
            None where they say everything.
        soft: (N, G, C) float32 in 0..1, what an object's class scores should be, where a
            teacher says so; None where it is 1 for `classes` and 0 for all others.
        counts: (N, G) float32, how much an object counts; None for 1.
        trust: (N, C) float32, how much it counts that a class is absent, in place of `known`,
            which is then where it is above 0.
        said: (N, G) float32, scores that a teacher gave beforehand, NaN for labels by people;
            None without such a teacher. It makes the fields above of it.
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    ignore: Tensor
    known: Tensor | None = None
    soft: Tensor | None = None
    counts: Tensor | None = None
    trust: Tensor | None = None
    said: Tensor | None = None

    def to(self, device: torch.device) -> BoxTargets:
        """The same on a device."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: None if x is None else x.to(device) for name, x in found.items()
        }
        return BoxTargets(**moved)


class Batch:
    """One step's samples.

    Not a dataclass: Fabric would look inside and round box coordinates to half precision.

    Args:
        images: uint8 (N, H, W, 3), RGB.
        boxes: for a head that finds objects.
        classes: int64 (N,) for "classify"; `NO_CLASS` where nothing is known.
        present: float32 (N, C) in 0..1 for "multilabel", and `known` bool (N, C). For
            "classify" the wanted distribution, in place of `classes`, where pictures are mixed.
        rows: which picture of the data set each sample is (the first, where several were put
            together), for messages.
        soft: float32 (N, C), what a teacher says about whole pictures: for "classify" its
            probabilities at its temperature, for "multilabel" those of each class; -1 for
            classes that it does not know.
    """

    __slots__ = ("boxes", "classes", "images", "known", "present", "rows", "soft")

    def __init__(
        self,
        images: Tensor,
        boxes: BoxTargets | None = None,
        classes: Tensor | None = None,
        present: Tensor | None = None,
        known: Tensor | None = None,
        rows: tuple[int, ...] = (),
        soft: Tensor | None = None,
    ) -> None:
        self.images, self.boxes, self.classes = images, boxes, classes
        self.present, self.known, self.rows, self.soft = present, known, rows, soft

    def cut(self, parts: int) -> list[Batch]:
        """The same pictures in so many batches of equal size, one after the other."""
        size = len(self.images) // parts

        def piece(x: Any, start: int) -> Any:
            if isinstance(x, BoxTargets):
                kept = {field.name: piece(getattr(x, field.name), start) for field in fields(x)}
                return BoxTargets(**kept)
            return None if x is None else x[start : start + size]

        made = []
        for start in range(0, len(self.images), size):
            part = copy(self)
            for name in self.__slots__:
                setattr(part, name, piece(getattr(self, name), start))
            made.append(part)
        return made

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        if device.type == "cpu":
            return self

        def moved(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device)

        return Batch(
            self.images.to(device),
            None if self.boxes is None else self.boxes.to(device),
            moved(self.classes),
            moved(self.present),
            moved(self.known),
            self.rows,
            moved(self.soft),
        )
