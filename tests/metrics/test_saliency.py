"""Numbers of maps, against definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatwhere.errors import UsageError
from whatwhere.metrics.saliency import (
    EXPLAINED,
    area_under,
    covered,
    pointing_hit,
    removal_order,
)
from whatwhere.types import as_boxes


def test_the_highest_place_is_in_a_box_or_not() -> None:
    values = np.zeros((10, 20))
    values[3, 7] = 2
    assert pointing_hit(values, as_boxes([[7, 3, 8, 4]])) is True
    assert pointing_hit(values, as_boxes([[0, 0, 7, 3], [7, 0, 9, 9]])) is True
    # The middle of the pixel counts: 7.5, 3.5.
    assert pointing_hit(values, as_boxes([[7.6, 3, 9, 5]])) is False
    assert pointing_hit(values, as_boxes([[0, 0, 7.5, 10]])) is False
    assert pointing_hit(values, as_boxes([])) is None


def test_a_flat_map_points_at_nothing() -> None:
    assert pointing_hit(np.zeros((4, 4)), as_boxes([[0, 0, 4, 4]])) is False


coordinate = st.floats(-3, 14, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=4))
def test_what_chance_would_hit(rows: list[tuple[float, float, float, float]]) -> None:
    boxes = as_boxes(rows)
    hits = 0
    for y in range(9):
        for x in range(12):
            middle = (x + 0.5, y + 0.5)
            hits += any(a <= middle[0] < c and b <= middle[1] < d for a, b, c, d in boxes)
    assert covered(boxes, 9, 12) == pytest.approx(hits / 108)


def test_no_pixel_is_no_map() -> None:
    with pytest.raises(UsageError, match="0x3"):
        covered(as_boxes([]), 0, 3)


def test_highest_places_come_first_and_equal_ones_by_chance() -> None:
    values = np.array([[0.0, 3.0, 0.0], [-1.0, 0.0, 5.0]])
    first = removal_order(values, np.random.default_rng(0))
    assert first[:2].tolist() == [5, 1]
    assert first[-1] == 3
    assert sorted(first.tolist()) == list(range(6))
    orders = {tuple(removal_order(values, np.random.default_rng(i))[2:5]) for i in range(20)}
    assert len(orders) > 2


def test_area_under_evenly_spaced_scores() -> None:
    assert area_under(np.array([1.0, 0.0])) == 0.5
    assert area_under(np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.5)
    assert area_under(np.full(7, 0.25)) == pytest.approx(0.25)
    with pytest.raises(UsageError, match="two points"):
        area_under(np.array([1.0]))


def test_each_number_is_defined_once() -> None:
    names = [metric.name for metric in EXPLAINED]
    assert len(set(names)) == len(names)
    assert all(metric.definition.endswith(".") and metric.source for metric in EXPLAINED)
