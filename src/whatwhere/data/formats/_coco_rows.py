"""Many JSON objects of one shape, cut into columns without parsing them one by one.

A program that writes COCO writes each record with the same keys in the same order. Such
records become columns of JSON texts by splitting them at their quotes as if they were a CSV
file, which polars does with all cores. Nothing is taken on trust: each row must show the
same keys at the same places, and each value must be JSON by itself. Then the row is, letter
by letter, `{"key": value, ...}`, and since JSON's grammar is unambiguous there is no other
way to read it. Rows of which this cannot be shown are parsed by `json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

_OPEN, _CLOSE, _QUOTE = 0x7B, 0x7D, 0x22
# No control character stands in valid JSON but for white space, so these two are free.
_END, _MASK = 0x1E, b"\x01"

_S = r"[ \t\r\n]*"
_BLANKS = " \t\r\n"
_TEXT = r'(?:[^\x00-\x1f"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"


def _list(item: str) -> str:
    return rf"\[{_S}(?:{item}{_S}(?:,{_S}{item}{_S})*)?\]"


_RUNS = (
    rf"\{{{_S}\x01counts\x01{_S}:{_S}(?:{_list(_NUMBER)}|\x01{_TEXT}\x01){_S},"
    rf"{_S}\x01size\x01{_S}:{_S}{_list(_NUMBER)}{_S}\}}"
)
_VALUE = rf"(?:{_NUMBER}|true|false|null|{_list(_NUMBER)}|{_list(_list(_NUMBER))}|{_RUNS})"
"""What needs no closer look: scalars, boxes, outlines and run lengths with masked quotes."""

_MAX_SHAPES, _MAX_KEYS = 32, 200


class UnsureError(Exception):
    """The block was not cut where its records end: it must be parsed from its start."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where records seem to begin and end in a block.

    Args:
        starts, ends: positions of the braces around each record, int64 (N,).
        comma: bytes from a record's end to the comma, if all are alike; else None.
        length: bytes up to the end of the last one.
        inner: (2, M), the braces around objects that are directly in records.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    comma: int | None
    length: int
    inner: NDArray[np.int64]


def cut(block: bytearray) -> Cut:
    """Guess the records of an array of objects by their braces; the block begins with one."""
    codes = np.frombuffer(block, np.uint8)
    # Braces are among the highest codes of ASCII, so one comparison finds the few that matter.
    high = np.flatnonzero(codes >= _OPEN)
    kinds = codes[high]
    places = high[(kinds == _OPEN) | (kinds == _CLOSE)]
    opening = codes[places] == _OPEN
    depth = np.cumsum(np.where(opening, 1, -1).astype(np.int32), dtype=np.int32)
    starts, ends = places[opening & (depth == 1)], places[~opening & (depth == 0)]
    between = max(min(len(starts) - 1, len(ends)), 0)
    good, comma = np.ones(between, np.bool_), None
    if between:
        first = bytes(block[ends[0] + 1 : starts[1]])
        gaps = starts[1 : between + 1] - ends[:between] - 1
        if first.split() == [b","] and (gaps == len(first)).all():
            comma = first.index(b",") + 1
            for place, letter in enumerate(first, 1):
                good &= codes[ends[:between] + place] == letter
        else:
            pairs = zip(ends[:between].tolist(), starts[1 : between + 1].tolist(), strict=True)
            good = np.array([block[e + 1 : s].split() == [b","] for e, s in pairs], np.bool_)
    count = min(len(starts), len(ends)) if good.all() else int(np.argmin(good)) + 1
    length = int(ends[count - 1]) + 1 if count else 0
    inner = [places[opening & (depth == 2)], places[~opening & (depth == 1)]]
    pairs_inside = min(int(np.searchsorted(one, length)) for one in inner)
    inner_braces = np.stack([one[:pairs_inside] for one in inner])
    return Cut(starts[:count], ends[:count], comma, length, inner_braces)


Parse = Callable[[str, int], dict[str, str]]
"""From the text of a record and its number in the block to its JSON texts by key."""


