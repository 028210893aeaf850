"""The prediction log: what was answered, in a database that requests never wait for."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from whatwhere.serve.monitoring.log_table import PREDICTIONS, TABLES, open_engine, reason_of

_LOG = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Entries that wait for the database; what comes then is lost, and counted."""

_TOGETHER = 200
_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SAY_SECONDS = 60.0
_CLEAN_SECONDS = 600.0
_CLEAN_ROWS = 5_000
# With those of the monitor and of alerts less than the supervisor waits for a worker's end.
_CLOSE_SECONDS = 3.0
_DAY = 86_400.0

Count = Callable[[str, int], None]
"""Told of entries: "written" or "lost", and how many."""


class PredictionLog:
    """Writes entries in a thread of its own, many together.

    While the database cannot be written (its disk is full, another process holds its lock), entries
    wait, and are lost when too many do. Each reason is said in the log, at most once a minute.

    Args:
        url: of the database, see `log_table.open_engine`.
        days: entries are deleted after so many days; 0 for never.
        rows: the newest so many are kept; 0 for any number.
        count: told of what was written and lost.
        most: entries that wait at most.

    Attributes:
        written, lost: entries so far.

    Raises:
        UsageError: the address means no database that can be used.
    """

    def __init__(
        self,
        url: str,
        *,
        days: float = 30.0,
        rows: int = 0,
        count: Count | None = None,
        most: int = MOST_WAITING,
    ) -> None:
        self.engine: Engine = open_engine(url)
        self.written = self.lost = 0
        self._days, self._rows, self._most = days, rows, most
        self._count = count or (lambda result, entries: None)
        self._waiting: deque[dict[str, Any]] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._made = False
        self._said: dict[str, float] = {}
        self._unsaid = 0
        self._cleaned = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def put(self, row: dict[str, Any]) -> None:
        """Take an entry of `log_table.row_of`; returns at once."""
        if len(self._waiting) >= self._most or self._closing.is_set():
            self._lose(1)
            return
        self._waiting.append(row)
        self._wake.set()

    def close(self) -> None:
        """Write what waits, for three seconds at most; the rest is lost, and said."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS + 1)
        self.engine.dispose()

    def _run(self) -> None:
        pause = _PAUSE
        until: float | None = None
        while True:
            closing = self._closing.is_set()
            if closing and until is None:
                until = time.monotonic() + _CLOSE_SECONDS
            if not self._waiting:
                if closing:
                    return
                self._wake.wait(_CLEAN_SECONDS)
                self._wake.clear()
                self._clean()
                continue
            if self._write():
                pause = _PAUSE
                continue
            if until is not None and time.monotonic() >= until:
                self._lose(len(self._waiting), at_once=True)
                self._waiting.clear()
                return
            self._closing.wait(pause) if until is None else time.sleep(_PAUSE / 5)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _write(self) -> bool:
        rows = [self._waiting[place] for place in range(min(_TOGETHER, len(self._waiting)))]
        try:
            if not self._made:
                TABLES.create_all(self.engine)
                self._made = True
            refused = self._insert(rows)
        except SQLAlchemyError as error:
            self._say(f"cannot be written ({reason_of(error)})")
            return False
        except Exception as error:  # a driver's own defect must not end the thread
            self._say(f"cannot be written ({type(error).__name__})")
            return False
        for _ in rows:
            self._waiting.popleft()
        self.written += len(rows) - refused
        self._count("written", len(rows) - refused)
        if refused:
            self._lose(refused, "does not take some entries")
        self._clean()
        return True

    def _insert(self, rows: list[dict[str, Any]]) -> int:
        """Write entries together; how many the database does not take, whatever it is asked.

        One of those must not keep all others waiting, so then each is written alone.
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(PREDICTIONS), rows)
        except (DataError, IntegrityError, UnicodeError):
            if len(rows) == 1:
                return 1
            return sum(self._insert([row]) for row in rows)
        return 0

    def _lose(self, entries: int, what: str = "is behind", at_once: bool = False) -> None:
        self.lost += entries
        self._unsaid += entries
        self._count("lost", entries)
        self._say(what, at_once=at_once)

    def _say(self, what: str, at_once: bool = False) -> None:
        now = time.monotonic()
        if now - self._said.get(what, float("-inf")) < _SAY_SECONDS and not at_once:
            return
        self._said[what] = now
        _LOG.error(
            "the prediction log %s: %d entries wait, %d were lost since the last such line, %d in"
            " all; predictions go on",
            what,
            len(self._waiting),
            self._unsaid,
            self.lost,
        )
        self._unsaid = 0

    def _clean(self) -> None:
        """Delete what is too old, or too much, a few thousand at a time."""
        now = time.monotonic()
        if now - self._cleaned < _CLEAN_SECONDS or not self._made:
            return
        self._cleaned = now
        self.clean()

    def clean(self) -> int:
        """Delete entries that are too old or too many, at most a few thousand.

        Returns:
            How many were deleted; 0 also if the database cannot be written now.
        """
        column = PREDICTIONS.c.id
        limits = []
        if self._days:
            limits.append(PREDICTIONS.c.time < time.time() - self._days * _DAY)
        if self._rows:
            newest = sa.select(sa.func.max(column) - self._rows).scalar_subquery()
            limits.append(column <= newest)
        if not limits:
            return 0
        old = sa.select(column).where(sa.or_(*limits)).order_by(column).limit(_CLEAN_ROWS)
        try:
            with self.engine.begin() as connection:
                chosen = [row[0] for row in connection.execute(old)]
                if chosen:
                    connection.execute(sa.delete(PREDICTIONS).where(column.in_(chosen)))
        except SQLAlchemyError as error:
            self._say(f"cannot be cleaned ({reason_of(error)})")
            return 0
        if len(chosen) == _CLEAN_ROWS:
            # There is more; the next entries bring it on.
            self._cleaned -= _CLEAN_SECONDS
        return len(chosen)
