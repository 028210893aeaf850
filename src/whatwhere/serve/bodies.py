"""What a client sends: bytes within limits of size and time, and the pictures in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

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
    pieces: list[bytes] = []
    await _read(request, held, settings, pieces.append)
    # Of one piece no copy is made.
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


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
    await _read(request, held, settings, form.feed)
    form.close()
    return Upload(tuple(form.pictures), form.fields, form=True)


async def _read(
    request: Request, held: Held, settings: ServeSettings, take: Callable[[bytes], None]
) -> None:
    """Give the body to `take` in the pieces that arrive."""
    most = settings.upload_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal():
        if int(declared) > most:
            await _discard(request)
            raise _too_large(most)
        held.gate.check_bytes(int(declared))
    count = 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                piece = message.get("body", b"")
                count += len(piece)
                if count > most:
                    break
                held.add(len(piece))
                take(piece)
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        raise RefusedError(
            408,
            f"the request was not whole after {settings.body_seconds:g} seconds: send it again",
            close=True,
        ) from None
    await _discard(request)
    raise _too_large(most)


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        413, f"the request is larger than {most} bytes: send smaller or fewer pictures", close=True
    )


async def _discard(request: Request) -> None:
    """Let a client go on sending for a while: one that is cut off never reads its refusal."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                if not message.get("more_body", False):
                    return
