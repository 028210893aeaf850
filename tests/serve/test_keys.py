"""API keys: the file, the ring that reads it anew, and how often a key may be used."""

from __future__ import annotations

import json
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from whatwhere.errors import UsageError
from whatwhere.serve import keys
from whatwhere.serve.keys import MOST_KEYS, Key, KeyRing, new_key, read_keys, write_keys
from whatwhere.serve.rates import Rates


def made(folder: Path, *names: str, **about: Any) -> tuple[Path, list[str]]:
    """A file of keys, and the keys."""
    both = [new_key(name, **about) for name in names]
    path = folder / "keys.json"
    write_keys(path, [key for key, _ in both])
    return path, [text for _, text in both]


def test_a_file_keeps_hashes_only_and_is_for_its_owner(tmp_path: Path) -> None:
    path, (text,) = made(tmp_path, "phone", scopes=["predict", "metrics"], per_minute=5)
    (key,) = read_keys(path)
    assert (key.name, key.scopes, key.per_minute) == ("phone", ("predict", "metrics"), 5)
    secret = text.split("_", 2)[2]
    assert len(secret) == 43
    assert secret not in path.read_text()
    assert os.listdir(tmp_path) == ["keys.json"]  # noqa: PTH208 (hidden ones, too)
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o640)
        write_keys(path, read_keys(path))
        assert path.stat().st_mode & 0o777 == 0o640


def test_no_two_keys_are_alike() -> None:
    assert len({new_key("a")[1] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no file of API keys"),
        (b"\xff\xfe", "no file of API keys"),
        (b"[]", "no file of API keys"),
        (b'{"keys": [], "version": 2}', "version"),
        (b'{"keys": [{"name": "a"}]}', "keys.0.id"),
        (b'{"keys": [], "more": 1}', "more"),
        (b"[" * 100_000, "no file of API keys"),
        (b" " * 4_000_001, "larger than"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as refused:
        read_keys(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_message_never_shows_what_stands_in_a_wrong_field(tmp_path: Path) -> None:
    path, (text,) = made(tmp_path, "phone")
    value = json.loads(path.read_text())
    value["keys"][0]["sha256"] = text
    path.write_text(json.dumps(value))
    with pytest.raises(UsageError) as refused:
        read_keys(path)
    assert text not in str(refused.value)


@pytest.mark.parametrize("field", ["name", "id"])
def test_names_and_ids_occur_once(tmp_path: Path, field: str) -> None:
    one, two = new_key("one")[0], new_key("two")[0]
    path = tmp_path / "keys.json"
    write_keys(path, [one, two.model_copy(update={field: getattr(one, field)})])
    with pytest.raises(UsageError, match=f"two keys with the {field}"):
        read_keys(path)


def test_a_missing_file_and_too_many_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="serve keys add"):
        read_keys(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_keys(tmp_path)
    with pytest.raises(UsageError, match=f"can hold {MOST_KEYS}"):
        write_keys(tmp_path / "keys.json", [new_key("a")[0]] * (MOST_KEYS + 1))
    with pytest.raises(UsageError, match="cannot be written"):
        write_keys(tmp_path / "none" / "keys.json", [])


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_file_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    path, _ = made(tmp_path, "phone")
    path.chmod(0o666)
    with pytest.raises(UsageError, match="written by anybody"):
        KeyRing(path)


@pytest.mark.parametrize("about", [{"name": "a b"}, {"name": "a", "per_minute": 0}])
def test_new_keys_must_fit(about: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        new_key(**about)


def test_a_ring_finds_the_whole_key_only(tmp_path: Path) -> None:
    path, (one, two) = made(tmp_path, "one", "two")
    ring = KeyRing(path)
    found = ring.find(two)
    assert found is not None
    assert (found.key.name, found.place) == ("two", 1)
    wrong = [two[:-1], two + "a", two.swapcase(), "", "_", "__", "ww_", one[:20] + two[20:]]
    wrong += [two.replace("ww", "xx"), "a" * 10_000, "\udcff_\udcff_", read_keys(path)[1].sha256]
    assert [ring.find(text) for text in wrong] == [None] * len(wrong)


def test_a_ring_needs_a_key(tmp_path: Path) -> None:
    path, _ = made(tmp_path)
    with pytest.raises(UsageError, match="holds no key"):
        KeyRing(path)


def test_changes_are_seen_and_damage_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr(keys.time, "monotonic", lambda: now[0])
    path, (one, two) = made(tmp_path, "one", "two")
    ring = KeyRing(path)
    kept = read_keys(path)
    write_keys(path, kept[1:])
    assert ring.find(one) is not None
    now[0] += 1.5
    assert ring.find(one) is None
    assert ring.find(two) is not None
    for damage in (lambda: path.write_text("{"), path.unlink):
        damage()
        now[0] += 1.5
        with caplog.at_level(logging.ERROR):
            assert ring.find(two) is not None
        assert "stay as they were" in caplog.text
        caplog.clear()
    # The last key can be revoked, too.
    write_keys(path, [])
    now[0] += 1.5
    assert ring.find(two) is None


def plain(arrivals: list[float], per_minute: int) -> list[bool]:
    """A leaky bucket, written as in ITU-T I.371: it leaks steadily, each request adds a drop."""
    spacing = 60 / per_minute
    most = max(1, int(10 / spacing))
    level, last, allowed = 0.0, arrivals[0], []
    for now in arrivals:
        level = max(0.0, level - (now - last) / spacing)
        last = now
        allowed.append(level <= most - 1 + 1e-9)
        level += allowed[-1]
    return allowed


@pytest.mark.parametrize("per_minute", [1, 6, 60, 6000])
def test_rates_are_those_of_a_leaky_bucket(per_minute: int) -> None:
    rng = random.Random(per_minute)
    now, arrivals = 1000.0, []
    for number in range(2000):
        now += rng.expovariate(per_minute / 60 * [0.5, 20, 2, 10][number // 500])
        arrivals.append(now)
    rates = Rates()
    waits = [rates.take(7, per_minute, now) for now in arrivals]
    assert [not wait for wait in waits] == plain(arrivals, per_minute)
    assert 0 < sum(map(bool, waits)) < 2000


def test_the_time_that_is_told_is_enough_and_keys_do_not_share() -> None:
    rates = Rates()
    assert [rates.take(0, 60, 50.0) for _ in range(10)] == [0.0] * 10
    wait = rates.take(0, 60, 50.0)
    assert wait == pytest.approx(1.0)
    assert rates.take(0, 60, 50.0 + wait / 2) > 0
    assert rates.take(0, 60, 50.0 + wait) == 0
    assert rates.take(1, 60, 50.0) == 0


def test_keys_are_strict() -> None:
    key = new_key("a")[0].model_dump()
    for change in ({"scopes": ()}, {"scopes": ("root",)}, {"id": "A" * 16}, {"other": 1}):
        with pytest.raises(ValueError):
            Key.model_validate(key | change)
