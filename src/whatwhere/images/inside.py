"""Find a picture in a ZIP or tar file by its name there, as results show it."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from whatwhere.errors import ImageError
from whatwhere.images.members import Member, unpacked

# APPNOTE.TXT 4.3.7: 30 bytes, the last two numbers of which are the lengths of what follows.
_LOCAL = struct.Struct("<4s22xHH")
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError, struct.error),
    *(ImageError, ValueError),
)
SUFFIXES = (".zip", ".tar", ".tar.gz")


def zip_member(file: IO[bytes], path: str, entry: zipfile.ZipInfo) -> Member:
    """Where the bytes of an entry lie: behind a header whose length only it knows.

    Args:
        file: the archive, open.
        path: its path.
        entry: stored or deflated.

    Raises:
        zipfile.BadZipFile, struct.error: there is no such entry.
    """
    file.seek(entry.header_offset)
    mark, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if mark != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no entry where {entry.filename} should begin")
    start = entry.header_offset + _LOCAL.size + name + extra
    packed = entry.compress_size if entry.compress_type == zipfile.ZIP_DEFLATED else 0
    return Member(path, start, (entry.file_size,), entry.filename, packed=packed)


def find_inside(path: str) -> Member | None:
    """The member that a path such as `photos.zip!/2024/cat.jpg` names; None if there is none.

    Of `.tar.gz` the content is unpacked in memory; other packed tar files have no places.
    """
    lower = path.lower()
    for suffix in SUFFIXES:
        at = lower.find(f"{suffix}!/")
        if at > 0:
            archive, name = path[: at + len(suffix)], path[at + len(suffix) + 2 :]
            try:
                return _index(archive).get(name)
            except _DAMAGED:
                # Reading it will say what is wrong with the path.
                return None
    return None


class _Last:
    """The names in the archive that was asked last, since neighbours follow each other."""

    lock = threading.Lock()
    key: tuple[str, int, int] | None = None
    names: Mapping[str, Member] = {}


def _index(archive: str) -> Mapping[str, Member]:
    stat = os.stat(archive)  # noqa: PTH116 - the name as it was given
    key = (archive, stat.st_mtime_ns, stat.st_size)
    with _Last.lock:
        if _Last.key != key:
            found = _zip_names(archive) if archive.lower().endswith(".zip") else _tar_names(archive)
            _Last.names = {one.name: one for one in found}
            _Last.key = key
        return _Last.names


def _zip_names(path: str) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive, Path(path).open("rb") as file:
        for entry in archive.filelist:
            plain = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if plain and not entry.flag_bits & 1 and not entry.is_dir():
                yield zip_member(file, path, entry)


def _tar_names(path: str) -> Iterator[Member]:
    with ExitStack() as stack:
        if path.lower().endswith(".gz"):
            file: IO[bytes] = io.BytesIO(unpacked(path))
        else:
            file = stack.enter_context(Path(path).open("rb"))
        for entry in stack.enter_context(tarfile.open(fileobj=file, mode="r:")):
            if entry.isreg() and not entry.issparse():
                yield Member(path, entry.offset_data, (entry.size,), entry.name)
