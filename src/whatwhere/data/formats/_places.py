"""Find the pictures that an annotation file names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from whatwhere.data.formats._files import inside
from whatwhere.data.formats._values import clean


class Places:
    """Where pictures lie: the name as it stands in some folder, else its last part.

    Annotation tools write paths of the machine that they ran on, so a path that leads away
    is looked for by its last part; nothing outside the limit is ever looked at.

    Args:
        limit: absolute; the folder that pictures must lie in.
        folders: where to look, first ones first; each is in `limit`.
    """

    def __init__(self, limit: Path, folders: Sequence[Path]) -> None:
        self.limit = limit
        self.folders = list(dict.fromkeys(folders))
        self._names: dict[str, set[str]] = {}

    def find(self, name: str, near: Path | None = None) -> tuple[Path, bool] | None:
        """Where the picture lies, or would lie, and whether it does.

        Args:
            name: as it is written; backslashes count as slashes.
            near: a folder to look in first: that of the annotation file.

        Returns:
            None if the name leads outside, or is none, and its last part is not here.
        """
        name = name.strip().replace("\\", "/")
        base = name.rsplit("/", 1)[-1]
        if base in ("", ".", "..") or "\0" in name or clean(name) != name:
            return None
        folders = self.folders if near is None else [near, *self.folders]
        tried = [place for one in folders if (place := self._inside(one, name)) is not None]
        for place in tried:
            if self._is_file(place):
                return place, True
        if base != name:
            for folder in folders:
                if self._is_file(folder / base):
                    return folder / base, True
        return (tried[0], False) if tried else None

    def _inside(self, folder: Path, name: str) -> Path | None:
        if name.startswith("/") or re.match(r"[A-Za-z]:|\w+://", name):
            return None
        if "/" not in name:
            return folder / name
        return inside(self.limit, f"{folder.relative_to(self.limit).as_posix()}/{name}")

    def _is_file(self, place: Path) -> bool:
        folder, name = os.path.split(place)
        if folder not in self._names:
            try:
                with os.scandir(folder) as found:
                    self._names[folder] = {entry.name for entry in found if not entry.is_dir()}
            except OSError:
                self._names[folder] = set()
        return name in self._names[folder]

    def __str__(self) -> str:
        """The folders, for people."""
        return ", ".join(
            os.path.relpath(folder, self.limit.parent).replace(os.sep, "/")
            for folder in self.folders
        )
