"""Ranges of 8 bits: what flows through a graph, and how much of it they cover."""

from __future__ import annotations

import numpy as np
import pytest

from exported_models import classifier
from whatwhere.errors import ModelError, UsageError
from whatwhere.exporting.graphs import folded
from whatwhere.exporting.ranges import (
    RULES,
    Histogram,
    chosen,
    collect,
    entropy,
    minmax,
    percentile,
)


def filled(*parts: np.ndarray) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(part.astype(np.float32))
    return found


def test_counts_stay_right_while_the_range_grows() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, scale, 5000) for scale in (0.1, 1, 30)]
    found, values = filled(*parts), np.concatenate(parts).astype(np.float32)
    assert found.counts.sum() == len(values)
    assert (found.low, found.high) == (values.min(), values.max())
    for place in (500, 2000, 2048, 2100, 3500):
        # Bins that were merged may have a border beside the value's.
        below = (values < found.edges[place]).sum()
        assert abs(found.counts[:place].sum() - below) <= 3


def test_a_tensor_of_zeros_or_of_nothing() -> None:
    found = filled(np.zeros(10), np.zeros((0, 3)))
    for rule in RULES.values():
        assert rule(found) == (0.0, 0.0)
    found.add(np.array([2.0], np.float32))
    assert minmax(found) == (0.0, 2.0)


def test_what_is_not_finite_is_refused() -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(ModelError, match="not finite"):
            filled(np.array([1.0, value]))


def test_a_percentile_leaves_rare_values_out() -> None:
    values = np.concatenate([np.linspace(-1, 3, 30_000), [80.0]])
    found = filled(values)
    assert minmax(found) == (-1.0, 80.0)
    low, high = percentile(found)
    assert low == pytest.approx(-1, abs=0.05)
    assert high == pytest.approx(3, abs=0.05)


def test_entropy_gives_up_a_tail_that_costs_more_than_it_says() -> None:
    rng = np.random.default_rng(0)
    narrow = filled(rng.uniform(-1, 1, 30_000))
    assert entropy(narrow)[1] == pytest.approx(1, abs=0.02)
    tailed = filled(np.concatenate([rng.normal(0, 1, 30_000), [40.0]]))
    low, high = entropy(tailed)
    assert 3 < high < 20
    assert low == tailed.low


def test_entropy_takes_no_notice_of_zeros() -> None:
    """A rectifier's output is mostly 0, which every range holds."""
    rng = np.random.default_rng(0)
    values = np.maximum(rng.normal(0, 1, 30_000), 0)
    more = np.concatenate([values, np.zeros(30_000)])
    assert entropy(filled(values)) == entropy(filled(more))


def test_every_rule_stays_inside_of_what_was_seen() -> None:
    rng = np.random.default_rng(1)
    found = filled(rng.gamma(1.0, 2.0, 20_000))
    for rule in RULES.values():
        low, high = rule(found)
        assert found.low <= low < high <= found.high


def test_names_of_rules() -> None:
    assert chosen("auto") == list(RULES)
    assert chosen("entropy") == ["entropy"]
    with pytest.raises(UsageError, match="'best'"):
        chosen("best")


def test_what_flows_is_that_of_the_graph() -> None:
    graph = folded(classifier(), "small")
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    nodes = [node.name for node in graph.graph.node]
    found, sizes = collect(graph, nodes, ({"images": image[None]} for image in images))
    scaled = next(node for node in graph.graph.node if node.op_type == "Div").output[0]
    assert found[scaled].low == pytest.approx((float(images.min()) - 118) / 60)
    assert found[scaled].high == pytest.approx((float(images.max()) - 118) / 60)
    assert sizes[scaled] == 3 * 32 * 32
    assert "logits" in found
    # Whole numbers are no activations.
    assert "planes" not in found
