"""How many steps fit in a budget of time, and how a run keeps to it."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lightning_fabric import Fabric

from whatwhere.train.config import TrainConfig
from whatwhere.train.scales import grown_size
from whatwhere.train.schedule import Plan
from whatwhere.train.state import State

# Share of the time that validation may take before it is done less often than each epoch.
_VALIDATION_SHARE = 0.08
# Share of the budget after which a trial of slow steps is cut short.
_TRIAL_SHARE = 0.1
# Kept back, since machines slow down.
_RESERVE = 0.01
# How often in a run the plan is compared with the clock.
_LOOKS = 50
# In how many points the cost of what is to come is looked at.
_POINTS = 200


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step costs at each point of training, in steps that train all of the network.

    Args:
        config: settings with `frozen`, `grow` and the size.
        light: cost of a step while the body stands still.
        small: cost of a step at the size with which a growing input begins.
    """

    config: TrainConfig
    light: float = 1.0
    small: float = 1.0

    def at(self, progress: float) -> float:
        """The cost of the step that is taken at this progress."""
        cost = self.light if progress < self.config.frozen else 1.0
        whole = self.config.height * self.config.width
        least = math.prod(grown_size(self.config, 0.0))
        if least < whole:
            share = (math.prod(grown_size(self.config, progress)) - least) / (whole - least)
            cost *= self.small + (1 - self.small) * share
        return cost

    def mean(self, since: float = 0.0) -> float:
        """The mean cost of the steps from a progress to the end."""
        points = (since + (1 - since) * (i + 0.5) / _POINTS for i in range(_POINTS))
        return statistics.fmean(self.at(point) for point in points)


@dataclass(slots=True)
class Pace:
    """What a sitting has measured of its speed, and what is left of its budget.

    Args:
        budget: seconds; 0 for none, then nothing is ever shortened.
        started: `time.monotonic()` when the run began; earlier sittings count.
        cost: of a step.
        check: seconds of a validation.
        finale: seconds that come after the last step: last validation, export, its scores.
    """

    budget: float
    started: float
    cost: StepCost
    check: float = 0.0
    finale: float = 0.0
    _done: float = field(default=0.0, init=False)
    _checking: float = field(default=0.0, init=False)
    _longest: float = field(default=0.0, init=False)
    _marks: list[tuple[float, float]] = field(default_factory=list, init=False)
    _said: int = field(default=0, init=False)

    def step(self, progress: float) -> None:
        """The step that began at this progress is done."""
        self._done += self.cost.at(progress)

    def validated(self, seconds: float) -> None:
        """A validation took so long."""
        # The first one reads the pictures, as the scores of the model file will. Only what is
        # longer than any before adds to the end: times that go up and down do not add up.
        longest = self._longest or self.check
        self.finale += max(0.0, seconds - longest) * (2 if not self._checking else 1)
        self._longest = max(longest, seconds)
        self.check = seconds
        self._checking += seconds

    def cost_left(self, plan: Plan) -> float:
        """Cost of the steps to do."""
        return (plan.total - plan.step) * self.cost.mean(plan.progress)

    def due(self, plan: Plan) -> bool:
        """Whether it is time to compare the plan with the clock."""
        return bool(self.budget) and plan.step % max(1, plan.total // _LOOKS) == 0

    def possible(self, state: State) -> int:
        """How many steps can still be done, at most those that are planned."""
        plan, now = state.plan, time.monotonic()
        left = plan.total - plan.step
        self._marks.append((self._done, now - self._checking))
        # The first steps still build kernels and fill caches, and a stall is no measure either:
        # the median of the latest half, from the third stretch on.
        stretches = [
            (t - u) / (c - d) for (d, u), (c, t) in itertools.pairwise(self._marks) if c > d
        ]
        if len(stretches) < 3 or left <= 0:
            return left
        pace = statistics.median(stretches[len(stretches) // 2 :])
        checks = (plan.epochs - state.epoch - 1) // state.every
        room = (1 - _RESERVE / 2) * self.budget - (now - self.started)
        room -= self.finale + checks * self.check
        # At least one more, so that the rate falls to its end.
        return max(1, min(left, int(room / max(1e-9, pace * self.cost_left(plan) / left))))

    def keep(self, state: State, steps: int) -> str | None:
        """Shorten the plan if so many steps are fewer than planned; what to say about it."""
        plan = state.plan
        if steps >= plan.total - plan.step:
            return None
        plan.shorten(plan.step + steps)
        if self._said and plan.total > 0.97 * self._said:
            return None
        self._said = plan.total
        return f"slower than planned: {plan.total} steps in all"


def planned(steps: int, config: TrainConfig, seconds: dict[str, float], spent: float) -> State:
    """A plan for a number of epochs, or one that fits in the budget.

    Args:
        steps: of an epoch.
        config: settings.
        seconds: a mean "step", "light" and "small" as in `StepCost`, "check" and "finale" as in
            `Pace`; empty without a budget.
        spent: seconds since the run began.
    """
    if config.epochs:
        return State(Plan(steps, config.epochs), every=max(1, config.epochs // 25))
    step, check = seconds["step"], seconds["check"]
    left = (1 - _RESERVE) * config.budget - spent - seconds["finale"]
    possible = max(1, int(left / step))
    # A set too large for one pass in the budget gets part of a pass.
    steps = min(steps, possible)
    share = check / (steps * step) / _VALIDATION_SHARE
    every = max(1, round(share), possible // steps // 40)
    # The last validation is part of the finale.
    total = max(1, min(possible, int(left / (step + check / (every * steps)))))
    steps = min(steps, total)
    plan = Plan.of(steps, total)
    costs = {name: seconds[name] for name in ("light", "small", "check", "finale")}
    return State(plan, every=min(every, plan.epochs), costs=costs)


def trial(passes: Callable[[], object], fabric: Fabric, budget: float, most: int = 9) -> float:
    """Seconds of one step, from a few of them; equally many in every process.

    Args:
        passes: one step's forward and backward passes.
        fabric: launched.
        budget: of the run, in seconds.
        most: steps at most.
    """
    times: list[float] = []
    while len(times) < most:
        begin = time.monotonic()
        passes()
        times.append(time.monotonic() - begin)
        enough = len(times) >= 3 and sum(times) > _TRIAL_SHARE * budget
        if fabric.broadcast(enough) if fabric.world_size > 1 else enough:
            break
    # The first steps build kernels; the optimiser and the average come on top.
    return 1.05 * statistics.median(times[len(times) // 2 :])
