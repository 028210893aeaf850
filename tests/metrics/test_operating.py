"""Thresholds for a goal, against a search over every threshold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatwhere.errors import UsageError
from whatwhere.metrics.operating import (
    Goal,
    Judged,
    between,
    counts_at,
    operating_point,
    operating_points,
    totals,
)

GOALS = [
    Goal("precision", 0.7),
    Goal("precision", 0.7, confidence=0.9),
    Goal("recall", 0.6),
    Goal("f1"),
    Goal("cost", cost_fp=1, cost_fn=4),
    Goal("cost", cost_fp=9, cost_fn=1),
]


def numbers(judged: Judged, threshold: float) -> tuple[int, int]:
    above = judged.score >= threshold
    return int(judged.true[above].sum()), int(above.sum())


def worth(judged: Judged, goal: Goal, threshold: float) -> tuple[float, ...] | None:
    """What the goal is after, larger is better; None where it is not reached."""
    right, said = numbers(judged, threshold)
    if goal.kind == "cost":
        return (-goal.cost_fp * (said - right) - goal.cost_fn * (judged.positives - right),)
    if goal.kind == "f1":
        return (2 * right / (said + judged.positives),)
    if goal.confidence is not None:
        return None
    if goal.kind == "precision":
        reached = said > 0 and right / said >= goal.value - 1e-12  # type: ignore[operator]
        return (said,) if reached else None
    return (-said,) if right / judged.positives >= goal.value - 1e-12 else None  # type: ignore[operator]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.05, 0.2, 0.5, 0.75, 0.9, 1.0]), st.booleans()), max_size=20
    ),
    st.integers(0, 3),
    st.sampled_from(GOALS),
)
def test_no_threshold_serves_the_goal_better(
    rows: list[tuple[float, bool]], unseen: int, goal: Goal
) -> None:
    score = np.array([value for value, _ in rows])
    true = np.array([value for _, value in rows], dtype=bool)
    judged = Judged(score, true, int(true.sum()) + unseen, pictures=10)
    point = operating_point(judged, goal)
    assert json.loads(json.dumps(point.to_dict()))["positives"] == judged.positives
    if not judged.positives:
        assert (point.threshold, point.reached, point.recall) == (None, False, None)
        return
    assert point.threshold is not None
    assert 0 <= point.threshold <= 1
    right, said = numbers(judged, point.threshold)
    counts = (point.right, point.wrong, point.missed)
    assert counts == (right, said - right, judged.positives - right)
    # Rounding to float32, as the runtime compares, keeps the same answers.
    kept = (score.astype(np.float32) >= np.float32(point.threshold)).sum()
    assert kept == said
    if goal.confidence is not None:
        return
    others = [worth(judged, goal, t) for t in (*score, *np.linspace(0, 1, 21))]
    best = max((value for value in others if value is not None), default=None)
    if len(rows):
        assert point.reached == (best is not None)
    if best is not None and len(rows):
        own = worth(judged, goal, point.threshold)
        assert own is not None
        assert own[0] >= best[0] - 1e-12


def test_counts_for_a_thousand_pictures() -> None:
    judged = Judged(np.array([0.9, 0.8, 0.3]), np.array([True, False, True]), 4, pictures=50)
    point = counts_at(judged, 0.5)
    assert point.per_1000 == {"said": 40, "right": 20, "wrong": 20, "missed": 60}
    assert (point.precision, point.recall, point.f1) == (0.5, 0.25, pytest.approx(1 / 3))
    low, high = point.recall_interval  # type: ignore[misc]
    assert low < 0.25 < high
    points = operating_points({"cat": judged, "dog": judged}, Goal.parse("cost=1:5"))
    assert points["cat"].threshold == pytest.approx(0.3)
    assert points["cat"].cost == pytest.approx((1 + 10) / 50)
    assert totals(points)["missed"] == 80
    nobody = Judged(np.zeros(0), np.zeros(0, bool), 0, pictures=0)
    assert operating_point(nobody, Goal("f1")).per_1000 is None


def test_a_proven_precision_asks_for_more() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(400)
    judged = Judged(score, rng.random(400) < score, 250, pictures=400)
    plain = operating_point(judged, Goal("precision", 0.8))
    proven = operating_point(judged, Goal("precision", 0.8, confidence=0.95))
    assert plain.reached
    assert proven.reached
    assert proven.threshold > plain.threshold  # type: ignore[operator]
    assert counts_at(judged, plain.threshold, Goal("precision", 0.8)).reached  # type: ignore[arg-type]
    assert not counts_at(judged, 0.0, Goal("precision", 0.8)).reached


def test_a_goal_out_of_reach_gives_the_nearest() -> None:
    judged = Judged(np.array([0.9, 0.6, 0.2]), np.array([False, True, False]), 9, pictures=9)
    point = operating_point(judged, Goal("precision", 0.9))
    assert (point.reached, point.precision, point.threshold) == (False, 0.5, pytest.approx(0.4))
    point = operating_point(judged, Goal("recall", 0.9))
    assert (point.reached, point.right) == (False, 1)


def test_saying_nothing_may_be_cheapest() -> None:
    judged = Judged(np.array([0.9, 0.6]), np.array([False, True]), 1, pictures=2)
    point = operating_point(judged, Goal("cost", cost_fp=5, cost_fn=1))
    assert (point.threshold, point.wrong, point.missed) == (pytest.approx(0.95), 0, 1)
    assert point.precision is None


def test_thresholds_lie_between_scores_even_of_next_floats() -> None:
    low = np.float32(0.3)
    high = np.nextafter(low, np.float32(1))
    scores = np.array([0.9, float(high), float(low)])
    found = between(scores)
    kept = [int((scores.astype(np.float32) >= np.float32(t)).sum()) for t in found]
    assert kept == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("precision=0.9", Goal("precision", 0.9)),
        (" recall=1 ", Goal("recall", 1.0)),
        ("f1", Goal("f1")),
        ("cost=1:5", Goal("cost", cost_fp=1, cost_fn=5)),
    ],
)
def test_goals_are_read(text: str, goal: Goal) -> None:
    assert Goal.parse(text) == goal


@pytest.mark.parametrize(
    "text",
    ["", "f2", "f1=3", "precision", "precision=", "precision=0", "recall=1.1", "recall=nan",
     "cost=1", "cost=a:b", "cost=0:0", "cost=-1:2", "cost=inf:1", "cost=1:2:3"],
)  # fmt: skip
def test_other_goals_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Goal.parse(text)


def test_odd_goals_are_refused() -> None:
    for arguments in ({"kind": "f1", "value": 0.5}, {"kind": "luck"}, {"kind": "precision"}):
        with pytest.raises(UsageError):
            Goal(**arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="confidence"):
        Goal("recall", 0.5, confidence=1.0)
