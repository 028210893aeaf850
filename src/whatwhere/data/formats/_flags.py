"""Flags, score and track as named attributes, where a tool has no fields for them.

The names are those that Datumaro, and with it CVAT, gives what it reads from COCO, Pascal
VOC and MOT files.
"""

from __future__ import annotations

from typing import Any

from whatwhere.data.formats._records import Record
from whatwhere.data.formats._values import flag, number

NAMES = {
    "occluded": "occluded",
    "truncated": "truncated",
    "difficult": "difficult",
    "is_crowd": "iscrowd",
    "ignore": "ignore",
}
"""Name of an attribute, and the column that it is."""


def take_flags(attributes: dict[str, Any], *, words: bool = False) -> dict[str, Any]:
    """Columns for the flags, score and track among the attributes, which lose them.

    Args:
        attributes: changed.
        words: whether values are text, so that "true" and "0.5" count.
    """
    columns: dict[str, Any] = {}
    if not attributes:
        return columns
    for key, column in NAMES.items():
        value = attributes.get(key)
        if value is None:
            continue
        found = flag(value) if words else value
        if isinstance(found, bool):
            del attributes[key]
            columns[column] = found
    score = attributes.get("score")
    if not isinstance(score, str) or words:
        value = number(score)
        if value is not None and 0 <= value <= 1:
            del attributes["score"]
            columns["score"] = value
    track = attributes.get("track_id")
    if isinstance(track, (int, str)) and not isinstance(track, bool):
        columns["track"] = str(attributes.pop("track_id"))
    # One box around several objects is never scored, unless the file says that it is.
    if columns.get("iscrowd"):
        columns.setdefault("ignore", True)
    return columns


def flag_attributes(record: Record) -> dict[str, Any]:
    """The flags, score and track of a label as `take_flags` understands them."""
    found: dict[str, Any] = {}
    for key, column in NAMES.items():
        if column in record.flags:
            found[key] = True
    if "is_crowd" in found and not found.pop("ignore", False):
        found["ignore"] = False
    if "score" in record.values:
        found["score"] = record.values["score"]
    track = record.values.get("track")
    if track is not None:
        found["track_id"] = int(track) if _is_number(track) else track
    return found


def _is_number(track: str) -> bool:
    plain = track.isascii() and track.isdigit() and len(track) < 19
    return plain and str(int(track)) == track
