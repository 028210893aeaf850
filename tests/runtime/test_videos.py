"""Live sources: the newest frame, coming back, giving up; no camera is needed."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from whatwhere.errors import ImageError, UsageError
from whatwhere.runtime import Sources, videos
from whatwhere.runtime.items import Item

WAITS = (0.0, 0.0, 0.0)


class Clip:
    """A capture of so many frames, each of its number's brightness."""

    def __init__(self, frames: int, *, gate: threading.Semaphore | None = None) -> None:
        self.left = frames
        self.taken = 0
        self.gate = gate
        self.released = False

    def grab(self) -> bool:
        if self.gate is not None:
            self.gate.acquire()
        self.left -= 1
        self.taken += 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, object]:
        return True, np.full((4, 6, 3), (self.taken - 1) % 256, np.uint8)

    def release(self) -> None:
        self.released = True


def connections(*clips: Clip | None) -> videos.Connect:
    """Opens these one after the other; None: cannot be reached; then nothing any more."""
    left = iter(clips)
    return lambda: next(left, None)


def error_of(item: Item) -> str:
    with pytest.raises(ImageError) as found:
        item.read(100)
    return str(found.value)


def number_of(item: Item) -> int:
    return int(item.name.rpartition("#")[2])


def test_every_frame_is_taken_by_who_is_quick_enough() -> None:
    gate = threading.Semaphore(1)
    items = videos.newest("camera:0", connections(Clip(5, gate=gate)), waits=())
    names = []
    for item in items:
        names.append(item.name)
        if len(names) <= 5:
            assert (item.read(100) == number_of(item)).all()
        gate.release()
    assert names == [*(f"camera:0#{number}" for number in range(5)), "camera:0"]


def test_who_is_slow_gets_the_newest() -> None:
    clip = Clip(10**9)
    items = videos.newest("camera:0", connections(clip))
    seen, end = [], time.monotonic() + 20
    for _ in range(3):
        seen.append(number_of(next(items)))
        behind = clip.taken
        while clip.taken < behind + 50 and time.monotonic() < end:
            time.sleep(0.001)
    assert seen[0] < seen[1] < seen[2]
    assert seen[2] > 10
    items.close()  # type: ignore[attr-defined]
    for _ in range(1000):
        if clip.released:
            break
        time.sleep(0.01)
    assert clip.released


def test_only_frames_that_the_step_names() -> None:
    gate = threading.Semaphore(3)
    items = videos.newest("camera:0", connections(Clip(9, gate=gate)), every=3, waits=())
    numbers = []
    for item in items:
        if "#" in item.name:
            numbers.append(number_of(item))
        gate.release(3)
    assert numbers == [0, 3, 6]


def test_a_stream_that_stops_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    gates = threading.Semaphore(1)
    first, second = Clip(3, gate=gates), Clip(4, gate=gates)
    connect = connections(first, None, None, second)
    items = videos.newest("rtsp://host/x", connect, waits=WAITS)
    numbers, last = [], ""
    for item in items:
        if "#" in item.name:
            numbers.append(number_of(item))
            gates.release(3)
        else:
            last = error_of(item)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 3
    assert first.released
    assert second.released
    assert "did not come back in 3 attempts over 0 seconds" in last
    assert caplog.text.count("rtsp://host/x has stopped: trying again") == 3 + 3


def test_what_cannot_be_opened_at_first_fails_at_once() -> None:
    (item,) = videos.newest("rtsp://host/x", connections(), waits=(99.0,))
    assert error_of(item).startswith("rtsp://host/x cannot be opened")
    (item,) = Sources("rtsp://user:secret@127.0.0.1:9/x")
    assert item.name == "rtsp://127.0.0.1:9/x"  # type: ignore[union-attr]
    assert "secret" not in error_of(item)  # type: ignore[arg-type]


def test_a_reader_that_breaks_ends_the_stream() -> None:
    class Broken(Clip):
        def retrieve(self) -> tuple[bool, object]:
            raise OSError("the cable is loose")

    (item,) = videos.newest("camera:0", connections(Broken(3)))
    assert error_of(item) == "camera:0 cannot be read (the cable is loose): check it"


def test_a_frame_that_cannot_be_decoded_is_one_failure() -> None:
    class Half(Clip):
        def retrieve(self) -> tuple[bool, object]:
            return False, None

    item = next(videos.newest("camera:0", connections(Half(1))))
    assert "camera:0#0 is damaged" in error_of(item)


@pytest.mark.parametrize("source", ["camera:", "camera:x", "camera:-1", "camera:99999"])
def test_a_camera_needs_a_number(source: str) -> None:
    with pytest.raises(UsageError, match="is no camera: give its number"):
        Sources(source)


def test_live_sources_have_no_number() -> None:
    assert Sources(["camera:0"]).count() is None
    assert Sources("rtsp://host/x").count() is None
