"""Before the first step: how large a batch, how many steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

from lightning_fabric import Fabric
from torch import nn

from whatwhere.train.batch import Batch
from whatwhere.train.body import Body
from whatwhere.train.budget import StepCost, planned, trial
from whatwhere.train.config import TrainConfig
from whatwhere.train.memory import (
    cpu_most,
    fewer_at_once,
    gpu_most,
    largest_batch,
)
from whatwhere.train.network import Step
from whatwhere.train.samples import Samples
from whatwhere.train.scales import grown_size, rescaled
from whatwhere.train.schedule import warmup_share
from whatwhere.train.state import State
from whatwhere.train.validate import Validation
from whatwhere.train.watch import Listener

# Seconds of an export, its comparison and the report, as measured: 8.5 of them to translate the
# 150 modules of EfficientNet-Lite0, 3 for 58 modules.
_EXPORT, _EXPORT_EACH = 3.0, 0.055


def begin_run(
    module: Step,
    samples: Samples,
    validation: Validation,
    config: TrainConfig,
    fabric: Fabric,
    started: float,
    listener: Listener,
) -> State:
    """The plan of a new run; trials of batch and speed leave no trace in the network.

    Args:
        module: on its device, not yet set up for several processes.
        samples: training set.
        validation: validation set.
        config: settings.
        fabric: launched.
        started: `time.monotonic()` when the run began.
        listener: is told what was chosen.
    """
    if not config.batch:
        with _without_trace(module):
            config = replace(config, batch=_find_batch(module, samples, config, fabric))
        listener.note(f"batch {config.batch}: as many as fit in memory and are of use")
    batch, accumulate = share_out(config, len(samples), fabric.world_size)
    seconds: dict[str, float] = {}
    if config.budget:
        with _without_trace(module):
            while True:
                try:
                    seconds = _measure(
                        module, samples, validation, config, fabric, (batch, accumulate)
                    )
                    break
                except RuntimeError as error:
                    batch, accumulate, said = fewer_at_once(
                        error, batch, accumulate, fabric.world_size
                    )
                    listener.note(said)
    steps = -(-len(samples) // (batch * accumulate))
    state = planned(steps, config, seconds, time.monotonic() - started)
    # Clocks differ between processes; the first one's plan is everybody's.
    state = fabric.broadcast(state) if fabric.world_size > 1 else state
    state.batch, state.accumulate = batch, accumulate
    state.warmup = warmup_share(config.warmup, state.plan.total)
    if config.budget:
        plan = state.plan
        listener.note(
            f"{seconds['step'] * 1000:.0f} ms a step of {state.pictures}: {plan.total} steps,"
            f" {plan.total / plan.steps_per_epoch:.1f} epochs of {plan.steps_per_epoch}, fit in"
            f" the budget of {config.budget:.0f} s"
        )
    return state


def share_out(config: TrainConfig, pictures: int, ranks: int) -> tuple[int, int]:
    """Pictures a pass and passes a step; no more than there are.

    A batch of one can leave batch norms a single value, so a lone picture comes twice.

    Args:
        config: settings with a batch.
        pictures: of the training set.
        ranks: processes, each of which gets equally many.
    """
    most = max(2, pictures)
    batch = -(-min(config.batch, most) // ranks) * ranks
    return batch, min(config.accumulate, -(-most // batch))


@contextmanager
def _without_trace(module: nn.Module) -> Iterator[None]:
    """Put weights, statistics and gradients back as they were."""
    before = deepcopy(module.state_dict())
    try:
        yield
    finally:
        module.zero_grad(set_to_none=True)
        module.load_state_dict(before)


def _pass(module: Step, batch: Batch, fabric: Fabric) -> None:
    """Forward and backward once, in the run's precision."""
    with fabric.autocast():
        loss, _ = module(batch.to(fabric.device))
    loss.backward()


def _find_batch(module: Step, samples: Samples, config: TrainConfig, fabric: Fabric) -> int:
    """The most pictures a pass, by trial on a GPU and by what is kept of each on a CPU."""

    def passes(size: int) -> None:
        module.zero_grad(set_to_none=True)
        _pass(module, next(iter(samples.epoch(0, 1, False, pictures=size))), fabric)

    if fabric.device.type == "cuda":
        return largest_batch(passes, gpu_most(len(samples)))
    most = cpu_most(config.task, len(samples), passes)
    # What a pass takes is an estimate; a failure shows where it was wrong.
    return largest_batch(passes, most, first=most)


def _measure(
    module: Step,
    samples: Samples,
    validation: Validation,
    config: TrainConfig,
    fabric: Fabric,
    passes: tuple[int, int],
) -> dict[str, float]:
    """Seconds of a step, of a validation and of all that comes after the last step."""
    batch, accumulate = passes
    body = Body(module.net, config)
    steps = samples.epoch(
        0,
        30,
        True,
        pictures=batch * accumulate,
        rank=fabric.global_rank,
        ranks=fabric.world_size,
    )

    size = config.height, config.width

    def step() -> None:
        for part in rescaled(next(steps), size).cut(accumulate):
            _pass(module, part, fabric)

    light = small = full = trial(step, fabric, config.budget)
    if config.frozen:
        body.settle(0.0)
        light = min(full, trial(step, fabric, config.budget))
        body.settle(1.0)
    if config.grow < 1:
        size = grown_size(config, 0.0)
        small = min(full, trial(step, fabric, config.budget))
    cost = StepCost(config, light / full, small / full)
    check = _time_validation(module, validation, fabric, batch)
    finale = 2 * check + _EXPORT + _EXPORT_EACH * _computing(module)
    return {
        "step": full * cost.mean(),
        "light": cost.light,
        "small": cost.small,
        "check": check,
        "finale": finale,
    }


def _time_validation(module: Step, validation: Validation, fabric: Fabric, batch: int) -> float:
    """Seconds of a validation, from a part of it."""
    count = min(len(validation), 2 * batch)
    part = validation.part(range(count))
    module.eval()
    begin = time.monotonic()
    part.predictions(module.net, fabric, batch)
    seconds = time.monotonic() - begin
    module.train()
    return seconds * len(validation) / max(1, count)


def _computing(module: nn.Module) -> int:
    """How many modules compute something themselves."""
    leaves = (part for part in module.modules() if not list(part.children()))
    return sum(not isinstance(part, nn.Identity | nn.Dropout) for part in leaves)
