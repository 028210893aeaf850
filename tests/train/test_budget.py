"""A run keeps to its budget: the plan at its start, and what happens when it is too slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import whatwhere.train.begin as begin
import whatwhere.train.budget as budget_module
from train_data import Notes
from whatwhere.data import read
from whatwhere.train.begin import begin_run, share_out
from whatwhere.train.budget import Pace, StepCost, planned
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import WEIGHTS, State
from whatwhere.train.network import Step, build
from whatwhere.train.prepare import complete, split_data
from whatwhere.train.processes import make_fabric
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
    for module in (begin, budget_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=made))
    return made


@pytest.mark.parametrize(
    ("budget", "step", "check"),
    [(600, 1.0, 0.1), (60, 0.2, 0.05), (600, 30.0, 0.1), (3600, 0.1, 20.0), (60, 5.0, 1.0)],
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
    """`step` seconds a pass, `check` seconds to score a picture; two passes a step."""
    data = read(workshop / "animals")
    config = replace(classifier_config, epochs=0, budget=float(budget), batch=2, accumulate=2)
    config = complete(config, data)
    training, held = split_data(data, config)
    net = build(config, ("a", "b"))
    samples = Samples(training, (64, 64), config)
    spec = SimpleNamespace(preprocess=SimpleNamespace(build=lambda: None))
    validation = Validation(held, spec, 0)  # type: ignore[arg-type]
    module = Step(net).train()
    forward = module.forward

    def slow(batch: Any) -> Any:
        clock.now += step / 2
        assert len(batch.images) == 2
        return forward(batch)

    def score(self: Validation, *rest: Any) -> None:
        clock.now += check * len(self)

    monkeypatch.setattr(module, "forward", slow)
    monkeypatch.setattr(Validation, "predictions", score)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    notes = Notes()
    started = clock.now
    state = begin_run(module, samples, validation, config, make_fabric(config), started, notes)
    plan = state.plan
    assert (state.batch, state.accumulate) == (2, 2)
    assert plan.epochs >= 1
    assert plan.steps_per_epoch >= 1
    assert plan.step == 0
    spent = clock.now - started
    validations = plan.epochs // state.every
    finale = state.costs["finale"]
    assert finale > 2 * check * len(held) + 3
    whole = spent + plan.total * step + (validations - 1) * check * len(held) + finale
    if plan.total > 1:
        assert whole <= budget
        # What is kept back: 1 %, a step's 5 %, and a step that does not fit any more.
        assert whole >= 0.93 * budget - 2 * step - check * len(held)
    assert "fit in the budget" in notes.said[0]
    # The trial leaves no trace.
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_epochs_that_were_asked_for_are_not_planned() -> None:
    state = planned(3, TrainConfig(epochs=60), {}, 0.0)
    assert (state.plan.steps_per_epoch, state.plan.epochs, state.every) == (3, 60, 2)
    assert state.plan.total == 180


@pytest.mark.parametrize(
    ("batch", "accumulate", "pictures", "ranks", "expected"),
    [
        (16, 1, 100, 1, (16, 1)),
        (16, 1, 10, 1, (10, 1)),
        (16, 1, 1, 1, (2, 1)),
        (4, 4, 100, 1, (4, 4)),
        (4, 4, 12, 1, (4, 3)),
        (4, 4, 1, 1, (2, 1)),
        (16, 1, 11, 2, (12, 1)),
        (6, 3, 100, 3, (6, 3)),
    ],
)
def test_a_step_has_no_more_pictures_than_there_are(
    batch: int, accumulate: int, pictures: int, ranks: int, expected: tuple[int, int]
) -> None:
    config = TrainConfig(batch=batch, accumulate=accumulate)
    assert share_out(config, pictures, ranks) == expected


def _steps(pace: Pace, state: State, clock: Clock, seconds: float, until: int) -> list[str]:
    """Take steps of so many seconds each, as the loop does."""
    said = []
    plan = state.plan
    while plan.step < min(until, plan.total):
        clock.now += seconds
        pace.step(plan.progress)
        plan.advance()
        if pace.due(plan) and (text := pace.keep(state, pace.possible(state))):
            said.append(text)
        state.epoch = plan.step // plan.steps_per_epoch
    return said


@pytest.mark.parametrize("epochs", [20, 2])
def test_a_slow_machine_shortens_the_plan(epochs: int, clock: Clock) -> None:
    """Planned for a second a step and twenty for the end; in fact, two seconds."""
    pace = Pace(220.0, clock.now, StepCost(TrainConfig()), finale=20.0)
    state = State(Plan(200 // epochs, epochs))
    started = clock.now
    said = _steps(pace, state, clock, 2.0, 1000)
    assert 0.95 * 220 <= clock.now - started + 20 <= 220
    assert state.plan.progress == 1.0
    assert said[0] == f"slower than planned: {state.plan.total} steps in all" or len(said) > 1


def test_a_machine_that_becomes_slow_late(clock: Clock) -> None:
    pace = Pace(1000.0, clock.now, StepCost(TrainConfig()))
    state = State(Plan(10, 99))
    started = clock.now
    assert _steps(pace, state, clock, 1.0, 700) == []
    assert state.plan.total == 990
    said = _steps(pace, state, clock, 1.5, 1000)
    assert said
    assert 0.95 * 1000 <= clock.now - started <= 1.01 * 1000
    assert state.plan.step == state.plan.total < 990


def test_validations_of_uneven_length_do_not_add_up() -> None:
    pace = Pace(1000.0, 0.0, StepCost(TrainConfig()), check=2.0, finale=10.0)
    for _ in range(50):
        for seconds in (3.0, 2.0):
            pace.validated(seconds)
    # The first one's second comes once more when the model file is scored.
    assert pace.finale == 12.0
    pace.validated(5.0)
    assert pace.finale == 14.0


def test_a_run_on_time_is_left_alone(clock: Clock) -> None:
    pace = Pace(100.0, clock.now, StepCost(TrainConfig()))
    state = State(Plan(10, 20))
    assert _steps(pace, state, clock, 0.49, 1000) == []
    assert state.plan.total == 200


def test_a_short_stall_costs_little(clock: Clock) -> None:
    """Ten seconds at one look are no reason to take all steps for slow."""
    pace = Pace(1000.0, clock.now, StepCost(TrainConfig()))
    state = State(Plan(10, 90))
    _steps(pace, state, clock, 1.0, 100)
    clock.now += 10
    _steps(pace, state, clock, 1.0, 1000)
    assert state.plan.total >= 870


def test_a_body_that_stands_still_is_no_sign_of_speed(clock: Clock) -> None:
    """The first half of the steps costs half as much as the second."""
    state = State(Plan(10, 20))
    pace = Pace(160.0, clock.now, StepCost(TrainConfig(frozen=0.5), light=0.5))
    while state.plan.step < state.plan.total:
        still = state.plan.progress < 0.5
        clock.now += 0.5 if still else 1.0
        pace.step(state.plan.progress)
        state.plan.advance()
        if pace.due(state.plan):
            assert pace.keep(state, pace.possible(state)) is None
    assert state.plan.total == 200
    assert pace.cost_left(Plan(10, 20)) == pytest.approx(150)


def test_small_inputs_are_no_sign_of_speed(clock: Clock) -> None:
    """From 64 to 128 pixels; the smallest steps cost a quarter."""
    config = TrainConfig(height=128, width=128, grow=0.5, mosaic_until=0.8)
    cost = StepCost(config, small=0.25)
    assert [cost.at(p) for p in (0.0, 0.4, 0.8, 1.0)] == pytest.approx([0.25, 0.5625, 1.0, 1.0])
    assert 0.6 < cost.mean() < 0.7
    assert cost.mean(0.8) == pytest.approx(1.0)
    state = State(Plan(10, 20))
    pace = Pace(1.001 * 200 * cost.mean() / (1 - 0.01), clock.now, cost)
    while state.plan.step < state.plan.total:
        clock.now += cost.at(state.plan.progress)
        pace.step(state.plan.progress)
        state.plan.advance()
        if pace.due(state.plan):
            assert pace.keep(state, pace.possible(state)) is None
    assert state.plan.total == 200


def test_dear_validations_are_rare_and_counted() -> None:
    """A validation of 20 s after epochs of 10 s: each 25th; all of it fits."""
    seconds = {"step": 1.0, "light": 1.0, "small": 1.0, "check": 20.0, "finale": 50.0}
    state = planned(10, TrainConfig(budget=3600.0), seconds, 100.0)
    assert state.every == 25
    whole = 100 + state.plan.total + (state.plan.epochs // state.every) * 20 + 50
    assert 0.97 * 3600 <= whole <= 3600


def test_a_set_too_large_for_the_budget_gets_part_of_a_pass() -> None:
    seconds = {"step": 1.0, "light": 1.0, "small": 1.0, "check": 1.0, "finale": 10.0}
    state = planned(5000, TrainConfig(budget=100.0), seconds, 10.0)
    assert 75 <= state.plan.total <= 79
    assert state.plan.epochs == 1


def test_a_part_of_an_epoch_at_the_end() -> None:
    """Passes of 60 s in 100 s: one and a part, not one."""
    seconds = {"step": 1.0, "light": 1.0, "small": 1.0, "check": 0.1, "finale": 2.0}
    state = planned(60, TrainConfig(budget=100.0), seconds, 0.0)
    assert state.plan.epochs == 2
    assert [state.plan.steps_of(0), state.plan.steps_of(1)] == [60, state.plan.total - 60]
    assert 92 <= state.plan.total <= 97


def test_a_run_within_a_budget(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    """With a budget below what anything takes, the least is done: one step."""
    config = replace(classifier_config, epochs=0, budget=1.0)
    state = fit(workshop / "animals", config, tmp_path / "run")
    assert state.plan.total == 1
    assert state.plan.progress == 1.0
    assert (tmp_path / "run" / WEIGHTS).exists()


def test_what_was_spent_before_counts(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    """Reading the data, and importing torch, are part of the budget."""
    config = replace(classifier_config, epochs=0, budget=900.0)
    began = time.monotonic() - 900
    state = fit(workshop / "animals", config, tmp_path / "run", started=began)
    assert state.plan.total == 1
    assert state.elapsed > 900
