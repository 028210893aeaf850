"""Maps of scores as values: what they do, how they are stored, what is refused."""

import numpy as np
import pytest

from whatwhere.errors import UsageError
from whatwhere.scoremaps import Broken, Platt, ScoreMap, expit, logit, score_map, temper


@pytest.mark.parametrize("one", [Platt(0.5, -1.0), Broken((0.0, 0.3, 1.0), (0.1, 0.1, 0.8))])
def test_maps_are_stored_and_read_again(one: ScoreMap) -> None:
    again = score_map(one.to_dict())
    assert again == one
    scores = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(again.apply(scores), one.apply(scores))
    assert one.apply(scores).shape == (3, 4)
    assert (np.diff(one.apply(scores).ravel()) >= 0).all()
    assert one.apply(np.zeros(0)).shape == (0,)


def test_platt_divides_the_logit_by_a_temperature() -> None:
    scores = np.array([0.1, 0.5, 0.99])
    assert Platt(1.0, 0.0).apply(scores) == pytest.approx(scores)
    assert Platt(0.5, 0.0).apply(scores) == pytest.approx(expit(logit(scores) / 2))
    assert np.isfinite(Platt(3.0, 1.0).apply(np.array([0.0, 1.0]))).all()


def test_expit_never_overflows() -> None:
    assert expit(np.array([-1e6, 0.0, 1e6])).tolist() == [0.0, 0.5, 1.0]


def test_temper_is_softmax_of_divided_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 5))
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    colder = np.exp(logits / 1.7) / np.exp(logits / 1.7).sum(axis=1, keepdims=True)
    assert temper(rows, 1.7) == pytest.approx(colder, abs=1e-12)
    assert temper(np.array([[1.0, 0.0], [0.0, 0.0]]), 2.0).tolist() == [[1, 0], [0, 0]]
    with pytest.raises(UsageError, match="above 0 and finite"):
        temper(rows, 0.0)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"kind": "spline"},
        {"kind": "platt", "slope": 1.0},
        {"kind": "platt", "slope": -1.0, "shift": 0.0},
        {"kind": "platt", "slope": 1.0, "shift": float("nan")},
        {"kind": "platt", "slope": None, "shift": 0.0},
        {"kind": "broken", "x": [], "y": []},
        {"kind": "broken", "x": [0.0, 0.0], "y": [0.0, 1.0]},
        {"kind": "broken", "x": [0.0, 1.0], "y": [0.5, 0.4]},
        {"kind": "broken", "x": [0.0, 1.0], "y": [0.5]},
        {"kind": "broken", "x": [0.0, 2.0], "y": [0.5, 0.6]},
        {"kind": "broken", "x": 3, "y": [0.5]},
    ],
)
def test_damaged_maps_are_refused(record: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        score_map(record)
