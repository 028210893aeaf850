"""Read and write Parquet and Arrow files, with limits and without surprises."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import polars as pl

from whatwhere.errors import DataError
from whatwhere.images import write_atomic

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".ipc", ".feather")

_MAGIC = {".parquet": b"PAR1", ".pq": b"PAR1"}

# A column of one value takes a few bytes however many rows it has; a file that is made to
# fill the memory is refused by its own number of rows.
_FREE_ROWS = 1_000_000
_ROWS_A_BYTE = 64

_Answer = TypeVar("_Answer")
_quiet = threading.RLock()


def is_frame(file: Path) -> bool:
    """Whether a file's suffix and first bytes are those of Parquet or Arrow IPC."""
    suffix = file.suffix.lower()
    if suffix not in PARQUET + ARROW:
        return False
    try:
        with file.open("rb") as stream:
            return stream.read(6).startswith(_MAGIC.get(suffix, b"ARROW1"))
    except OSError:
        return False


def columns_of(file: Path) -> dict[str, pl.DataType]:
    """Names and types of the columns; nothing for a file that cannot be read."""
    parquet = file.suffix.lower() in PARQUET
    try:
        return dict(
            _guarded(file, lambda: (pl.read_parquet_schema if parquet else _ipc_schema)(file))
        )
    except DataError:
        return {}


def _ipc_schema(file: Path) -> dict[str, pl.DataType]:
    return dict(pl.scan_ipc(file).collect_schema())


def read_frame(file: Path, rows: int | None = None) -> pl.DataFrame:
    """The whole table, or its first rows.

    Raises:
        DataError: the file is damaged, or says that it has more rows than it can hold.
    """
    scan = pl.scan_parquet if file.suffix.lower() in PARQUET else pl.scan_ipc
    if rows is not None:
        return _guarded(file, lambda: scan(file).head(rows).collect())
    count = _guarded(file, lambda: int(scan(file).select(pl.len()).collect().item()))
    limit = _FREE_ROWS + _ROWS_A_BYTE * file.stat().st_size
    if count > limit:
        raise DataError(f"{file} says that it has {count} rows, more than its size allows")
    return _guarded(file, lambda: scan(file).collect())


@contextmanager
def _no_backtraces() -> Iterator[None]:
    """Inside, nothing reaches stderr: a damaged file makes threads of polars print their stack.

    What is wrong is said by the error that polars raises afterwards.
    """
    with _quiet:
        try:
            kept = os.dup(2)
        except OSError:  # the program runs without stderr
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _guarded(file: Path, call: Callable[[], _Answer]) -> _Answer:
    """The answer; polars ends with errors of many kinds where a file is damaged."""
    try:
        with _no_backtraces():
            return call()
    except (pl.exceptions.PolarsError, OSError, ValueError, OverflowError) as error:
        reason = str(error).split("\n")[0][:200]
    except pl.exceptions.PanicException as error:
        reason = str(error).split("\n")[0][:200]
    raise DataError(f"{file} cannot be read ({reason}): get it again")


def write_frame(file: Path, frame: pl.DataFrame) -> None:
    """A Parquet file, compressed with zstd, whole or not at all."""
    data = io.BytesIO()
    frame.write_parquet(data, compression="zstd")
    write_atomic(file, data.getvalue())
