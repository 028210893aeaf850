"""Files of predictions read piece by piece, so that memory does not grow with the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from whatwhere.errors import DataError

_PIECE = 1 << 21
"""Characters read at once: some twenty thousand records."""
_LONGEST = 1 << 24
"""Characters of one record, beyond which the file is taken for damaged."""
_NEXT = re.compile(r"\s*,\s*(?=[^\s\]])")
"""What stands between two items."""


def first_character(path: Path) -> str:
    """The first character of a text file that is no white space.

    Raises:
        DataError: the file cannot be read, is empty or is no text.
    """
    with _opened(path) as file:
        while piece := file.read(1 << 12):
            if piece.strip():
                return piece.lstrip()[0]
    raise DataError(f"{path} is empty: write it again with  whatwhere predict --json")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number from 1 and text of each line that is not blank.

    Raises:
        DataError: the file cannot be read or is no text.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


Quick = Callable[[str], Any]
"""From whole items of an array, without its brackets, to something better than a list of them;
None where the text has to be parsed."""


def array_blocks(path: Path, quick: Quick | None = None) -> Iterator[Any]:
    """The items of a JSON array, some thousands at a time.

    Args:
        path: the file.
        quick: what to try before parsing; what it makes is given in place of a list.

    Raises:
        DataError: the file is no JSON array; the message names the line.
    """
    with _opened(path) as file:
        text = file.read(_PIECE)
        while not text.strip() and (piece := file.read(_PIECE)):
            text += piece
        before, bracket, text = text.partition("[")
        line = 1 + before.count("\n")
        if before.strip() or not bracket:
            raise DataError(f"{path}:{line} is not a JSON array: write the file again")
        while piece := file.read(_PIECE):
            text += piece
            items, end = _whole_items(text, quick)
            if end:
                yield items
            elif len(text) > _LONGEST:
                break
            # Looking for one is quicker than counting, and most files are one line.
            line += text.count("\n", 0, end) if "\n" in text else 0
            text = text[end:]
        last = text.rstrip()
        if quick is not None and last.endswith("]"):
            made = quick(last[:-1].rstrip())
            if made is not None:
                yield made
                return
        try:
            rest = json.loads("[" + text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{line + error.lineno - 1} is not JSON ({error.msg}): write the file again"
            ) from error
        if rest:
            yield rest


def _whole_items(text: str, quick: Quick | None) -> tuple[Any, int]:
    """The items of `text` that another one follows, and where that one begins; 0 for none."""
    # Records end with a brace, and mostly the last brace with a comma and a brace behind it
    # ends one, so all before it is read in one go.
    at = len(text)
    for _ in range(8):
        at = text.rfind("}", 0, at)
        if at < 0:
            break
        between = _NEXT.match(text, at + 1)
        if between and text[between.end()] == "{":
            made = None if quick is None else quick(text[: at + 1])
            if made is not None:
                return made, between.end()
            # What is not all alike here will not be so a little before.
            quick = None
            try:
                return json.loads(f"[{text[: at + 1]}]"), between.end()
            except json.JSONDecodeError:
                break
    items: list[Any] = []
    end, decode = 0, json.JSONDecoder().raw_decode
    while True:
        try:
            item, stop = decode(text, end)
        except json.JSONDecodeError:
            return items, end
        between = _NEXT.match(text, stop)
        if between is None:
            return items, end
        items.append(item)
        end = between.end()


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file: give JSON lines or COCO results") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the path") from error
