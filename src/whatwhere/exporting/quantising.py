"""From a folded graph to the 8-bit file that passes the gate with the most layers in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whatwhere.exporting.entrance import Entrance, folded_pixels
from whatwhere.exporting.gate import Gate
from whatwhere.exporting.graphs import Trunk, find_trunk, groups_of
from whatwhere.exporting.int8 import quantised
from whatwhere.exporting.pictures import canvases, feeds
from whatwhere.exporting.ranges import RULES, Histogram, chosen, collect
from whatwhere.exporting.search import Meter, least_passing, ranked
from whatwhere.runtime import Predictor, load_file

_PROBES = 12
"""Canvases that errors are measured on."""
_MOST_FLOAT = 0.7
"""Share of the multiplications that may go back to float: with more, 8 bits gain little."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a graph is quantised.

    Args:
        ranges: a name of `ranges.RULES`, or "auto".
        paths: pictures that give the ranges.
        say: called with sentences about what goes on.
    """

    ranges: str
    paths: Sequence[str]
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """The outcome.

    Args:
        file: the model file.
        gate: how it did.
        rule: how its ranges were chosen.
        in_float: layers that stayed in float.
        layers: how many there are.
        errors: of each rule that was tried, in 0..1.
    """

    file: bytes
    gate: Gate
    rule: str
    in_float: tuple[str, ...]
    layers: int
    errors: Mapping[str, float]

    @property
    def about(self) -> dict[str, Any]:
        """What the spec says of it."""
        return {"ranges": self.rule, "layers": self.layers, "in_float": len(self.in_float)}


def quantise(
    graph: Any,
    metadata: Mapping[str, str],
    predictor: Predictor,
    judged: Callable[[bytes], Gate],
    settings: Settings,
) -> Quantised:
    """Quantise a graph; layers go back to float, the worst first, until the gate passes.

    Args:
        graph: as `graphs.folded` gives it.
        metadata: of the file.
        predictor: the original, loaded.
        judged: the gate, for a file.
        settings: rule, pictures.

    Returns:
        What passes with the fewest layers in float; the best one if none passes.
    """
    graph, entrance = folded_pixels(graph)
    trunk = find_trunk(graph)
    images = canvases(predictor, settings.paths)
    found, sizes = collect(graph, trunk.nodes, feeds(predictor, images))
    settings.say(f"ranges of {len(found)} tensors from {len(settings.paths)} pictures")
    # Spread over the pictures, which may be in the order of their classes.
    step = max(1, len(settings.paths) // _PROBES)
    probes = list(canvases(predictor, settings.paths[::step]))[:_PROBES]
    meter = Meter(predictor, probes, lambda file: load_file(file, backend="onnxruntime"))
    maker = _Maker(graph, found, metadata, trunk, entrance)
    errors = {name: meter(maker(name)) for name in chosen(settings.ranges)}
    rule = min(errors, key=errors.__getitem__)
    told = ", ".join(f"{name} {value:.4f}" for name, value in errors.items())
    settings.say(f"error of the outputs by how ranges are chosen: {told}")
    file = maker(rule)
    gate = judged(file)
    settings.say(f"all {len(trunk.layers)} layers in 8 bits: {gate.sentence}")
    if gate.passed:
        return Quantised(file, gate, rule, (), len(trunk.layers), errors)
    groups = groups_of(trunk)
    work = trunk.work(sizes)
    order = ranked(groups, work, lambda group: meter(maker.only(rule, group)))
    tried: dict[int, Quantised] = {}

    def passes(count: int) -> bool:
        back = {name for place in order[:count] for name in groups[place]}
        layers = tuple(name for name in trunk.layers if name in back)
        made = maker(rule, back)
        gate = judged(made)
        settings.say(f"{len(layers)} of {len(trunk.layers)} layers in float: {gate.sentence}")
        tried[count] = Quantised(made, gate, rule, layers, len(trunk.layers), errors)
        return gate.passed

    most = _affordable(order, groups, work)
    best, _ = least_passing(most, passes)
    if best is not None:
        return tried[best]
    return min(tried.values(), key=lambda one: one.gate.worth)


def _affordable(
    order: Sequence[int], groups: Sequence[Sequence[str]], work: Mapping[str, float]
) -> int:
    """How many groups may go back to float, at least one."""
    total, spent = sum(work.values()) or 1.0, 0.0
    for count, place in enumerate(order):
        spent += sum(work.get(name, 0.0) for name in groups[place])
        if spent > _MOST_FLOAT * total:
            return max(1, count)
    return len(order)


@dataclass(frozen=True, slots=True, eq=False)
class _Maker:
    """Files of one graph, with these or those nodes in float."""

    graph: Any
    found: Mapping[str, Histogram]
    metadata: Mapping[str, str]
    trunk: Trunk
    entrance: Entrance | None

    def __call__(self, rule: str, back: Collection[str] = ()) -> bytes:
        nodes = [name for name in self.trunk.nodes if name not in set(back)]
        return self._quantised(rule, nodes)

    def only(self, rule: str, nodes: Collection[str]) -> bytes:
        """The file with nothing but these nodes in 8 bits."""
        return self._quantised(rule, nodes)

    def _quantised(self, rule: str, nodes: Collection[str]) -> bytes:
        return quantised(self.graph, self.found, RULES[rule], nodes, self.metadata, self.entrance)
