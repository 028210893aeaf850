"""Figures, drift and the log over HTTP, and over several worker processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from served import PNG, detector
from whatwhere.serve.assembly import assemble
from whatwhere.serve.settings import model_source, serve_settings


def client_of(model: Path, **values: Any) -> TestClient:
    settings = serve_settings(models=(model_source(str(model)),), watch_seconds=0, **values)
    app = assemble(settings)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    made = client_of(
        detector(tmp_path),
        log_url=f"sqlite:///{tmp_path / 'log.db'}",
        monitor={"log_thumbnails": True},
    )
    with made:
        yield made


def entries(client: TestClient, count: int) -> list[dict[str, Any]]:
    """The log, when it has so many entries."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        answer = client.get("/monitor/log")
        if answer.status_code == 200 and len(answer.json()["entries"]) >= count:
            found: list[dict[str, Any]] = answer.json()["entries"]
            return found
        time.sleep(0.01)
    raise AssertionError(answer.text)


def test_figures_come_in_prometheus_text(client: TestClient) -> None:
    for _ in range(3):
        assert client.post("/predict", content=PNG).status_code == 200
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    (total,) = [
        one for one in families["whatwhere_requests"].samples if one.name.endswith("_total")
    ]
    assert total.value == 3
    assert total.labels["model"] == "cells"
    classes = {one.labels["class"] for one in families["whatwhere_detections"].samples}
    assert "red" in classes
    assert "(others)" not in classes


def test_the_log_is_read_marked_and_shown(client: TestClient) -> None:
    client.post("/predict", content=PNG, params={"name": "<b>street.png"})
    client.post("/predict", content=b"no picture")
    bad, good = entries(client, 2)
    assert (bad["status"], bad["prediction"]) == (422, None)
    assert good["prediction"]["objects"][0]["name"] == "red"
    small = client.get(f"/monitor/log/{good['id']}/thumbnail")
    assert (small.headers["content-type"], small.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert client.get(f"/monitor/log/{bad['id']}/thumbnail").status_code == 404
    marked = client.post(f"/monitor/log/{good['id']}/flag", json={"words": "that is blue"})
    assert marked.json() == {"id": good["id"], "flag": "that is blue"}
    (one,) = client.get("/monitor/log", params={"flagged": "1"}).json()["entries"]
    assert one["flag"] == "that is blue"
    page = client.get("/monitor/log", params={"before": bad["id"], "count": 1}).json()["entries"]
    assert [entry["id"] for entry in page] == [good["id"]]


def test_the_drift_of_each_model_is_told(client: TestClient) -> None:
    client.post("/predict", content=PNG)
    entries(client, 1)
    (state,) = client.get("/monitor/drift").json()["drift"]
    assert (state["model"], state["state"], state["pictures"]) == ("cells", "learning", 1)


@pytest.mark.parametrize(
    ("method", "address", "body", "status"),
    [
        ("GET", "/monitor/log?count=0", None, 400),
        ("GET", "/monitor/log?count=x", None, 400),
        ("GET", "/monitor/log?before=-1", None, 400),
        ("GET", "/monitor/log?before=" + "9" * 40, None, 400),
        ("GET", "/monitor/log/x/thumbnail", None, 400),
        ("POST", "/monitor/log/1/flag", b"{", 400),
        ("POST", "/monitor/log/1/flag", b'{"words": 1}', 400),
        ("POST", "/monitor/log/1/flag", b'{"other": "x"}', 400),
        ("POST", "/monitor/log/1/flag", b'{"words": "' + b"x" * 10_000 + b'"}', 413),
        ("POST", "/monitor/log/9999/flag", b'{"words": "x"}', 404),
    ],
)
def test_wrong_questions_get_a_sentence(
    client: TestClient, method: str, address: str, body: bytes | None, status: int
) -> None:
    client.post("/predict", content=PNG)
    entries(client, 1)
    headers = {"Content-Type": "application/json"}
    answer = client.request(method, address, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_other_sites_cannot_mark_entries_through_a_form(client: TestClient) -> None:
    body = b'{"words": "x"}'
    answer = client.post(
        "/monitor/log/1/flag", content=body, headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 415


def test_without_a_log_there_is_nothing_to_read(tmp_path: Path) -> None:
    with client_of(detector(tmp_path)) as client:
        answer = client.get("/monitor/log")
    assert answer.status_code == 404
    assert "--log" in answer.json()["error"]


def test_a_log_that_cannot_be_read_leaves_predictions_alone(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database" * 100)
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with client_of(detector(tmp_path), log_url=url) as client:
        assert client.post("/predict", content=PNG).status_code == 200
        answer = client.get("/monitor/log")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"


def test_several_workers_give_one_set_of_figures_and_write_one_log(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "whatwhere", "serve", str(detector(tmp_path))]
    command += ["--port", "0", "--workers", "2", "--log", "log.db", "--json-logs"]
    environment = {name: text for name, text in os.environ.items() if "PROMETHEUS" not in name}
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    try:
        address = ""
        for line in process.stderr:
            if "whatwhere: cells at" in line:
                address = line.split(" at ")[1].split()[0]
                break
        assert address
        for _ in range(40):
            with urlopen(Request(f"{address}/predict", PNG), timeout=30) as answer:
                assert answer.status == 200
        time.sleep(1.5)
        with urlopen(f"{address}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        status = process.wait(60)
        process.stderr.close()
    assert status == 0, rest
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (total,) = families["whatwhere_requests"].samples
    assert total.value == 40
    lines = [json.loads(line) for line in rest.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["logger"] == "whatwhere.access"]
    assert len({line["request_id"] for line in requests}) == 40
    workers = {line["process"] for line in requests}
    assert len(workers) == 2
    from whatwhere.serve.monitoring.log_table import LogReader, open_engine

    reader = LogReader(open_engine(f"sqlite:///{tmp_path / 'log.db'}"))
    found = reader.recent(100)
    assert {entry["request_id"] for entry in found} == {line["request_id"] for line in requests}
