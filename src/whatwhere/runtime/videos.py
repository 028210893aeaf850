"""Frames of videos, cameras and network streams, named `clip.mp4#120`, counted from 0."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ImageError, UsageError
from whatwhere.runtime.items import Item, broken, check_size
from whatwhere.types import Image

_LOG = logging.getLogger(__name__)

VIDEO_SUFFIXES: frozenset[str] = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"}
)
CAMERA = "camera:"
STREAMS = ("rtsp://", "rtsps://")

# Waits in seconds before each new attempt to reach a stream that has stopped; then it is given up.
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)
# A stream that says nothing for so long has stopped; milliseconds.
_SILENCE = 10_000
# Headers say how many frames there are only about: so much may be missing at the end.
_ABOUT = 0.9

# OpenCV's reader describes damage on stderr, without the file's name; our errors do both.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


Connect = Callable[[], Capture | None]


def is_video(name: str) -> bool:
    """Whether a file name ends like a video's."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122 - a million names


def is_live(source: str) -> bool:
    """Whether a source is a camera or a stream, which have no end."""
    return source.startswith((CAMERA, *STREAMS))


def _open_file(path: str) -> cv2.VideoCapture | None:
    # A full path, and one reader: others take parts of a name for a protocol or a pattern.
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)  # noqa: PTH100
    return capture if capture.isOpened() else None


def count_frames(path: str, every: int) -> int | None:
    """How many frames `frames` will give, as far as the file's header knows; else None."""
    capture = _open_file(path)
    if capture is None:
        return 1  # the picture that stands for the failure
    said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return -(-said // every) if said > 0 else None


def frames(path: str, every: int = 1) -> Iterator[Item]:
    """Every n-th frame of a video file, turned as its header says; one is held at a time.

    What cannot be read, and a video that ends long before its header says, gives an item that
    raises `ImageError`.

    Args:
        path: a file that FFmpeg reads.
        every: 1 for all frames, 10 for 0, 10, 20 and so on.
    """
    capture = _open_file(path)
    if capture is None:
        yield broken(path, ImageError(f"{path} is not a video that can be read: check the file"))
        return
    number = 0
    try:
        said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        while capture.grab():
            if number % every == 0:
                yield _frame(f"{path}#{number}", capture)
            number += 1
    finally:
        capture.release()
    if number == 0:
        yield broken(path, ImageError(f"{path} has no frame that can be read: check the file"))
    elif number < _ABOUT * said:
        text = f"{path} ends after {number} of about {said} frames: get it again from its source"
        yield broken(f"{path}#{number}", ImageError(text))


def _frame(name: str, capture: Capture) -> Item:
    done, pixels = capture.retrieve()
    if not done or pixels is None:
        return broken(name, ImageError(f"{name} is damaged: get the video again from its source"))
    return Item(name, partial(_rgb, name, np.asarray(pixels)))


def _rgb(name: str, pixels: NDArray[Any], max_pixels: int) -> Image:
    check_size(name, pixels.shape[1], pixels.shape[0], max_pixels)
    kind = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(pixels, kind), dtype=np.uint8)


def live_frames(source: str, every: int = 1) -> Iterator[Item]:
    """Frames of `camera:0` or `rtsp://...`, always the newest: what comes too quickly is left out.

    A source that was there and stops is opened again, after growing waits (`WAITS`); when all
    fail, the last item raises `ImageError`. One that cannot be opened at first fails at once.

    Args:
        source: its frames are named after it, without a user name and password.
        every: frames whose number divides by this.

    Raises:
        UsageError: the camera's number is not one.
    """
    name, connect = source, _connect_stream(source)
    if source.startswith(CAMERA):
        number = source.removeprefix(CAMERA)
        if not number.isdecimal() or len(number) > 4:
            raise UsageError(f"{source!r} is no camera: give its number, such as camera:0")
        connect = partial(_open_camera, int(number))
    else:
        parts = urlsplit(source)
        name = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return newest(name, connect, every)


def _open_camera(number: int) -> Capture | None:
    capture = cv2.VideoCapture(number)
    return capture if capture.isOpened() else None


def _connect_stream(address: str) -> Connect:
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _SILENCE, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _SILENCE]

    def connect() -> Capture | None:
        capture = cv2.VideoCapture()
        return capture if capture.open(address, cv2.CAP_FFMPEG, limits) else None

    return connect


class _Grabber(threading.Thread):
    """Takes frames as they come and keeps the newest.

    Args:
        name: of the source.
        connect: opens it; None if it cannot be reached now.
        every: as in `live_frames`.
        waits: seconds before each new attempt.
    """

    def __init__(self, name: str, connect: Connect, every: int, waits: tuple[float, ...]) -> None:
        super().__init__(name=f"whatwhere-{name}", daemon=True)
        self.stopped = threading.Event()
        self.error: ImageError | None = None
        self._changed = threading.Condition()
        self._newest: Item | None = None
        self._ended = False
        self._source = name
        self._connect = connect
        self._every = every
        self._waits = waits
        self._number = 0

    def take(self) -> Item | None:
        """The newest frame that was not taken yet, waited for; None if no more will come."""
        with self._changed:
            while self._newest is None and not self._ended:
                # Short waits, so that Ctrl-C is heard on every system.
                self._changed.wait(0.2)
            item, self._newest = self._newest, None
            return item

    def run(self) -> None:
        try:
            self._follow()
        except ImageError as error:
            self.error = error
        except Exception as error:
            # Whatever it is: nobody would hear of it in this thread.
            self.error = ImageError(f"{self._source} cannot be read ({error}): check it")
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _follow(self) -> None:
        capture = self._connect()
        if capture is None:
            raise ImageError(f"{self._source} cannot be opened: check the address and the network")
        while not self.stopped.is_set():
            self._take_all(capture)
            if not self.stopped.is_set():
                capture = self._reconnect()

    def _take_all(self, capture: Capture) -> None:
        try:
            while not self.stopped.is_set() and capture.grab():
                if self._number % self._every == 0:
                    item = _frame(f"{self._source}#{self._number}", capture)
                    with self._changed:
                        self._newest = item
                        self._changed.notify_all()
                self._number += 1
        finally:
            capture.release()

    def _reconnect(self) -> Capture:
        for wait in self._waits:
            _LOG.warning("%s has stopped: trying again in %g s", self._source, wait)
            if self.stopped.wait(wait):
                break
            capture = self._connect()
            if capture is not None:
                # One that opens but gives no frame has not come back.
                if capture.grab():
                    self._number += 1
                    return capture
                capture.release()
        spent = sum(self._waits)
        raise ImageError(
            f"{self._source} has stopped and did not come back in {len(self._waits)} attempts over"
            f" {spent:g} seconds: check it and its network"
        )


def newest(
    name: str, connect: Connect, every: int = 1, waits: tuple[float, ...] = WAITS
) -> Iterator[Item]:
    """The newest frame each time, for as long as there are any; see `live_frames`."""
    grabber = _Grabber(name, connect, every, waits)
    grabber.start()
    try:
        while (item := grabber.take()) is not None:
            yield item
        if grabber.error is not None:
            yield broken(name, grabber.error)
    finally:
        grabber.stopped.set()
