"""The training loop: one for all tasks, to be read from top to bottom."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from whatwhere.images import write_atomic
from whatwhere.train.batch import Batch
from whatwhere.train.begin import begin_run, share_out
from whatwhere.train.body import Body, set_rates
from whatwhere.train.budget import Pace, StepCost
from whatwhere.train.checkpoint import load_run, save_run, save_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.guard import Guard
from whatwhere.train.memory import fewer_at_once
from whatwhere.train.models import Network
from whatwhere.train.network import Step, parameter_groups
from whatwhere.train.processes import from_first, share_norms
from whatwhere.train.samples import Samples
from whatwhere.train.scales import rescaled, step_size
from whatwhere.train.schedule import Average
from whatwhere.train.state import State
from whatwhere.train.validate import Validation
from whatwhere.train.watch import Listener, Watcher

__all__ = ["CHECKPOINT", "METRICS", "WEIGHTS", "Listener", "State", "fit"]

CHECKPOINT = "last.ckpt"
WEIGHTS = "model.safetensors"
METRICS = "metrics.csv"


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
    begun: bool = False,
    watchers: Sequence[Watcher] = (),
    planned: Callable[[State], None] = lambda state: None,
    stop_after: Callable[[State], bool] = lambda state: False,
) -> State:
    """Train a network; its best averaged weights are left in `folder/model.safetensors`.

    With several processes, all of them call this; the first one alone writes and speaks.

    Args:
        net: from `network.build`.
        samples: training set.
        validation: validation set.
        config: settings.
        fabric: launched; carries devices and precision.
        folder: of the run; `last.ckpt` and `metrics.csv` are renewed after each epoch.
        listener: is told what happens.
        started: `time.monotonic()` when the run began, for the budget.
        resume: go on from `last.ckpt`.
        begun: the network answers already; training that only harms it keeps what it was.
        watchers: are shown what happens.
        planned: is told the plan, at the start and when the batch changes.
        stop_after: asked after each epoch; True ends this sitting.

    Raises:
        TrainError: the loss is not a number, a single picture does not fit in memory, or the
            checkpoint is damaged or of another run.
        WhatwhereError: the disk is full; the checkpoint before stays.
    """
    rank, ranks, first = fabric.global_rank, fabric.world_size, fabric.is_global_zero
    module = Step(share_norms(net, fabric)).train()
    fabric.to_device(module)
    average = Average(net)
    optimizer = torch.optim.AdamW(parameter_groups(net, config), lr=config.rate)
    if resume:
        state = load_run(folder / CHECKPOINT, net, average, optimizer, fabric)
        started -= state.elapsed
        if not state.batch:  # A checkpoint of the first version.
            state.batch, state.accumulate = share_out(config, len(samples), ranks)
    else:
        state = begin_run(module, samples, validation, config, fabric, started, listener)
    plan = state.plan
    body = Body(net, config)
    body.settle(plan.progress)
    step_module, optimizer = fabric.setup(module, optimizer)
    guard = Guard(samples, config, state)
    costs = dict(state.costs)
    cost = StepCost(config, costs.pop("light", 1.0), costs.pop("small", 1.0))
    pace = Pace(config.budget, started, cost, **costs)
    if first:
        planned(state)
    if watchers and first and state.epoch < plan.epochs:
        mixed = plan.progress < config.mosaic_until
        shown = next(iter(samples.epoch(state.epoch, 1, mixed, pictures=state.batch)))
        for watcher in watchers:
            watcher.started(config, folder, shown, validation.data.names)

    if begun and not resume:
        asked = time.monotonic()
        numbers = validation.score(average.net, fabric, state.batch)
        pace.validated(time.monotonic() - asked)
        if _is_best(state, numbers, validation.primary) and first:
            save_tensors(folder / WEIGHTS, average.net.state_dict(), {"epoch": 0})
        listener.note(f"before the first step: {validation.primary} {state.best:.4f}")

    while state.epoch < plan.epochs:
        # All that is random in an epoch follows from the seed and its number, so a resumed
        # run repeats a cut-off epoch exactly.
        torch.manual_seed(config.seed * 1_000_003 + state.epoch + rank * 500_009)
        module.train()
        begin, losses = plan.step, dict[str, float]()
        mixed = plan.progress < config.mosaic_until
        steps = plan.steps_of(state.epoch)
        for batch in samples.epoch(
            state.epoch, steps, mixed, pictures=state.pictures, rank=rank, ranks=ranks
        ):
            if body.settle(plan.progress) and ranks > 1:
                # Which parameters have gradients is settled when processes are joined.
                step_module = fabric.setup_module(module)
            rate = set_rates(optimizer, config, plan.progress, state.warmup)
            batch = batch.to(fabric.device)
            if config.multi_scale or config.grow < 1:
                batch = rescaled(batch, step_size(config, state.epoch, plan.step, plan.progress))
            while True:
                try:
                    parts = _gradients(step_module, optimizer, batch, state, fabric, guard)
                    break
                except RuntimeError as error:
                    state.batch, state.accumulate, said = fewer_at_once(
                        error, state.batch, state.accumulate, ranks
                    )
                    listener.note(said)
                    planned(state)
            norm = fabric.clip_gradients(
                step_module, optimizer, max_norm=config.clip, error_if_nonfinite=False
            )
            guard.gradient(norm, batch)
            optimizer.step()
            average.update(net)
            pace.step(plan.progress)
            plan.advance()
            for name, value in parts.items():
                losses[name] = losses.get(name, 0.0) + value
            listener.steps(plan.step, plan.total, f"loss {parts['loss']:.3f}")
            if pace.due(plan):
                _keep_pace(pace, state, fabric, listener)
                if plan.step == plan.total:
                    break

        state.epoch += 1
        if pace.budget:
            _keep_pace(pace, state, fabric, listener)
        row: dict[str, float] = {"epoch": state.epoch, "rate": rate}
        row |= _mean_losses(losses, plan.step - begin, fabric)
        if state.epoch % state.every == 0 or state.epoch >= plan.epochs:
            asked = time.monotonic()
            numbers = validation.score(average.net, fabric, state.batch)
            pace.validated(time.monotonic() - asked)
            row |= numbers
            if _is_best(state, numbers, validation.primary) and first:
                save_tensors(folder / WEIGHTS, average.net.state_dict(), {"epoch": state.epoch})
            value = numbers.get(validation.primary, 0.0)
            listener.note(
                f"epoch {state.epoch}/{plan.epochs}: "
                f"{validation.primary} {value:.4f} (best {state.best:.4f})"
            )
            if 0 < config.patience <= state.waited and state.epoch < plan.epochs:
                plan.shorten(plan.step)
                listener.note(f"stopped: no better {validation.primary} in {state.waited} tries")
            for watcher in watchers if first else ():
                watcher.validated(state.epoch, validation.data, validation.predicted)
        state.rows.append(row)
        state.elapsed = time.monotonic() - started
        for watcher in watchers if first else ():
            watcher.epoch(row)
        if first:
            _write_metrics(folder / METRICS, state.rows)
            save_run(folder / CHECKPOINT, net, average, optimizer, fabric, state, config)
        if stop_after(state):
            break
    return state


def _gradients(
    step_module: Any,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    state: State,
    fabric: Fabric,
    guard: Guard,
) -> dict[str, float]:
    """Gradients of a step, its pictures in as many passes as the state says; mean losses."""
    optimizer.zero_grad(set_to_none=True)
    means: dict[str, float] = {}
    for number, part in enumerate(batch.cut(state.accumulate), 1):
        # Processes exchange gradients once a step, with the last pass.
        with fabric.no_backward_sync(step_module, enabled=number < state.accumulate):
            loss, parts = step_module(part)
            fabric.backward(loss / state.accumulate)
        # A GPU is waited for once a pass, when all its work is under way.
        found = parts | {"loss": loss.detach()}
        values = torch.stack([value.float() for value in found.values()]).tolist()
        guard.loss(values[-1], part)
        for name, value in zip(found, values, strict=True):
            means[name] = means.get(name, 0.0) + value / state.accumulate
    return means


def _keep_pace(pace: Pace, state: State, fabric: Fabric, listener: Listener) -> None:
    """Take steps out of the plan when the machine is slower than the trial promised."""
    if said := pace.keep(state, from_first(fabric, lambda: pace.possible(state))):
        listener.note(said)


def _mean_losses(losses: dict[str, float], steps: int, fabric: Fabric) -> dict[str, float]:
    """Means over an epoch's steps and all processes."""
    means = {name: value / steps for name, value in losses.items()}
    if fabric.world_size > 1:
        values = torch.tensor(list(means.values()), device=fabric.device)
        shared: Any = fabric.all_reduce(values, reduce_op="mean")
        means = dict(zip(means, shared.tolist(), strict=True))
    return means


def _is_best(state: State, numbers: dict[str, float], metric: str) -> bool:
    """Whether a validation is the best so far; the state is told."""
    value = numbers.get(metric, 0.0)
    # The later of two equal epochs has seen more, but does not prove that training helps.
    state.waited = 0 if value > state.best else state.waited + 1
    if value >= state.best:
        state.best, state.best_epoch = value, state.epoch
        return True
    return False


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
