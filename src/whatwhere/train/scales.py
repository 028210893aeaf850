"""Inputs of other sizes: varied, so that size matters less, or growing, to save time."""

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
    """Refuse other sizes for a network that is built for one.

    Raises:
        UsageError: the backbone takes one size alone.
    """
    name = "multi_scale" if config.multi_scale else "grow" if config.grow < 1 else ""
    about = timm.get_pretrained_cfg(config.backbone) if name else None
    if about is not None and about.fixed_input_size:
        raise UsageError(
            f"{name} changes the input's size, but {config.backbone} is built for one: leave"
            f" {name} out, or use a convolutional backbone"
        )


def grown_size(config: TrainConfig, progress: float) -> tuple[int, int]:
    """(height, width) in pixels, multiples of 32, of an input that grows; the model's at last.

    Small inputs at first are the idea of Howard, fastai's entry to DAWNBench, 2018, and of Tan and
    Le, EfficientNetV2, ICML 2021, section 4.2.

    Args:
        config: settings with `height`, `width`, `grow` and `mosaic_until`.
        progress: of the run, in 0..1.
    """
    if config.grow >= 1 or progress >= config.mosaic_until:
        return config.height, config.width
    return _scaled(config, config.grow + (1 - config.grow) * progress / config.mosaic_until)


def step_size(config: TrainConfig, epoch: int, step: int, progress: float) -> tuple[int, int]:
    """(height, width) of a step's input in pixels, multiples of 32; follows from the seed.

    Args:
        config: settings with `height`, `width`, `multi_scale` and `grow`.
        epoch: its number.
        step: of the run.
        progress: of the run, in 0..1.
    """
    if not config.multi_scale or progress >= config.mosaic_until:
        return grown_size(config, progress)
    random = np.random.default_rng([config.seed, epoch, step, 2])
    factor = 1 + config.multi_scale * random.uniform(-1, 1)
    if config.grow < 1:
        factor *= config.grow + (1 - config.grow) * progress / config.mosaic_until
    return _scaled(config, factor)


def _scaled(config: TrainConfig, factor: float) -> tuple[int, int]:
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
