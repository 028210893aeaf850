"""`whatwhere serve keys ...`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Run, sentence
from whatwhere.serve.keys import KeyRing


def test_a_key_is_made_listed_and_revoked(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    done = run("serve", "keys", "add", "phone", "--keys", file, "--rate", 60, "--days", 90)
    assert done.status == 0
    key = done.out.strip()
    assert key.startswith("ww_")
    assert key not in done.err
    found = KeyRing(file).find(key)
    assert found is not None
    assert (found.key.name, found.key.per_minute) == ("phone", 60)
    assert found.key.expires is not None
    assert found.key.expires - found.key.created == pytest.approx(90 * 86400)
    scopes = ["--scope", "admin", "--scope", "metrics"]
    assert run("serve", "keys", "add", "boss", "--keys", file, *scopes).status == 0
    rows = run("serve", "keys", "list", "--keys", file, "--json").rows
    assert [row["name"] for row in rows] == ["phone", "boss"]
    assert rows[1]["scopes"] == ["admin", "metrics"]
    table = run("serve", "keys", "list", "--keys", file).out
    assert "phone" in table
    assert key not in table + json.dumps(rows)
    assert run("serve", "keys", "revoke", "phone", "--keys", file).status == 0
    assert KeyRing(file).find(key) is None
    sentence(run("serve", "keys", "revoke", "phone", "--keys", file), "no key for phone", "boss")


def test_wrong_questions_get_a_sentence(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    sentence(run("serve", "keys", "list", "--keys", file), "does not exist", "keys add")
    sentence(run("serve", "keys", "add", "a b", "--keys", file), "cannot be a name")
    sentence(run("serve", "keys", "add", "a", "--keys", file, "--scope", "root"), "metrics")
    sentence(run("serve", "keys", "frob"), "frob")
    assert not file.exists()
    assert run("serve", "keys", "add", "a", "--keys", file).status == 0
    sentence(run("serve", "keys", "add", "a", "--keys", file), "already", "a-2")


def test_a_server_says_what_is_wrong_with_its_keys(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    sentence(run("serve", "--keys", file, "--port", 0), "does not exist")
    sentence(run("serve", "--rate", 5), "give a file of keys")
    sentence(run("serve", "--host", "0.0.0.0"), "--insecure")
    file.write_text("{}")
    sentence(run("serve", "--keys", file, "--port", 0), "no file of API keys")
    sentence(run("serve", "--allow-host", "http://a"), "no name of a server")
