"""The distances against their definitions and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest

from whatwhere.drift.statistics import gaussian, ks, mmd, psi, squared_distances


def _weights(first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
    total = first + second
    a, b = np.zeros((1, total)), np.zeros((1, total))
    a[0, :first], b[0, first:] = 1 / first, 1 / second
    return a, b


@pytest.mark.parametrize("seed", range(5))
def test_ks_is_scipys(seed: int) -> None:
    scipy = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 40, 50).astype(np.uint8)
    y = rng.integers(10, 60, 70).astype(np.uint8)
    ours = ks(*_weights(50, 70), np.concatenate([x, y]))
    assert ours[0] == pytest.approx(scipy.ks_2samp(x, y).statistic)


def test_psi_is_the_sum_over_bins() -> None:
    counts = np.array([[3, 0, 1], [1, 0, 1], [0, 2, 2]], np.uint8)
    found = psi(*_weights(2, 1), counts, (2, 1))[0]
    p, q = np.array([4.5, 0.5, 2.5]) / 7.5, np.array([0.5, 2.5, 2.5]) / 5.5
    assert found == pytest.approx(sum((u - v) * np.log(u / v) for u, v in zip(p, q, strict=True)))


def test_psi_of_the_same_shares_is_nothing() -> None:
    counts = np.array([[100, 50], [100, 50]], np.uint8)
    assert psi(*_weights(1, 1), counts, (1, 1))[0] == pytest.approx(0, abs=1e-12)


def test_mmd_is_the_double_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.normal(1, 1, (4, 3))
    apart = squared_distances(np.concatenate([x, y]))
    found = mmd(*_weights(6, 4), gaussian(apart, 1.5))[0]

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        gaps = ((a - b) ** 2).sum()
        return float(np.mean([np.exp(-gaps / (2 * (1.5 * f) ** 2)) for f in (0.5, 1, 2)]))

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[kernel(one, other) for other in b] for one in a]))

    assert found == pytest.approx(mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_many_samples_at_once_are_those_one_by_one() -> None:
    rng = np.random.default_rng(1)
    a = rng.multinomial(30, np.full(20, 1 / 20), 4) / 30
    b = rng.multinomial(10, np.full(20, 1 / 20), 4) / 10
    codes = rng.integers(0, 9, 20).astype(np.uint8)
    together = ks(a, b, codes)
    assert together == pytest.approx([ks(a[i : i + 1], b[i : i + 1], codes)[0] for i in range(4)])
