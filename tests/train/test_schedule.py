"""Learning rate, plan and average: the arithmetic of a run."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from whatwhere.train.schedule import Average, Plan, learning_rate, warmup_share


@given(st.integers(1, 40), st.integers(1, 40))
def test_progress_runs_from_0_to_1_in_equal_strides(steps: int, epochs: int) -> None:
    plan = Plan(steps, epochs)
    for number in range(plan.total):
        assert plan.progress == pytest.approx(number / plan.total, abs=1e-9)
        plan.advance()
    assert plan.progress == 1.0
    assert plan.step == plan.total


@given(st.data())
def test_a_shortened_plan_ends_at_1_without_a_jump(data: st.DataObject) -> None:
    plan = Plan(data.draw(st.integers(1, 20), "steps"), data.draw(st.integers(3, 30), "epochs"))
    done = data.draw(st.integers(1, plan.epochs - 1), "done")
    for _ in range(done * plan.steps_per_epoch):
        plan.advance()
    before = plan.progress
    plan.epochs = data.draw(st.integers(done + 1, plan.epochs), "left")
    assert plan.progress == before
    seen = [before]
    while plan.step < plan.total:
        plan.advance()
        seen.append(plan.progress)
    assert all(a < b for a, b in itertools.pairwise(seen))
    assert seen[-1] == 1.0
    strides = [b - a for a, b in itertools.pairwise(seen)]
    assert max(strides) == pytest.approx(min(strides), rel=1e-6)


@given(st.floats(0, 1), st.floats(0, 0.9))
def test_the_rate_is_a_share_of_its_peak(progress: float, warmup: float) -> None:
    assert 0.01 - 1e-9 <= learning_rate(progress, warmup) <= 1


@given(st.floats(0.01, 0.9))
def test_the_rate_rises_then_falls_without_a_jump(warmup: float) -> None:
    rates = [learning_rate(i / 1000, warmup) for i in range(1001)]
    peak = rates.index(max(rates))
    assert abs(peak / 1000 - warmup) <= 2e-3
    assert all(a <= b for a, b in itertools.pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in itertools.pairwise(rates[peak:]))
    assert rates[-1] == pytest.approx(0.01)
    # The steepest part is the warm-up.
    assert (
        max(abs(a - b) for a, b in itertools.pairwise(rates))
        <= max(1e-3 / warmup, 1e-3 * 1.6 / (1 - warmup)) * 1.01
    )


def test_short_runs_warm_up_for_fifty_steps() -> None:
    assert warmup_share(0.05, 10_000) == 0.05
    assert warmup_share(0.05, 1000) == 0.05
    assert warmup_share(0.05, 500) == 0.1
    assert warmup_share(0.05, 20) == 0.3
    assert warmup_share(0.5, 20) == 0.5
    assert warmup_share(0.0, 20) == 0.0


def test_without_warmup_the_rate_starts_at_its_peak() -> None:
    assert learning_rate(0.0, 0.0) == pytest.approx(1.0)


def _set(net: nn.Linear, value: float) -> None:
    with torch.no_grad():
        net.weight.fill_(value)


def test_the_average_is_a_running_mean() -> None:
    net = nn.Linear(1, 1, bias=False)
    _set(net, 0.0)
    average = Average(net)
    expected = 0.0
    for number in range(1, 60):
        _set(net, float(number))
        average.update(net)
        keep = min(0.9998, (1 + number) / (10 + number))
        expected = keep * expected + (1 - keep) * number
        assert average.net.weight.item() == pytest.approx(expected, rel=1e-5)
    assert net.weight.item() == 59, "the network itself is not touched"
    # At the 59th step it spans about the last seven.
    assert 45 < average.net.weight.item() < 56
    assert not average.net.weight.requires_grad
    assert not average.net.training


def test_the_average_of_equal_weights_stays() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = Average(net)
    for _ in range(5):
        average.update(net)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(average.net.state_dict()[name], value)


def test_counters_are_copied() -> None:
    net = nn.BatchNorm2d(2).train()
    average = Average(net)
    net(torch.randn(4, 2, 3, 3))
    net(torch.randn(4, 2, 3, 3))
    average.update(net)
    assert int(average.net.num_batches_tracked) == 2
