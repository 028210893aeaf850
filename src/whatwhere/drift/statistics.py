"""Distances between two weighted samples of the same rows, many pairs at once.

A sample of a reference of M rows is a row of weights, float (B, M), each summing to 1: so a
thousand bootstrap samples are compared by one product of matrices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ks(a: Floats, b: Floats, codes: NDArray[np.uint8]) -> Floats:
    """Kolmogorov and Smirnov's largest difference of distribution functions, 0..1.

    Args:
        a, b: weights, (B, M).
        codes: the value of each row, uint8 (M,).

    Returns:
        float64 (B,).
    """
    steps = codes[:, None] <= np.unique(codes)[None]
    distance: Floats = np.abs((a - b) @ steps.astype(np.float64)).max(axis=1)
    return distance


def psi(a: Floats, b: Floats, counts: NDArray[np.uint8], rows: tuple[int, int]) -> Floats:
    """Population stability index of counts in K bins: sum of (p - q) ln(p / q).

    Half a count is added to each bin, so that empty ones do not make it infinite.

    Args:
        a, b: weights, (B, M).
        counts: of each row in each bin, uint8 (M, K).
        rows: pictures in a sample of each side.

    Returns:
        float64 (B,), 0 for equal shares; 0.1 is usually called small and 0.25 large.
    """
    table = counts.astype(np.float64)
    p, q = shares(a @ table * rows[0]), shares(b @ table * rows[1])
    index: Floats = ((p - q) * np.log(p / q)).sum(axis=1)
    return index


def shares(counts: Floats) -> Floats:
    """Counts (B, K) as shares that are never 0, half a count in each bin being added."""
    raised = counts + 0.5
    part: Floats = raised / raised.sum(axis=1, keepdims=True)
    return part


def mmd(a: Floats, b: Floats, kernel: Floats) -> Floats:
    """Squared maximum mean discrepancy, biased (Gretton et al., A kernel two-sample test, 2012).

    Args:
        a, b: weights, (B, M).
        kernel: of all pairs of rows, (M, M).

    Returns:
        float64 (B,), about 1/n + 1/m for samples of one distribution.
    """
    gap = a - b
    distance: Floats = np.einsum("bm,bm->b", gap @ kernel, gap)
    return distance


def squared_distances(points: Floats) -> Floats:
    """Of all pairs of M points, (M, M)."""
    norms = (points**2).sum(axis=1)
    apart: Floats = np.maximum(norms[:, None] + norms[None] - 2 * points @ points.T, 0)
    return apart


def gaussian(apart: Floats, width: float) -> Floats:
    """Mean of three Gaussian kernels of half, once and twice this width, so that none must fit.

    Args:
        apart: squared distances.
        width: such as the median distance (Gretton et al., 2012).
    """
    terms = [np.exp(-apart / (2 * (width * factor) ** 2)) for factor in (0.5, 1.0, 2.0)]
    mean: Floats = np.mean(terms, axis=0)
    return mean
