"""Decode every pixel of many pictures, in processes of their own, and say what is damaged.

A JPEG that is damaged in its middle has a sound header and a sound end, and the decoder
shows it half grey without failing: it only prints a warning to the process's stderr. So the
pictures are decoded in helper processes whose stderr is a file that is read after each
picture. That also keeps a decoder's crash away from the caller, and uses all processors.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import ImageError, WhatwhereError
from whatwhere.images.codec import read_thumbnail
from whatwhere.images.members import member, shown_path

SIDE = 32

# What libjpeg says where it goes on after a damaged place (its message table, jerror.h).
_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Invalid SOS", "Inconsistent progression")

# Bytes between the data and the next marker that nothing needs: cameras leave such.
_EXTRANEOUS = "extraneous bytes before marker"

_CHUNK = 16

# Compression leaves a little colour in grey pictures.
_GREY = 8


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What decoding a picture showed.

    Args:
        thumbnail: uint8 (32, 32), grey, turned as EXIF says; None if it cannot be decoded.
        error: why it cannot be decoded, or "".
        damage: what the decoder complained of while it went on, or "".
        colour: whether some part of it has any.
    """

    thumbnail: NDArray[np.uint8] | None
    error: str = ""
    damage: str = ""
    colour: bool = True

    @property
    def broken(self) -> bool:
        """Whether some of the pixels are certainly not those of the picture."""
        return bool(self.damage) and _EXTRANEOUS not in self.damage


def inspect_all(paths: Sequence[str], workers: int | None = None) -> Iterator[Look]:
    """Look at each picture, in order; a few hundred are under way at any time.

    Args:
        paths: absolute, or of pictures inside files (see `images.members`).
        workers: helper processes; by default one a processor, at most 8.

    Raises:
        WhatwhereError: the helper processes cannot be started.
    """
    count = workers or min(8, os.cpu_count() or 1)
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    waiting: deque[Future[list[Look]]] = deque()
    with ThreadPoolExecutor(min(count, max(1, len(chunks)))) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_inspect, chunk))
                if len(waiting) >= 4 * count:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _inspect(paths: Sequence[str]) -> list[Look]:
    """One chunk; raw pixels inside other files cannot be damaged, so they are read here."""
    places = [member(path) for path in paths]
    raw = [place is not None and len(place.shape) > 1 for place in places]
    answers = iter(_ask([path for path, here in zip(paths, raw, strict=True) if not here]))
    return [_look(path) if here else next(answers) for path, here in zip(paths, raw, strict=True)]


def _look(path: str) -> Look:
    try:
        small = read_thumbnail(path, SIDE)
    except ImageError as error:
        return Look(None, str(error))
    spread = small.max(axis=2) - small.min(axis=2)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return Look(np.asarray(grey, np.uint8), colour=bool(spread.max() > _GREY))


def _ask(paths: Sequence[str]) -> list[Look]:
    looks: list[Look] = []
    while len(looks) < len(paths):
        helper = _take()
        try:
            for path in paths[len(looks) :]:
                looks.append(helper.ask(path))
        except (OSError, ValueError):
            helper.close()
            name = shown_path(paths[len(looks)])
            looks.append(Look(None, f"{name} made the decoder crash: get it again from its source"))
        else:
            _give_back(helper)
    return looks


class _Helper:
    """A process that decodes; asked and answered in lines of JSON."""

    def __init__(self) -> None:
        code = "from whatwhere.images.inspection import serve; serve()"
        known = os.pathsep.join(folder for folder in sys.path if folder)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": known},
            )
        except OSError as error:
            raise WhatwhereError(
                f"a process for decoding pictures cannot be started ({error.strerror}): look at"
                " headers only"
            ) from error
        self.owner = os.getpid()

    def ask(self, path: str) -> Look:
        """Raises OSError or ValueError if the process died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(path).encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        pixels = base64.b64decode(answer["thumbnail"])
        thumbnail = np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE) if pixels else None
        return Look(thumbnail, answer["error"], answer["damage"], answer["colour"])

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    # What was not written yet has no reader any more.
                    continue
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()


# Starting one takes a quarter of a second, so they wait for the next call.
_idle: list[_Helper] = []
_lock = threading.Lock()


def _take() -> _Helper:
    with _lock:
        # A forked process must not talk to its parent's helpers.
        while _idle:
            helper = _idle.pop()
            if helper.owner == os.getpid():
                return helper
    return _Helper()


def _give_back(helper: _Helper) -> None:
    with _lock:
        _idle.append(helper)


@atexit.register
def _close_all() -> None:
    with _lock:
        while _idle:
            _idle.pop().close()


def serve() -> None:
    """The helper process: a path a line in, what was seen a line out, until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        os.dup2(said.fileno(), 1)
        for line in sys.stdin.buffer:
            said.seek(0)
            said.truncate()
            look = _look(json.loads(line))
            said.seek(0)
            complaints = said.read(1 << 16).decode("utf-8", "replace").splitlines()
            damage = [text for text in complaints if text.startswith(_DAMAGE)]
            # A certain damage is more telling than bytes too many.
            damage.sort(key=lambda text: _EXTRANEOUS in text)
            pixels = b"" if look.thumbnail is None else look.thumbnail.tobytes()
            answer = {
                "thumbnail": base64.b64encode(pixels).decode(),
                "error": look.error,
                "damage": damage[0] if damage else "",
                "colour": look.colour,
            }
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
