"""Values out of JSON, XML and text that nobody vouches for."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from whatwhere.data.formats._files import entries, head
from whatwhere.errors import DataError


def number(value: Any) -> float | None:
    """A finite number, also one that is written as text; else None. True is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def plain(value: Any) -> int | float | None:
    """As `number`, but an int where it is written as one."""
    found = number(value)
    if found is None:
        return None
    if isinstance(value, float) or (isinstance(value, str) and not value.strip("+- ").isdigit()):
        return found
    return int(found) if abs(found) < 2**53 else found


def whole(value: Any) -> int | None:
    """A number of pixels: 1 to 2**31 - 1, fractions cut off; else None."""
    found = number(value)
    return int(found) if found is not None and 1 <= found < 2**31 else None


def index(value: Any) -> int | None:
    """An id: a whole number of 64 bits, also one that is written as text; else None."""
    if isinstance(value, str):
        if not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
            return None
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**63) <= value < 2**63 else None


def text(value: Any) -> str | None:
    """Stripped text, None if it is empty or not text; a number is written out."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    return clean(value.strip()) or None


def clean(value: str) -> str:
    """Without halves of characters, which JSON can have and no table or file name."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def flag(value: Any) -> bool | None:
    """True or False as tools write them ("1", "true", "yes"); None if it is neither."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "1.0"):
        return True
    return False if word in ("0", "false", "no", "0.0") else None


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it is not JSON, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return json.load(file)
    except json.JSONDecodeError as error:
        reason = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = str(error)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the file") from None
    raise DataError(f"{path} is not valid JSON ({reason}): get it again or repair it") from None


def split_order(split: str | None) -> tuple[int, str]:
    """Sorts files by their splits: none, train, val, test, then by alphabet."""
    first = (None, "train", "val", "test")
    return (first.index(split), "") if split in first else (len(first), split or "")


def json_keys(path: Path) -> tuple[str, frozenset[str]]:
    """First character and key names near start and end of a JSON file; quick, no error."""
    found, size = head(path), 0
    if len(found) == 1 << 16:
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(len(found), size - (1 << 14)))
                found += b"\n" + file.read(1 << 14)
        except OSError:
            return "", frozenset()
    words = found.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if words[:1] not in ("{", "["):
        return "", frozenset()
    return words[0], frozenset(re.findall(r'"([^"\\\n]{1,80})"\s*:', words))


def json_files(folder: Path) -> list[Path]:
    """JSON files directly in a folder, by name; or the path itself if it is one."""
    if folder.is_file():
        return [folder] if folder.suffix.lower() == ".json" else []
    return [
        Path(one.path)
        for one in entries(folder)
        if one.name.lower().endswith(".json") and one.is_file()
    ]
