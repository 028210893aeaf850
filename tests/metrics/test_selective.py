"""Risk over coverage, thresholds for abstaining, and whether their promise holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatwhere.errors import UsageError
from whatwhere.metrics.selective import abstain_threshold, abstention_at, risk_coverage


def answers(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.random(rows)
    return confidence, rng.random(rows) < 0.5 + 0.5 * confidence


def test_the_area_is_the_mean_risk_of_the_surest() -> None:
    confidence, right = answers(0, 300)
    ranked = ~right[np.argsort(-confidence)]
    risks = [ranked[:count].mean() for count in range(1, 301)]
    curve = risk_coverage(confidence, right)
    assert curve.aurc == pytest.approx(np.mean(risks), abs=1e-12)
    assert curve.risk == pytest.approx([risks[3 * step - 1] for step in range(1, 101)])
    best = np.sort(ranked)
    ideal = np.mean([best[:count].mean() for count in range(1, 301)])
    assert curve.eaurc == pytest.approx(np.mean(risks) - ideal, abs=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), min_size=1, max_size=7))
def test_equal_scores_take_the_mean_over_orders(rows: list[tuple[float, bool]]) -> None:
    confidence, right = (np.array(values) for values in zip(*rows, strict=True))
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random((4000, len(rows))), np.tile(-confidence, (4000, 1))), axis=1)
    wrong = np.cumsum(~right[order], axis=1) / np.arange(1, len(rows) + 1)
    assert risk_coverage(confidence, right).aurc == pytest.approx(wrong.mean(), abs=0.02)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([0.01, 0.2, 0.5]),
)
def test_the_threshold_covers_the_most_at_that_risk(
    rows: list[tuple[float, bool]], risk: float
) -> None:
    confidence, right = (np.array(values) for values in zip(*rows, strict=True))
    found = abstain_threshold(confidence, right, risk)
    fits = [t for t in confidence if (~right[confidence >= t]).mean() <= risk]
    if not fits:
        assert (found.threshold, found.coverage, found.risk) == (None, 0, None)
        return
    assert found.threshold is not None
    assert found.answered == (confidence >= min(fits)).sum()
    assert found == abstention_at(confidence, right, found.threshold)


def test_the_promise_of_a_threshold_holds_on_other_pictures() -> None:
    broken = plain_broken = 0
    for seed in range(200):
        confidence, right = answers(seed, 300)
        proven = abstain_threshold(confidence, right, 0.2, confidence_level=0.9)
        plain = abstain_threshold(confidence, right, 0.2)
        for found in (proven, plain):
            if found.threshold is None:
                continue
            # Above a threshold t, scores are uniform: the true risk is the mean of (1 - s) / 2.
            risk = (1 - found.threshold) / 4
            if found is proven:
                broken += risk > 0.2
            else:
                plain_broken += risk > 0.2
    # 10 % of 200, and four standard deviations of that.
    assert broken <= 20 + 17
    # Without the promise, about half of the thresholds are too low.
    assert plain_broken > 60


def test_few_answers_promise_nothing() -> None:
    found = abstain_threshold(np.ones(29), np.ones(29, bool), 0.2, confidence_level=0.9)
    assert found.threshold is None
    found = abstain_threshold(np.linspace(0.5, 1, 60), np.ones(60, bool), 0.2, confidence_level=0.9)
    assert found.coverage == 1
    assert found.risk_interval == (0.0, pytest.approx(0.0596, abs=1e-3))


def test_nothing_is_undefined() -> None:
    none = np.zeros(0)
    assert risk_coverage(none, none.astype(bool)).aurc is None
    found = abstain_threshold(none, none.astype(bool), 0.1)
    assert (found.threshold, found.coverage, found.risk_interval) == (None, None, None)


@pytest.mark.parametrize("risk", [0.0, 1.0, -1.0, float("nan")])
def test_odd_risks_are_refused(risk: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        abstain_threshold(np.ones(3), np.ones(3, bool), risk)
    with pytest.raises(UsageError, match="confidence_level"):
        abstain_threshold(np.ones(3), np.ones(3, bool), 0.1, confidence_level=risk)
