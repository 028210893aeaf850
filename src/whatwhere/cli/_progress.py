"""A bar on stderr for work of many pictures."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

# Short work needs no bar; seconds.
_SHORT = 1.0


class Pace:
    """How far the work is, and how long it will take.

    Args:
        count: says how many pictures there are, None if there is no telling; called in a thread,
            because it may take a while, and not before a bar is shown.
        clock: seconds.
    """

    def __init__(
        self, count: Callable[[], int | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.done = 0
        self.passed = 0
        self.total: int | None = None
        self._count = count
        self._clock = clock
        self._made = clock()
        self._first: float | None = None
        self._counter = threading.Thread(target=self._find_total, daemon=True)

    def _find_total(self) -> None:
        self.total = self._count()

    def look(self) -> None:
        """Start to find out how many pictures there are."""
        if self._counter.ident is None:
            self._counter.start()

    def wait(self) -> None:
        """Until it is known how many there are."""
        self._counter.join()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        if self._first is None:
            self._first = self._clock()

    def skip(self) -> None:
        """One more need not be done: it does not count for the speed."""
        self.passed += 1

    @property
    def spent(self) -> float:
        """Seconds since this was made."""
        return self._clock() - self._made

    @property
    def left(self) -> float | None:
        """Seconds until the end at the speed so far; None while there is no telling.

        The model's loading, before the first picture, does not count.
        """
        if self.total is None or self._first is None or self.done < 2:
            return None
        each = (self._clock() - self._first) / (self.done - 1)
        return max(self.total - self.passed - self.done, 0) * each

    def words(self) -> str:
        """Such as "1,200 of 5,000 pictures, 25.1 a second, 0:02:31 left"."""
        seen = self.done + self.passed
        known = self.total is not None and self.total >= seen
        of = f" of {self.total:,}" if known else ""
        speed = f", {self.done / self.spent:.1f} a second" if self.spent else ""
        left = self.left if known else None
        return f"{seen:,}{of} pictures{speed}" + ("" if left is None else f", {_time(left)} left")


@contextmanager
def progress(pace: Pace, *, hidden: bool) -> Iterator[Callable[[], None]]:
    """Shows the pace each time it is called; nothing where stderr is no terminal.

    Hidden, too, where the results themselves scroll over the terminal.
    """
    if hidden or not sys.stderr.isatty():
        yield lambda: None
        return
    with ExitStack() as stack:
        bar: Progress | None = None

        def show() -> None:
            nonlocal bar
            if bar is None and pace.spent > _SHORT:
                bar = stack.enter_context(_bar())
                bar.add_task("predicting", total=None)
                pace.look()
            if bar is not None:
                seen = pace.done + pace.passed
                # A header may have said too few: no bar is better than a wrong one.
                total = pace.total if pace.total is not None and pace.total >= seen else None
                task = bar.task_ids[0]
                bar.update(task, completed=seen, total=total, description=pace.words())

        yield show


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # Without a total the bar only shows that there is life.
    columns = (BarColumn(bar_width=20), TextColumn("{task.description}"))
    return Progress(*columns, console=Console(stderr=True), transient=True)
