"""Several worker processes on one listening socket; one that dies is replaced."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from whatwhere.errors import ModelError, WhatwhereError
from whatwhere.serve.rates import shared_times
from whatwhere.serve.settings import ServeSettings
from whatwhere.serve.worker import set_up_logging, work

_LOG = logging.getLogger(__name__)
# Between the deaths of a worker that cannot live, so that it does not take the machine.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LIVED = 10.0
# For what comes after the last answer: observers that write what they hold.
_CLOSING_SECONDS = 10.0
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that prometheus_client reads: the folder of figures that processes share."""


@dataclass(slots=True)
class _Worker:
    number: int
    process: BaseProcess
    begun: Connection
    since: float
    ready: bool = False


class Supervisor:
    """Starts the workers, watches over them, and ends them.

    Args:
        settings: of the server; `workers` processes are started.
        listener: bound; all of them accept from it.
        begun: called when all of them answer for the first time.
    """

    def __init__(
        self, settings: ServeSettings, listener: socket.socket, begun: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._begun = begun
        # Nothing of this process, its threads above all, is to be inherited.
        self._context = multiprocessing.get_context("spawn")
        self._asked: Any = self._context.Value("L", 0)
        self._times: Any = shared_times(self._context)
        self._workers: dict[int, _Worker] = {}
        self._pauses: dict[int, float] = {}
        self._due: dict[int, float] = {}
        self._announced = False
        self._stopping = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT.

        Returns:
            0, or 1 if a worker had to be killed at the end.

        Raises:
            ModelError: a worker could not begin, with its reason.
        """
        set_up_logging(as_json=self._settings.monitor.json_logs)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)

        def stop(number: int, frame: FrameType | None) -> None:
            self._stopping = True
            with contextlib.suppress(BlockingIOError):
                os.write(writer, b"x")

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with _figures_together():
                try:
                    for number in range(self._settings.workers):
                        self._start(number)
                    while not self._stopping:
                        self._step(reader)
                finally:
                    killed = self._end()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)
        return 1 if killed else 0

    def _start(self, number: int) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_main,
            args=(self._settings, self._listener, self._asked, self._times, theirs),
            name=f"whatwhere-worker-{number}",
        )
        process.start()
        theirs.close()
        self._workers[number] = _Worker(number, process, ours, time.monotonic())

    def _step(self, reader: int) -> None:
        """Wait for the next thing that happens to a worker, or for a signal."""
        now = time.monotonic()
        for number, due in list(self._due.items()):
            if due <= now:
                del self._due[number]
                self._start(number)
        rest = [max(0.0, due - now) for due in self._due.values()]
        sentinels = {worker.process.sentinel: worker for worker in self._workers.values()}
        begun = {worker.begun: worker for worker in self._workers.values() if not worker.ready}
        happened = wait([reader, *sentinels, *begun], timeout=min(rest, default=None))
        for thing in happened:
            if isinstance(thing, Connection) and not self._has_begun(begun[thing]):
                # It ends; its sentinel says so next.
                begun[thing].ready = True
        for thing in happened:
            if isinstance(thing, int) and thing in sentinels and not self._stopping:
                self._ended(sentinels[thing])

    def _has_begun(self, worker: _Worker) -> bool:
        try:
            word = worker.begun.recv()
        except EOFError:
            return False
        if word is not None:
            # The first of them, before any request was answered: this is for the user.
            if not self._announced:
                raise ModelError(word)
            _LOG.error("worker %d cannot begin: %s", worker.number, word)
            return False
        worker.ready = True
        if not self._announced and all(one.ready for one in self._workers.values()):
            self._announced = True
            self._begun()
        return True

    def _ended(self, worker: _Worker) -> None:
        worker.process.join()
        worker.begun.close()
        mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]
        del self._workers[worker.number]
        code = worker.process.exitcode or 0
        cause = f"signal {-code}" if code < 0 else f"status {code}"
        if not self._announced:
            raise ModelError(f"a worker ended ({cause}) before it answered: see the lines above")
        pause = self._pauses.get(worker.number, 0.0)
        if time.monotonic() - worker.since > _LIVED:
            pause = 0.0
        _LOG.error("worker %d ended (%s): another one starts", worker.number, cause)
        self._due[worker.number] = time.monotonic() + pause
        self._pauses[worker.number] = min(max(_FIRST_PAUSE, 2 * pause), _LONGEST_PAUSE)

    def _end(self) -> bool:
        """End all workers in good order; whether one had to be killed."""
        # The others must not accept what nobody will answer.
        self._listener.close()
        for worker in self._workers.values():
            worker.process.terminate()
        until = time.monotonic() + self._settings.drain_seconds + _CLOSING_SECONDS
        killed = False
        for worker in self._workers.values():
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                _LOG.error("worker %d does not end: it is killed", worker.number)
                worker.process.kill()
                worker.process.join()
                killed = True
        return killed


@contextlib.contextmanager
def _figures_together() -> Iterator[None]:
    """While it lasts, worker processes add their figures up in one folder.

    A folder that the environment names already is used as it is.
    """
    if FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="whatwhere-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def _main(
    settings: ServeSettings, listener: socket.socket, asked: Any, times: Any, begun: Connection
) -> None:
    """A worker process."""
    threading.Thread(target=_end_with_parent, name="watch-parent", daemon=True).start()
    try:
        work(settings, listener, asked, lambda: begun.send(None), times)
    except WhatwhereError as error:
        begun.send(str(error))
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    """A worker whose supervisor was killed answers what it has, then ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
