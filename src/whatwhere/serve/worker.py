"""One process that answers requests, until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
from collections.abc import Callable, MutableSequence
from types import FrameType

import uvicorn

from whatwhere.serve.assembly import assemble
from whatwhere.serve.monitoring.access import ACCESS, json_logs
from whatwhere.serve.repository import Count
from whatwhere.serve.service import Service
from whatwhere.serve.settings import ServeSettings
from whatwhere.serve.stream import FRAME_BYTES
from whatwhere.serve.wire import protocol_for

# Of each of the three steps after SIGTERM in which clients are turned away.
_PAUSE_SECONDS = 0.2


class _Server(uvicorn.Server):
    """Tells the service that the end has begun, and others that it runs.

    Args:
        listener: the socket that it accepts from.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        listener: socket.socket,
        begun: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._service = service
        self._listener = listener
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._begun()

    async def main_loop(self) -> None:
        """Until a signal, and a moment longer.

        uvicorn closes connections on which it has read no request. On those of busy clients the
        next one may be under way, which would be lost. So for a moment every answer says that
        its connection closes after it; then hardly any new connections are let in, while those
        that the system holds are taken; then none, while requests on these are read; and only
        then are idle ones closed.
        """
        await super().main_loop()
        await self._pause()
        self._listener.listen(0)
        await self._pause()
        for server in self.servers:
            server.close()
        await self._pause()

    async def _pause(self) -> None:
        if not self.force_exit:
            await asyncio.sleep(_PAUSE_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.ending = True
        super().handle_exit(sig, frame)


def work(
    settings: ServeSettings,
    listener: socket.socket,
    asked: Count | None,
    begun: Callable[[], None],
    times: MutableSequence[float] | None = None,
) -> None:
    """Load the models, answer requests, and after SIGTERM or SIGINT what was accepted.

    Args:
        listener: bound; other processes may accept from it, too.
        asked: see `Repository`.
        begun: called when requests are answered.
        times: see `Rates`.

    Raises:
        ModelError, UsageError, MissingExtraError: a model cannot be loaded.
    """
    set_up_logging(as_json=settings.monitor.json_logs)
    # uvicorn raises the signal that ended it once more, for whoever waits; the end is orderly,
    # so the process is to end with status 0. This handler is also the one while models load.
    early: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: early.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        app = assemble(settings, asked, times)
        service: Service = app.state.service
        service.start()
        if early:
            service.close()
            return
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            http=protocol_for(settings),
            ws_max_size=min(settings.upload_bytes, FRAME_BYTES),
            timeout_keep_alive=math.ceil(settings.keep_alive_seconds),
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        )
        _Server(config, service, listener, begun).run([listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def set_up_logging(*, as_json: bool = False) -> None:
    """Lines on stderr, unless whoever embeds the server has set up something else.

    Args:
        as_json: each line is a JSON object, and every request has one.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("whatwhere").setLevel(logging.INFO)
    # A line for each request is for machines; people have the figures.
    logging.getLogger(ACCESS).setLevel(logging.INFO if as_json else logging.WARNING)
    if as_json:
        json_logs()
