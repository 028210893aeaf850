"""What a server consists of, from its settings alone; each worker process puts it together."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from whatwhere.serve.app import create_app
from whatwhere.serve.auth import Authorize, allow_all
from whatwhere.serve.events import Observer
from whatwhere.serve.monitoring.monitor import Monitor
from whatwhere.serve.monitoring.routes import attach, monitoring_routes
from whatwhere.serve.repository import Count
from whatwhere.serve.settings import ServeSettings


def assemble(settings: ServeSettings, asked: Count | None = None) -> Starlette:
    """The application with every part that the settings ask for.

    Args:
        settings: of the server.
        asked: shared by its worker processes; see `Repository`.
    """
    observers: list[Observer] = []
    routes: list[BaseRoute] = []
    authorize: Authorize = allow_all
    monitor = Monitor(settings.monitor, settings.log_url)
    observers.append(monitor)
    routes += monitoring_routes(monitor)
    app = create_app(settings, observers, authorize=authorize, routes=routes, asked=asked)
    attach(monitor, app.state.service)
    return app
