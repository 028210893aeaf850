"""`/` and `/page/...`: the files of the web page, from memory."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from whatwhere.serve.errors import RefusedError

# Everything comes from this server, and nothing that stands in the page itself is run: a class
# or file name that were taken for HTML could still do nothing. "blob:" is pictures of the user.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # Asked for again each time, and answered with 304: an upgrade never mixes old and new.
    "Cache-Control": "no-cache",
}
_INDEX = "index.html"
# Not from the system's table, which may call JavaScript "text/plain".
_KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


class _File(NamedTuple):
    data: bytes
    kind: str
    tag: str


async def index(request: Request) -> Response:
    """The page; it needs no key, what it asks the server for does."""
    return _answer(request, _INDEX)


async def part(request: Request) -> Response:
    """A file that the page consists of."""
    return _answer(request, request.path_params["name"])


def page_routes() -> list[Route]:
    """The addresses of the page."""
    _files()
    return [Route("/", index), Route("/page/{name}", part)]


@cache
def _files() -> dict[str, _File]:
    """All files by name; nothing else can be asked for, so no path is ever put together."""
    found = {}
    for one in files(__package__).joinpath("files").iterdir():
        data = one.read_bytes()
        suffix = "." + one.name.rpartition(".")[2]
        kind = _KINDS.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
        found[one.name] = _File(data, kind, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
    return found


def _answer(request: Request, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise RefusedError(404, "there is nothing at this address")
    headers = _HEADERS | {"ETag": found.tag}
    if found.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.data, media_type=found.kind, headers=headers)
