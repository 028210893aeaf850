"""The box around an outline or a mask in COCO's words, for labels without a box.

Source of the compressed run lengths: `rleFrString` and `rleToBbox` in the COCO API's
maskApi.c, https://github.com/cocodataset/cocoapi.
"""

from __future__ import annotations

import itertools
import json
from typing import Any


def box_of(text: str) -> list[float] | None:
    """x, y, width and height around a segmentation; None if it cannot be understood.

    Args:
        text: JSON, outlines [[x, y, ...], ...] or run lengths {counts, size}.
    """
    try:
        said = json.loads(text)
        if isinstance(said, dict):
            return _around_runs(said["counts"], said["size"])
        xs = [float(one) for outline in said for one in outline[0::2]]
        ys = [float(one) for outline in said for one in outline[1::2]]
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError):
        return None
    if not xs or not ys:
        return None
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _around_runs(counts: Any, size: Any) -> list[float] | None:
    height, width = (int(one) for one in size)
    runs = _counts(counts) if isinstance(counts, str) else [int(one) for one in counts]
    if height < 1 or min(runs, default=0) < 0 or sum(runs) != height * width:
        return None
    ends = list(itertools.accumulate(runs))
    # Pixels go down the columns; every other run is of the object.
    pairs = [(ends[i - 1], ends[i] - 1) for i in range(1, len(runs), 2) if runs[i]]
    if not pairs:
        return None
    left, right = pairs[0][0] // height, pairs[-1][1] // height
    whole = any(start // height != end // height for start, end in pairs)
    top = 0 if whole else min(start % height for start, _ in pairs)
    bottom = height - 1 if whole else max(end % height for _, end in pairs)
    return [left, top, right - left + 1, bottom - top + 1]


def _counts(text: str) -> list[int]:
    """Numbers of 5 bits a letter, the lowest first; from the fourth on, differences."""
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode():
        code = letter - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
        value = shift = 0
    return counts
