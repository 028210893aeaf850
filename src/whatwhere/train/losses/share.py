"""Losses that are divided by a count of the whole step, over several processes."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def over_processes(total: Tensor, least: float = 0.0) -> Tensor:
    """This process's share of a count that a loss is divided by.

    Gradients are averaged over processes. Divided by the mean of all counts, not by its own,
    the losses of several processes average to what one process would find for all pictures.

    Args:
        total: a scalar without gradient: objects, known pictures, target scores.
        least: smallest value of the sum over all processes.

    Returns:
        The sum over processes, at least `least`, divided by their number. Every process must
        call it equally often.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return total.clamp(min=least)
    whole = total.detach().clone()
    dist.all_reduce(whole)
    return whole.clamp(min=least) / dist.get_world_size()


def shared(parts: dict[str, Tensor], count: Tensor) -> dict[str, Tensor]:
    """Losses of a library that divided them by its own count, over several processes.

    Args:
        parts: scalars that were divided by `count`, or by 1 where it is 0.
        count: a scalar, of this process.

    Returns:
        The same, divided by `over_processes` of the count.
    """
    factor = count.clamp(min=1) / over_processes(count.float(), 1.0)
    return {name: value * factor for name, value in parts.items()}
