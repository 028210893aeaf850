"""The training loop: one for all tasks, to be read from top to bottom."""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from whatwhere.errors import TrainError
from whatwhere.images import write_atomic
from whatwhere.train.checkpoint import (
    load_tensors,
    optimizer_tensors,
    pack,
    restore_optimizer,
    save_tensors,
    unpack,
)
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import Network
from whatwhere.train.network import Step, parameter_groups
from whatwhere.train.samples import Samples
from whatwhere.train.schedule import Average, Plan, learning_rate, warmup_share
from whatwhere.train.validate import Validation
from whatwhere.train.watch import Watcher

CHECKPOINT = "last.ckpt"
WEIGHTS = "model.safetensors"
METRICS = "metrics.csv"

# Share of the time that validation may take before it is done less often than each epoch.
_VALIDATION_SHARE = 0.08
# Share of the budget after which a trial of slow steps is cut short.
_TRIAL_SHARE = 0.1
# A budget is planned a little short, since machines slow down and the export comes after.
_RESERVE = 0.04


class Listener(Protocol):
    """Who watches the training: a progress bar, a log, nobody."""

    def note(self, text: str) -> None:
        """Something to say."""

    def steps(self, done: int, total: int, about: str) -> None:
        """How far training is."""


@dataclass(slots=True)
class State:
    """What a run needs to go on, beside the weights.

    Args:
        plan: steps done and to do.
        epoch: epochs done.
        every: validate after each so many epochs.
        best, best_epoch: the best value of the primary metric so far, and when.
        warmup: share of the run in which the rate rises.
        elapsed: seconds spent, over all sittings.
        rows: of `metrics.csv`.
    """

    plan: Plan
    epoch: int = 0
    every: int = 1
    best: float = -1.0
    best_epoch: int = 0
    warmup: float = 0.05
    elapsed: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        plan = self.plan
        return {
            "steps_per_epoch": plan.steps_per_epoch,
            "epochs": plan.epochs,
            "step": plan.step,
            "progress": plan.progress,
            "epoch": self.epoch,
            "every": self.every,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "warmup": self.warmup,
            "elapsed": self.elapsed,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> State:
        """What `to_dict` gave."""
        rest = dict(values)
        plan = Plan(*(rest.pop(name) for name in ("steps_per_epoch", "epochs", "step", "progress")))
        return cls(plan, **rest)


def fit(
    net: Network,
    samples: Samples,
    validation: Validation,
    config: TrainConfig,
    fabric: Fabric,
    folder: Path,
    listener: Listener,
    *,
    started: float,
    resume: bool = False,
    watchers: Sequence[Watcher] = (),
    stop_after: Callable[[State], bool] = lambda state: False,
) -> State:
    """Train a network; its best averaged weights are left in `folder/model.safetensors`.

    Args:
        net: from `network.build`.
        samples: training set.
        validation: validation set.
        config: settings.
        fabric: launched; carries device and precision.
        folder: of the run; `last.ckpt` and `metrics.csv` are renewed after each epoch.
        listener: is told what happens.
        started: `time.monotonic()` when the run began, for the budget.
        resume: go on from `last.ckpt`.
        watchers: are shown what happens.
        stop_after: asked after each epoch; True ends this sitting.

    Raises:
        TrainError: the loss is not a number, or the checkpoint is damaged or of another run.
    """
    average = Average(net)
    module = Step(net).train()
    optimizer = torch.optim.AdamW(parameter_groups(net, config), lr=config.rate)
    step_module, optimizer = fabric.setup(module, optimizer)
    if resume:
        state = _restore(folder / CHECKPOINT, net, average, optimizer)
        started -= state.elapsed
    else:
        state = _plan(step_module, net, samples, validation, config, fabric, started, listener)
        state.warmup = warmup_share(config.warmup, state.plan.total)
    plan = state.plan
    if watchers and state.epoch < plan.epochs:
        use_mosaic = plan.progress < config.mosaic_until
        first = next(iter(samples.epoch(state.epoch, 1, use_mosaic)))
        for watcher in watchers:
            watcher.started(config, folder, first, validation.data.names)
    sitting = state.epoch, time.monotonic()

    while state.epoch < plan.epochs:
        # All that is random in an epoch follows from the seed and its number, so a resumed
        # run repeats a cut-off epoch exactly.
        torch.manual_seed(config.seed * 1_000_003 + state.epoch)
        module.train()
        losses: dict[str, float] = {}
        use_mosaic = plan.progress < config.mosaic_until
        for batch in samples.epoch(state.epoch, plan.steps_per_epoch, use_mosaic):
            rate = config.rate * learning_rate(plan.progress, state.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            loss, parts = step_module(batch.to(fabric.device))
            if not torch.isfinite(loss):
                raise TrainError(
                    f"the loss became {loss.item()} in epoch {state.epoch + 1}, step"
                    f" {plan.step + 1}: use a lower rate (--set rate={config.rate / 3:.2g}) or"
                    " --set precision=32-true"
                )
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric.clip_gradients(step_module, optimizer, max_norm=config.clip)
            optimizer.step()
            average.update(net)
            plan.advance()
            for name, value in parts.items():
                losses[name] = losses.get(name, 0.0) + float(value)
            listener.steps(plan.step, plan.total, f"loss {float(loss.detach()):.3f}")

        state.epoch += 1
        row: dict[str, float] = {"epoch": state.epoch, "rate": rate}
        row |= {name: value / plan.steps_per_epoch for name, value in losses.items()}
        _shorten(state, config, started, sitting, listener)
        if state.epoch % state.every == 0 or state.epoch == plan.epochs:
            numbers = validation.score(average.net, fabric, config.batch)
            for watcher in watchers:
                watcher.validated(state.epoch, validation.data, validation.predicted)
            row |= numbers
            # The later of two equal epochs has seen more.
            if (value := numbers.get(validation.primary, 0.0)) >= state.best:
                state.best, state.best_epoch = value, state.epoch
                save_tensors(folder / WEIGHTS, average.net.state_dict(), {"epoch": state.epoch})
            listener.note(
                f"epoch {state.epoch}/{plan.epochs}: "
                f"{validation.primary} {value:.4f} (best {state.best:.4f})"
            )
        state.rows.append(row)
        for watcher in watchers:
            watcher.epoch(row)
        state.elapsed = time.monotonic() - started
        _write_metrics(folder / METRICS, state.rows)
        save_tensors(
            folder / CHECKPOINT,
            pack("net", net.state_dict())
            | pack("average", average.net.state_dict())
            | pack("optimizer", optimizer_tensors(optimizer.optimizer)),
            {"state": state.to_dict(), "updates": average.updates, "config": config.to_dict()},
        )
        if stop_after(state):
            break
    return state


def _plan(
    step_module: Any,
    net: Network,
    samples: Samples,
    validation: Validation,
    config: TrainConfig,
    fabric: Fabric,
    started: float,
    listener: Listener,
) -> State:
    """How many epochs: as asked, or as many as fit in the budget by a short trial."""
    steps = -(-len(samples) // config.batch)
    if config.epochs:
        every = max(1, config.epochs // 25)
        return State(Plan(steps, config.epochs), every=every)
    before = deepcopy(net.state_dict())
    times = []
    trial = samples.epoch(0, 9, True)
    begin = time.monotonic()
    for batch in trial:
        loss, _ = step_module(batch.to(fabric.device))
        fabric.backward(loss)
        times.append(time.monotonic() - begin)
        if len(times) >= 3 and sum(times) > _TRIAL_SHARE * config.budget:
            break
        begin = time.monotonic()
    net.zero_grad(set_to_none=True)
    net.load_state_dict(before)
    # The first steps build kernels; the optimiser and the average come on top.
    step_time = 1.05 * statistics.median(times[len(times) // 2 :])
    begin = time.monotonic()
    net.eval()
    part = Validation(
        validation.data.select(range(min(len(validation), 2 * config.batch))),
        validation._spec,
        0,
    )
    part.predictions(net, fabric, config.batch)
    check_time = (time.monotonic() - begin) * len(validation) / max(1, len(part))
    left = config.budget * (1 - _RESERVE) - (time.monotonic() - started) - 2 * check_time - 12
    usable = left * (1 - _VALIDATION_SHARE)
    possible = max(1, int(usable / step_time))
    # A set too large for one pass in the budget gets part of a pass.
    steps = min(steps, possible)
    epochs = max(1, possible // steps)
    share = check_time / (steps * step_time) / _VALIDATION_SHARE
    every = min(epochs, max(1, round(share), epochs // 40))
    listener.note(
        f"{step_time * 1000:.0f} ms a step of {config.batch}: {epochs} epochs of {steps} steps"
        f" fit in the budget of {config.budget:.0f} s"
    )
    return State(Plan(steps, epochs), every=every)


def _shorten(
    state: State,
    config: TrainConfig,
    started: float,
    sitting: tuple[int, float],
    listener: Listener,
) -> None:
    """Take epochs out of the plan when the machine is slower than the trial promised.

    Args:
        sitting: epochs done and the time when this sitting began.
    """
    plan = state.plan
    done = state.epoch - sitting[0]
    # The first epochs still build kernels and fill caches; they are no measure.
    if not config.budget or config.epochs or done < 3 or state.epoch >= plan.epochs:
        return
    now = time.monotonic()
    per_epoch = (now - sitting[1]) / done
    left = config.budget * (1 - _RESERVE / 2) - 8 - (now - started)
    possible = max(0, int(left / per_epoch))
    if possible < (plan.epochs - state.epoch) * 0.97 - 1:
        plan.epochs = state.epoch + max(1, possible)
        listener.note(f"slower than planned: {plan.epochs} epochs in all")


def _restore(
    path: Path, net: nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> State:
    tensors, about = load_tensors(path)
    try:
        net.load_state_dict(unpack("net", tensors))
        average.net.load_state_dict(unpack("average", tensors))
        restore_optimizer(getattr(optimizer, "optimizer", optimizer), unpack("optimizer", tensors))
        average.updates = int(about["updates"])
        return State.from_dict(about["state"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise TrainError(
            f"{path} belongs to another network or version ({first}): start the run again"
        ) from error


def _write_metrics(path: Path, rows: list[dict[str, float]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {name: value if name == "epoch" else f"{value:.6g}" for name, value in row.items()}
        )
    write_atomic(path, text.getvalue())
