"""How much a process holds at one time: requests, bytes of their bodies, decoded pictures."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from whatwhere.serve.errors import RefusedError
from whatwhere.types import Image

_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class Held:
    """The bytes of one request."""

    gate: Gate
    count: int = 0

    def add(self, count: int) -> None:
        """Take note of bytes that have arrived.

        Raises:
            RefusedError: 503, the server holds as much as it may already.
        """
        self.gate.check_bytes(count)
        self.gate.bytes += count
        self.count += count


class Gate:
    """Lets requests in as long as there is room; used from one event loop only.

    Args:
        concurrent: requests at one time.
        upload_bytes: of all bodies together.
    """

    def __init__(self, concurrent: int, upload_bytes: int) -> None:
        self.concurrent = concurrent
        self.upload_bytes = upload_bytes
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def request(self) -> Iterator[Held]:
        """While it lasts, the request counts, and so do the bytes that it holds.

        Raises:
            RefusedError: 503, too many requests are in work.
        """
        if self.requests >= self.concurrent:
            raise RefusedError(
                503,
                f"{self.requests} requests are in work already: try again later",
                retry_seconds=_RETRY_SECONDS,
            )
        self.requests += 1
        held = Held(self)
        try:
            yield held
        finally:
            self.requests -= 1
            self.bytes -= held.count

    def check_bytes(self, count: int) -> None:
        """Whether so many bytes more fit.

        Raises:
            RefusedError: 503, they do not.
        """
        if self.bytes + count > self.upload_bytes:
            raise RefusedError(
                503,
                "the requests in work hold all the memory that they may: try again later",
                retry_seconds=_RETRY_SECONDS,
            )


class PictureRoom:
    """Room for decoded pictures after their prediction; used from any thread.

    A form of small files may hold gigabytes of pixels, which nobody needs any more when they
    have been predicted, but watchers that would like to see them.

    Args:
        pixels: of all pictures together.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.held = 0
        # A picture may be collected, and so be released, wherever its thread is; also in here.
        self._lock = threading.RLock()

    def keep(self, image: Image) -> Image | None:
        """The picture, counted until nobody refers to it; None if there is no room."""
        count = image.shape[0] * image.shape[1]
        with self._lock:
            if self.held + count > self.pixels:
                return None
            self.held += count
        weakref.finalize(image, self._release, count).atexit = False
        return image

    def _release(self, count: int) -> None:
        with self._lock:
            self.held -= count
