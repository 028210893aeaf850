"""Samples to tensors: what `Batch` holds, from what augmentation made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from whatwhere.train.augment import Sample
from whatwhere.train.batch import NO_CLASS, Batch, BoxTargets
from whatwhere.train.mixing import whole_targets
from whatwhere.types import Task


def collate(samples: Sequence[Sample], task: Task, classes: int, rows: tuple[int, ...]) -> Batch:
    """A batch of samples of one size.

    Args:
        samples: N of them.
        task: which targets they need.
        classes: number of classes, C.
        rows: which picture each sample is.
    """
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    if task == "detect":
        return Batch(images, boxes=box_targets(samples), rows=rows)
    if task == "classify" and all(sample.present is None for sample in samples):
        single = torch.tensor([_single(sample) for sample in samples])
        return Batch(images, classes=single, rows=rows)
    targets = [whole_targets(sample, task, classes) for sample in samples]
    present = torch.from_numpy(np.stack([present for present, _ in targets]))
    known = torch.from_numpy(np.stack([known for _, known in targets]))
    return Batch(images, present=present, known=known, rows=rows)


def _single(sample: Sample) -> int:
    """The class of a picture; `NO_CLASS` if it has no label or one that is to be ignored."""
    classes = sample.classes[~sample.ignore]
    return int(classes[0]) if classes.size else NO_CLASS


def box_targets(samples: Sequence[Sample]) -> BoxTargets:
    """Boxes of all samples, padded to the largest number of a picture."""
    most = max(len(sample.classes) for sample in samples)
    boxes = torch.zeros(len(samples), most, 4)
    classes = torch.zeros(len(samples), most, dtype=torch.int64)
    valid = torch.zeros(len(samples), most, dtype=torch.bool)
    ignore = torch.zeros(len(samples), most, dtype=torch.bool)
    for i, sample in enumerate(samples):
        n = len(sample.classes)
        boxes[i, :n] = torch.from_numpy(sample.boxes)
        classes[i, :n] = torch.from_numpy(sample.classes)
        ignore[i, :n] = torch.from_numpy(sample.ignore)
        valid[i, :n] = True
    said = None
    if any(sample.said is not None for sample in samples):
        said = torch.full((len(samples), most), torch.nan)
        for i, sample in enumerate(samples):
            if sample.said is not None:
                said[i, : len(sample.said)] = torch.from_numpy(sample.said)
    known = [sample.known for sample in samples]
    if all(part is None for part in known):
        return BoxTargets(boxes, classes, valid, ignore, said=said)
    width = next(len(part) for part in known if part is not None)
    rows = [np.ones(width, bool) if part is None else part for part in known]
    every = torch.from_numpy(np.stack(rows))
    return BoxTargets(boxes, classes, valid, ignore, every, said=said)
