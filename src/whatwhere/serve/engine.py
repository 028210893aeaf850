"""One loaded model behind a bounded queue: what is accepted is answered, the rest refused at once.

A lane is a thread that takes a picture all the way, from its bytes to its prediction (ADR 0015).
Where batches run quicker than single pictures, a lane takes what waits already, never more than
fits the latency target; nothing waits for a batch to fill.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from whatwhere.errors import ImageError, WhatwhereError
from whatwhere.images import DEFAULT_MAX_PIXELS
from whatwhere.runtime.items import Source, pixels_of
from whatwhere.runtime.predictor import PredictorBase
from whatwhere.serve.limits import PictureRoom
from whatwhere.types import Image, Prediction

_LOG = logging.getLogger(__name__)

# Of the newest picture in the running mean of service times.
_WEIGHT = 0.1


class EngineRefusedError(Exception):
    """The engine does not take or finish a job.

    Args:
        sentence: why, for the client.
        retry_seconds: when it is worth to try again; None if it is not known.
    """

    def __init__(self, sentence: str, retry_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_seconds = retry_seconds


class BusyError(EngineRefusedError):
    """Too much waits already; nothing of the request was taken."""


class LateError(EngineRefusedError):
    """The job's deadline passed before a lane came to it."""


class ClosedError(EngineRefusedError):
    """The engine takes nothing more: the server ends, or a newer version has taken over."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A picture to be answered.

    Args:
        source: the bytes of its file, RGB pixels uint8 (height, width, 3), or another source of
            the runtime.
        name: what the prediction calls it.
        deadline: `time.monotonic()` after which nobody wants the answer.
        threshold: lowest score, 0..1; None for the model's own.
        evaluation: give what metrics need, as in `runtime.decode`.
    """

    source: Source
    deadline: float
    name: str | None = None
    threshold: float | None = None
    evaluation: bool = False

    @property
    def way(self) -> tuple[float | None, bool]:
        """Jobs of one way can run together."""
        return self.threshold, self.evaluation


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of a job.

    Args:
        prediction: with the milliseconds from bytes to answer in `ms`; None if it failed.
        error: why it failed; the picture's fault (`ImageError`) or the model's.
        image: the decoded picture, RGB uint8 (height, width, 3); None if it cannot be read, or
            there is no room for it (`watched_pixels`).
        queue_seconds: from `submit` to a lane.
        inference_seconds: its share of its batch in the model, postprocessing included.
        batch: pictures that ran together.
    """

    prediction: Prediction | None
    error: WhatwhereError | None
    image: Image | None
    queue_seconds: float
    inference_seconds: float
    batch: int


@dataclass(slots=True, eq=False)
class _Waiting:
    job: Job
    future: Future[Answer]
    since: float
    begun: float = 0.0
    image: Image | None = None
    prepared: Any = None
    error: WhatwhereError | None = None
    read_ms: float = 0.0


@dataclass(slots=True)
class EngineState:
    """Figures of an engine, for health, metrics and scaling.

    Args:
        waiting: pictures in the queue.
        running: pictures that lanes are at.
        queue: most that may wait.
        lanes: threads.
        batch: most pictures in one run.
        service_seconds: a lane's mean time for a picture, decoding included; 0 before the first.
        done: pictures that were answered.
        refused: pictures that were not taken.
        late: pictures whose deadline passed in the queue.
    """

    waiting: int = 0
    running: int = 0
    queue: int = 0
    lanes: int = 0
    batch: int = 1
    service_seconds: float = 0.0
    done: int = 0
    refused: int = 0
    late: int = 0

    def wait_seconds(self, more: int = 0) -> float:
        """Estimate of the time that a picture behind `more` further ones waits for a lane."""
        ahead = self.waiting + self.running + more
        return max(0, ahead - self.lanes + 1) * self.service_seconds / max(1, self.lanes)


@dataclass(eq=False)
class Engine:
    """A model in its lanes.

    Args:
        predictor: already loaded for `lanes` calls at once.
        lanes: threads, at least 1.
        queue: most pictures that wait, at least 1.
        batch: most pictures in one run, at least 1.
        max_pixels: larger pictures are refused before they are decoded.
        title: for thread names and the log.
        room: for pictures that are kept after their prediction.
    """

    predictor: PredictorBase
    lanes: int
    queue: int = 64
    batch: int = 1
    max_pixels: int = DEFAULT_MAX_PIXELS
    title: str = "model"
    room: PictureRoom = field(default_factory=lambda: PictureRoom(DEFAULT_MAX_PIXELS))
    _state: EngineState = field(init=False)

    def __post_init__(self) -> None:
        self._state = EngineState(queue=self.queue, lanes=self.lanes, batch=self.batch)
        self._line: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._lane, name=f"{self.title}-lane-{n}", daemon=True)
            for n in range(self.lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, jobs: Sequence[Job]) -> list[Future[Answer]]:
        """Take all of these pictures, or none of them; returns at once.

        A future that is cancelled before a lane comes to it costs nothing more. Futures end with
        an `Answer`, or raise `LateError` or, if the engine itself fails, any exception.

        Raises:
            BusyError: they do not fit into the queue, or could not be answered before their
                deadline; `retry_seconds` is measured.
            ClosedError: `close` was called.
        """
        now = time.monotonic()
        with self._changed:
            if self._closed:
                raise ClosedError("the server is ending: try another one")
            wait = self._state.wait_seconds(len(jobs) - 1)
            room = self.queue - len(self._line)
            # With nothing before it, a picture whose time is up is late, not one too many.
            late = wait > 0 and any(now + wait > job.deadline for job in jobs)
            if len(jobs) > room or late:
                self._state.refused += len(jobs)
                # When as many places are free as are needed, or the wait is short enough.
                missing = max(1, len(jobs) - room)
                service = self._state.service_seconds / self.lanes
                retry = wait if late else missing * service
                raise BusyError(
                    f"{self._state.waiting} pictures wait already: try again later"
                    if len(jobs) > room
                    else f"the wait of about {wait:.2g} s is longer than the time given: give more"
                    " time, or try again later",
                    retry,
                )
            entries = [_Waiting(job, Future(), now) for job in jobs]
            self._line.extend(entries)
            self._state.waiting = len(self._line)
            self._changed.notify(len(entries))
        return [entry.future for entry in entries]

    @property
    def full(self) -> bool:
        """Whether no further picture finds a place; without a lock, so only nearly now."""
        return len(self._line) >= self.queue

    @property
    def state(self) -> EngineState:
        """A snapshot of the figures."""
        with self._changed:
            return replace(self._state)

    def close(self, seconds: float | None = None) -> bool:
        """Take nothing more, answer what was taken, and end the lanes.

        Args:
            seconds: longest time for that; None to wait for ever. What is left then is refused.

        Returns:
            Whether everything was answered.
        """
        until = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        with self._changed:
            left = list(self._line)
            self._line.clear()
            self._state.waiting = 0
        for entry in left:
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(ClosedError("the server ended before this picture"))
        return not left and not any(thread.is_alive() for thread in self._threads)

    def _lane(self) -> None:
        while group := self._next():
            start = time.monotonic()
            try:
                self._work(group)
            except Exception as error:  # a lane outlives whatever a picture does to the model
                _LOG.exception("%s failed", self.title)
                for entry in group:
                    if not entry.future.done():
                        entry.future.set_exception(error)
            spent = (time.monotonic() - start) / len(group)
            with self._changed:
                state = self._state
                state.running -= len(group)
                state.done += len(group)
                before = state.service_seconds or spent
                state.service_seconds = before + _WEIGHT * (spent - before)
            # Answers hold pictures, and the next one may be long in coming.
            group.clear()

    def _next(self) -> list[_Waiting]:
        """What one run takes: the oldest, and what waits behind it and asks alike."""
        group: list[_Waiting] = []
        late: list[_Waiting] = []
        with self._changed:
            while not group:
                while not self._line and not self._closed:
                    self._changed.wait()
                if not self._line:
                    break
                now = time.monotonic()
                while self._line and len(group) < self.batch:
                    entry = self._line[0]
                    if group and entry.job.way != group[0].job.way:
                        break
                    self._line.popleft()
                    if not entry.future.set_running_or_notify_cancel():
                        continue
                    if now > entry.job.deadline:
                        late.append(entry)
                        continue
                    entry.begun = now
                    group.append(entry)
                self._state.waiting = len(self._line)
                self._state.late += len(late)
                for entry in late:
                    entry.future.set_exception(LateError("the deadline passed in the queue"))
                late.clear()
            self._state.running += len(group)
        return group

    def _work(self, group: list[_Waiting]) -> None:
        for entry in group:
            self._read(entry)
        ready = [entry for entry in group if entry.error is None]
        for entry in group:
            if entry.error is not None:
                entry.future.set_result(_answer(entry, None, 0.0, 0, self.room))
        if not ready:
            return
        start = time.monotonic()
        try:
            predictions = self.predictor.infer(
                [entry.prepared for entry in ready],
                names=[entry.job.name for entry in ready],
                threshold=ready[0].job.threshold,
                evaluation=ready[0].job.evaluation,
            )
        except WhatwhereError as error:
            _LOG.error("%s: %s", self.title, error)
            for entry in ready:
                entry.error = error
                entry.future.set_result(_answer(entry, None, 0.0, len(ready), self.room))
            return
        share = (time.monotonic() - start) / len(ready)
        for entry, prediction in zip(ready, predictions, strict=True):
            timed = replace(prediction, ms=entry.read_ms + share * 1e3)
            entry.future.set_result(_answer(entry, timed, share, len(ready), self.room))

    def _read(self, entry: _Waiting) -> None:
        start = time.monotonic()
        name = entry.job.name or "the picture"
        try:
            entry.image = pixels_of(entry.job.source, self.max_pixels)
            entry.prepared = self.predictor.prepare(entry.image)
        except WhatwhereError as error:
            entry.error = error
        except (OSError, MemoryError, ValueError) as error:
            reason = str(error) or type(error).__name__
            entry.error = ImageError(f"{name} cannot be read: {reason}")
        entry.read_ms = (time.monotonic() - start) * 1e3


def _answer(
    entry: _Waiting, prediction: Prediction | None, seconds: float, batch: int, room: PictureRoom
) -> Answer:
    image = None if entry.image is None else room.keep(entry.image)
    # The lane keeps its last entries until the next ones come.
    entry.image = entry.prepared = None
    if image is not None:
        # Watchers keep it while others draw it.
        image.flags.writeable = False
    return Answer(
        prediction=prediction,
        error=entry.error,
        image=image,
        queue_seconds=entry.begun - entry.since,
        inference_seconds=seconds,
        batch=batch,
    )
