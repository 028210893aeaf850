"""A folder of annotated pictures: which name each gets, and that no source is overwritten."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from whatwhere.errors import UsageError
from whatwhere.runtime.items import Item

Source = TypeVar("Source", bound="str | Item")

# Drawings are written as what they were where that keeps them small and exact.
_KEPT = frozenset({".jpg", ".jpeg", ".png", ".webp"})
# As `clip.mp4#120`.
_FRAME = re.compile(r".+#\d+", re.S)
_ODD = re.compile(r'[<>:"|?*\\]')


class AnswerFolder:
    """Names for the drawings of many pictures in one folder.

    A picture below a source folder keeps its place below it; others keep their file name.
    The second picture that wants a name gets "-2" before the suffix. Nothing in the folder
    is ever read as a source, so that no source can be overwritten and a second run does not
    annotate the answers of the first.

    Args:
        folder: where the drawings go.
        sources: what the user named: files, folders, patterns.

    Raises:
        UsageError: the folder is a file, or a source lies in it.
    """

    def __init__(
        self, folder: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]]
    ) -> None:
        self.folder = Path(folder)
        self._real = os.path.realpath(self.folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is not a folder: choose another place for drawings")
        given = [Path(source) for source in sources]
        for source in given:
            if source.exists() and self._holds(os.path.realpath(source)):
                raise UsageError(
                    f"{source} lies in {self.folder}, where the drawings go:"
                    " choose another folder, so that no picture is overwritten"
                )
        self._roots = [source for source in given if source.is_dir()]
        self._taken: set[str] = set()
        self._folder_of = lru_cache(1024)(os.path.realpath)

    def outside(self, paths: Iterator[Source]) -> Iterator[Source]:
        """The paths that do not lie in this folder, and what is no path.

        Raises:
            UsageError: none is left.
        """
        any_left = False
        for path in paths:
            if isinstance(path, str):
                folder = os.path.dirname(path) or "."  # noqa: PTH120 - a million names
                if self._holds(self._folder_of(folder)):
                    continue
            any_left = True
            yield path
        if not any_left:
            raise UsageError(
                f"all pictures lie in {self.folder}, where the drawings go: choose another folder"
            )

    def place(self, picture: str) -> Path:
        """Where the drawing of a picture goes; a new path at each call."""
        wanted = self._below(Path(picture))
        if _FRAME.fullmatch(wanted.name):
            # Of a video there are many, and they were lossy before.
            wanted = wanted.with_name(wanted.name + ".jpg")
        elif wanted.suffix.lower() not in _KEPT:
            wanted = wanted.with_name(wanted.name + ".png")
        # Not all systems have files of such names: they come from addresses.
        wanted = wanted.with_name(_ODD.sub("_", wanted.name))
        path, number = wanted, 1
        # Folded, because some file systems take "A.png" and "a.png" for one file.
        while (key := str(path).casefold()) in self._taken:
            number += 1
            path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        self._taken.add(key)
        return self.folder / path

    def _below(self, picture: Path) -> Path:
        for root in self._roots:
            if picture.is_relative_to(root):
                return picture.relative_to(root)
        return Path(picture.name)

    def _holds(self, real: str) -> bool:
        return real == self._real or real.startswith(os.path.join(self._real, ""))  # noqa: PTH118
