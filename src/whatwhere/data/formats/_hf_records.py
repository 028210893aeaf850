"""Records of a Hugging Face `imagefolder`, one for each picture, and names of classes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whatwhere.data.findings import KEPT_OUT, Finding
from whatwhere.data.formats._class_sets import parse_json, read_text
from whatwhere.data.formats._files import relative
from whatwhere.data.formats._frames import read_frame
from whatwhere.errors import DataError

LABEL_KEYS = ("label", "labels", "class", "category", "categories", "tags")

_LONGEST = 64 << 20
"""Longest line of metadata.jsonl, in bytes."""


def _bad(message: str, where: str, labels: int = 0) -> Finding:
    return Finding("bad-record", message, where, "error", KEPT_OUT, labels)


def records_of(
    file: Path, root: Path, findings: list[Finding]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record with its place, "metadata.jsonl:7"; what is none becomes a finding.

    Raises:
        DataError: the file is damaged as a whole.
    """
    where = relative(file, root)
    if file.suffix == ".jsonl":
        yield from _json_lines(file, where, findings)
    elif file.suffix == ".csv":
        yield from _csv_rows(file, root, where, findings)
    else:
        for row, record in enumerate(read_frame(file).iter_rows(named=True)):
            yield f"{where}#{row}", record


def _json_lines(
    file: Path, where: str, findings: list[Finding]
) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(_LONGEST):
            number += 1
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                continue
            try:
                record = parse_json(text.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                message = f"the line is not JSON ({str(error)[:100]})"
                findings.append(_bad(message, f"{where}:{number}"))
                continue
            if not isinstance(record, dict):
                findings.append(_bad("the line is not an object", f"{where}:{number}"))
                continue
            yield f"{where}:{number}", record


def _csv_rows(
    file: Path, root: Path, where: str, findings: list[Finding]
) -> Iterator[tuple[str, dict[str, Any]]]:
    text = read_text(file, root)
    if text is None:
        raise DataError(f"{file} cannot be read: it must be UTF-8 text inside {root}")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        start = 1
        for row in rows:
            record_name, start = f"{where}:{start}", rows.line_num + 1
            if not header:
                header = [name.strip() for name in row]
            elif len(row) == len(header):
                values = dict(zip(header, row, strict=True))
                yield record_name, {key: _cell(key, one) for key, one in values.items() if one}
            elif row:
                message = f"the row has {len(row)} fields, the header {len(header)}"
                findings.append(_bad(message, record_name, 1))
    except csv.Error as error:
        raise DataError(f"{file}:{rows.line_num} is not a row of a table ({error})") from None


def _cell(key: str, text: str) -> Any:
    """A cell of metadata.csv; lists and objects stand there as JSON."""
    if key in ("objects", *LABEL_KEYS) and text[:1] in "[{":
        try:
            return parse_json(text)
        except (ValueError, RecursionError):
            return text
    if key in ("width", "height", "image_id") and text.isdecimal() and len(text) < 18:
        return int(text)
    return text


def readme_names(text: str) -> list[str]:
    """The names of `class_label` in the YAML at the head of a README.md, by their numbers."""
    found: dict[int, str] = {}
    inside = False
    if not text.startswith("---"):
        return []
    for line in text.split("\n---", 1)[0].split("\n"):
        if line.strip() == "names:":
            inside = not found
        elif inside:
            entry = re.fullmatch(r"(?:- +|['\"]?(\d{1,9})['\"]?: *)(\S.*)", line.strip()[:1000])
            if entry is None or not line[:1].isspace():
                inside = False
                continue
            found[int(entry[1]) if entry[1] else len(found)] = _unquoted(entry[2])
    names = [found.get(number, "") for number in range(len(found))]
    return names if all(names) and len(set(names)) == len(names) else []


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(parse_json(text))
        except ValueError:
            return text
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text
