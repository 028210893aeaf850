"""What a run needs to go on, beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from whatwhere.train.schedule import Plan

_PLAN = ("steps_per_epoch", "epochs", "step", "progress")


@dataclass(slots=True)
class State:
    """Where a run stands; written into `last.ckpt` after each epoch.

    Args:
        plan: steps done and to do.
        epoch: epochs done.
        every: validate after each so many epochs.
        best, best_epoch: the best value of the chosen metric so far, and when.
        warmup: share of the run in which the rate rises.
        elapsed: seconds spent, over all sittings.
        rows: of `metrics.csv`.
        batch: pictures that pass through the network at once, over all processes.
        accumulate: such passes a step. Their product stays when memory runs out.
        waited: validations since the best one.
        costs: seconds measured or estimated, see `budget.Pace`.
    """

    plan: Plan
    epoch: int = 0
    every: int = 1
    best: float = -1.0
    best_epoch: int = 0
    warmup: float = 0.05
    elapsed: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    batch: int = 0
    accumulate: int = 1
    waited: int = 0
    costs: dict[str, float] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """Pictures a step, over all passes and processes."""
        return self.batch * self.accumulate

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = asdict(self)
        plan: dict[str, Any] = values.pop("plan")
        return plan | values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> State:
        """What `to_dict` gave."""
        rest = dict(values)
        # Checkpoints of the first version know no cut.
        plan = {name: rest.pop(name) for name in _PLAN} | {"cut": rest.pop("cut", 0)}
        return cls(Plan(**plan), **rest)
