"""What one training step works on."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    boxes: Tensor
    classes: Tensor
    valid: Tensor
    ignore: Tensor
    known: Tensor | None = None

    def to(self, device: torch.device) -> BoxTargets:
        """The same on a device."""
        known = None if self.known is None else self.known.to(device)
        return BoxTargets(
            self.boxes.to(device),
            self.classes.to(device),
            self.valid.to(device),
            self.ignore.to(device),
            known,
        )


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
    """

    __slots__ = ("boxes", "classes", "images", "known", "present", "rows")

    def __init__(
        self,
        images: Tensor,
        boxes: BoxTargets | None = None,
        classes: Tensor | None = None,
        present: Tensor | None = None,
        known: Tensor | None = None,
        rows: tuple[int, ...] = (),
    ) -> None:
        self.images, self.boxes, self.classes = images, boxes, classes
        self.present, self.known, self.rows = present, known, rows

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
        )
