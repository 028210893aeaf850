"""`POST /predict` and its refusals, over the application in this process."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

import whatwhere as ww
from factories import NAMES, picture, write_model
from served import PNG, Held, Remembering, detector, service_of, serving, settings_for
from whatwhere.errors import ModelError
from whatwhere.images import encode_image, read_image
from whatwhere.serve import predicting
from whatwhere.serve.app import create_app
from whatwhere.serve.engine import Engine
from whatwhere.serve.envelope import _route
from whatwhere.serve.errors import RefusedError
from whatwhere.serve.schemas import ErrorAnswer, PredictionAnswer, PredictionsAnswer


@pytest.fixture
def watcher() -> Remembering:
    return Remembering()


@pytest.fixture
def client(tmp_path: Path, watcher: Remembering) -> Iterator[TestClient]:
    colours = write_model(tmp_path / "colours.onnx", "classify")
    with serving(detector(tmp_path), colours, observers=[watcher]) as made:
        yield made


def hold(client: TestClient, **changes: int) -> Held:
    """Put a model that waits in the place of the default one."""
    service = service_of(client)
    loaded = service.repository.resolve()
    held = Held()
    fields: dict[str, int] = {"lanes": 1, "queue": 2, "batch": 1}
    object.__setattr__(loaded, "engine", Engine(held, **fields | changes))
    return held


def test_a_picture_as_the_body_gives_the_line_of_predict_json(
    client: TestClient, tmp_path: Path
) -> None:
    answer = client.post("/predict", content=PNG, params={"name": "../a/b.png"})
    assert answer.status_code == 200
    expected = ww.load(tmp_path / "cells.onnx").predict(PNG).to_dict()
    body = answer.json()
    assert body.pop("ms") > 0
    del expected["ms"]
    assert body == expected | {"image": "b.png"}
    assert PredictionAnswer.model_validate(answer.json())
    assert answer.headers["X-Model"].startswith("cells@")
    assert "inference;dur=" in answer.headers["Server-Timing"]


def test_a_form_gives_a_row_for_each_picture_and_takes_options(client: TestClient) -> None:
    files = [
        ("any", ("one.png", PNG, "image/png")),
        ("any", ("bad.png", b"no picture", "image/png")),
        ("other", ("C:\\two.png", PNG, "text/html")),
    ]
    answer = client.post("/predict", files=files, data={"model": "colours", "top": "1"})
    assert answer.status_code == 200, answer.text
    one, bad, two = answer.json()["predictions"]
    assert [one["image"], bad["image"], two["image"]] == ["one.png", "bad.png", "two.png"]
    assert one["model"] == "tiny-classify"
    assert len(one["labels"]) == 1
    assert "bad.png is not a picture" in bad["error"]
    assert PredictionsAnswer.model_validate(answer.json())


def test_the_address_wins_over_the_form(client: TestClient) -> None:
    answer = client.post(
        "/predict?model=cells", files={"a": ("a.png", PNG)}, data={"model": "colours"}
    )
    assert answer.json()["predictions"][0]["model"] == "tiny-detect"


def test_annotate_gives_the_drawn_picture(client: TestClient) -> None:
    answer = client.post("/predict?annotate=1", content=PNG)
    assert answer.headers["content-type"] == "image/jpeg"
    drawn = read_image(answer.content)
    assert drawn.shape == (256, 256, 3)
    both = [("a", ("a.png", PNG)), ("a", ("b.png", PNG))]
    assert client.post("/predict?annotate=1", files=both).status_code == 400


def test_the_threshold_is_the_models_own_unless_asked_for(client: TestClient) -> None:
    found = [
        len(client.post("/predict", content=PNG, params=params).json()["objects"])
        for params in ({}, {"threshold": "1"}, {"threshold": "0"})
    ]
    assert found[0] == 2
    assert found[1] <= 2 < found[2]


def refused(answer: Any, status: int, *words: str) -> ErrorAnswer:
    """The answer is a refusal in one sentence."""
    assert answer.status_code == status, answer.text
    body = ErrorAnswer.model_validate(answer.json())
    assert body.status == status
    assert body.request_id == answer.headers["X-Request-ID"]
    assert "Traceback" not in body.error
    assert "\n" not in body.error
    for word in words:
        assert word in body.error
    return body


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": b""}, 400, ("empty",)),
        ({"content": b"hello"}, 422, ("not a picture of a known kind",)),
        ({"content": PNG[:-20]}, 422, ("cut off",)),
        ({"content": PNG, "params": {"thresold": "0.5"}}, 400, ("no option 'thresold'",)),
        ({"content": PNG, "params": {"threshold": "2"}}, 400, ("threshold",)),
        ({"content": PNG, "params": {"threshold": "nan"}}, 400, ("threshold",)),
        ({"content": PNG, "params": {"top": "0"}}, 400, ("top",)),
        ({"content": PNG, "params": {"timeout": "-1"}}, 400, ("timeout",)),
        ({"content": PNG, "params": [("top", "1"), ("top", "2")]}, 400, ("'top'", "given twice")),
        ({"content": PNG, "params": {"model": "x" * 500}}, 404, ("choose one of cells",)),
        ({"content": PNG, "params": {"model": "../cells"}}, 404, ("choose one of",)),
        ({"content": PNG, "params": {"version": "9"}}, 404, ("has no version",)),
        ({"json": {"picture": "x"}}, 415, ("JSON",)),
        ({"files": {"a": ("a.png", b"x")}}, 422, ("a.png",)),
        ({"files": {"a": (None, b"b")}}, 400, ("no picture",)),
        (
            {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            ("form",),
        ),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, ("boundary",)),
    ],
)
def test_refusals_are_sentences(
    client: TestClient, request_: dict[str, Any], status: int, words: tuple[str, ...]
) -> None:
    refused(client.post("/predict", **request_), status, *words)


def test_unknown_addresses_and_methods_are_refused_alike(client: TestClient) -> None:
    refused(client.get("/nothing"), 404)
    assert refused(client.get("/predict"), 405)
    refused(client.get("/models/nothing"), 404, "choose one of")


def test_limits_are_kept(tmp_path: Path) -> None:
    limits = {"upload_bytes": 2000, "pictures": 2, "max_pixels": 64 * 64}
    with serving(detector(tmp_path), **limits) as client:
        assert client.post("/predict", content=PNG).status_code == 200
        refused(client.post("/predict", content=bytes(2001)), 413, "2000 bytes")
        # Without a declared length, too.
        refused(client.post("/predict", content=iter([bytes(1500), bytes(1500)])), 413)
        three = [("a", (f"{n}.png", PNG)) for n in range(3)]
        refused(client.post("/predict", files=three), 413, "more than 2 pictures")
        large = encode_image(np.zeros((65, 64, 3), np.uint8), ".png")
        refused(client.post("/predict", content=large), 422, "limit of 4096 pixels")
        gate = service_of(client).gate
        assert gate.requests == gate.bytes == 0


def test_memory_of_bodies_is_bounded(tmp_path: Path) -> None:
    with serving(detector(tmp_path), upload_bytes=3000, upload_bytes_together=3000) as client:
        gate = service_of(client).gate
        gate.bytes = 2900
        answer = client.post("/predict", content=PNG)
        assert refused(answer, 503).retry_seconds
        gate.bytes = 0
        assert client.post("/predict", content=PNG).status_code == 200


def test_a_slow_client_is_refused(tmp_path: Path) -> None:
    """Straight into the application: the test client sends a body all at once."""
    with serving(detector(tmp_path), body_seconds=0.05) as client:
        sent: list[dict[str, Any]] = []
        pieces = [{"type": "http.request", "body": PNG[:10], "more_body": True}]

        async def receive() -> dict[str, Any]:
            if not pieces:
                await asyncio.sleep(30)
            return pieces.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": [],
            "app": client.app,
        }
        asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
        assert sent[0]["status"] == 408
        assert (b"connection", b"close") in sent[0]["headers"]


def test_too_many_pictures_are_refused_with_a_time(
    client: TestClient, watcher: Remembering
) -> None:
    held = hold(client)
    answers: list[Any] = []
    clients = [
        threading.Thread(target=lambda: answers.append(client.post("/predict", content=PNG)))
        for _ in range(3)
    ]
    clients[0].start()
    assert held.begun.acquire(timeout=30)
    for thread in clients[1:]:
        thread.start()
    engine = service_of(client).repository.resolve().engine
    while engine.state.waiting < 2:
        assert not answers
    answer = client.post("/predict", content=PNG)
    body = refused(answer, 503, "2 pictures wait already")
    assert body.retry_seconds is not None
    assert int(answer.headers["Retry-After"]) >= 1
    held.go.set()
    for thread in clients:
        thread.join(30)
    assert [one.status_code for one in answers] == [200] * 3
    assert [one.status for one in watcher.served] == [503, 200, 200, 200]
    assert {one.model for one in watcher.served} == {"cells"}


def test_a_request_is_given_up_after_its_timeout(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    held = hold(client)
    refused(client.post("/predict?timeout=0.05", content=PNG), 504, "0.05 seconds")
    held.go.set()
    assert service_of(client).repository.resolve().engine.close()
    # Futures that nobody looks at any more say so when they are collected.
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_too_many_requests_are_refused(tmp_path: Path) -> None:
    with serving(detector(tmp_path), concurrent=1) as client:
        held = hold(client)
        first = threading.Thread(target=client.post, args=("/predict",), kwargs={"content": PNG})
        first.start()
        assert held.begun.acquire(timeout=30)
        refused(client.post("/predict", content=PNG), 503, "1 requests are in work")
        held.go.set()
        first.join(30)
        assert client.get("/health/live").status_code == 200


def test_the_models_own_failure_names_no_paths(client: TestClient) -> None:
    held = hold(client)
    held.go.set()
    held.error = ModelError("/secret/model.onnx is broken")
    assert "secret" not in refused(client.post("/predict", content=PNG), 500).error
    held.error = RuntimeError("/secret")
    assert "secret" not in refused(client.post("/predict", content=PNG), 500).error


def test_a_client_that_leaves_frees_its_place(client: TestClient, watcher: Remembering) -> None:
    held = hold(client)
    service = service_of(client)
    engine = service.repository.resolve().engine
    blocker = threading.Thread(target=client.post, args=("/predict",), kwargs={"content": PNG})
    blocker.start()
    assert held.begun.acquire(timeout=30)
    messages = [
        {"type": "http.request", "body": PNG, "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError

    async def leave() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": [],
        }
        await client.app(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(leave())
    held.go.set()
    blocker.join(30)
    assert engine.close()
    assert held.batches == [1]
    assert sorted(one.status for one in watcher.served) == [200, 499]


def test_watchers_see_each_picture_and_each_refusal(
    client: TestClient, watcher: Remembering
) -> None:
    given = {"X-Request-ID": "abc-1"}
    answer = client.post("/predict", content=PNG, headers=given)
    assert answer.headers["X-Request-ID"] == "abc-1"
    client.post("/predict", files=[("a", ("a.png", PNG)), ("a", ("b.png", b"x"))])
    client.post("/predict", content=b"x", headers={"X-Request-ID": "with space"})
    client.post("/predict?model=invented", content=PNG)
    client.get("/health/ready")
    client.get("/invented")
    rows = [(one.status, one.place, one.model, one.route) for one in watcher.served]
    assert rows == [
        (200, 0, "cells", "/predict"),
        (200, 0, "cells", "/predict"),
        (422, 1, "cells", "/predict"),
        (422, 0, "cells", "/predict"),
        (404, 0, "", "/predict"),
        (404, 0, "", ""),
    ]
    first = watcher.served[0]
    assert first.request_id == "abc-1"
    assert watcher.served[3].request_id != "with space"
    assert first.prediction is not None
    assert first.prediction.object_names == NAMES[:2]
    assert first.image is not None
    assert np.array_equal(first.image, picture((0, 1, 0), (2, 2, 1)))
    assert first.request_seconds >= first.queue_seconds + first.inference_seconds
    assert first.batch == 1
    assert watcher.served[3].error is not None
    assert not watcher.closed


def test_a_watcher_that_fails_costs_no_answer(tmp_path: Path) -> None:
    class Failing(Remembering):
        def observe(self, served: object) -> None:
            raise RuntimeError("defect")

    failing, after = Failing(), Remembering()
    with serving(detector(tmp_path), observers=[failing, after]) as client:
        assert client.post("/predict", content=PNG).status_code == 200
    assert len(after.served) == 1
    assert after.closed


def test_authorize_decides_before_the_body_is_read(tmp_path: Path) -> None:
    def authorize(request: Request, scope: str) -> str:
        if request.headers.get("key") != scope:
            raise RefusedError(401, "no key", headers={"WWW-Authenticate": "Bearer"})
        return "somebody"

    watcher = Remembering()
    app = create_app(settings_for(detector(tmp_path)), [watcher], authorize=authorize)  # type: ignore[arg-type]
    with TestClient(app) as client:
        answer = client.post("/predict", content=PNG)
        refused(answer, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        refused(client.get("/models"), 401)
        refused(client.post("/models/cells/reload", headers={"key": "predict"}), 401)
        assert client.get("/health/ready").status_code == 200
        assert client.post("/predict", content=PNG, headers={"key": "predict"}).status_code == 200
    assert watcher.served[-1].client == "somebody"


def test_the_route_is_known_with_older_versions_of_starlette(client: TestClient) -> None:
    scope = {"app": client.app, "endpoint": predicting.predict}
    assert _route(scope) == "/predict"
    assert _route({"app": client.app}) == ""
