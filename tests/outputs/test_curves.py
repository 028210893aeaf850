"""Curves of a run: which belong together, and a picture that shows them."""

from __future__ import annotations

import math

import numpy as np

from whatwhere.outputs.charts import PALETTE, axis_range
from whatwhere.outputs.curves import curve_groups, draw_curves

COLUMNS = {
    "epoch": [1.0, 2.0, 3.0],
    "rate": [2e-3, 1e-3, 0.0],
    "box_loss": [3.0, 2.0, 1.5],
    "loss": [4.0, math.inf, 2.0],
    "seconds": [1.0, 2.0, 3.0],
    "count": [3.0, 5.0, 7.0],
    "recall": [0.1, 0.2, 0.3],
    "AP": [math.nan, 0.2, 0.4],
}


def test_curves_of_one_axis_are_together() -> None:
    axis, groups = curve_groups(COLUMNS, ["AP", "recall"])
    assert axis == "epoch"
    assert list(groups) == ["loss", "score", "learning rate"]
    assert groups["loss"] == {
        "box_loss": [(1, 3.0), (2, 2.0), (3, 1.5)],
        # What is not a number is no point of a line.
        "loss": [(1, 4.0), (3, 2.0)],
    }
    # Not all numbers are scores: "count" is above 1.
    assert list(groups["score"]) == ["AP", "recall"]
    assert groups["score"]["AP"] == [(2, 0.2), (3, 0.4)]
    assert list(groups["learning rate"]) == ["rate"]


def test_only_the_first_scores_are_kept() -> None:
    columns = {"epoch": [1.0]} | {name: [0.5] for name in "abcdef"}
    assert list(curve_groups(columns, ["f", "c"])[1]["score"]) == ["f", "c", "a", "b"]


def test_without_an_axis_rows_are_counted() -> None:
    assert curve_groups({"loss": [1.0, 2.0]}) == ("row", {"loss": {"loss": [(0, 1.0), (1, 2.0)]}})
    assert curve_groups({}) == ("row", {})


def _pixels(image: np.ndarray, colour: str) -> np.ndarray:
    """(rows, columns) of pixels of exactly that colour above the legend."""
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return np.argwhere((image[:300] == rgb).all(-1))


def test_a_rising_line_rises() -> None:
    line = [(float(x), x / 10) for x in range(10)]
    image = draw_curves("epoch", {"score": {"AP": line}})
    assert image.dtype == np.uint8
    assert image.shape[1:] == (480, 3)
    found = _pixels(image, PALETTE[0])
    left, right = found[found[:, 1].argmin()], found[found[:, 1].argmax()]
    assert right[1] - left[1] > 300
    assert left[0] - right[0] > 150


def test_panels_stand_side_by_side() -> None:
    image = draw_curves(*curve_groups(COLUMNS, ["AP"]))
    assert image.shape[1] == 3 * 480
    for place in range(3):
        assert len(_pixels(image[:, 480 * place : 480 * (place + 1)], PALETTE[0])) > 20


def test_one_point_and_no_point() -> None:
    """A run of one epoch has one; one that was stopped in its first has none."""
    assert len(_pixels(draw_curves("epoch", {"loss": {"loss": [(1, 0.5)]}}), PALETTE[0])) > 10
    assert (draw_curves("epoch", {}) == 255).all()


def test_an_axis_of_one_huge_value_has_ticks() -> None:
    low, high = axis_range([1.6e19, 1.6e19])
    assert low < 1.6e19 < high
