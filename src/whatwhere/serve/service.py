"""What all routes of a server share: models, limits, watchers, and the way to an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from starlette.requests import ClientDisconnect, HTTPConnection, Request

from whatwhere.errors import WhatwhereError
from whatwhere.runtime.items import Source
from whatwhere.serve.auth import Authorize, Scope, allow_all
from whatwhere.serve.engine import Answer, BusyError, ClosedError, Job, LateError
from whatwhere.serve.errors import RefusedError, refusal
from whatwhere.serve.events import Observer, Served
from whatwhere.serve.limits import Gate
from whatwhere.serve.loading import Loaded
from whatwhere.serve.repository import Count, Repository
from whatwhere.serve.settings import ServeSettings

_LOG = logging.getLogger(__name__)
_RETRY_ENDING = 1.0
# A client that leaves sooner gives its place back no earlier; its picture may be in work already.
_PATIENCE_SECONDS = 0.1


class Service:
    """A server without its addresses. Routes get it as `request.app.state.service`.

    Args:
        settings: how it runs.
        observers: told of every answer.
        authorize: decides on each request.
        asked: see `Repository`.
    """

    def __init__(
        self,
        settings: ServeSettings,
        observers: Sequence[Observer] = (),
        authorize: Authorize = allow_all,
        asked: Count | None = None,
    ) -> None:
        self.settings = settings
        self.repository = Repository(settings, asked)
        self.observers = tuple(observers)
        self.gate = Gate(settings.concurrent, settings.upload_bytes_together)
        # Requests that come are still answered; load balancers and clients are told to leave.
        self.ending = False
        self._authorize = authorize
        # For drawing and other work of milliseconds that would hold up the event loop.
        self.workers = ThreadPoolExecutor(
            max(1, self.repository.threads), thread_name_prefix="serve-worker"
        )

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self.repository.ready and not self.ending

    def start(self) -> None:
        """Load the models; blocks.

        Raises:
            ModelError, UsageError, MissingExtraError: one of them cannot be loaded.
        """
        self.repository.load()
        self.repository.watch()

    def close(self) -> None:
        """Answer what was accepted, then end; blocks."""
        self.ending = True
        if not self.repository.close(self.settings.drain_seconds):
            _LOG.error("not everything was answered in %g seconds", self.settings.drain_seconds)
        self.workers.shutdown()
        for observer in self.observers:
            observer.close()

    def authorize(self, request: HTTPConnection, scope: Scope) -> None:
        """Refuse a request that is not allowed; keep the client's name for the watchers.

        Raises:
            RefusedError: 401, 403 or 429.
        """
        request.state.client = self._authorize(request, scope)

    def check_room(self, loaded: Loaded) -> None:
        """Refuse a request before its body is read, if its pictures would find no place anyway.

        Raises:
            RefusedError: 503 with the time after which there is room.
        """
        if not loaded.engine.full:
            return
        state = loaded.engine.state
        raise RefusedError(
            503,
            f"{state.waiting} pictures wait already: try again later",
            retry_seconds=state.service_seconds / state.lanes,
        )

    async def answer(
        self,
        request: Request | None,
        sources: Sequence[Source],
        *,
        model: str | None = None,
        version: str | None = None,
        names: Sequence[str | None] | None = None,
        threshold: float | None = None,
        timeout: float | None = None,
        evaluation: bool = False,
    ) -> tuple[Loaded, list[Answer]]:
        """Predictions for the pictures of one request.

        The answers stand in the order of the sources; one that failed says why in `error`.

        Args:
            request: whose body was read to its end; its pictures are dropped when the client
                goes. None where there is none, such as for a frame of a stream.
            sources: bytes of files, arrays uint8 (H, W, 3), or items of the runtime.
            model, version: as in `Repository.resolve`.
            names: what predictions call the pictures.
            threshold: lowest score, 0..1.
            timeout: seconds from now; the server's own deadline if that is sooner.
            evaluation: give what metrics need, as in `runtime.decode`.

        Raises:
            RefusedError: 404 unknown model or version; 503 no room, with the time after which
                there is some, or the server ends; 504 the deadline passed.
            ClientDisconnect: the client has gone.
        """
        seconds = min(timeout or self.settings.deadline_seconds, self.settings.deadline_seconds)
        deadline = time.monotonic() + seconds
        called = names or [None] * len(sources)
        jobs = [
            Job(source, deadline, name, threshold, evaluation)
            for source, name in zip(sources, called, strict=True)
        ]
        try:
            loaded, futures = self.repository.submit(model, version, jobs)
        except BusyError as error:
            raise RefusedError(503, str(error), retry_seconds=error.retry_seconds) from None
        except ClosedError:
            raise _ending() from None
        try:
            return loaded, await _all(request, futures, seconds)
        except (LateError, TimeoutError):
            raise RefusedError(
                504, f"there was no answer within {seconds:g} seconds: try again later"
            ) from None
        except ClosedError:
            raise _ending() from None
        finally:
            for future in futures:
                future.cancel()

    def note(
        self,
        request: HTTPConnection,
        loaded: Loaded,
        answers: Sequence[Answer],
        threshold: float | None = None,
    ) -> None:
        """Keep what watchers are to be told when the request is answered.

        Args:
            threshold: lowest score that was asked for; None for the model's own.
        """
        state = request.state
        state.model, state.version = loaded.name, loaded.version
        state.served = served_by(loaded, answers, threshold)

    def tell(self, served: Sequence[Served]) -> None:
        """Tell the watchers; what one of them raises is logged and goes no further."""
        for one in served:
            for observer in self.observers:
                try:
                    observer.observe(one)
                except Exception:  # a watcher's defect must not cost an answer
                    _LOG.exception("%s failed", type(observer).__name__)


def served_by(
    loaded: Loaded, answers: Sequence[Answer], threshold: float | None
) -> Callable[..., list[Served]]:
    """Makes what watchers are told, when the rest is known.

    Returns:
        A function of the fields of `Served` that all pictures share: `request_id`, `time`, `route`,
        `request_seconds`, `client`, `traceparent`; and `status`, if all have one.
    """

    def make(status: int | None = None, **common: Any) -> list[Served]:
        made = []
        for place, answer in enumerate(answers):
            refused = None if answer.error is None else refusal(answer.error)
            own = 200 if refused is None else refused.status
            made.append(
                Served(
                    model=loaded.name,
                    version=loaded.version,
                    status=own if status is None else status,
                    prediction=answer.prediction,
                    image=answer.image,
                    queue_seconds=answer.queue_seconds,
                    inference_seconds=answer.inference_seconds,
                    batch=answer.batch,
                    place=place,
                    error=None if refused is None else refused.sentence,
                    threshold=threshold,
                    **common,
                )
            )
        return made

    return make


def public_words(error: WhatwhereError) -> str:
    """What clients may be told of an error."""
    return refusal(error).sentence


def _ending() -> RefusedError:
    return RefusedError(
        503,
        "the server is ending: try again, another one may answer",
        retry_seconds=_RETRY_ENDING,
    )


async def _all(
    request: Request | None, futures: Sequence[Future[Answer]], seconds: float
) -> list[Answer]:
    """All answers, unless the time passes or the client goes first."""
    loop = asyncio.get_running_loop()
    # Ends with how it came out: None when all is answered.
    end: asyncio.Future[type[Exception] | None] = loop.create_future()
    left = len(futures)
    watching: list[asyncio.Future[None]] = []

    def count() -> None:
        nonlocal left
        left -= 1
        if not left and not end.done():
            end.set_result(None)

    def give_up(why: type[Exception]) -> None:
        if not end.done():
            end.set_result(why)

    def left_early(gone: asyncio.Future[None]) -> None:
        if not gone.cancelled():
            give_up(ClientDisconnect)

    def watch(request: Request) -> None:
        gone = asyncio.ensure_future(_gone(request))
        gone.add_done_callback(left_early)
        watching.append(gone)

    for future in futures:
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(count))
    clocks = [loop.call_later(seconds, give_up, TimeoutError)]
    if request is not None:
        # Most answers are there before it is worth a task to see whether the client still is.
        clocks.append(loop.call_later(_PATIENCE_SECONDS, watch, request))
    try:
        why = await end
    finally:
        for clock in clocks:
            clock.cancel()
        for gone in watching:
            gone.cancel()
    if why is not None:
        raise why
    return [future.result() for future in futures]


async def _gone(request: Request) -> None:
    """Ends when the client does."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
