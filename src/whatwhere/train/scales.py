"""Multi-scale training: each step's pictures are resized, so that size matters less."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import timm
import torch
from torch.nn import functional

from whatwhere.errors import UsageError
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig

_MULTIPLE = 32


def check_scales(config: TrainConfig) -> None:
    """Refuse multi-scale training of a network that is built for one size.

    Raises:
        UsageError: the backbone takes one size alone.
    """
    about = timm.get_pretrained_cfg(config.backbone) if config.multi_scale else None
    if about is not None and about.fixed_input_size:
        raise UsageError(
            f"multi_scale changes the input's size, but {config.backbone} is built for one: leave"
            " multi_scale out, or use a convolutional backbone"
        )


def step_size(config: TrainConfig, epoch: int, step: int) -> tuple[int, int]:
    """(height, width) of a step's input in pixels, multiples of 32; follows from the seed.

    Args:
        config: settings with `height`, `width` and `multi_scale`.
        epoch: its number.
        step: of the run.
    """
    if not config.multi_scale:
        return config.height, config.width
    random = np.random.default_rng([config.seed, epoch, step, 2])
    factor = 1 + config.multi_scale * random.uniform(-1, 1)
    height, width = (
        max(_MULTIPLE, round(side * factor / _MULTIPLE) * _MULTIPLE)
        for side in (config.height, config.width)
    )
    return height, width


def rescaled(batch: Batch, size: tuple[int, int]) -> Batch:
    """The batch with pictures of another size (height, width), boxes in the new pixels."""
    rows, columns = batch.images.shape[1:3]
    if (rows, columns) == size:
        return batch
    planes = batch.images.permute(0, 3, 1, 2).float()
    planes = functional.interpolate(planes, size=size, mode="bilinear", antialias=True)
    images = planes.round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous()
    made = copy(batch)
    made.images, boxes = images, batch.boxes
    if boxes is not None:
        factor = torch.tensor([size[1] / columns, size[0] / rows] * 2, device=boxes.boxes.device)
        made.boxes = replace(boxes, boxes=boxes.boxes * factor)
    return made
