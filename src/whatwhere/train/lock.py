"""One process alone trains into a folder."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from whatwhere.errors import TrainError

LOCK = ".lock"
_UNKNOWN = "another process"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder, which is made if it is not there.

    The system's own lock on a small file is used; it goes with the process, however that
    ends, so a file that was left behind keeps nobody out. The file says who holds it.

    Raises:
        TrainError: another process trains into the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    file = _open_locked(path)
    try:
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
    finally:
        # Removed while it is held: whoever has opened it meanwhile looks again for a new one.
        # Windows lets nobody remove an open file; then it stays, and keeps nobody out.
        with suppress(OSError):
            path.unlink()
        file.close()


def _open_locked(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            _lock(file)
        except OSError:
            file.seek(0)
            owner = file.read(200).strip()
            file.close()
            raise TrainError(
                f"{path.parent} is being trained into by {owner or _UNKNOWN}: wait for its end, or"
                " give another --out"
            ) from None
        with suppress(OSError):
            if os.name == "nt" or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _lock(file: IO[str]) -> None:
    """Take the lock or raise `OSError` at once."""
    if sys.platform == "win32":
        import msvcrt

        # Beyond the text, so that it can be read by others; such a place need not exist.
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
