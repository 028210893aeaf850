"""The table of the prediction log, and what is read from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from whatwhere.errors import DataError, UsageError
from whatwhere.serve.events import Served

# Seconds that a connection waits for another one's lock.
_BUSY = 1.0

TABLES = sa.MetaData()
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PREDICTIONS = sa.Table(
    "whatwhere_predictions",
    TABLES,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("request_id", sa.String(64), nullable=False, index=True),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("time", sa.Float, nullable=False, index=True),
    sa.Column("model", sa.String(100), nullable=False),
    sa.Column("version", sa.String(100), nullable=False),
    sa.Column("route", sa.String(200), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("client", sa.String(200)),
    sa.Column("request_seconds", sa.Float, nullable=False),
    sa.Column("queue_seconds", sa.Float, nullable=False),
    sa.Column("inference_seconds", sa.Float, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("prediction", sa.Text),
    sa.Column("thumbnail", sa.LargeBinary),
    sa.Column("flag", sa.Text),
)


def open_engine(url: str) -> Engine:
    """A database by its address, such as "sqlite:///served.db"; nothing is connected yet.

    Raises:
        UsageError: the address means no database, its driver is not installed, or the folder of
            an SQLite file does not exist.
    """
    try:
        given = make_url(url)
        arguments: dict[str, Any] = {}
        if given.get_backend_name() == "sqlite":
            arguments = {"timeout": _BUSY}
            _check_folder(given)
        engine = sa.create_engine(given, connect_args=arguments, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as error:
        raise UsageError(
            f"the prediction log {_shown(url)} is no address of a database ({error}): write"
            " sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the prediction log needs the package {error.name}: run  pip install {error.name}"
        ) from None
    if given.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _with_wal)
    return engine


def _check_folder(url: URL) -> None:
    if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
        folder = Path(url.database).absolute().parent
        if not folder.is_dir():
            raise UsageError(f"the folder {folder} of the prediction log is missing: make it first")


def _shown(url: str) -> str:
    """An address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return repr(url.partition(":")[0])


def _with_wal(connection: Any, record: Any) -> None:
    """Readers and the writer do not wait for each other."""
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
    finally:
        cursor.close()


def row_of(served: Served, *, private: bool, thumbnail: bytes | None = None) -> dict[str, Any]:
    """An entry.

    Args:
        served: what happened.
        private: leave out the names of picture and client, and the words of an error, which may
            repeat what the client sent.
        thumbnail: a small JPEG of the picture.
    """
    answer = None
    if served.prediction is not None:
        answer = served.prediction.to_dict()
        if private:
            answer["image"] = None
    return {
        "request_id": served.request_id,
        "place": served.place,
        "time": served.time,
        "model": served.model,
        "version": served.version,
        "route": served.route,
        "status": served.status,
        "client": None if private else served.client,
        "request_seconds": served.request_seconds,
        "queue_seconds": served.queue_seconds,
        "inference_seconds": served.inference_seconds,
        "batch": served.batch,
        "error": None if private else served.error,
        "prediction": None if answer is None else json.dumps(answer, ensure_ascii=False),
        "thumbnail": None if private else thumbnail,
        "flag": None,
    }


class LogReader:
    """Reads a prediction log, and marks entries.

    Args:
        engine: of `open_engine`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def recent(
        self, count: int = 50, *, before: int | None = None, flagged: bool = False
    ) -> list[dict[str, Any]]:
        """The newest entries, newest first; thumbnails only as `has_thumbnail`.

        Args:
            count: most entries.
            before: only those with a lower id, for the next page.
            flagged: only those that a person marked.

        Raises:
            DataError: the database cannot be read.
        """
        columns = [column for column in PREDICTIONS.c if column.name != "thumbnail"]
        has = PREDICTIONS.c.thumbnail.is_not(None).label("has_thumbnail")
        query = sa.select(*columns, has).order_by(PREDICTIONS.c.id.desc()).limit(count)
        if before is not None:
            query = query.where(PREDICTIONS.c.id < before)
        if flagged:
            query = query.where(PREDICTIONS.c.flag.is_not(None))
        try:
            with self._engine.connect() as connection:
                if not sa.inspect(connection).has_table(PREDICTIONS.name):
                    # Its writer makes it with the first entry.
                    return []
                return [_entry(row) for row in connection.execute(query).mappings()]
        except SQLAlchemyError as error:
            raise _unreadable(error) from None

    def thumbnail(self, entry: int) -> bytes | None:
        """The small JPEG of an entry; None if there is none.

        Raises:
            DataError: the database cannot be read.
        """
        query = sa.select(PREDICTIONS.c.thumbnail).where(PREDICTIONS.c.id == entry)
        try:
            with self._engine.connect() as connection:
                found: bytes | None = connection.execute(query).scalar()
                return found
        except SQLAlchemyError as error:
            raise _unreadable(error) from None

    def flag(self, entry: int, words: str | None) -> bool:
        """Mark an entry as wrong, in words; None takes the mark away.

        Returns:
            Whether there is such an entry.

        Raises:
            DataError: the database cannot be written.
        """
        change = sa.update(PREDICTIONS).where(PREDICTIONS.c.id == entry).values(flag=words)
        try:
            with self._engine.begin() as connection:
                return bool(connection.execute(change).rowcount)
        except SQLAlchemyError as error:
            raise _unreadable(error) from None


def _entry(row: Mapping[Any, Any]) -> dict[str, Any]:
    entry = {str(key): value for key, value in row.items()}
    answer = entry["prediction"]
    return entry | {"prediction": None if answer is None else json.loads(answer)}


def _unreadable(error: SQLAlchemyError) -> DataError:
    return DataError(f"the prediction log cannot be used now ({reason_of(error)}): try again later")


def reason_of(error: SQLAlchemyError) -> str:
    """The database's own words, without the statement and its values."""
    return str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0]
