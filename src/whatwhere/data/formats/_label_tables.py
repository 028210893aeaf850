"""Tables of pictures and labels: CSV, TSV, Parquet, Arrow as columns of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import own_file
from whatwhere.data.formats._files import head
from whatwhere.data.formats._frames import columns_of, is_frame, read_frame
from whatwhere.errors import DataError

TEXT_SUFFIXES = (".csv", ".tsv")

MAX_BYTES = 2 << 30
"""Largest table of text that is read."""


@dataclass
class Table:
    """A table of text.

    Args:
        name: as findings show it.
        header: names of the columns, as they stand; not all need be different.
        columns: the values of each, with "" for nothing.
        lists: columns that have a list of names in each row, by position; their text is "".
        records: where each row stands, "labels.csv:7".
        findings: rows that could not be read.
    """

    name: str
    header: list[str]
    columns: list[Sequence[str]]
    lists: dict[int, list[list[str]]] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def is_table(file: Path) -> bool:
    """Whether the file's name is that of a table that is read here."""
    return file.suffix.lower() in TEXT_SUFFIXES or is_frame(file)


def sample_of(file: Path, root: Path) -> Table | None:
    """The first rows, for `recognise`; None for what is no table."""
    if not own_file(file, root):
        return None
    if file.suffix.lower() not in TEXT_SUFFIXES:
        if not columns_of(file):
            return None
        try:
            return _frame_table(read_frame(file, rows=500), file.name)
        except DataError:
            return None
    data = head(file)
    text = data.decode("utf-8-sig", "replace")
    lines = list(io.StringIO(text, newline=""))
    if len(data) == 1 << 16 and len(lines) > 1:
        lines.pop()
    if not lines or "\0" in text:
        return None
    try:
        return _text_table(lines, file, file.name)
    except DataError:
        return None


def load_table(file: Path, root: Path) -> Table:
    """The whole table.

    Raises:
        DataError: it is no table, is damaged as a whole, or lies outside the data set.
    """
    if not own_file(file, root):
        raise DataError(f"{file} is not a file inside {root}: copy it there")
    if file.suffix.lower() not in TEXT_SUFFIXES:
        return _frame_table(read_frame(file), file.name)
    if file.stat().st_size > MAX_BYTES:
        raise DataError(f"{file} has more than {MAX_BYTES} bytes: divide it, or use Parquet")
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return _text_table(lines, file, file.name)
    except UnicodeDecodeError:
        raise DataError(f"{file}:{_bad_line(file)} is not UTF-8: save the file as UTF-8") from None


def _bad_line(file: Path) -> int:
    """The first line that is not UTF-8."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def delimiter_of(line: str, name: str) -> str:
    """What divides the columns, by the header: a tab, comma or semicolon outside quotes."""
    quoted, counts = False, {"\t": 0, ",": 0, ";": 0}
    for letter in line:
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in counts:
            counts[letter] += 1
    if name.lower().endswith(".tsv") and counts["\t"]:
        return "\t"
    return max(counts, key=lambda one: (counts[one], one == ","))


def _text_table(lines: Iterable[str], file: Path, name: str) -> Table:
    stream = iter(lines)
    first = next(stream, "")
    reader = csv.reader(chain([first], stream), delimiter=delimiter_of(first, name), strict=True)
    rows, records, findings = [], [], []
    header: list[str] | None = None
    try:
        for start, row in _numbered(reader):
            if header is None:
                header = _header(row)
            elif len(row) != len(header):
                message = f"the row has {len(row)} fields, the header {len(header)}"
                where = f"{name}:{start}"
                findings.append(Finding("bad-record", message, where, "error", KEPT_OUT, 1))
            else:
                rows.append(row)
                records.append(f"{name}:{start}")
    except csv.Error as error:
        raise DataError(
            f"{file}:{reader.line_num} is not a row of a table ({error}): look for a quote that"
            " is not closed"
        ) from None
    if header is None:
        raise DataError(f"{file} has no header: the first line must name the columns")
    spaced = len(header) > 1 and all(one.startswith(" ") for one in header[1:])
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]
    if spaced:  # "file, cat, dog"
        header = [one.strip() for one in header]
        columns = [[value.strip() for value in column] for column in columns]
    return Table(name, header, list(columns), {}, records, findings)


def _header(row: list[str]) -> list[str]:
    return [name.removeprefix("\ufeff") for name in row]


def _numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its first line; empty lines are left out."""
    start = 1
    for row in reader:
        if row:
            yield start, row
        start = reader.line_num + 1  # type: ignore[attr-defined]


def _frame_table(frame: pl.DataFrame, name: str) -> Table:
    columns: list[Sequence[str]] = []
    lists: dict[int, list[list[str]]] = {}
    for place, column in enumerate(frame.iter_columns()):
        kind = column.dtype
        if isinstance(kind, pl.List) and not kind.inner.is_nested():
            texts = column.cast(pl.List(pl.String), strict=False).to_list()
            lists[place] = [[one for one in row or () if one] for row in texts]
            columns.append([""] * frame.height)
        elif kind.is_nested() or kind == pl.Binary:
            columns.append([""] * frame.height)
        else:
            columns.append(column.cast(pl.String, strict=False).fill_null("").to_list())
    records = [f"{name}#{row}" for row in range(frame.height)]
    return Table(name, frame.columns, columns, lists, records)


def csv_text(header: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    """A CSV file: commas, quotes where needed, one line feed a row."""
    written = []
    for column in columns:
        quoted = {value: _quoted(value) for value in set(column)}
        written.append([quoted[value] for value in column])
    rows = map(",".join, zip(*written, strict=True))
    return "\n".join([",".join(map(_quoted, header)), *rows]) + "\n"


def _quoted(value: str) -> str:
    # Not csv.writer: it leaves a carriage return without quotes, at which csv.reader divides.
    odd = any(letter in value for letter in ',"\r\n') or value != value.strip()
    return '"' + value.replace('"', '""') + '"' if odd else value
