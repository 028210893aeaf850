"""A pretrained body that stands still at first, and how fast each part learns."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from whatwhere.train.config import TrainConfig
from whatwhere.train.models import Network
from whatwhere.train.schedule import learning_rate


class Body:
    """The pretrained part of a network, still during the first `frozen` share of training.

    Its state follows from the progress alone, so a resumed run needs nothing else.

    Args:
        net: its body's trained parameters are remembered here.
        config: settings.
    """

    def __init__(self, net: Network, config: TrainConfig) -> None:
        self._until = config.frozen
        self._parameters = [p for p in net.body() if p.requires_grad] if config.frozen else []
        mine = {id(parameter) for parameter in self._parameters}
        self._norms = [
            module
            for module in net.modules()
            if isinstance(module, _BatchNorm)
            and any(id(parameter) in mine for parameter in module.parameters(recurse=False))
        ]
        self.still = False

    def settle(self, progress: float) -> bool:
        """Hold still or let go as the progress says; call it after `train()`, too.

        Returns:
            Whether anything changed, so that the network must be set up for it again.
        """
        still = bool(self._parameters) and progress < self._until
        changed = still != self.still
        self.still = still
        if changed:
            for parameter in self._parameters:
                parameter.requires_grad_(not still)
        for norm in self._norms:
            if still or changed:
                norm.train(not still)
        return changed


def set_rates(
    optimizer: torch.optim.Optimizer, config: TrainConfig, progress: float, warmup: float
) -> float:
    """Give each group its learning rate at a point of training; returns that of new layers.

    A body that stood still begins with a warm-up of its own: its moments start from nothing.
    """
    rate = config.rate * learning_rate(progress, warmup)
    soft = 1.0
    if config.frozen and warmup:
        soft = min(1.0, max(0.01, (progress - config.frozen) / warmup))
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"] * (soft if group["body"] else 1.0)
    return rate
