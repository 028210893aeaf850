"""What pages of strangers may not do, and what every answer carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from served import PNG, Remembering, detector, settings_for
from whatwhere.errors import UsageError
from whatwhere.serve.app import create_app
from whatwhere.serve.shield import own_hosts

HERE = "http://localhost:8000"


@pytest.fixture
def watcher() -> Remembering:
    return Remembering()


@pytest.fixture
def client(tmp_path: Path, watcher: Remembering) -> Iterator[TestClient]:
    settings = settings_for(detector(tmp_path), hosts=("photos.example",))
    app = create_app(settings, [watcher], hosts=own_hosts(settings))
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as made:
        yield made


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST.:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("192.168.1.7", 200),
        ("photos.example", 200),
        ("attacker.example", 421),
        ("attacker.example:8000", 421),
        ("localhost.attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("[attacker.example]", 421),
        ("localhost@attacker.example", 421),
        ("", 421),
    ],
)
def test_a_local_server_answers_to_its_own_names(
    client: TestClient, watcher: Remembering, host: str, status: int
) -> None:
    answer = client.get("/models", headers={"Host": host})
    assert answer.status_code == status, answer.text
    if status != 200:
        assert "--allow-host" in answer.json()["error"]
        assert watcher.served[-1].status == 421


@pytest.mark.parametrize(
    ("headers", "good"),
    [
        ({}, True),
        ({"Origin": HERE}, True),
        ({"Origin": "http://LOCALHOST:8000"}, True),
        ({"Origin": "https://photos.example"}, True),
        ({"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://attacker.example"}, False),
        ({"Origin": "http://localhost:3000"}, False),
        ({"Origin": "http://localhost"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "file://"}, False),
        ({"Origin": "http://[broken"}, False),
        ({"Origin": "http://photos.example.attacker.example"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_only_our_own_pages_may_change_something(
    client: TestClient, headers: dict[str, str], good: bool
) -> None:
    status = 200 if good else 403
    assert client.post("/predict", content=PNG, headers=headers).status_code == status
    assert client.post("/models/cells/reload", headers=headers).status_code == status
    # What changes nothing cannot be read by a stranger anyway.
    assert client.get("/models", headers=headers).status_code == 200


def test_pages_of_strangers_open_no_stream(client: TestClient) -> None:
    address = "ws://localhost:8000/stream"
    with client.websocket_connect(address, headers={"Origin": HERE}) as socket:
        socket.send_bytes(PNG)
        assert socket.receive_json()["frame"] == 1
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(address, headers={"Origin": "http://attacker.example"}),
    ):
        pass


def test_two_hosts_are_refused(client: TestClient) -> None:
    headers = [("Host", "localhost"), ("Host", "attacker.example")]
    assert client.get("/models", headers=headers).status_code == 400


@pytest.mark.parametrize("path", ["/models", "/nothing", "/health/live", "/models/nothing"])
def test_every_answer_says_how_it_may_be_used(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Server" not in headers


def test_names_of_files_come_back_as_data(client: TestClient) -> None:
    name = "<script>alert(1)<|script>.png"
    answer = client.post("/predict", files={"a": (name, PNG)})
    assert answer.json()["predictions"][0]["image"] == name
    assert answer.headers["Content-Type"] == "application/json"
    answer = client.post("/predict", params={"model": "<script>"}, content=PNG)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        "/models/..%2f..%2fetc%2fpasswd",
        "/models/%2e%2e",
        "/models/..",
        "/models/%00",
        "/models/cells%00.onnx",
        "/models/cells%2f..%2fcells",
        "/models/" + "a" * 5000,
        "/models/%ff%fe",
        "/v2/models/..%2fcells",
        "/v2/models/cells/versions/..%2f1",
        "/static/..%2f..%2fsettings.py",
    ],
)
def test_names_of_models_are_no_paths(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404, answer.text
    assert "/" not in answer.json()["error"].replace("at this address", "")


def test_which_names_are_ours(tmp_path: Path) -> None:
    model = detector(tmp_path)
    assert own_hosts(settings_for(model)) == {"localhost", "127.0.0.1"}
    assert own_hosts(settings_for(model, host="0.0.0.0", insecure=True)) is None
    assert own_hosts(settings_for(model, keys_file="keys.json")) is None
    named = own_hosts(settings_for(model, host="::", insecure=True, hosts=("Photos.Example",)))
    assert named is not None
    assert "photos.example" in named
    for wrong in ("", "a b", "http://a", "a/b"):
        with pytest.raises(UsageError, match="no name of a server"):
            settings_for(model, hosts=(wrong,))
