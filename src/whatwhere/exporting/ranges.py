"""Which values flow through a graph on real pictures, and which range 8 bits should cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ModelError, UsageError

_BINS = 4096
# Of one tensor and one picture: the histogram needs no more, the extremes see every value.
_SAMPLE = 1 << 15
_SHARE = 1e-4
"""Of the values that a percentile leaves out at each end."""
_LEVELS = 128


class Histogram:
    """How often values occur, over a range that grows with them; memory does not grow.

    Attributes:
        low, high: the extremes of all values; `high` below `low` before the first.
        counts: int64 (4096,), over -reach..reach.
        reach: end of the range.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.counts = np.zeros(_BINS, np.int64)
        self.reach = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values of any shape.

        Raises:
            ModelError: some are not finite.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ModelError("the model computes values that are not finite: it cannot be exported")
        self.low, self.high = min(self.low, low), max(self.high, high)
        peak = max(-low, high)
        if self.reach == 0.0:
            self.reach = peak
        while peak > self.reach:
            # Two bins become one; the outer quarters are free then.
            half = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(half, (_BINS // 4, _BINS // 4))
            self.reach *= 2
        if self.reach == 0.0:
            return
        flat = values.reshape(-1)
        flat = flat[:: max(1, flat.size // _SAMPLE)]
        places = ((flat / self.reach + 1) * (_BINS / 2)).astype(np.int64)
        self.counts += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Borders of the bins, float64 (4097,)."""
        return np.linspace(-self.reach, self.reach, _BINS + 1)


Rule = Callable[[Histogram], tuple[float, float]]


def minmax(found: Histogram) -> tuple[float, float]:
    """All values."""
    return found.low, found.high


def percentile(found: Histogram) -> tuple[float, float]:
    """All but one value in 10,000 at each end."""
    total = np.cumsum(found.counts)
    if not total[-1]:
        return minmax(found)
    first = int(np.searchsorted(total, _SHARE * total[-1], side="right"))
    last = int(np.searchsorted(total, (1 - _SHARE) * total[-1], side="left"))
    edges = found.edges
    return max(found.low, float(edges[first])), min(found.high, float(edges[last + 1]))


def entropy(found: Histogram) -> tuple[float, float]:
    """The symmetric range whose 8-bit version keeps most information about the values.

    The Kullback-Leibler divergence is least (Migacz, 8-bit Inference with TensorRT, GTC 2017).
    """
    middle = _BINS // 2
    sizes = (found.counts[middle:] + found.counts[:middle][::-1]).astype(np.float64)
    if not sizes.any():
        return minmax(found)
    # Zeros, of which activations are full, are exact in any range and would outweigh the rest.
    sizes[0] = sizes[1]
    best, reach = np.inf, middle
    for end in range(_LEVELS, middle + 1, 16):
        kept = sizes[:end].copy()
        kept[-1] += sizes[end:].sum()
        # Each level stands for a run of bins, and gives all that are not empty the same share.
        level = (np.arange(end) * _LEVELS) // end
        filled = sizes[:end] > 0
        totals = np.bincount(level, sizes[:end], _LEVELS)
        members = np.bincount(level, filled, _LEVELS)
        shares = np.divide(totals, members, out=np.zeros(_LEVELS), where=members > 0)
        coarse = np.where(filled, shares[level], 0.0)
        distance = _divergence(kept, coarse)
        if distance < best:
            best, reach = distance, end
    limit = found.reach * reach / middle
    return max(found.low, -limit), min(found.high, limit)


def _divergence(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Of two histograms; what the second lacks costs much, but not infinitely."""
    if not one.sum() or not other.sum():
        return np.inf
    p, q = one / one.sum(), other / other.sum()
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-9))).sum())


RULES: Mapping[str, Rule] = {"minmax": minmax, "percentile": percentile, "entropy": entropy}
"""How a range follows from the values, by name."""


def chosen(names: str | Sequence[str]) -> list[str]:
    """The rules that are meant: all for "auto".

    Raises:
        UsageError: there is no such rule.
    """
    if names == "auto":
        return list(RULES)
    asked = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in asked if name not in RULES]
    if unknown:
        raise UsageError(
            f"unknown way {unknown[0]!r} to choose ranges: use auto, {', '.join(RULES)}"
        )
    return asked


def collect(
    model: Any, nodes: Iterable[str], feeds: Iterable[Mapping[str, NDArray[Any]]]
) -> tuple[dict[str, Histogram], dict[str, int]]:
    """Run a graph on pictures and count what flows into and out of these nodes.

    Args:
        model: an `onnx.ModelProto`, with the types of its tensors; not changed.
        nodes: names.
        feeds: inputs by name, one picture (or the graph's batch) each.

    Returns:
        A histogram by the name of each float tensor, and how many values each has for a picture.
    """
    import onnx
    import onnxruntime as ort

    wanted = list(_float_tensors(model, set(nodes)))
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    there = {one.name for one in changed.graph.output}
    changed.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in wanted if name not in there
    )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        changed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = {name: Histogram() for name in wanted}
    sizes: dict[str, int] = {}
    for feed in feeds:
        count = len(next(iter(feed.values())))
        for name, values in zip(wanted, session.run(wanted, dict(feed)), strict=True):
            found[name].add(values)
            sizes[name] = values.size // max(1, count)
    return {name: one for name, one in found.items() if one.high >= one.low}, sizes


def _float_tensors(model: Any, nodes: set[str]) -> Iterator[str]:
    from onnx import TensorProto

    graph = model.graph
    typed = [*graph.value_info, *graph.input, *graph.output]
    floats = {one.name for one in typed if one.type.tensor_type.elem_type == TensorProto.FLOAT}
    constant = {one.name for one in graph.initializer}
    seen: set[str] = set()
    for node in graph.node:
        if node.name not in nodes:
            continue
        for name in (*node.input, *node.output):
            if name in floats and name not in constant and name not in seen:
                seen.add(name)
                yield name
