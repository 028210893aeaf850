"""A run keeps to its budget: the plan at its start, and what happens when it is too slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import whatwhere.train.loop as loop
from train_data import Notes
from whatwhere.data import read
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import WEIGHTS, State
from whatwhere.train.network import Step, build
from whatwhere.train.prepare import complete, make_fabric, split_data
from whatwhere.train.samples import Samples
from whatwhere.train.schedule import Plan
from whatwhere.train.validate import Validation

Fit = Callable[..., State]


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=made))
    return made


@pytest.mark.parametrize(
    ("budget", "step", "check"),
    [(600, 1.0, 0.1), (60, 0.2, 0.05), (600, 30.0, 0.1), (3600, 0.1, 20.0), (30, 5.0, 1.0)],
)
def test_a_plan_fits_in_its_budget(
    budget: float,
    step: float,
    check: float,
    clock: Clock,
    classifier_config: TrainConfig,
    workshop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`step` seconds a step, `check` seconds to score a picture."""
    data = read(workshop / "animals")
    config = complete(replace(classifier_config, epochs=0, budget=float(budget)), data)
    training, held = split_data(data, config)
    net = build(config, ("a", "b"))
    samples = Samples(training, (64, 64), config)
    spec = SimpleNamespace(preprocess=SimpleNamespace(build=lambda: None))
    validation = Validation(held, spec, 0)  # type: ignore[arg-type]
    module = Step(net).train()

    def slow(batch: Any) -> Any:
        clock.now += step
        return module(batch)

    def score(self: Validation, *rest: Any) -> None:
        clock.now += check * len(self)

    monkeypatch.setattr(Validation, "predictions", score)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    notes = Notes()
    started = clock.now
    state = loop._plan(slow, net, samples, validation, config, make_fabric(config), started, notes)
    plan = state.plan
    assert plan.epochs >= 1
    assert plan.steps_per_epoch >= 1
    assert plan.step == 0
    spent = clock.now - started
    validations = -(-plan.epochs // state.every)
    whole = spent + plan.total * step + validations * check * len(held)
    if plan.total > 1:
        assert whole <= budget
        if plan.steps_per_epoch == 3:
            # What is kept back: 4 %, the export, the validations, and a step's 5 %.
            assert whole >= 0.8 * budget - 12 - 2 * check * len(held) - 3 * step
    assert "fit in the budget" in notes.said[0]
    # The trial leaves no trace.
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_epochs_that_were_asked_for_are_not_planned(classifier_config: TrainConfig) -> None:
    samples = type("Ten", (), {"__len__": lambda self: 10})()
    config = replace(classifier_config, epochs=60, batch=4)
    state = loop._plan(None, None, samples, None, config, None, 0.0, Notes())  # type: ignore[arg-type]
    assert (state.plan.steps_per_epoch, state.plan.epochs, state.every) == (3, 60, 2)


def test_a_slow_machine_shortens_the_plan(clock: Clock) -> None:
    config = TrainConfig(budget=100.0)
    state = State(Plan(10, 20))
    notes = Notes()
    started, sitting = clock.now, (0, clock.now)
    # Planned: 20 epochs of 4 s. In fact: 8 s.
    while state.epoch < state.plan.epochs:
        for _ in range(10):
            state.plan.advance()
        clock.now += 8
        state.epoch += 1
        loop._shorten(state, config, started, sitting, notes)
    assert clock.now - started <= 100
    assert clock.now - started >= 70
    assert state.plan.progress == 1.0
    assert notes.said[0] == "slower than planned: 11 epochs in all"


def test_a_run_on_time_is_left_alone(clock: Clock) -> None:
    state = State(Plan(10, 20), epoch=10)
    clock.now += 40
    loop._shorten(state, TrainConfig(budget=100.0), 1000.0, (0, 1000.0), Notes())
    assert state.plan.epochs == 20
    # Nor is one without a budget, however slow.
    clock.now += 1e6
    for config in (TrainConfig(epochs=20), TrainConfig()):
        loop._shorten(state, config, 1000.0, (0, 1000.0), Notes())
        assert state.plan.epochs == 20


def test_a_resumed_sitting_is_measured_by_itself(clock: Clock) -> None:
    """Nine epochs were done in another sitting; they say nothing about this machine."""
    state = State(Plan(10, 20), epoch=12)
    started, sitting = clock.now - 45, (9, clock.now)
    clock.now += 12
    loop._shorten(state, TrainConfig(budget=100.0), started, sitting, Notes())
    assert state.plan.epochs == 20
    clock.now += 18
    loop._shorten(state, TrainConfig(budget=100.0), started, sitting, Notes())
    assert state.plan.epochs == 13, "at least one epoch more, so that the rate falls to its end"


def test_a_run_within_a_budget(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    """With a budget below what anything takes, the least is done: one epoch."""
    config = replace(classifier_config, epochs=0, budget=1.0)
    state = fit(workshop / "animals", config, tmp_path / "run")
    assert state.plan.epochs == 1
    assert state.plan.progress == 1.0
    assert (tmp_path / "run" / WEIGHTS).exists()
