"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from whatwhere.errors import WhatwhereError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of `path`, moved to `path` when the block ends well.

    The block may make a file or a folder there. Missing parent folders are made. When the
    block fails, what it wrote is removed and the file that had the name before stays as it
    was. This protects from failures of the program and of the disk, not from power loss.

    Raises:
        WhatwhereError: the disk is full, or the place cannot be written.
    """
    final = Path(path)
    # The suffix stays at the end, because many writers choose the format by it.
    temporary = final.with_name(f".{final.stem[:80]}-{secrets.token_hex(4)}{final.suffix}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(final)
    except OSError as error:
        ours = {None, str(temporary), str(final), str(final.parent)}
        if error.errno in _NO_SPACE:
            raise WhatwhereError(
                f"{final} was not written ({error.strerror}): free some space or choose another"
                " place"
            ) from error
        if error.filename in ours:
            raise WhatwhereError(
                f"{final} cannot be written ({error.strerror or error}): check the folder and"
                " its permissions"
            ) from error
        raise
    finally:
        _remove(temporary)


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a whole file, text as UTF-8, or leave what was there.

    Raises:
        WhatwhereError: the disk is full, or the place cannot be written.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content)


def _remove(path: Path) -> None:
    """Remove what is left; failing here must not hide the error that led here."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
