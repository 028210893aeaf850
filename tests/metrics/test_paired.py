"""Comparing two systems: tests hold their level, find what is there, and say what they are."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from whatwhere.errors import UsageError
from whatwhere.metrics.bootstrap_labels import MeanNumbers
from whatwhere.metrics.paired import differences, holm, max_t

MEAN = (("mean", None),)


def pooled(first: np.ndarray, second: np.ndarray) -> MeanNumbers:
    return MeanNumbers(MEAN, np.stack([first, second], axis=1).reshape(-1, 1))


def test_permutation_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(25)
    second = first + rng.normal(0.02, 0.15, 25)
    ours = differences(
        MeanNumbers(MEAN, first[:, None]),
        MeanNumbers(MEAN, second[:, None]),
        pooled(first, second),
        samples=20_000,
    )["mean", None]
    theirs = permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(b - a, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    assert 0.02 < theirs.pvalue < 0.9
    assert ours.test == "permutation"
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.015)


@pytest.mark.parametrize("permute", [True, False])
def test_alike_systems_differ_as_often_as_the_level_says(permute: bool) -> None:
    rng = np.random.default_rng(1)
    found = 0
    for trial in range(200):
        first, second = rng.random(40), rng.random(40)
        result = differences(
            MeanNumbers(MEAN, first[:, None]),
            MeanNumbers(MEAN, second[:, None]),
            pooled(first, second) if permute else None,
            samples=100,
            seed=trial,
        )["mean", None]
        found += result.p <= 0.05
    # 10 expected; a binomial variable exceeds 21 once in two thousand times.
    assert 2 <= found <= 21


def test_pairing_sees_what_two_intervals_do_not() -> None:
    """Pictures differ much, systems little: only the difference on each picture shows it."""
    rng = np.random.default_rng(2)
    first = rng.random(100)
    second = first + 0.02 + rng.normal(0, 0.02, 100)
    result = differences(
        MeanNumbers(MEAN, first[:, None]),
        MeanNumbers(MEAN, second[:, None]),
        pooled(first, second),
        samples=500,
    )["mean", None]
    assert result.low > 0
    assert result.p == pytest.approx(1 / 501)
    assert result.high - result.low < 0.015
    assert (result.units, result.defined, result.level) == (100, 1.0, 0.95)


def test_groups_are_swapped_together() -> None:
    """Five videos that all got better: one of 32 ways to swap them, whatever their length."""
    first = np.zeros(500)
    second = np.repeat([0.1, 0.2, 0.1, 0.3, 0.2], 100)
    groups = np.repeat(np.arange(5), 100)
    one, two = MeanNumbers(MEAN, first[:, None]), MeanNumbers(MEAN, second[:, None])
    result = differences(one, two, pooled(first, second), groups=groups, samples=3000)
    assert result["mean", None].p == pytest.approx(2 / 32, abs=0.015)


def test_undefined_on_one_side_is_undefined() -> None:
    nothing = MeanNumbers(MEAN, np.full((10, 1), np.nan))
    result = differences(nothing, MeanNumbers(MEAN, np.ones((10, 1))), samples=20)["mean", None]
    assert (result.first, result.second) == (None, 1.0)
    assert (result.value, result.low, result.p) == (None, None, None)


def test_only_the_same_pictures_can_be_compared() -> None:
    ten, nine = MeanNumbers(MEAN, np.ones((10, 1))), MeanNumbers(MEAN, np.ones((9, 1)))
    with pytest.raises(UsageError, match="one data set"):
        differences(ten, nine)
    with pytest.raises(UsageError, match="each picture twice"):
        differences(ten, ten, nine)


def test_holm() -> None:
    """The example of Holm's correction by hand: 4 tests, smallest p times 4, and so on."""
    p = np.array([0.03, 0.01, np.nan, 0.04, 0.005])
    np.testing.assert_allclose(holm(p), [0.06, 0.03, np.nan, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    assert holm(np.zeros(0)).shape == (0,)


def table(names: int, first: np.ndarray) -> MeanNumbers:
    return MeanNumbers(tuple(("mean", f"class {k}") for k in range(names)), first)


def both(names: int, first: np.ndarray, second: np.ndarray) -> MeanNumbers:
    return table(names, np.stack([first, second], axis=1).reshape(-1, names))


@pytest.mark.parametrize("permute", [True, False])
def test_alike_systems_differ_in_any_class_as_seldom_as_in_one(permute: bool) -> None:
    rng = np.random.default_rng(6)
    plain = corrected = 0
    for trial in range(120):
        shared = rng.random((40, 1))  # classes hang together
        first, second = (shared + rng.random((40, 8)) for _ in range(2))
        result = differences(
            table(8, first),
            table(8, second),
            both(8, first, second) if permute else None,
            samples=300,
            seed=trial,
        )
        plain += min(each.p for each in result.values()) <= 0.05
        corrected += min(each.adjusted for each in result.values()) <= 0.05
    # 6 of 120 expected; a binomial variable exceeds 15 once in two thousand times.
    assert corrected <= 15 < plain


def test_a_difference_in_one_of_many_classes_is_found_with_few_trials() -> None:
    """Holm's method could not: 1 / 201 times 50 classes is more than 0.05."""
    rng = np.random.default_rng(7)
    first, second = rng.random((60, 50)), rng.random((60, 50))
    second[:, 17] += 0.6
    result = differences(table(50, first), table(50, second), both(50, first, second), samples=200)
    small = [key[1] for key, each in result.items() if each.adjusted <= 0.05]
    assert small == ["class 17"]
    assert all(each.adjusted >= each.p for each in result.values())


def test_numbers_of_the_whole_are_not_corrected() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.random(30), rng.random(30)
    numbers = MeanNumbers(MEAN, first[:, None]), MeanNumbers(MEAN, second[:, None])
    assert differences(*numbers, samples=50)["mean", None].adjusted is None


def test_max_t_is_the_definition() -> None:
    """Step by step, as Westfall and Young write it."""
    rng = np.random.default_rng(9)
    value = np.array([0.5, np.nan, -1.4, 0.0, 0.9])
    chance = rng.normal(0, [0.3, 1, 0.5, 0, 0.4], (99, 5))
    got = max_t(value, chance)
    columns = [0, 2, 3, 4]
    all_ = np.vstack([chance, value])[:, columns]
    scale = np.sqrt(np.mean(all_**2, axis=0))
    size = np.divide(np.abs(all_), scale, out=np.zeros_like(all_), where=scale > 0)
    found = size[-1]
    want, open_, least = np.full(5, np.nan), set(range(4)), 0.0
    while open_:
        best = max(open_, key=lambda k: found[k])
        tops = size[:, sorted(open_)].max(axis=1)
        least = max(least, float(np.mean(tops >= found[best])))
        want[columns[best]] = least
        open_.remove(best)
    np.testing.assert_allclose(got, want, equal_nan=True)
    assert got[3] == 1
    assert np.isnan(got[1])
