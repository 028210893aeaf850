"""COCO results as columns of numbers, without an object for each record.

A program that writes results writes all records alike: the same keys in the same order, with
numbers between them. If the text without digits, points and signs is what stands between
the numbers of the first record again and again, and each such piece is found whole as often as
it must be, then the text is, letter by letter, such a list. Without its letters it is a table of
numbers, which polars reads some twenty times as fast as `json`.

Numbers with exponents have a letter. Then each piece is replaced by one sign, and nothing but
numbers and these signs may be left, in the same order in every record. In all other cases the
answer is None, and the records are parsed one by one.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.metrics.coco import FoundBoxes

_TOKEN = re.compile(r'"[^"\\]*"|(-?[0-9][0-9.eE+-]*)')
_JOINT = re.compile(r"\s*,\s*(?=\{)")
# Signs that are no white space of JSON, and stand in no valid text.
_SIGNS = (*range(1, 9), *range(14, 32))
_WANTED = {"image_id": 1, "category_id": 1, "bbox": 4, "score": 1}
_NUMBER_SIGNS = b"0123456789.eE+-"
_PLAIN = b"0123456789.+-"
"""What numbers without exponents consist of."""
_KEPT = _PLAIN + b",}"
_OTHERS = bytes(set(range(256)) - set(_KEPT))
_LINES = bytes.maketrans(b"}", b"\n")


def result_columns(text: str) -> FoundBoxes | None:
    """Records of results, of which `text` is a list without its brackets, as arrays.

    Returns:
        The boxes, with `image_id` and `category_id` as they are; None if this way of reading
        cannot be shown to be right. All numbers are finite, and rounded as `json` does.
    """
    end = text.find("}") + 1
    first = text[:end]
    kinds = _kinds(first)
    if kinds is None or not text.isascii():
        return None
    spans = [found.span(1) for found in _TOKEN.finditer(first) if found[1] is not None]
    if len(spans) != len(kinds):
        return None
    edges = [0, *(place for span in spans for place in span), end]
    pieces = [first[low:high] for low, high in zip(edges[::2], edges[1::2], strict=True)]
    comma = _JOINT.match(text, end)
    joint = pieces[-1] + (comma[0] if comma else ",") + pieces[0]
    between = [*pieces[1:-1], joint]
    inner = text[len(pieces[0]) : len(text) - len(pieces[-1])].encode("ascii")
    table = _table(inner, [piece.encode("ascii") for piece in between])
    if table is not None and text.endswith(pieces[-1]):
        return _parsed(table[0], kinds, table[1], led=True)
    marks = dict(zip(sorted(set(between), key=len, reverse=True), _SIGNS, strict=False))
    if len(marks) < len(set(between)) or not text.endswith(pieces[-1]):
        return None
    body = inner
    before = len(body)
    for piece, sign in marks.items():
        body = body.replace(piece.encode("ascii"), bytes([sign]))
    codes = np.frombuffer(body, np.uint8)
    signs = codes[codes < 32]
    order = np.array([marks[piece] for piece in between], dtype=np.uint8)
    rows, over = divmod(len(signs) + 1, len(order))
    # As many letters went as the pieces have; so no sign was there before.
    gone = rows * sum(len(piece) - 1 for piece in between) - (len(joint) - 1)
    if over or before - len(body) != gone or not _repeats(signs, order):
        return None
    if body.translate(None, _NUMBER_SIGNS + bytes(marks.values())):
        return None
    commas = bytes.maketrans(bytes(marks.values()), b"," * len(marks))
    commas = commas[: marks[joint]] + b"\n" + commas[marks[joint] + 1 :]
    return _parsed(body.translate(commas), kinds, rows)


def _table(body: bytes, between: list[bytes]) -> tuple[bytes, int] | None:
    """Rows of numbers, the second one on a line of its own with a comma before it, and so on.

    Args:
        body: records without what stands before the first and behind the last number.
        between: what stands behind each number of a record; the last of them ends it.

    Returns:
        The text of the rows, with a comma before each, and their number; None if it cannot be
        shown to be right, as with exponents.
    """
    record = b"".join(between)
    # One comma before each number but the first is what the columns are cut at.
    if any(piece.count(b",") != 1 or set(piece) & set(_PLAIN) for piece in between):
        return None
    if record.count(b"}") != 1 or not between[-1].startswith(b"}"):
        return None
    rest = body.translate(None, _PLAIN)
    rows = (len(rest) + len(between[-1])) // len(record)
    if rest + between[-1] != record * rows:
        return None
    # As often whole in the text as in what is left without numbers: so no number cuts one.
    for piece in set(between):
        if any(piece.startswith(piece[at:]) for at in range(1, len(piece))):
            return None
        one, two, three = ((record * n)[: -len(between[-1])].count(piece) for n in (1, 2, 3))
        must = one if rows == 1 else two + (rows - 2) * (three - two)
        if body.count(piece) != must:
            return None
    return b"," + body.translate(_LINES, _OTHERS), rows


def _repeats(signs: NDArray[np.uint8], order: NDArray[np.uint8]) -> bool:
    """Whether the signs are `order` again and again, without its last one at the end."""
    whole = np.append(signs, order[-1]).reshape(-1, len(order))
    return bool((whole == order).all())


def _kinds(record: str) -> list[tuple[str, int]] | None:
    """Key and place of each number of a record, in its order; None if it has anything else."""
    try:
        pairs: Any = json.loads(record, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, list) or len(dict(pairs)) < len(pairs):
        return None
    found = []
    for key, value in pairs:
        values = value if isinstance(value, list) else [value]
        if not all(type(one) in (int, float) for one in values) or "\\" in json.dumps(key):
            return None
        if _WANTED.get(key, len(values)) != len(values) or (key in _WANTED) > len(values):
            return None
        found += [(key, place) for place in range(len(values))]
    return found if _WANTED.keys() <= dict(pairs).keys() else None


def _parsed(
    table: bytes, kinds: list[tuple[str, int]], rows: int, *, led: bool = False
) -> FoundBoxes | None:
    """The table as arrays; `led` says that each line begins with a comma."""
    names = [f"{place}{key}" for key, place in kinds]
    whole = ("image_id", "category_id")
    try:
        frame = pl.read_csv(
            table,
            has_header=False,
            quote_char=None,
            schema=({"": pl.String} if led else {})
            | {
                name: pl.Int64 if key in whole else pl.Float64
                for name, (key, _) in zip(names, kinds, strict=True)
            },
        )
    except (pl.exceptions.PolarsError, ValueError):
        return None
    if frame.height != rows or any(frame[name].null_count() for name in names):
        return None
    xywh = np.column_stack([frame[f"{place}bbox"].to_numpy() for place in range(4)])
    score = frame["0score"].to_numpy()
    if not (np.isfinite(xywh).all() and np.isfinite(score).all()):
        return None
    return FoundBoxes(frame["0image_id"].to_numpy(), frame["0category_id"].to_numpy(), xywh, score)
