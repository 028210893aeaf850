"""Which files Python code opens, lists or makes, by its audit events.

Libraries written in other languages (polars, OpenCV) open files without telling; whatever
they are given has been looked at by the package's own code first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_EVENTS = {
    "open": (0,),
    "os.listdir": (0,),
    "os.scandir": (0,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.link": (0, 1),
    "os.truncate": (0,),
    "subprocess.Popen": (0,),
    "os.system": (0,),
    "socket.connect": (1,),
}
_watchers: list[set[str]] = []


def _hook(event: str, values: tuple[Any, ...]) -> None:
    if not _watchers or event not in _EVENTS:
        return
    for place in _EVENTS[event]:
        value = values[place]
        if isinstance(value, (str, bytes, os.PathLike)):
            for watcher in _watchers:
                # Links are not followed: the name that was used counts.
                watcher.add(os.path.abspath(os.fsdecode(value)))  # noqa: PTH100
        elif not isinstance(value, int):
            for watcher in _watchers:
                watcher.add(f"{event} {value!r}")


sys.addaudithook(_hook)


@contextmanager
def opened_files() -> Iterator[set[str]]:
    """Absolute paths that are opened, listed, made or removed inside the block."""
    found: set[str] = set()
    _watchers.append(found)
    try:
        yield found
    finally:
        _watchers.remove(found)


def strangers(found: set[str], *allowed: Path) -> list[str]:
    """What of it lies outside the allowed folders, and is not Python's own."""
    own = [*map(str, allowed), sys.prefix, sys.base_prefix, *(one for one in sys.path if one)]
    starts = tuple(one.rstrip(os.sep) + os.sep for one in own)
    # Thread pools and polars look at the machine, not at anyone's data.
    machine = ("/proc/", "/sys/", os.devnull)
    return sorted(one for one in found if one not in own and not one.startswith(starts + machine))
