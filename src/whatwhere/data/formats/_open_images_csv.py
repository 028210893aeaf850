"""Open Images' CSV files: quickly where they are sound, line by line where they are not.

The original has 14.6 million boxes in one file, so polars reads it with the types that it
should have. A file of which it says no is read again as text, and one with rows of the wrong
length or broken quotes by the standard library, a record at a time.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding, shortened
from whatwhere.data.formats._files import head

SIDES = ("XMin", "XMax", "YMin", "YMax")
FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
_TEXTS = ("ImageID", "Source", "LabelName", "Confidence", "Rotation")

# Columns of the list of pictures that say nothing beyond the file's name and the picture's.
_EXPECTED = ("Subset", "OriginalURL")

# More findings of a kind in one file are counted, not listed.
_MOST = 1000


def header(file: Path) -> list[str]:
    """The column names in a file's first line; empty where it has none that is text."""
    line = head(file, 1 << 12).decode("utf-8-sig", "replace").splitlines()[:1]
    try:
        return [word.strip() for word in next(csv.reader(line, strict=True), [])]
    except csv.Error:
        # A quote that is not closed would take the rows that follow for part of a name.
        return []


def read_table(file: Path, where: str, findings: list[Finding]) -> pl.DataFrame:
    """The rows of a file with their columns as they should be.

    Returns:
        `line`; texts as text, empty ones null; `SIDES` as float64; `FLAGS` as Boolean. What
        the file does not have is null. Rows without ImageID are findings and left out.
    """
    names = header(file)
    _unread(names, where, findings)
    frame = _typed(file, names)
    if frame is None:
        frame = _as_text(file, names)
        if frame is None:
            frame = _by_record(file, where, findings)
        frame = _cast(frame, where, findings)
    flags = [_flag(frame, name, where, findings) for name in FLAGS if name in frame.columns]
    frame = frame.with_columns(flags)
    frame = frame.with_columns(
        *(pl.lit(None, pl.String).alias(one) for one in _TEXTS if one not in frame.columns),
        *(pl.lit(None, pl.Float64).alias(one) for one in SIDES if one not in frame.columns),
        *(pl.lit(None, pl.Int8).alias(one) for one in FLAGS if one not in frame.columns),
    )
    frame = _confident(frame, set(SIDES) <= set(names), where, findings)
    bad = frame.filter(pl.col("ImageID").is_null())
    report(findings, "bad-record", "the row has no ImageID", where, bad["line"].to_list())
    return frame.filter(pl.col("ImageID").is_not_null())


def _unread(names: list[str], where: str, findings: list[Finding]) -> None:
    """Say which columns are passed over: XClick's points, addresses, authors and licences."""
    unread = [name for name in names if name and name not in {*_known(names), *_EXPECTED}]
    if unread:
        shown = ", ".join(shortened(name, 40) for name in unread[:8])
        more = f" and {len(unread) - 8} more" if len(unread) > 8 else ""
        message = f"columns that are not read: {shown}{more}"
        findings.append(Finding("left-out-field", message, where, "info", KEPT_OUT))


def _confident(
    frame: pl.DataFrame, boxes: bool, where: str, findings: list[Finding]
) -> pl.DataFrame:
    """Without a Confidence that is no number from 0 to 1.

    Of a box nothing else depends on it; of a whole picture it is all that the row says.
    """
    text = pl.col("Confidence").str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    bad = (text != "") & ~((number >= 0) & (number <= 1)).fill_null(False)
    found = frame.select("line", "Confidence").filter(bad.fill_null(False))
    for line, value in found.head(_MOST).iter_rows():
        message = f"Confidence is {value[:40]!r}, not a number from 0 to 1"
        place, action = f"{where}:{line}", "kept" if boxes else KEPT_OUT
        findings.append(Finding("bad-value", message, place, "error", action, int(not boxes)))
    rest = found["line"].to_list()[_MOST:]
    if not boxes:
        report(findings, "bad-value", "Confidence is no number from 0 to 1", where, rest)
        return frame.filter(~bad.fill_null(False))
    return frame.with_columns(pl.when(~bad.fill_null(False)).then("Confidence").alias("Confidence"))


def report(
    findings: list[Finding], kind: str, message: str, where: str, lines: list[int], boxes: int = 1
) -> None:
    """One finding a line, up to a thousand; the rest in one."""
    for line in lines[:_MOST]:
        findings.append(Finding(kind, message, f"{where}:{line}", "error", KEPT_OUT, boxes))
    rest = lines[_MOST:]
    if rest:
        text = f"{message}, and so in {len(rest)} rows from here on"
        place = f"{where}:{rest[0]}"
        findings.append(Finding(kind, text, place, "error", KEPT_OUT, boxes * len(rest)))


def _rows_in(file: Path) -> int:
    """Lines after the first."""
    count, last = 0, b"\n"
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count - 1 + (last != b"\n")


def _known(names: list[str]) -> list[str]:
    return [name for name in (*_TEXTS, *SIDES, *FLAGS) if name in names]