def columns(block: bytearray, cut: Cut, known: Sequence[str], parse: Parse) -> pl.DataFrame:
    """The records as columns of JSON texts: one for each known key, and `extra`.

    Args:
        block: the records; it is changed.
        cut: where they are.
        known: keys that get columns; null where a record does not have the key.
        parse: for a record that does not have the shape of others; ValueError if it is none.

    Returns:
        One row a record; `extra` is the text of the other keys and values, as between
        braces, or null.

    Raises:
        UnsureError: the records cannot be where `cut` says.
    """
    if _MASK in block or _END in block:
        raise UnsureError
    # Quotes in inner objects are hidden, so that only a record's own are left.
    for start, end in cut.inner.T.tolist():
        block[start:end] = block[start:end].replace(b'"', _MASK)
    every = np.arange(len(cut.starts))
    frame = _alike(block, cut, every, known)
    if frame is not None:
        return frame
    frames, rows, left = [], [], []
    quotes = np.flatnonzero(np.frombuffer(block, np.uint8, cut.length) == _QUOTE)
    shapes = np.diff(np.searchsorted(quotes, np.append(cut.starts, cut.length)))
    kinds = np.unique(shapes).tolist()
    for kind in kinds if len(kinds) <= _MAX_SHAPES else ():
        chosen = np.flatnonzero(shapes == kind)
        frame = _alike(block, cut, chosen, known) if len(kinds) > 1 else None
        if frame is None:
            left.append(chosen)
        else:
            frames.append(frame)
            rows.append(chosen)
    if left or not frames:
        rows.append(np.concatenate(left) if left else every)
        frames.append(_one_by_one(block, cut, rows[-1], known, parse))
    return pl.concat(frames)[np.argsort(np.concatenate(rows), kind="stable")]


def _one_by_one(
    block: bytearray, cut: Cut, rows: NDArray[np.int64], known: Sequence[str], parse: Parse
) -> pl.DataFrame:
    texts: dict[str, list[str | None]] = {name: [] for name in (*known, "extra")}
    for row in rows.tolist():
        record = bytes(block[cut.starts[row] : cut.ends[row] + 1]).replace(_MASK, b'"')
        try:
            found = parse(record.decode(), row)
        except (ValueError, RecursionError):
            raise UnsureError from None
        for name, column in texts.items():
            column.append(found.get(name))
    return pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String))


def _alike(
    block: bytearray, cut: Cut, rows: NDArray[np.int64], known: Sequence[str]
) -> pl.DataFrame | None:
    """The columns of those records, which have equally many quotes; None if they are not alike."""
    starts, ends = cut.starts[rows], cut.ends[rows]
    shape = _shape(bytes(block[starts[0] : ends[0] + 1]))
    if shape is None:
        return None
    if len(starts) == len(cut.starts) and cut.comma is not None:
        commas = ends[:-1] + cut.comma
        codes = np.frombuffer(block, np.uint8)
        codes[commas] = _END
        text = bytes(memoryview(block)[: cut.length])
        codes[commas] = ord(",")
    else:
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        text = bytes([_END]).join([bytes(block[s : e + 1]) for s, e in pairs])
    try:
        frame = pl.read_csv(
            text,
            has_header=False,
            separator='"',
            eol_char=chr(_END),
            quote_char=None,
            schema={f"c{place}": pl.String for place in range(shape.width)},
        )
    except pl.exceptions.PolarsError:
        return None
    return shape.read(frame, known, cut.inner.size > 0) if frame.height == len(starts) else None


