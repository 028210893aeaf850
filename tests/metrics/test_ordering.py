"""Order by several keys, against NumPy's sorts by comparison."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatwhere.metrics.ordering import descending, ordered, places

_score = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 5e-324, -1.0, np.inf, -np.inf]),
    st.floats(allow_nan=False),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 2**63), _score), max_size=30))
def test_as_lexsort(rows: list[tuple[int, float]]) -> None:
    number = np.array([row[0] for row in rows], dtype=np.uint64)
    score = np.array([row[1] for row in rows], dtype=np.float64)
    assert np.array_equal(ordered(number, descending(score)), np.lexsort((-score, number)))
    assert np.array_equal(ordered(descending(score), number), np.lexsort((number, -score)))


def test_numbers_that_are_not_come_last() -> None:
    score = np.array([np.nan, -np.inf, 3.0, -np.nan])
    assert ordered(descending(score)).tolist() == [2, 1, 0, 3]


@pytest.mark.parametrize("spread", [1, 1_000_000])
def test_places(spread: int) -> None:
    known = np.array([2, 3, 7, 40]) * spread
    values = np.array([3, 0, 41, 7, 40, -5, 6, 2, 2]) * spread
    place, there = places(values, known)
    assert there.tolist() == [True, False, False, True, True, False, False, True, True]
    assert np.array_equal(known[place[there]], values[there])
    assert not places(values, known[:0])[1].any()
