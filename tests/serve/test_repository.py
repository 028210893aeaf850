"""Models by name, version and alias; new versions while requests come."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from factories import write_model
from served import PNG, detector, service_of, serving, settings_for
from whatwhere.errors import ModelError
from whatwhere.serve.errors import RefusedError
from whatwhere.serve.loading import find_places, open_version
from whatwhere.serve.repository import Repository
from whatwhere.serve.settings import ModelSource


def eventually(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def replace_file(path: Path, kind: str) -> None:
    """As an export does: the new file takes the place of the old one at once."""
    new = write_model(path.with_name("new.tmp"), kind)
    new.replace(path)


def titles(client: TestClient, **params: str) -> str:
    answer = client.post("/predict", content=PNG, params=params)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model"])


def test_the_first_model_answers_unless_another_is_named(tmp_path: Path) -> None:
    colours = write_model(tmp_path / "run" / "model.onnx", "classify")
    with serving(detector(tmp_path), colours.parent, aliases={"live": "run"}) as client:
        assert titles(client) == "tiny-detect"
        assert titles(client, model="run") == "tiny-classify"
        assert titles(client, model="live") == "tiny-classify"
        cells, run = client.get("/models").json()["models"]
        assert (cells["name"], cells["default"], cells["aliases"]) == ("cells", True, [])
        assert (run["name"], run["default"], run["aliases"]) == ("run", False, ["live"])
        details = client.get("/models/live").json()
        assert details["name"] == "run"
        assert details["names"] == ["red", "green", "blue"]
        assert details["size"] == [64, 64]


def test_versions_are_named_or_come_from_the_content(tmp_path: Path) -> None:
    one = detector(tmp_path, "one")
    two = write_model(tmp_path / "two.onnx", "classify")
    models = (f"m@1={one}", f"m@2={two}", f"plain={one}")
    with serving(*models, aliases={"stable": "m@1"}) as client:
        assert titles(client, model="m") == "tiny-classify"
        assert titles(client, model="m", version="1") == "tiny-detect"
        assert titles(client, model="stable") == "tiny-detect"
        assert titles(client, model="stable", version="2") == "tiny-classify"
        answer = client.post("/predict?model=plain", content=PNG)
        version = answer.headers["X-Model"].partition("@")[2]
        assert len(version) == 12
        assert titles(client, model="plain", version=version) == "tiny-detect"


def test_a_folder_of_versions_gives_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    write_model(folder / "2.onnx", "classify")
    write_model(folder / "10" / "model.onnx", "detect")
    write_model(folder / "9.onnx", "multilabel")
    (folder / "notes.txt").write_text("no model")
    (folder / ".hidden.onnx").write_text("no model")
    places = find_places(ModelSource(name="street", path=str(folder)), 10)
    assert [place.version for place in places] == ["2", "9", "10"]
    with serving(folder, keep_versions=2) as client:
        assert titles(client) == "tiny-detect"
        assert titles(client, version="9") == "tiny-multilabel"
        assert client.post("/predict?version=2", content=PNG).status_code == 404
        write_model(folder / "11.onnx", "classify")
        assert client.post("/models/street/reload").json()["task"] == "classify"
        assert titles(client) == "tiny-classify"
        assert client.post("/predict?version=9", content=PNG).status_code == 404
        assert titles(client, version="10") == "tiny-detect"


def test_a_file_that_changes_is_loaded_by_itself(tmp_path: Path) -> None:
    path = detector(tmp_path)
    with serving(path, watch_seconds=0.05) as client:
        before = service_of(client).repository.resolve()
        replace_file(path, "classify")
        eventually(lambda: titles(client) == "tiny-classify")
        # The version before has ended and is no longer offered.
        eventually(lambda: not any(thread.is_alive() for thread in before.engine._threads))
        assert client.get("/models/cells").json()["task"] == "classify"
        assert len(client.get("/models/cells").json()["versions"]) == 1


def test_a_damaged_file_leaves_the_version_before(tmp_path: Path) -> None:
    path = detector(tmp_path)
    with serving(path, watch_seconds=0) as client:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        answer = client.post("/models/cells/reload")
        assert answer.status_code == 409
        assert str(tmp_path) not in answer.text
        assert titles(client) == "tiny-detect"
        assert client.get("/models/cells").json()["problems"] == 1
        path.unlink()
        assert client.post("/models/cells/reload").status_code == 409
        assert titles(client) == "tiny-detect"
        replace_file(path, "classify")
        assert client.post("/models/cells/reload").status_code == 200
        assert titles(client) == "tiny-classify"
        assert client.get("/models/cells").json()["problems"] == 0
        assert client.get("/health/ready").status_code == 200


def test_a_damaged_file_is_tried_once_by_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = detector(tmp_path)
    repository = Repository(settings_for(path, watch_seconds=0.01))
    repository.load()
    tried = []

    def counted(*given: object) -> object:
        tried.append(given)
        return open_version(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("whatwhere.serve.repository.open_version", counted)
    repository.watch()
    (tmp_path / "bad.tmp").write_bytes(b"no model")
    (tmp_path / "bad.tmp").replace(path)
    eventually(lambda: bool(tried))
    time.sleep(0.2)
    assert len(tried) == 1
    assert repository.close(30)


def test_no_request_is_lost_while_versions_change(tmp_path: Path) -> None:
    path = detector(tmp_path)
    stop = threading.Event()
    statuses: list[int] = []
    seen: set[str] = set()
    with serving(path, watch_seconds=0, queue=1000) as client:

        def ask() -> None:
            while not stop.is_set():
                answer = client.post("/predict", content=PNG)
                statuses.append(answer.status_code)
                seen.add(answer.json()["model"])

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for thread in clients:
            thread.start()
        for kind in ("classify", "detect", "classify", "multilabel"):
            replace_file(path, kind)
            assert client.post("/models/cells/reload").status_code == 200
        eventually(lambda: "tiny-multilabel" in seen)
        stop.set()
        for thread in clients:
            thread.join(60)
    assert set(statuses) == {200}
    assert {"tiny-detect", "tiny-classify", "tiny-multilabel"} <= seen


def test_other_processes_follow_a_reload(tmp_path: Path) -> None:
    class Shared:
        value = 0

    path = detector(tmp_path)
    settings = settings_for(path, watch_seconds=0)
    shared = Shared()
    one, other = Repository(settings, shared), Repository(settings, shared)
    for repository in (one, other):
        repository.load()
        repository.watch()
    replace_file(path, "classify")
    assert one.reload("cells").title == "tiny-classify"
    eventually(lambda: other.resolve().title == "tiny-classify")
    assert one.close(30)
    assert other.close(30)


def test_a_touched_file_is_the_same_version(tmp_path: Path) -> None:
    path = detector(tmp_path)
    repository = Repository(settings_for(path))
    repository.load()
    before = repository.resolve()
    os.utime(path)
    after = repository.reload("cells")
    assert after.version == before.version
    assert repository.close(30)


def test_nothing_is_offered_before_it_is_loaded(tmp_path: Path) -> None:
    repository = Repository(settings_for(detector(tmp_path)))
    assert not repository.ready
    with pytest.raises(RefusedError) as refused:
        repository.resolve()
    assert refused.value.status == 503
    repository.load()
    assert repository.ready
    assert repository.close(30)
    assert not repository.ready


def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    shutil.copytree(tmp_path / "empty", tmp_path / "versions")
    write_model(tmp_path / "versions" / "1.onnx", "detect")
    for given, words in (
        (tmp_path / "missing.onnx", "there is no model"),
        (tmp_path / "empty", "neither model.onnx nor versions"),
        (tmp_path / "bad.onnx", "bad.onnx"),
        (f"v@3={tmp_path / 'versions'}", "leave @3 out"),
    ):
        with pytest.raises(ModelError, match=words):
            Repository(settings_for(given)).load()
