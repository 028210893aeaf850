"""How far training has come, how fast it learns there, and what is averaged."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class Plan:
    """Steps done and to do; a step is one of the optimizer, over however many passes.

    `progress` runs from 0 to 1 and every schedule is a function of it alone. When a run
    turns out slower than planned, the plan is shortened and progress goes on from where it
    is, in larger strides, so that the learning rate never jumps.

    Args:
        steps_per_epoch: of a whole epoch.
        epochs: how many, the last one perhaps cut short.
        step: steps done.
        progress: in 0..1.
        cut: steps left out of the last epoch.
    """

    steps_per_epoch: int
    epochs: int
    step: int = 0
    progress: float = 0.0
    cut: int = 0

    @classmethod
    def of(cls, steps_per_epoch: int, total: int) -> Plan:
        """A plan of so many steps in all."""
        epochs = -(-total // steps_per_epoch)
        return cls(steps_per_epoch, epochs, cut=epochs * steps_per_epoch - total)

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.epochs - self.cut

    def steps_of(self, epoch: int) -> int:
        """Steps of an epoch, by the number of epochs before it."""
        return min(self.steps_per_epoch, self.total - epoch * self.steps_per_epoch)

    def shorten(self, total: int) -> None:
        """Take steps off the end; at least those that are done stay."""
        total = max(total, self.step, 1)
        self.epochs = -(-total // self.steps_per_epoch)
        self.cut = self.epochs * self.steps_per_epoch - total

    def advance(self) -> None:
        """One step done."""
        left = self.total - self.step
        self.progress = 1.0 if left <= 1 else self.progress + (1 - self.progress) / left
        self.step += 1


def warmup_share(asked: float, total: int) -> float:
    """Share of `total` steps in which the rate rises: at least 50 of them in a short run.

    Adam's first steps are as large as its rate, whatever the gradient. After too few of them
    at small rates, the frozen norms of a pretrained network were seen to let all features die.

    Args:
        asked: share from the settings; 0 for no warm-up at all.
        total: steps of the run.
    """
    return asked and max(asked, min(0.3, 50 / total))


def learning_rate(progress: float, warmup: float) -> float:
    """Share of the peak rate: a straight rise during `warmup`, then half a cosine to 1 %."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    position = (progress - warmup) / (1 - warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * position)) / 2


class Average:
    """Exponential moving average of a network's weights.

    Its memory grows with the run: after n steps it spans about the last n / 9 of them, at
    most 5,000. So it suits runs of a hundred steps as well as of a million, without a setting.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = deepcopy(net).eval().requires_grad_(False)
        self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move towards the network's present weights."""
        self.updates += 1
        keep = min(0.9998, (1 + self.updates) / (10 + self.updates))
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        present = net.state_dict()
        for name, value in self.net.state_dict().items():
            if value.dtype.is_floating_point:
                ours.append(value)
                theirs.append(present[name])
            else:
                value.copy_(present[name])
        torch._foreach_lerp_(ours, theirs, 1 - keep)
