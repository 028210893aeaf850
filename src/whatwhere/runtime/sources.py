"""From what a user names (files, folders, patterns, videos, addresses ...) to pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BufferedReader
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

from whatwhere.errors import ImageError, UsageError
from whatwhere.images import MAX_UNPACKED
from whatwhere.runtime.items import Item, broken, file_item
from whatwhere.runtime.paths import (
    HINT,
    PathLike,
    bare,
    expand,
    is_archive,
    is_picture,
    is_plain,
    is_web,
    kind_of,
    lines_of,
    matching,
    some,
    texts,
    unmatched,
    walk,
)
from whatwhere.runtime.videos import count_frames, frames, is_live, is_video, live_frames

if TYPE_CHECKING:
    from whatwhere.runtime.fetch import UrlLimits

# How picture files begin, with as much as no line of text has.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


__all__ = ["Sources", "expand"]


class _Part(NamedTuple):
    """What one source gives.

    Args:
        items: paths and named pictures, found while they are used.
        number: how many there are, found by looking a second time; None if that is not known.
    """

    items: Iterator[str | Item]
    number: Callable[[], int | None]


class Sources(Iterable[str | Item]):
    """All pictures that some sources name, in their order, for `PredictorBase.stream`.

    A source is one of these:

    - a file, taken as a picture whatever its suffix, unless that is one of a video or archive;
    - a folder: the pictures in it and below, sorted by name, hidden ones left out;
    - a pattern (`*`, `?`, `[...]`, `**` for any depth): the pictures that it matches, sorted;
      videos and archives where its end names their suffix, as `*.mp4` does;
    - a video: its frames, as `clip.mp4#120`, counted from 0;
    - a ZIP or tar file: the pictures in it, read where they lie;
    - `@list.txt`: a source on each line, UTF-8, relative to the current folder; a line that is
      wrong is a picture that cannot be read;
    - `-`: the same from stdin, or one picture file;
    - a web address, if these are allowed;
    - `camera:0`, or `rtsp://...`: the newest frames, for ever.

    Each source is looked at when this is made, so that a wrong one is reported before any work;
    what is in it is found while it is used, and nothing of it is kept.

    Args:
        sources: one or several.
        lists: files with a source on each line, after the others.
        urls: allow web addresses (False: refuse them), within these limits.
        every: of videos, cameras and streams only the frames whose number divides by this.
        stdin: what `-` reads; by default the process's.

    Raises:
        UsageError: a source does not exist, has no picture, or is not allowed.
    """

    def __init__(
        self,
        sources: PathLike | Sequence[PathLike],
        *,
        lists: Sequence[PathLike] = (),
        urls: bool | UrlLimits = False,
        every: int = 1,
        stdin: BufferedReader | None = None,
    ) -> None:
        given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        if not given and not lists:
            raise UsageError(f"no picture was named: {HINT}")
        if every < 1:
            raise UsageError(f"every must be at least 1, not {every}")
        self._urls = urls
        self._every = every
        self._stdin = stdin
        if [os.fspath(source) for source in given].count("-") > 1:
            raise UsageError("stdin is named twice: give  -  once")
        self._parts = [self._named(os.fspath(source)) for source in given]
        self._parts += [self._list(os.fspath(source)) for source in lists]

    def __iter__(self) -> Iterator[str | Item]:
        """The pictures; once only."""
        return chain.from_iterable(part.items for part in self._parts)

    def count(self) -> int | None:
        """How many pictures there are, found by looking at all sources once more.

        Of a video as many as its header says; None where there is no telling, as for stdin,
        cameras and packed tar files.
        """
        return _total(part.number() for part in self._parts)

    def _named(self, source: str) -> _Part:
        """A source that the user named, as against a line of a list."""
        if source == "-":
            stream = cast(BufferedReader, sys.stdin.buffer) if self._stdin is None else self._stdin
            return _Part(self._piped(stream), lambda: None)
        if is_live(source):
            return _Part(live_frames(source, self._every), lambda: None)
        # A name with the sign of a list is a file first, as are those with signs of a pattern.
        if source.startswith("@") and not os.path.lexists(source):
            return self._list(source[1:])
        return self._plain(source)

    def _plain(self, source: str) -> _Part:
        if is_web(source):
            return _Part(iter([self._web(source)]), lambda: 1)
        kind = kind_of(source)
        if kind == "file" and is_video(source):
            return _Part(frames(source, self._every), partial(count_frames, source, self._every))
        if kind == "file" and is_archive(source):
            from whatwhere.runtime.archives import count_in, pictures_in

            found = some(pictures_in(source), bare(f"archive {source}"))
            return _Part(found, partial(count_in, source))
        if kind == "pattern":
            return self._pattern(source)
        if kind == "folder":
            found = some(walk(source), bare(f"folder {source}"))
            return _Part(found, lambda: sum(1 for _ in walk(source, order=False)))
        return _Part(iter([source]), lambda: 1)

    def _web(self, url: str) -> Item:
        if self._urls is False:
            raise UsageError(
                f"{url} is a web address: allow these with --urls, or download the picture"
            )
        # Only here: these take a while to load.
        from whatwhere.runtime.fetch import UrlLimits, web_item

        return web_item(url, UrlLimits() if self._urls is True else self._urls)

    def _pattern(self, source: str) -> _Part:
        matches = matching(source)
        if not (is_video(source) or is_archive(source)):
            found = [match for match in matches if is_picture(match)]
            return _Part(some(iter(found), unmatched(source)), lambda: len(found))
        found = list(some(iter(matches), unmatched(source)))
        return _Part(self._pictures(found), lambda: self._number(found))

    def _list(self, path: str) -> _Part:
        if not os.path.isfile(path):  # noqa: PTH113 - the name as it was given
            raise UsageError(f"the list {path} does not exist: check the path")
        lines = some(lines_of(path), f"the list {path} is empty: write a path on each line")
        return _Part(self._pictures(lines), lambda: self._number(lines_of(path)))

    def _pictures(self, lines: Iterable[str]) -> Iterator[str | Item]:
        for line in lines:
            if is_plain(line):
                yield line
            else:
                yield from self._line(line).items

    def _number(self, lines: Iterable[str]) -> int | None:
        return _total(1 if is_plain(line) else self._line(line).number() for line in lines)

    def _line(self, line: str) -> _Part:
        """A line of a list: never stdin, a list, a camera or a stream, and never an exception."""
        try:
            return self._plain(line)
        except UsageError as error:
            return _Part(iter([broken(line, ImageError(str(error)))]), lambda: 1)

    def _piped(self, stream: BufferedReader) -> Iterator[str | Item]:
        head = stream.peek(32)[:32]
        if not head:
            raise UsageError("nothing came through stdin: pipe paths, one a line, or one picture")
        if head.startswith(_SIGNATURES) or (head.startswith((b"BM", b"RIFF")) and b"\0" in head):
            yield file_item("-", stream.read(MAX_UNPACKED))
        else:
            yield from self._pictures(texts(stream, "stdin"))


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
