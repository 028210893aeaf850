"""Requests with keys, over the application in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from served import PNG, Remembering, detector, settings_for
from whatwhere.errors import UsageError
from whatwhere.serve.app import create_app
from whatwhere.serve.assembly import assemble
from whatwhere.serve.guard import PROTOCOL, KeyGuard
from whatwhere.serve.keys import Key, KeyRing, new_key, write_keys
from whatwhere.serve.schemas import ErrorAnswer


class Guarded(NamedTuple):
    client: TestClient
    watcher: Remembering
    keys: dict[str, str]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    both: dict[str, tuple[Key, str]] = {
        "user": new_key("user"),
        "boss": new_key("boss", ["admin"]),
        "slow": new_key("slow", per_minute=6),
        "old": new_key("old", seconds=-1),
    }
    write_keys(tmp_path / "keys.json", [key for key, _ in both.values()])
    guard = KeyGuard(KeyRing(tmp_path / "keys.json"), 1000)
    watcher = Remembering()
    app = create_app(settings_for(detector(tmp_path)), [watcher], authorize=guard)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Guarded(client, watcher, {name: text for name, (_, text) in both.items()})


def refused(answer: Any, status: int, *words: str) -> ErrorAnswer:
    assert answer.status_code == status, answer.text
    body = ErrorAnswer.model_validate(answer.json())
    for word in words:
        assert word in body.error
    assert ("www-authenticate" in answer.headers) == (status == 401)
    return body


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_needed_for_all_but_health(guarded: Guarded) -> None:
    client = guarded.client
    refused(client.post("/predict", content=PNG), 401, "Authorization: Bearer")
    refused(client.get("/models"), 401)
    refused(client.get("/models/cells"), 401)
    refused(client.post("/models/cells/reload"), 401)
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer   {}"},
        {"X-API-Key": "{}"},
        {"Authorization": "Basic abc", "X-API-Key": "{}"},
    ],
)
def test_ways_to_send_a_key(guarded: Guarded, headers: dict[str, str]) -> None:
    given = {name: value.format(guarded.keys["user"]) for name, value in headers.items()}
    assert guarded.client.post("/predict", content=PNG, headers=given).status_code == 200
    assert guarded.watcher.served[-1].client == "user"


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Basic {}", "{}", "Bearer {}x", "Bearer ww_0_0", "Bearer \xff"]
)
def test_wrong_keys_are_refused(guarded: Guarded, value: str) -> None:
    given = {"Authorization": value.format(guarded.keys["user"]).encode("latin-1")}
    refused(guarded.client.post("/predict", content=PNG, headers=given), 401)
    assert guarded.watcher.served[-1].client is None


def test_a_key_in_the_address_is_no_key(guarded: Guarded) -> None:
    address = f"/models?key={guarded.keys['user']}&authorization=Bearer%20{guarded.keys['user']}"
    refused(guarded.client.get(address), 401)


def test_a_key_allows_its_scopes_only(guarded: Guarded) -> None:
    client, keys = guarded.client, guarded.keys
    refused(
        client.post("/models/cells/reload", headers=bearer(keys["user"])), 403, "the scope admin"
    )
    assert guarded.watcher.served[-1].client == "user"
    refused(client.post("/predict", content=PNG, headers=bearer(keys["boss"])), 403)
    reload = client.post("/models/cells/reload", headers=bearer(keys["boss"]))
    assert reload.status_code == 200


def test_an_expired_key_says_so(guarded: Guarded) -> None:
    answer = guarded.client.get("/models", headers=bearer(guarded.keys["old"]))
    refused(answer, 401, "has expired")


def test_a_key_that_is_used_too_often_waits(guarded: Guarded) -> None:
    slow = bearer(guarded.keys["slow"])
    assert guarded.client.get("/models", headers=slow).status_code == 200
    answer = guarded.client.get("/models", headers=slow)
    assert 5 < (refused(answer, 429, "6 requests a minute").retry_seconds or 0) <= 10
    assert 5 < int(answer.headers["Retry-After"]) <= 10
    user = bearer(guarded.keys["user"])
    assert guarded.client.get("/models", headers=user).status_code == 200


def test_a_browser_offers_its_key_as_a_subprotocol(guarded: Guarded) -> None:
    offered = ["whatwhere.stream", PROTOCOL + guarded.keys["user"]]
    with guarded.client.websocket_connect("/stream", subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "whatwhere.stream"
        socket.send_bytes(PNG)
        assert socket.receive_json()["frame"] == 1
    for wrong in ([], [PROTOCOL + "x"], [guarded.keys["user"]]):
        with (
            pytest.raises(Exception) as denied,
            guarded.client.websocket_connect("/stream", subprotocols=wrong),
        ):
            pass
        status = getattr(denied.value, "status_code", None)
        assert status == 401 or isinstance(denied.value, WebSocketDisconnect)


def test_a_server_with_a_file_of_keys_asks_for_them(tmp_path: Path) -> None:
    key, text = new_key("user", ["metrics"])
    file = tmp_path / "keys.json"
    write_keys(file, [key])
    settings = settings_for(detector(tmp_path), keys_file=file, host="0.0.0.0")
    with TestClient(assemble(settings)) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=bearer(text)).status_code == 200
        assert client.get("/monitor/log", headers=bearer(text)).status_code == 403
    file.write_text("{}")
    with pytest.raises(UsageError, match="no file of API keys"):
        assemble(settings)
