"""Conditions on a comparison that make it fail: `--fail-if "AP < -0.01"`.

The grammar, with spaces where one likes:

    NAME [ "[" CLASS "]" | "{" SLICE "}" ] [ "." PART ]  ( "<" | "<=" | ">" | ">=" )  NUMBER

NAME is a standard number; CLASS takes it of a class, SLICE of a part of the data, as in
"f1{size: small} < -0.05". PART is `value` (the
default: second - first), `low` or `high` (ends of its interval), `p`, `adjusted`, or `first` or
`second` (the number itself).
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from whatwhere.errors import UsageError
from whatwhere.evaluation.comparison import Comparison
from whatwhere.metrics import PRIMARY
from whatwhere.metrics.paired import Difference

PARTS = ("value", "low", "high", "p", "adjusted", "first", "second")

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_GRAMMAR = re.compile(
    r"\s*(?P<name>\w+)\s*(?:\[(?P<of>.+)\]|\{(?P<slice>.+)\})?\s*(?:\.\s*(?P<part>\w+))?\s*"
    r"(?P<sign><=|>=|<|>)\s*(?P<number>\S+)\s*"
)


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition.

    Args:
        text: as it was written.
        name, part: which number, and what of it.
        of_class, of_slice: of a class or slice; None for the whole.
        sign, limit: the comparison.
    """

    text: str
    name: str
    part: str
    sign: str
    limit: float
    of_class: str | None = None
    of_slice: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a gate said.

    Args:
        text: the gate.
        value: the number it looked at; None if that is undefined.
        failed: the condition holds, or cannot be judged since the number is undefined.
    """

    text: str
    value: float | None
    failed: bool

    @property
    def sentence(self) -> str:
        """For people."""
        word = "failed" if self.failed else "passed"
        if self.value is None:
            return f"{word}: {self.text} (undefined: no label counts)"
        return f"{word}: {self.text} (it is {self.value:+.4f})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"gate": self.text, "value": self.value, "failed": self.failed}


def parse_gate(text: str) -> Gate:
    """A condition from its text; see the module for the grammar.

    Raises:
        UsageError: it cannot be understood; the message says what of it.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise UsageError(
            f"cannot understand the condition {text!r}: write a name, a comparison and a number,"
            " such as 'AP < -0.01', 'AP.high < 0' or 'AP[cat] <= -0.05'"
        )
    part = match["part"] or "value"
    if part not in PARTS:
        raise UsageError(
            f"the condition {text!r} asks for {part!r} of a difference: use one of"
            f" {', '.join(PARTS)}"
        )
    try:
        limit = float(match["number"])
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise UsageError(
            f"the condition {text!r} compares with {match['number']!r}: give a number, such as"
            " -0.01"
        )
    return Gate(
        text.strip(), match["name"], part, match["sign"], limit, match["of"], match["slice"]
    )


def judge_gates(gates: Iterable[Gate], comparison: Comparison) -> list[Judgement]:
    """Whether each condition holds.

    Raises:
        UsageError: a name, class or slice is not among those that were compared.
    """
    made = []
    for gate in gates:
        value: float | None = getattr(_find(gate, comparison), gate.part)
        # A gate that nothing can pass or fail must not let everything through.
        failed = value is None or _COMPARE[gate.sign](value, gate.limit)
        made.append(Judgement(gate.text, value, failed))
    return made


def _find(gate: Gate, comparison: Comparison) -> Difference:
    if gate.of_slice is not None:
        main = PRIMARY[comparison.task]
        parts = {**comparison.parts, **{k: {main: v} for k, v in comparison.slices.items()}}
        row = _pick(gate, "slice", gate.of_slice, parts)
        part: Difference = _pick(gate, "number of a slice", gate.name, row)
        return part
    heads = [comparison, *([] if comparison.labels is None else [comparison.labels])]
    if gate.of_class is not None:
        known = {name: row for head in reversed(heads) for name, row in head.per_class.items()}
        row = _pick(gate, "class", gate.of_class, known)
        found: Difference = _pick(gate, "number of a class", gate.name, row)
        return found
    for head in heads:
        if gate.name in head.numbers:
            if gate.part == "adjusted":
                raise UsageError(
                    f"the condition {gate.text!r} asks for a corrected p of the whole, which is"
                    f" not corrected: use {gate.name}.p"
                )
            return head.numbers[gate.name]
    names = [name for head in heads for name in head.numbers]
    raise _unknown(gate, "number", gate.name, names)


def _pick(gate: Gate, what: str, name: str, known: Any) -> Any:
    if name not in known:
        raise _unknown(gate, what, name, list(known))
    return known[name]


def _unknown(gate: Gate, what: str, name: str, known: Sequence[str]) -> UsageError:
    near = get_close_matches(name, known, 3) or list(known[:12])
    return UsageError(
        f"the condition {gate.text!r} names the {what} {name!r}, which was not compared: use"
        f" {', '.join(near) or 'another condition, there is none'}"
    )
