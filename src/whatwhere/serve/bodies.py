"""What a client sends: bytes within limits of size and time, and the pictures in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from starlette.requests import Request

from whatwhere.serve.errors import RefusedError
from whatwhere.serve.forms import Form, Picture
from whatwhere.serve.limits import Held
from whatwhere.serve.settings import ServeSettings

_FORM = "multipart/form-data"
_LINGER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Upload:
    """The pictures of a request.

    Args:
        pictures: at least one.
        fields: further fields of a form.
        form: whether they came in a form, which can hold several.
    """

    pictures: tuple[Picture, ...]
    fields: dict[str, str]
    form: bool


async def read_body(request: Request, held: Held, settings: ServeSettings) -> bytes:
    """The whole body.

    Raises:
        RefusedError: 413, it is too large; 408, it came too slowly; 503, memory is full.
        ClientDisconnect: the client has gone.
    """
    async with aclosing(_pieces(request, held, settings)) as pieces:
        return b"".join([piece async for piece in pieces])


async def read_upload(request: Request, held: Held, settings: ServeSettings) -> Upload:
    """The pictures of a form, or the body as one picture.

    Raises:
        RefusedError: as `read_body`; 400, the form is damaged or there is no picture; 415, the
            body says that it is JSON.
        ClientDisconnect: the client has gone.
    """
    given = request.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if kind == "application/json":
        raise RefusedError(415, "the body is JSON: send a picture, or use the addresses below /v2")
    if kind != _FORM:
        data = await read_body(request, held, settings)
        if not data:
            raise RefusedError(400, "the request is empty: send a picture as its body")
        return Upload((Picture(None, data),), {}, form=False)
    form = Form(given, settings.pictures)
    async with aclosing(_pieces(request, held, settings)) as pieces:
        async for piece in pieces:
            form.feed(piece)
    form.close()
    return Upload(tuple(form.pictures), form.fields, form=True)


async def _pieces(
    request: Request, held: Held, settings: ServeSettings
) -> AsyncGenerator[bytes, None]:
    most = settings.upload_bytes
    too_large = RefusedError(
        413, f"the request is larger than {most} bytes: send smaller or fewer pictures", close=True
    )
    stream = request.stream()
    declared = request.headers.get("content-length", "")
    if declared.isdecimal():
        if int(declared) > most:
            await _discard(stream)
            raise too_large
        held.gate.check_bytes(int(declared))
    count = 0
    until = asyncio.get_running_loop().time() + settings.body_seconds
    while True:
        try:
            async with asyncio.timeout_at(until):
                piece = await anext(stream, b"")
        except TimeoutError:
            raise RefusedError(
                408,
                f"the request was not whole after {settings.body_seconds:g} seconds: send it again",
                close=True,
            ) from None
        if not piece:
            return
        count += len(piece)
        if count > most:
            await _discard(stream)
            raise too_large
        held.add(len(piece))
        yield piece


async def _discard(stream: AsyncIterator[bytes]) -> None:
    """Let a client go on sending for a while: one that is cut off never reads its refusal."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            async for _ in stream:
                continue
