"""Accelerators: which provider is asked for, and what is said where it is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from factories import model_bytes
from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime.accelerators import ACCELERATORS, candidates
from whatwhere.runtime.backends import open_backend

HERE = ort.get_available_providers()


class Machine:
    """An ONNX Runtime that says it has a provider, and runs on the CPU in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, provider: str, starts: bool) -> None:
        self.asked: list[Any] = []
        real = ort.InferenceSession

        def session(source: Any, *, sess_options: Any, providers: list[Any]) -> Any:
            self.asked.append(providers)
            made = real(source, sess_options=sess_options, providers=["CPUExecutionProvider"])
            return _Session(made, [provider, "CPUExecutionProvider"] if starts else None)

        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setattr(
            ort, "get_available_providers", lambda: [provider, "CPUExecutionProvider"]
        )


class _Session:
    def __init__(self, real: Any, used: list[str] | None) -> None:
        self._real, self._used = real, used

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        return self._used or list(self._real.get_providers())


@pytest.mark.parametrize("name", sorted(ACCELERATORS))
def test_the_provider_is_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path))
    machine = Machine(monkeypatch, ACCELERATORS[name].provider, starts=True)
    backend = open_backend(name, model_bytes("classify"))
    assert backend.name == name
    first, second = machine.asked[0]
    assert (first[0], second) == (ACCELERATORS[name].provider, "CPUExecutionProvider")
    assert all(isinstance(value, str) for value in first[1].values())
    # One device: however many lanes, one session.
    assert backend.with_lanes(4) is backend
    assert candidates() == ([] if name == "tensorrt" else [name])


@pytest.mark.parametrize("name", sorted(ACCELERATORS))
def test_a_device_that_does_not_start_is_no_silent_cpu(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WHATWHERE_CACHE", str(tmp_path))
    Machine(monkeypatch, ACCELERATORS[name].provider, starts=False)
    with pytest.raises(ModelError, match=f"could not start {name} here"):
        open_backend(name, model_bytes("classify"))


@pytest.mark.parametrize("name", sorted(ACCELERATORS))
def test_a_build_without_it_says_what_has_it(name: str) -> None:
    if ACCELERATORS[name].provider in HERE:
        pytest.skip(f"this ONNX Runtime has {name}")
    with pytest.raises(UsageError, match=f"cannot use {name} .*onnxruntime"):
        open_backend(name, model_bytes("classify"))


def test_unknown_names_are_answered_with_all() -> None:
    with pytest.raises(UsageError, match="auto, onnxruntime, openvino, cuda, tensorrt"):
        open_backend("tpu", model_bytes("classify"))