def _typed(file: Path, names: list[str]) -> pl.DataFrame | None:
    """The file with its proper types, or None if it is not as it should be."""
    kinds: dict[str, pl.DataType] = {name: pl.Float64() for name in SIDES if name in names}
    kinds |= {name: pl.Int8() for name in FLAGS if name in names}
    return _read(file, names, kinds)


def _as_text(file: Path, names: list[str]) -> pl.DataFrame | None:
    return _read(file, names, {})


def _read(file: Path, names: list[str], kinds: dict[str, pl.DataType]) -> pl.DataFrame | None:
    if len(set(names)) < len(names):
        return None
    try:
        frame = pl.read_csv(file, columns=_known(names), schema_overrides=kinds, infer_schema=False)
    except (pl.exceptions.PolarsError, ValueError, OSError):
        return None
    # Else a line number would not be the row's number.
    if frame.height != _rows_in(file) or set(frame.columns) != set(_known(names)):
        return None
    return frame.with_columns(pl.int_range(2, frame.height + 2, dtype=pl.UInt32).alias("line"))


def _by_record(file: Path, where: str, findings: list[Finding]) -> pl.DataFrame:
    """As text, by the standard library."""
    columns: dict[str, list[str | None]] = {}
    lines: list[int] = []
    wanted: list[tuple[int, str]] = []
    width = 0
    for line, row in _records(file, where, findings):
        if not columns:
            names = [word.strip() for word in row]
            wanted = [(names.index(name), name) for name in _known(names)]
            columns = {name: [] for _, name in wanted}
            width = len(names)
        elif len(row) != width:
            message = f"the row has {len(row)} columns, the header has {width}"
            findings.append(Finding("bad-record", message, f"{where}:{line}", "error", KEPT_OUT, 1))
        else:
            lines.append(line)
            for place, name in wanted:
                columns[name].append(row[place] or None)
    kinds = dict.fromkeys(columns, pl.String())
    frame = pl.DataFrame(columns, schema=kinds)
    return frame.with_columns(pl.Series("line", lines, pl.UInt32))


def _records(file: Path, where: str, findings: list[Finding]) -> Iterator[tuple[int, list[str]]]:
    """Line number and words of each record that is not empty."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream)
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                place = f"{where}:{reader.line_num}"
                findings.append(Finding("bad-record", f"{error}", place, "error", KEPT_OUT, 1))
                if reader.line_num < line:
                    return
                continue
            if row:
                yield line, row


def _cast(frame: pl.DataFrame, where: str, findings: list[Finding]) -> pl.DataFrame:
    """Texts as numbers; a comma for the decimal point is understood and reported."""
    commas = pl.lit(False)
    for name in (*SIDES, "Confidence"):
        if name in frame.columns:
            text = pl.col(name).str.strip_chars()
            is_comma = text.str.contains(r"^[-+]?\d*,\d+$").fill_null(False)
            commas = commas | is_comma
            plain = pl.when(is_comma).then(text.str.replace(",", ".", literal=True)).otherwise(text)
            frame = frame.with_columns(plain.alias(name), is_comma.alias(f"{name} comma"))
    count = frame.select(
        pl.any_horizontal(
            pl.lit(False), *(pl.col(one) for one in frame.columns if one.endswith(" comma"))
        ).alias("any")
    )["any"]
    if count.any():
        message = f"{count.sum()} rows have a comma for the decimal point; it is read as one"
        findings.append(Finding("decimal-comma", message, where, "warning", "repaired"))
    for name in SIDES:
        if name not in frame.columns:
            continue
        number = frame[name].cast(pl.Float64, strict=False)
        for line, text in (
            frame.filter(number.is_null() & frame[name].is_not_null())
            .select("line", name)
            .head(_MOST)
            .iter_rows()
        ):
            message = f"{name} is {text[:40]!r}, not a number"
            findings.append(Finding("bad-value", message, f"{where}:{line}", "error", "kept"))
        frame = frame.with_columns(number.alias(name))
    return frame.select(one for one in frame.columns if not one.endswith(" comma"))


def _flag(frame: pl.DataFrame, name: str, where: str, findings: list[Finding]) -> pl.Series:
    """1, 0 or -1 (not known) of a column; null where it is empty or something else."""
    values = frame[name]
    if values.dtype == pl.String:
        words = values.str.strip_chars().str.to_lowercase()
        words = words.replace({"true": "1", "false": "0", "": None})
        numbers = words.cast(pl.Float64, strict=False).cast(pl.Int8, strict=False)
    else:
        words, numbers = values, values.cast(pl.Int8)
    odd = (words.is_not_null() & ~numbers.is_in([-1, 0, 1]).fill_null(False)).arg_true()
    for row in odd.head(_MOST):
        message = f"{name} is {words[row]!r}, not 1, 0 or -1; it is taken for unknown"
        place = f"{where}:{frame['line'][row]}"
        findings.append(Finding("bad-value", message, place, "warning", "kept"))
    good = numbers.is_in([-1, 0, 1]).fill_null(False)
    return pl.select(pl.when(good).then(numbers).alias(name)).to_series()
