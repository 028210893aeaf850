"""Which engine is the quickest: measured once, kept, and never one with other numbers."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from factories import model_bytes
from whatwhere.errors import ModelError
from whatwhere.runtime import choice
from whatwhere.runtime.backends import BACKENDS, AutoBackend, open_backend
from whatwhere.runtime.onnxfile import Port

Outputs = dict[str, NDArray[np.float32]]


class Engine:
    """Sleeps, then answers with a constant."""

    inputs = (Port("images", "uint8", (None, 8, 8, 3)),)

    def __init__(self, seconds: float, value: float = 1.0) -> None:
        self.seconds, self.value = seconds, value

    def __call__(self, images: NDArray[Any]) -> Outputs:
        assert images.shape == (1, 8, 8, 3)
        assert images.dtype == np.uint8
        time.sleep(self.seconds)
        return {"scores": np.full((1, 2), self.value, np.float32)}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choice, "_SECONDS", 0.03)
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "cache"))


def chosen(**engines: Engine) -> str:
    return choice.quickest(list(engines), lambda name, lanes: engines[name], 2, "m.onnx")


def test_the_quickest_wins(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert chosen(a=Engine(0.02), b=Engine(0.001)) == "b"
    assert "m.onnx: b is the quickest engine here" in caplog.text
    assert chosen(a=Engine(0.001), b=Engine(0.02)) == "a"


@pytest.mark.parametrize("value", [1.001, float("nan")])
def test_an_engine_with_other_numbers_is_left_out(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert chosen(a=Engine(0.02), b=Engine(0, value)) == "a"
    assert "b is left out" in caplog.text


def test_an_engine_that_cannot_run_it_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def opened(name: str, lanes: int) -> Engine:
        if name == "b":
            raise ModelError("no such layer")
        return Engine(0)

    with caplog.at_level(logging.WARNING):
        assert choice.quickest(["a", "b"], opened, 1, "m.onnx") == "a"
    assert "no such layer" in caplog.text


def test_differences() -> None:
    one = {"boxes": np.array([100.0, 0], np.float32)}
    assert choice.difference(one, {"boxes": np.array([100.1, 0], np.float32)}) == pytest.approx(
        1e-3, rel=1e-3
    )
    assert choice.difference(one, {"boxes": np.zeros(3, np.float32)}) == float("inf")
    assert choice.difference(one, {}) == float("inf")


def test_a_choice_is_kept_for_a_model_and_its_surroundings(tmp_path: Path) -> None:
    a = tmp_path / "a.onnx"
    a.write_bytes(b"a")
    key = choice.trial_key(a, ["onnxruntime"], 2, 2)
    assert choice.remembered(key) is None
    choice.remember(key, "openvino")
    assert choice.remembered(key) == "openvino"
    assert choice.trial_key(b"a", ["onnxruntime"], 2, 2) == key
    for other in (
        choice.trial_key(b"b", ["onnxruntime"], 2, 2),
        choice.trial_key(b"a", ["onnxruntime", "numpy"], 2, 2),
        choice.trial_key(b"a", ["onnxruntime"], 4, 2),
        choice.trial_key(b"a", ["onnxruntime"], 2, 1),
    ):
        assert choice.remembered(other) is None


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1', "\0"])
def test_a_damaged_memory_is_none(text: str) -> None:
    choice.remember("a", "b")
    (choice.cache_folder() / "engines.json").write_text(text)
    assert choice.remembered("a") is None
    choice.remember("a", "c")
    assert choice.remembered("a") == "c"


def test_a_memory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        choice.remember("a", "b")
    assert "cannot be kept" in caplog.text


def test_auto_measures_once_and_only_where_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")
    calls: list[list[str]] = []

    def quickest(engines: list[str], opened: choice.Opener, lanes: int, title: str) -> str:
        calls.append(engines)
        return "openvino"

    monkeypatch.setattr(choice, "quickest", quickest)
    auto = open_backend("auto", model_bytes("detect"), threads=2)
    assert isinstance(auto, AutoBackend)
    assert auto.with_lanes(2).name == "onnxruntime"
    assert not calls
    assert auto.with_lanes(2, trial=True).name == "openvino"
    again = open_backend("auto", model_bytes("detect"), threads=2)
    assert again.with_lanes(2).name == "openvino"
    assert again.with_lanes(2, trial=True) is again.with_lanes(2)
    assert calls == [list(BACKENDS)]


def test_a_real_trial() -> None:
    pytest.importorskip("openvino")
    auto = open_backend("auto", model_bytes("detect"), threads=2)
    found = auto.with_lanes(2, trial=True)
    assert found.name in BACKENDS
    images = np.zeros((1, 64, 64, 3), np.uint8)
    assert choice.difference(auto(images), found(images)) <= choice.TOLERANCE


def test_engines_that_lost_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")

    def quickest(engines: list[str], opened: choice.Opener, lanes: int, title: str) -> str:
        assert [opened(name, lanes).name for name in engines] == engines
        return engines[0]

    monkeypatch.setattr(choice, "quickest", quickest)
    auto = open_backend("auto", model_bytes("detect"), threads=2)
    assert isinstance(auto, AutoBackend)
    found = auto.with_lanes(2, trial=True)
    assert set(auto._opened.values()) == {auto, found}
