"""Run a server: bind its address, then one process, or several under a supervisor."""

from __future__ import annotations

import socket
from collections.abc import Callable

from whatwhere.errors import UsageError
from whatwhere.serve.settings import ServeSettings
from whatwhere.serve.supervisor import Supervisor
from whatwhere.serve.worker import work

_BACKLOG = 2048


def run(settings: ServeSettings, begun: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; what was accepted until then is answered.

    Args:
        settings: of the server.
        begun: called with the server's address, such as "http://127.0.0.1:8000", when it answers.

    Returns:
        The exit status: 0.

    Raises:
        UsageError: the address cannot be used.
        ModelError, MissingExtraError: a model cannot be loaded.
    """
    listener = bind(settings.host, settings.port)
    with listener:
        address = address_of(listener)
        if settings.workers == 1:
            work(settings, listener, None, lambda: begun(address))
            return 0
        return Supervisor(settings, listener, lambda: begun(address)).run()


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: the address cannot be used.
    """
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        return socket.create_server((name, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{host} port {port} cannot be used ({reason}): choose another with --host and --port"
        ) from None


def address_of(listener: socket.socket) -> str:
    """Where a browser finds it; for an address that stands for all, the one of this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
