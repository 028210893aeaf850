"""A setting: its meaning, its limits, and its value from text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from whatwhere.errors import UsageError


def setting(
    default: Any,
    about: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with its meaning and its range, both for people and for the check."""
    limits = {"least": least, "most": most, "above": above, "below": below}
    return field(default=default, metadata={"about": about, "choices": choices, "limits": limits})


def check_setting(name: str, value: Any, about: Mapping[str, Any]) -> None:
    choices = about["choices"]
    if choices and value not in choices:
        raise UsageError(f"unknown {name} {value!r}: use one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value}")
    limits = about["limits"]
    least, most, above, below = (limits[key] for key in ("least", "most", "above", "below"))
    fits = (
        (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not fits:
        raise UsageError(f"{name} must be {range_words(least, most, above, below)}, not {value}")


def range_words(
    least: float | None, most: float | None, above: float | None, below: float | None
) -> str:
    if least is not None and most is not None:
        return f"in {least:g}..{most:g}"
    low = f"at least {least:g}" if least is not None else ""
    low = f"above {above:g}" if above is not None else low
    high = f"below {below:.10g}" if below is not None else ""
    high = f"at most {most:g}" if most is not None else high
    return " and ".join(part for part in (low, high) if part)


def parse_setting(name: str, text: str, kind: type) -> Any:
    if name == "budget":
        return parse_budget(text)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind is tuple:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return kind(text)
    except (ValueError, KeyError):
        words = {bool: "true or false", int: "a whole number", float: "a number"}
        raise UsageError(f"{name} must be {words.get(kind, 'text')}, not {text!r}") from None


def parse_budget(text: str | float) -> float:
    """Seconds of a wall-clock time such as "90s", "10m", "1.5h" or a number of seconds.

    Raises:
        UsageError: it is not such a time, or not above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|)\s*", str(text).lower())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"budget must be a time such as 90s, 10m or 2h, not {text!r}")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]
