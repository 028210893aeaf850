"""What a server consists of, from its settings alone; each worker process puts it together."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from whatwhere.serve.app import create_app
from whatwhere.serve.auth import Authorize, allow_all
from whatwhere.serve.events import Observer
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
    return create_app(settings, observers, authorize=authorize, routes=routes, asked=asked)
