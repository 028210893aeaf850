"""Pictures in ZIP and tar files, read where they lie: nothing is unpacked to disk.

What lies in a plain tar file or in a ZIP file, stored or deflated, becomes a path of
`images.members`, which is read in any order and by any thread. A packed tar file can only be read
from front to back, so its pictures are taken out one by one.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import IMAGE_SUFFIXES, MAX_UNPACKED, Member
from whatwhere.images.inside import zip_member
from whatwhere.runtime.items import Item, broken, file_item
from whatwhere.runtime.paths import PACKED_TAR, TAR, ZIP

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError, struct.error)

Pictures: TypeAlias = Iterator[str | Item]


def pictures_in(path: str) -> Pictures:
    """The pictures in an archive, in its order; hidden ones left out, archives in it, too.

    Raises:
        UsageError: it cannot be opened as what its name says. An archive that turns out to be
            damaged later ends with a picture that cannot be read.
    """
    lower = path.lower()
    read = _in_zip if lower.endswith(ZIP) else _in_tar if lower.endswith(TAR) else _in_packed_tar
    found = _guarded(path, read(path))
    first = next(found, None)
    return iter(()) if first is None else _chained(first, found)


def count_in(path: str) -> int | None:
    """How many pictures an archive has; None where all of it would have to be unpacked."""
    if path.lower().endswith(PACKED_TAR):
        return None
    return sum(1 for _ in pictures_in(path))


def _chained(first: str | Item, rest: Pictures) -> Pictures:
    yield first
    yield from rest


def _guarded(path: str, found: Pictures) -> Pictures:
    """Damage at the start is an error; later on it is a picture that cannot be read."""
    any_yet = False
    try:
        for item in found:
            yield item
            any_yet = True
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or error
        text = f"{path} cannot be read as an archive ({reason}): get it again, or unpack it"
        if not any_yet:
            raise UsageError(text) from error
        yield broken(path, ImageError(text))


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and "__MACOSX" not in path.parts


def _in_zip(path: str) -> Pictures:
    with zipfile.ZipFile(path) as archive, Path(path).open("rb") as file:
        for entry in archive.filelist:
            if entry.is_dir() or not _wanted(entry.filename):
                continue
            shown = f"{path}!/{entry.filename}"
            if entry.flag_bits & 1:
                reason = "it needs a password"
            elif entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                yield str(zip_member(file, path, entry))
                continue
            else:
                reason = f"it is packed with method {entry.compress_type}"
            yield broken(shown, ImageError(f"{shown} cannot be read ({reason}): unpack it first"))


def _files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (entry := archive.next()) is not None:
        # The module keeps every entry that it has seen.
        archive.members = []  # type: ignore[attr-defined]
        if entry.isreg() and _wanted(entry.name):
            yield entry


def _in_tar(path: str) -> Pictures:
    with tarfile.open(path, "r:") as archive:
        for entry in _files(archive):
            if entry.issparse():
                shown = f"{path}!/{entry.name}"
                reason = "it is stored with holes"
                yield broken(shown, ImageError(f"{shown} cannot be read ({reason}): unpack it"))
            else:
                yield str(Member(path, entry.offset_data, (entry.size,), entry.name))


def _in_packed_tar(path: str) -> Pictures:
    with tarfile.open(path, "r|*") as archive:
        for entry in _files(archive):
            shown = f"{path}!/{entry.name}"
            if entry.size > MAX_UNPACKED:
                yield broken(shown, ImageError(f"{shown} has {entry.size} bytes: unpack it first"))
                continue
            stream = archive.extractfile(entry)
            assert stream is not None, "only regular files come here"
            yield file_item(shown, stream.read())