@dataclass(frozen=True, slots=True)
class _Shape:
    """The keys of a record and the kinds of their values.

    Args:
        width: number of pieces between quotes.
        between: what the piece at a place must be, but for white space around it.
        values: key, place of the value's piece, and whether that is a text and nothing else.
            The key's piece is before it, and before the colon of a text.
    """

    width: int
    between: dict[int, str]
    values: list[tuple[str, int, bool]]

    def read(self, frame: pl.DataFrame, known: Sequence[str], hidden: bool) -> pl.DataFrame | None:
        """The columns, if each row can be shown to be of this shape."""
        # polars reads nothing between two quotes as null, and what is missing in a row, too.
        alike = [
            pl.col(f"c{place}").str.strip_chars(_BLANKS).eq_missing(text).all()
            for place, text in self.between.items()
        ]
        for key, place, text in self.values:
            alike.append(pl.col(f"c{place - 2 if text else place - 1}").eq_missing(key).all())
            if text:
                piece = pl.col(f"c{place}").fill_null("")
                alike.append(piece.str.contains(rf"\A{_TEXT}\z").all())
        if not all(frame.select(pl.all_horizontal(alike)).row(0)):
            return None
        last = self.values[-1][1]
        found: dict[str, pl.Expr | pl.Series] = {}
        fits = frame.select(
            pl.col(f"c{place}")
            .str.contains(rf"\A{_S}:{_S}{_VALUE}{_S}{'}' if place == last else ','}{_S}\z")
            .fill_null(False)
            for _, place, text in self.values
            if not text
        )
        for key, place, text in self.values:
            piece = pl.col(f"c{place}")
            if text:
                found[key] = pl.concat_str(pl.lit('"'), piece.fill_null(""), pl.lit('"'))
                continue
            plain = piece.str.strip_chars(_BLANKS + (":" if place == last else ":,"))
            if place == last:
                plain = plain.str.strip_suffix("}").str.strip_chars_end(_BLANKS)
            if hidden:
                plain = plain.str.replace_all("\x01", '"', literal=True)
            if not fits[f"c{place}"].all():
                odd = _checked(frame[f"c{place}"].filter(~fits[f"c{place}"]), place == last)
                if odd is None:
                    return None
                loose = piece.replace_strict(odd, default=None, return_dtype=pl.String)
                plain = pl.when(fits[f"c{place}"]).then(plain).otherwise(loose)
            found[key] = plain
        others = [name for name, _, _ in self.values if name not in known]
        if others:
            parts = [pl.concat_str(pl.lit(f'"{name}": '), found[name]) for name in others]
            extra = pl.concat_str(parts, separator=", ")
        else:
            extra = pl.lit(None, pl.String)
        empty = pl.lit(None, pl.String)
        return frame.select(**{name: found.get(name, empty) for name in known}, extra=extra)


def _checked(pieces: pl.Series, last: bool) -> dict[str, str] | None:
    """The JSON texts in pieces ": value,", each parsed by itself; None if one is none."""
    whole = re.compile(rf":(.*){'}' if last else ','}", re.S)
    known: dict[str, str] = {}
    for piece in pieces.unique():
        found = None if piece is None else whole.fullmatch(piece.strip(_BLANKS))
        if found is None:
            return None
        text = found[1].strip(_BLANKS).replace("\x01", '"')
        try:
            json.loads(text, object_pairs_hook=_once, parse_constant=_none)
        except (ValueError, RecursionError):
            return None
        known[piece] = text
    return known


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _none(name: str) -> None:
    raise ValueError(name)


def _shape(record: bytes) -> _Shape | None:
    """The shape of a record with masked inner quotes; None if it is not of a simple kind."""
    try:
        pieces = record.decode().split('"')
    except UnicodeDecodeError:
        return None
    between = {0: "{"}
    values: list[tuple[str, int, bool]] = []
    place = 0
    while place + 2 < len(pieces):
        name = pieces[place + 1]
        text = pieces[place + 2].strip(_BLANKS) == ":"
        if text:
            if place + 4 >= len(pieces):
                return None
            between |= {place + 2: ":", place + 4: "}" if place + 5 == len(pieces) else ","}
        values.append((name, place + 3 if text else place + 2, text))
        place += 4 if text else 2
    names = [name for name, _, _ in values]
    if place + 1 != len(pieces) or not 0 < len(names) <= _MAX_KEYS:
        return None
    # polars reads an empty name as null, and a name with an escape may be another's.
    if len(set(names)) < len(names) or any(
        not name or "\\" in name or "\x01" in name for name in names
    ):
        return None
    return _Shape(len(pieces), between, values)
