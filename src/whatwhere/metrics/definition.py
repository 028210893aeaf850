"""What a metric is called, and what it means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A number, in 0..1 unless its definition says so, larger is better unless
    `smaller_is_better`.

    Args:
        name: its standard name, the key in results.
        definition: one sentence.
        source: the paper or specification that defines it.
        smaller_is_better: whether it counts what goes wrong.
    """

    name: str
    definition: str
    source: str
    smaller_is_better: bool = False
