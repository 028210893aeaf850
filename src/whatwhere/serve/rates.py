"""How often a key may be used, counted over all worker processes."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import MutableSequence
from multiprocessing.context import BaseContext
from typing import Any

from whatwhere.serve.keys import MOST_KEYS

# A client may be ahead of its rate by what it may send in this time.
_BURST_SECONDS = 10.0


class Rates:
    """The generic cell rate algorithm (ITU-T I.371, virtual scheduling): a number for each key.

    Several processes share the numbers without a lock, which a process that is killed could keep
    for ever. Two that count the same key in the same microsecond may count one request for two.

    Args:
        times: for each key, when its next request is due, seconds of the monotonic clock, which
            all processes of a machine share.
    """

    def __init__(self, times: MutableSequence[float] | None = None) -> None:
        self._times = [0.0] * MOST_KEYS if times is None else times

    def take(self, place: int, per_minute: int, now: float | None = None) -> float:
        """Count a request.

        Args:
            place: of the key.
            per_minute: what it may send.
            now: seconds of the monotonic clock.

        Returns:
            0 if it is allowed, else the seconds until one is; it is not counted then.
        """
        now = time.monotonic() if now is None else now
        spacing = 60.0 / per_minute
        burst = max(1, math.floor(_BURST_SECONDS / spacing))
        due = max(self._times[place], now)
        wait = due - spacing * (burst - 1) - now
        # Sums of floats are not exact: a request on the dot is in time.
        if wait > 1e-6:
            return wait
        self._times[place] = due + spacing
        return 0.0


def shared_times(context: BaseContext) -> MutableSequence[float]:
    """Times for `Rates` that the processes of a context share, given to them when they start."""
    # A ctypes array is a sequence without saying so.
    times: Any = context.RawArray(ctypes.c_double, MOST_KEYS)
    found: MutableSequence[float] = times
    return found
