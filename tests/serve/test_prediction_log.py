"""The prediction log: entries, retention, and what happens while its database cannot be written."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from served import made_up
from whatwhere.errors import DataError, UsageError
from whatwhere.serve.monitoring import log as log_module
from whatwhere.serve.monitoring.log import PredictionLog
from whatwhere.serve.monitoring.log_table import PREDICTIONS, LogReader, open_engine, row_of

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that tries again soon, and ends soon."""
    monkeypatch.setattr(log_module, "_PAUSE", 0.01)
    monkeypatch.setattr(log_module, "_CLOSE_SECONDS", 0.2)
    monkeypatch.setattr("whatwhere.serve.monitoring.log_table._BUSY", 0.05)


def until(true: Callable[[], bool]) -> None:
    """Wait for a thread, but not for ever."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def _row(number: int = 0, **changes: Any) -> dict[str, Any]:
    return row_of(made_up(request_id=f"r{number}", **changes), private=False)


def _ids(file: Path) -> list[str]:
    with sqlite3.connect(file) as connection:
        found = connection.execute("select request_id from whatwhere_predictions order by id")
        rows = [row[0] for row in found]
    connection.close()
    return rows


def test_entries_are_written_and_read_newest_first(tmp_path: Path) -> None:
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}")
    for number in range(5):
        log.put(_row(number, client="camera"))
    log.put(row_of(made_up(request_id="bad", prediction=None, status=422), private=False))
    log.close()
    assert (log.written, log.lost) == (6, 0)
    reader = LogReader(open_engine(f"sqlite:///{tmp_path / 'log.db'}"))
    entries = reader.recent(3)
    assert [entry["request_id"] for entry in entries] == ["bad", "r4", "r3"]
    assert entries[0]["prediction"] is None
    assert entries[1]["prediction"]["objects"][0]["name"] == "red"
    assert (entries[1]["client"], entries[1]["has_thumbnail"]) == ("camera", False)
    older = reader.recent(10, before=entries[-1]["id"])
    assert [entry["request_id"] for entry in older] == ["r2", "r1", "r0"]


def test_marks_and_thumbnails(tmp_path: Path) -> None:
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}")
    log.put(row_of(made_up(), private=False, thumbnail=b"jpeg"))
    log.put(_row(1))
    log.close()
    reader = LogReader(log.engine)
    second, first = (entry["id"] for entry in reader.recent())
    assert reader.thumbnail(first) == b"jpeg"
    assert reader.thumbnail(second) is None
    assert reader.flag(second, "no cat")
    assert [entry["flag"] for entry in reader.recent(flagged=True)] == ["no cat"]
    assert reader.flag(second, None)
    assert reader.recent(flagged=True) == []
    assert not reader.flag(99, "nothing")


def test_a_private_log_keeps_no_names_no_words_and_no_pictures() -> None:
    secret = made_up(client="anna", error="cannot read /home/anna/x.png", image_name="anna.jpg")
    row = row_of(secret, private=True, thumbnail=b"jpeg")
    assert "anna" not in str(row)
    assert row["thumbnail"] is None
    assert '"red"' in row["prediction"]
    assert "anna" in str(row_of(secret, private=False))


def test_a_locked_database_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "log.db"
    counts: Counter[str] = Counter()
    log = PredictionLog(
        f"sqlite:///{file}", count=lambda what, n: counts.update({what: n}), most=10
    )
    log.put(_row(0))
    until(lambda: log.written == 1)
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("begin immediate")
    for number in range(1, 16):
        log.put(_row(number))
    until(lambda: "cannot be written (database is locked)" in caplog.text)
    assert log.written == 1
    assert log.lost == 5
    lock.execute("rollback")
    lock.close()
    until(lambda: log.written == 11)
    log.close()
    assert _ids(file) == [f"r{number}" for number in range(11)]
    assert counts == {"written": 11, "lost": 5}


def test_a_full_disk_loses_entries_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}", most=3)
    log.put(_row(0))
    until(lambda: log.written == 1)

    @sa.event.listens_for(log.engine, "begin")
    def no_room(connection: sa.Connection) -> None:
        # SQLite's own "disk is full", by its limit of pages.
        pages = connection.exec_driver_sql("pragma page_count").scalar()
        connection.exec_driver_sql(f"pragma max_page_count = {pages}")

    for number in range(1, 9):
        log.put(_row(number, error="x" * 20_000))
    until(lambda: "database or disk is full" in caplog.text)
    began = time.monotonic()
    log.put(_row(9))
    assert time.monotonic() - began < 1
    log.close()
    assert (log.written, log.lost) == (1, 9)
    assert "3 entries wait, 3 were lost" in caplog.text or "9 in all" in caplog.text
    assert _ids(file) == ["r0"]


def test_an_entry_that_the_database_does_not_take_keeps_no_other_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}")
    log.put(_row(0))
    until(lambda: log.written == 1)
    with sqlite3.connect(file, isolation_level=None) as lock:
        lock.execute("begin immediate")
        log.put(_row(1))
        # A lone surrogate has no UTF-8, and the name of a model is never missing.
        log.put(_row(2, error="\udcff"))
        log.put(_row(3) | {"model": None})
        log.put(_row(4))
        lock.execute("rollback")
    lock.close()
    until(lambda: log.written == 3)
    log.close()
    assert _ids(file) == ["r0", "r1", "r4"]
    assert log.lost == 2
    assert "does not take some entries" in caplog.text


def test_old_and_surplus_entries_are_deleted(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}", days=1, rows=3)
    now = time.time()
    for number, days in enumerate((5, 2, 0, 0, 0, 0, 0)):
        log.put(_row(number, time=now - days * 86_400))
    until(lambda: log.written == 7)
    assert log.clean() == 4
    assert log.clean() == 0
    log.close()
    assert _ids(file) == ["r4", "r5", "r6"]


def test_several_writers_share_a_file(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    logs = [PredictionLog(f"sqlite:///{file}") for _ in range(3)]

    def write(log: PredictionLog, first: int) -> None:
        for number in range(50):
            log.put(_row(first + number))

    threads = [
        threading.Thread(target=write, args=(log, 100 * place)) for place, log in enumerate(logs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: sum(log.written for log in logs) == 150)
    for log in logs:
        log.close()
    assert len(set(_ids(file))) == 150


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "is no address of a database"),
        ("oracle9://x", "is no address of a database"),
        ("sqlite:////no/such/folder/log.db", "the folder /no/such/folder of the prediction log"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PredictionLog(url)


def test_messages_show_no_password() -> None:
    with pytest.raises(UsageError) as raised:
        PredictionLog("oracle9://anna:secret@host/db")
    assert "secret" not in str(raised.value)


def test_a_reader_says_that_the_database_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DataError, match="cannot be used now"):
        LogReader(open_engine(f"sqlite:///{tmp_path / 'log.db'}")).recent()


def test_the_table_can_be_made_in_postgresql() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    text = str(CreateTable(PREDICTIONS).compile(dialect=postgresql.dialect()))
    assert "id BIGSERIAL NOT NULL" in text
    assert "thumbnail BYTEA" in text
