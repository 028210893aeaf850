"""The server as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from whatwhere.errors import WhatwhereError
from whatwhere.serve import health, models, openapi, predicting, reference, stream
from whatwhere.serve.auth import Authorize, allow_all
from whatwhere.serve.envelope import Envelope
from whatwhere.serve.errors import RefusedError, on_error
from whatwhere.serve.events import Observer
from whatwhere.serve.oip import routes as oip
from whatwhere.serve.repository import Count
from whatwhere.serve.service import Service
from whatwhere.serve.settings import ServeSettings
from whatwhere.serve.shield import Shield


def create_app(
    settings: ServeSettings,
    observers: Sequence[Observer] = (),
    *,
    authorize: Authorize = allow_all,
    routes: Sequence[BaseRoute] = (),
    asked: Count | None = None,
    hosts: Collection[str] | None = None,
) -> Starlette:
    """A server that any ASGI server can run; `app.state.service` is its inside.

    Its lifespan loads the models, unless `app.state.service.start()` has, and at the end answers
    what was accepted and closes the observers.

    Args:
        settings: how it runs; addresses, ports and workers are for who runs it.
        observers: told of every answer and refusal.
        authorize: decides on each request.
        routes: further addresses.
        asked: a number that several worker processes share, for reloads; see `Repository`.
        hosts: names that it answers to, beside plain IP addresses; None for any.
    """
    service = Service(settings, observers, authorize, asked)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    app = Starlette(
        routes=[
            *predicting.routes(),
            *models.routes(),
            *health.routes(),
            *oip.routes(),
            *stream.routes(),
            *openapi.routes(),
            *reference.routes(),
            *routes,
        ],
        middleware=[
            Middleware(Envelope, service=service),
            Middleware(Shield, hosts=hosts, friends=settings.hosts),
        ],
        exception_handlers={
            RefusedError: on_error,
            WhatwhereError: on_error,
            HTTPException: on_error,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    return app
