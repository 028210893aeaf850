"""What a server consists of, from its settings alone; each worker process puts it together."""

from __future__ import annotations

from collections.abc import MutableSequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from whatwhere.serve.app import create_app
from whatwhere.serve.auth import Authorize, allow_all
from whatwhere.serve.events import Observer
from whatwhere.serve.guard import KeyGuard
from whatwhere.serve.keys import KeyRing
from whatwhere.serve.monitoring.monitor import Monitor
from whatwhere.serve.monitoring.routes import attach, monitoring_routes
from whatwhere.serve.page.routes import page_routes
from whatwhere.serve.rates import Rates
from whatwhere.serve.repository import Count
from whatwhere.serve.settings import ServeSettings
from whatwhere.serve.shield import own_hosts


def assemble(
    settings: ServeSettings,
    asked: Count | None = None,
    times: MutableSequence[float] | None = None,
) -> Starlette:
    """The application with every part that the settings ask for.

    Args:
        settings: of the server.
        asked: shared by its worker processes; see `Repository`.
        times: shared by them, too; see `Rates`.

    Raises:
        UsageError: the file of API keys cannot be used.
    """
    observers: list[Observer] = []
    routes: list[BaseRoute] = []
    authorize: Authorize = allow_all
    if settings.keys_file is not None:
        ring = KeyRing(settings.keys_file)
        authorize = KeyGuard(ring, settings.requests_per_minute, Rates(times))
    monitor = Monitor(settings.monitor, settings.log_url)
    observers.append(monitor)
    routes += monitoring_routes(monitor)
    if settings.page:
        routes += page_routes()
    app = create_app(
        settings,
        observers,
        authorize=authorize,
        routes=routes,
        asked=asked,
        hosts=own_hosts(settings),
    )
    attach(monitor, app.state.service)
    return app
