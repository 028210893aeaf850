"""KITTI's text files: label lines, calibration, and how the JSON columns keep them exactly.

Numbers stand in the JSON as they stand in the file ("0.00", "7.070493000000e+02"): JSON
allows that, so that readers of the column get numbers and the writer gets the text back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DONT_CARE = "DontCare"

# Where the values of a line stand after the class, and what is written for unknown ones.
_FIELDS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("truncated", 1, ("-1",)),
    ("occluded", 1, ("3",)),
    ("alpha", 1, ("-10",)),
    ("bbox", 4, ()),
    ("dimensions", 3, ("-1", "-1", "-1")),
    ("location", 3, ("-1000", "-1000", "-1000")),
    ("rotation_y", 1, ("-10",)),
    ("score", 1, ()),
)

_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Line:
    """One object.

    Args:
        word: the class, as it is written.
        box: x1, y1, x2, y2 in pixels.
        truncated, occluded: None where the file does not say.
        score: confidence, if there is one.
        texts: every field as it is written, by name.
    """

    word: str
    box: tuple[float, float, float, float]
    truncated: bool | None
    occluded: bool | None
    score: float | None
    texts: dict[str, list[str]]


def parse_line(text: str) -> Line | str:
    """An object, or what is wrong with the line."""
    word, *values = text.split()
    if len(values) not in (14, 15):
        return f"{text.strip()[:60]!r} has {len(values) + 1} columns, not 15 or 16"
    try:
        numbers = [float(value) for value in values]
    except ValueError as error:
        return f"{text.strip()[:60]!r}: {error}"
    if not all(map(math.isfinite, numbers)):
        return f"{text.strip()[:60]!r} has a value that is not finite"
    texts, start = {}, 0
    for name, count, _ in _FIELDS:
        texts[name] = values[start : start + count]
        start += count
    x1, y1, x2, y2 = numbers[3:7]
    return Line(
        word,
        (x1, y1, x2, y2),
        numbers[0] > 0 if 0 <= numbers[0] <= 1 else None,
        numbers[1] > 0 if numbers[1] in (0, 1, 2) else None,
        numbers[14] if len(numbers) == 15 else None,
        {name: one for name, one in texts.items() if one},
    )


def line_texts(
    word: str,
    box: Sequence[float],
    truncated: bool | None,
    occluded: bool | None,
    score: float | None,
    kept: Mapping[str, Any],
) -> dict[str, list[str]]:
    """The fields of a line of a label file, after the class.

    Args:
        word: the class, without spaces.
        box: float32 x1, y1, x2, y2.
        truncated, occluded, score: as in the table; they win over what was kept.
        kept: fields of the line that was read, with texts in place of numbers.
    """
    unsure = "-1" if word == DONT_CARE else "3"
    fields = {
        "truncated": ["-1" if truncated is None else "1.00" if truncated else "0.00"],
        "occluded": [unsure if occluded is None else "1" if occluded else "0"],
        "bbox": [_side_text(np.float32(side)) for side in box],
        "score": [] if score is None else [_score_text(score)],
    }
    values = {}
    for name, count, unknown in _FIELDS:
        one = kept.get(name)
        texts: list[str] = one if isinstance(one, list) else [one] if isinstance(one, str) else []
        good = len(texts) == count and all(map(_is_number, texts))
        if not (good and _agrees(name, texts, truncated, occluded, box, score)):
            texts = fields.get(name, list(unknown))
        values[name] = texts
    return values


def _agrees(
    name: str,
    texts: list[str],
    truncated: bool | None,
    occluded: bool | None,
    box: Sequence[float],
    score: float | None,
) -> bool:
    """Whether what was kept still says what the table says."""
    numbers = [float(text) for text in texts]
    if name == "truncated":
        return (numbers[0] > 0 if 0 <= numbers[0] <= 1 else None) == truncated
    if name == "occluded":
        return (numbers[0] > 0 if numbers[0] in (0, 1, 2) else None) == occluded
    if name == "bbox":
        return [np.float32(number) for number in numbers] == [np.float32(side) for side in box]
    if name == "score":
        # A score that is no confidence stands here only.
        return np.float32(numbers[0]) == score if 0 <= numbers[0] <= 1 else score is None
    return True


def _side_text(side: np.float32) -> str:
    """Two digits, as in KITTI's own files, where that is all there is."""
    text = f"{side:.2f}"
    return text if np.float32(text) == side else np.format_float_positional(side)


def _score_text(score: float) -> str:
    return np.format_float_positional(np.float32(score), trim="0")


def _is_number(text: object) -> bool:
    return isinstance(text, str) and _JSON_NUMBER.fullmatch(text) is not None


def literal(text: str) -> str:
    """A number as JSON, with the same digits wherever JSON allows them."""
    return text if _is_number(text) else json.dumps(float(text))


def label_json(line: Line, score: float | None) -> str | None:
    """The column `extra` of an object: what the other columns do not say, None for nothing.

    Args:
        line: as it was read.
        score: as it stands in the table.
    """
    plain = line_texts(line.word, line.box, line.truncated, line.occluded, score, {})
    parts = []
    for name, texts in line.texts.items():
        if texts != plain[name]:
            numbers = ", ".join(map(literal, texts))
            parts.append(f'"{name}": ' + (f"[{numbers}]" if len(texts) > 1 else numbers))
    return '{"kitti": {' + ", ".join(parts) + "}}" if parts else None


def calibration_json(lines: Sequence[str]) -> str | None:
    """The column `extra` of a picture: {"kitti": {"calib": {"P0": [12 numbers], ...}}}."""
    parts = []
    for line in lines:
        key, colon, rest = line.partition(":")
        if not colon or not key.strip():
            continue
        words = rest.split()
        if words and all(map(_is_number, words)):
            parts.append(f"{json.dumps(key.strip())}: [{', '.join(words)}]")
        else:
            parts.append(f"{json.dumps(key.strip())}: {json.dumps(rest.strip())}")
    return '{"kitti": {"calib": {' + ", ".join(parts) + "}}}" if parts else None


def calibration_text(kept: Mapping[str, Any]) -> str | None:
    """The file again, or None if there is no calibration."""
    lines = []
    known = kept.get("calib")
    for key, value in known.items() if isinstance(known, dict) else ():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        lines.append(re.sub(r"[\r\n]", " ", f"{key}: {text}"))
    return "".join(f"{line}\n" for line in lines) if lines else None


def kept_texts(extra: str | None) -> dict[str, Any]:
    """What this format kept in a JSON column, numbers as the texts that they were."""
    try:
        known = json.loads(extra, parse_float=str, parse_int=str) if extra else None
    except (ValueError, RecursionError):
        return {}
    own = known.get("kitti") if isinstance(known, dict) else None
    return own if isinstance(own, dict) else {}
