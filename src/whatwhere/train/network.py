"""The network of a run, and what its training steps work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import DEFAULT_MODELS, Family, Network, find_model
from whatwhere.train.start import starting_body

# Pixels of a side up to which a step on a CPU is computed in float32. oneDNN's bfloat16 weight
# gradient of strided convolutions is wrong on maps of one or two columns, as they are at stride 32
# then: it holds memory that nobody wrote.
_TINY = 64


def family_of(config: TrainConfig) -> Family:
    """The family of a run's model."""
    return find_model(config.model or DEFAULT_MODELS[config.task])[0]


def build(config: TrainConfig, names: tuple[str, ...], *, weights: bool = True) -> Network:
    """The network of a run, in channels-last memory, which oneDNN and cuDNN prefer.

    Args:
        config: settings.
        names: of the classes.
        weights: False where all weights are put in afterwards, so that none need be had.

    Raises:
        TrainError: the backbone is unknown or its weights cannot be had.
        MissingExtraError: the family needs an install that is not there.
    """
    torch.manual_seed(config.seed)
    with starting_body(config, weights):
        net = family_of(config).build(config, names)
    if not weights and config.start:
        net.source, net.license = f"the weights of {Path(config.start).name}", "unknown"
    return net.to(memory_format=torch.channels_last)


def architecture(config: TrainConfig) -> str:
    """Model and backbone, for `ModelSpec.architecture`."""
    return f"{config.model or DEFAULT_MODELS[config.task]}:{config.backbone}"


class Step(nn.Module):
    """The network with its loss: one module, so that all of it runs under Fabric's precision.

    Args:
        net: made by `build`.
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its parts for the log."""
        device = batch.images.device.type
        if device == "cpu" and min(batch.images.shape[1:3]) <= _TINY:
            with torch.autocast(device, enabled=False):
                return self.net.loss(batch)
        return self.net.loss(batch)


def parameter_groups(net: Network, config: TrainConfig) -> list[dict[str, Any]]:
    """AdamW groups: pretrained body and new layers; no weight decay on norms and biases.

    Beside what AdamW takes, each has its `share` of the rate and whether it is of the `body`.
    """
    body = {id(p) for p in net.body()} if config.pretrained or config.start else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in net.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in body, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "share": config.backbone_rate if in_body else 1.0,
            "body": in_body,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (in_body, decays), parameters in groups.items()
    ]
