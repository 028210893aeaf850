"""Where the results of `whatwhere predict` go: a table, stdout, a file; and what Ctrl-C leaves."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

import typer

from whatwhere.errors import UsageError, WhatwhereError

if TYPE_CHECKING:
    from whatwhere.outputs.results import ResultWriter
    from whatwhere.outputs.resume import Done
    from whatwhere.runtime import Failure
    from whatwhere.types import Prediction

    Show = Callable[[Prediction | Failure], bool]


class StoppedError(WhatwhereError):
    """Ctrl-C ended the work; what was done is kept."""

    exit_code = 130


@contextmanager
def output(
    format: str | None,
    out: Path | None,
    as_json: bool,
    ids: Path | None,
    names: Sequence[str],
    done: Done | None = None,
) -> Iterator[Show]:
    """Where results go: to a file, to stdout, or to both.

    The file appears when all is done, or Ctrl-C ends the work; not after an error. With `done`
    it grows as pictures are done.

    Raises:
        StoppedError: Ctrl-C was pressed.
    """
    from whatwhere.outputs.results import CocoIds, JsonLines, open_writer
    from whatwhere.runtime import Failure

    known = None if ids is None else CocoIds.read(ids)
    count = 0
    stopped = False
    file: TextIO | None = None
    with ExitStack() as stack:
        writers: list[ResultWriter] = []
        if out is not None and format is not None:
            file = stack.enter_context(_open(out, done))
            more = done is not None and done.end > 0
            writers.append(open_writer(format, file, names=names, ids=known, more=more))
        elif format is not None:
            writers.append(open_writer(format, sys.stdout, names=names, ids=known))
        if as_json and (out is not None or format is None):
            writers.append(JsonLines(sys.stdout))
        table = None
        if not writers:
            from whatwhere.outputs.table import ResultTable

            table = ResultTable()
        whole = stack.enter_context(_whole_steps())

        def show(item: Prediction | Failure) -> bool:
            nonlocal count
            with whole():
                for writer in writers:
                    writer.write(item)
                if file is not None and done is not None:
                    file.flush()
                if writers and (out is None or as_json):
                    sys.stdout.flush()
                count += 1
                if isinstance(item, Failure):
                    if not as_json:
                        typer.echo(f"whatwhere: {item.error}", err=True)
                    return False
                if table is not None:
                    table.print(item)
                return True

        try:
            yield show
        except KeyboardInterrupt:
            stopped = True
        try:
            with whole():
                for writer in writers:
                    writer.close()
        except KeyboardInterrupt:
            stopped = True
        for writer in writers:
            lost = getattr(writer, "unlocated", 0)
            if lost:
                typer.echo(
                    f"{lost:,} pictures have no georeference: what is in them has no geometry",
                    err=True,
                )
    if stopped:
        kept = "" if out is None else f", whose results are in {out}"
        again = ": go on with  --resume" if out is not None and format in ("jsonl", "csv") else ""
        raise StoppedError(f"interrupted after {count:,} pictures{kept}{again}")


@contextmanager
def _open(out: Path, done: Done | None) -> Iterator[TextIO]:
    from whatwhere.images import atomic_path

    # File names may hold bytes that are not UTF-8: they are escaped, not refused.
    form = {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"}
    if done is None:
        with atomic_path(out) as temporary, temporary.open("w", **form) as file:  # type: ignore[call-overload]
            yield file
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", **form) as file:  # type: ignore[call-overload]
            file.truncate(done.end)
            yield file
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror or error})") from error


@contextmanager
def _whole_steps() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Blocks that Ctrl-C does not cut in two: it is heard at their end."""
    inside = pressed = False

    @contextmanager
    def whole() -> Iterator[None]:
        nonlocal inside, pressed
        inside = True
        try:
            yield
        finally:
            inside = False
            if pressed:
                pressed = False
                raise KeyboardInterrupt

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if not inside:
            raise KeyboardInterrupt
        pressed = True

    # Python hears signals in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield whole
        return
    before = signal.signal(signal.SIGINT, hear)
    try:
        yield whole
    finally:
        signal.signal(signal.SIGINT, before)
