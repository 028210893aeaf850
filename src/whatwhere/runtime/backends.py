"""Engines that run a model file: ONNX Runtime, and OpenVINO where it is installed.

All give the same numbers within float32 rounding; they differ in speed only. Those on GPUs and
other accelerators are in `accelerators`.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import MissingExtraError, ModelError, UsageError
from whatwhere.runtime.ir import is_ir
from whatwhere.runtime.onnxfile import Port
from whatwhere.runtime.quota import cpu_quota
from whatwhere.specs import ModelSpec

INPUT = "images"
_CPU = "CPUExecutionProvider"


class Backend(Protocol):
    """One loaded graph.

    Args of the constructor:
        model: the ONNX file, or its bytes.
        threads: CPU threads for all calls together; None for one a core.
        lanes: calls at once that the threads are shared out to.

    The constructor raises ModelError when the engine refuses the graph. Calls may come from
    several threads, also from more than there are lanes.
    """

    name: ClassVar[str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    threads: int

    def __init__(
        self, model: Path | bytes, *, threads: int | None = None, lanes: int = 1
    ) -> None: ...

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Backend:
        """The same graph, loaded for so many calls at once.

        Args:
            lanes: calls.
            trial: there is enough to do for measuring which engine is the quickest, where the
                choice was left open.
        """
        ...

    def __call__(
        self, images: NDArray[Any], more: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, float32, for pictures uint8 (N, height, width, 3), RGB.

        The pictures go to the graph's first input, in the type that they have, and `more` to its
        others by name; `foreign` gives graphs of others what those want.

        Raises:
            ModelError: the engine fails.
        """
        ...


def cores() -> int:
    """CPU cores that this process may use, no more than a container's limit is worth."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = cpu_quota()
    return count if limit is None else max(1, min(count, math.ceil(limit)))


class OnnxRuntimeBackend:
    """ONNX Runtime on the CPU; a subclass names another of its providers."""

    name: ClassVar[str] = "onnxruntime"
    provider: ClassVar[str] = _CPU

    def __init__(self, model: Path | bytes, *, threads: int | None = None, lanes: int = 1) -> None:
        import onnxruntime as ort

        self._model, self._lanes = model, lanes
        self.threads = threads or cores()
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, self.threads // lanes)
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Waiting threads must not spin: the cores decode the next pictures meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What fails is raised; the engine's own log lines would only repeat it on stderr.
        options.log_severity_level = 4
        source = model if isinstance(model, bytes) else os.fspath(model)
        wanted: list[Any] = [(self.provider, dict(self.settings()))]
        if self.provider != _CPU:
            wanted.append(_CPU)
        try:
            self._session = ort.InferenceSession(source, sess_options=options, providers=wanted)
        except Exception as error:  # the engine's exceptions have no common base
            raise _refused(self.name, model, error) from error
        used = self._session.get_providers()
        if self.provider not in used:
            # ONNX Runtime falls back to the CPU without a word to its caller.
            raise ModelError(
                f"ONNX Runtime could not start {self.name} here and would run on"
                f" {used[0] if used else 'nothing'}: check the driver and the libraries that"
                " its version needs, or leave out --backend"
            )
        self.inputs = tuple(_ort_port(port) for port in self._session.get_inputs())
        self.outputs = tuple(_ort_port(port) for port in self._session.get_outputs())
        self._names = [port.name for port in self.outputs]

    @classmethod
    def settings(cls) -> Mapping[str, str]:
        """Options of the provider, by ONNX Runtime's names."""
        return {}

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Backend:
        if lanes == self._lanes:
            return self
        return OnnxRuntimeBackend(self._model, threads=self.threads, lanes=lanes)

    def __call__(
        self, images: NDArray[Any], more: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        try:
            feed = {self.inputs[0].name: np.ascontiguousarray(images), **(more or {})}
            values = self._session.run(self._names, feed)
        except Exception as error:  # the engine's exceptions have no common base
            raise _failed(self.name, images, error) from error
        return {
            name: np.asarray(value, dtype=np.float32)
            for name, value in zip(self._names, values, strict=True)
        }


def _ort_port(port: Any) -> Port:
    dtype = str(port.type).removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in port.shape)
    return Port(str(port.name), dtype, shape)


class OpenVinoBackend:
    """OpenVINO on the CPU, in float32; needs the extra `openvino`."""

    name: ClassVar[str] = "openvino"

    def __init__(self, model: Path | bytes, *, threads: int | None = None, lanes: int = 1) -> None:
        try:
            import openvino as ov
        except ModuleNotFoundError as error:
            raise MissingExtraError("openvino", "The backend 'openvino'") from error

        self._source, self._lanes = model, lanes
        self.threads = threads or cores()
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if lanes == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(lanes),
            "INFERENCE_NUM_THREADS": str(self.threads),
            # On processors with bfloat16 OpenVINO would use it unasked and change the scores.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            core = ov.Core()
            source = model if isinstance(model, bytes) else os.fspath(model)
            self._model = core.compile_model(core.read_model(source), "CPU", settings)
        except Exception as error:  # the engine raises RuntimeError and its own kinds
            raise _refused(self.name, model, error) from error
        self.inputs = tuple(_ov_port(port) for port in self._model.inputs)
        self.outputs = tuple(_ov_port(port) for port in self._model.outputs)
        self._local = threading.local()

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Backend:
        if lanes == self._lanes:
            return self
        return OpenVinoBackend(self._source, threads=self.threads, lanes=lanes)

    def __call__(
        self, images: NDArray[Any], more: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        try:
            # A request holds its outputs: each thread has its own.
            request = getattr(self._local, "request", None)
            if request is None:
                request = self._local.request = self._model.create_infer_request()
            feed = {self.inputs[0].name: np.ascontiguousarray(images), **(more or {})}
            request.infer(feed)
            return {
                port.name: np.array(request.get_output_tensor(index).data, dtype=np.float32)
                for index, port in enumerate(self.outputs)
            }
        except Exception as error:  # the engine raises RuntimeError and its own kinds
            raise _failed(self.name, images, error) from error


def _ov_port(port: Any) -> Port:
    dtype = str(port.get_element_type().to_dtype())
    shape = tuple(
        int(side.get_length()) if side.is_static else None for side in port.get_partial_shape()
    )
    return Port(str(port.get_any_name()), dtype, shape)


BACKENDS: Mapping[str, type[Backend]] = {
    backend.name: backend for backend in (OnnxRuntimeBackend, OpenVinoBackend)
}


class AutoBackend(OnnxRuntimeBackend):
    """ONNX Runtime for a few pictures, the quickest engine for many; see `choice`."""

    def __init__(self, model: Path | bytes, *, threads: int | None = None, lanes: int = 1) -> None:
        super().__init__(model, threads=threads, lanes=lanes)
        self._opened: dict[tuple[str, int], Backend] = {(self.name, lanes): self}

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Backend:
        from whatwhere.runtime import choice
        from whatwhere.runtime.accelerators import candidates

        engines = [*choice.installed({name: name for name in BACKENDS}), *candidates()]
        chosen: str = self.name
        if len(engines) > 1:
            key = choice.trial_key(self._model, engines, self.threads, lanes)
            found = choice.remembered(key)
            if found is None and trial:
                title = "the model" if isinstance(self._model, bytes) else str(self._model)
                found = choice.quickest(engines, self._open, lanes, title)
                choice.remember(key, found)
                # Graphs of engines that lost are not held on to.
                kept = (self.name, found)
                self._opened = {k: v for k, v in self._opened.items() if v is self or k[0] in kept}
            if found in engines:
                chosen = found
        return self._open(chosen, lanes)

    def _open(self, engine: str, lanes: int) -> Backend:
        if (engine, lanes) not in self._opened:
            made = _engine(engine)(self._model, threads=self.threads, lanes=lanes)
            self._opened[engine, lanes] = made
        return self._opened[engine, lanes]


def open_backend(name: str, model: Path | bytes, *, threads: int | None = None) -> Backend:
    """A model in the engine of that name.

    "auto" is ONNX Runtime, which is always installed, and for many pictures the engine that a
    trial found to be the quickest.

    Raises:
        UsageError: there is no such backend, or `threads` is below 1.
        MissingExtraError: the backend is not installed.
        ModelError: the engine refuses the model.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    if name != "auto":
        _engine(name)
    if is_ir(model):
        if name not in ("auto", OpenVinoBackend.name):
            raise UsageError(f"{model!s} is OpenVINO's own file, which {name} cannot run")
        return OpenVinoBackend(model, threads=threads)
    if name == "auto":
        return AutoBackend(model, threads=threads)
    return _engine(name)(model, threads=threads)


def _engine(name: str) -> type[Backend]:
    """A backend by name, those on accelerators too."""
    if name in BACKENDS:
        return BACKENDS[name]
    from whatwhere.runtime.accelerators import ACCELERATORS

    if name not in ACCELERATORS:
        known = ("auto", *BACKENDS, *ACCELERATORS)
        raise UsageError(f"unknown backend {name!r}: choose one of {', '.join(known)}")
    return ACCELERATORS[name]


def check_graph(backend: Backend, spec: ModelSpec, where: str) -> None:
    """Compare a graph's inputs and outputs with what its spec promises.

    Raises:
        ModelError: they do not fit; the message names the first difference.
    """
    height, width = spec.preprocess.size
    found = {port.name: port for port in backend.inputs}
    if list(found) != [INPUT]:
        raise _mismatch(where, f"its inputs are {', '.join(found) or 'none'}, not '{INPUT}'")
    port = found[INPUT]
    if port.dtype != "uint8":
        raise _mismatch(where, f"its input is {port.dtype}, not uint8")
    wanted: dict[str, tuple[int | None, ...]] = {INPUT: (None, height, width, 3)}
    if spec.task == "detect":
        wanted |= {"boxes": (None, None, 4), "scores": (None, None, len(spec.names))}
        if spec.label_names:
            wanted["logits"] = (None, len(spec.label_names))
    else:
        wanted["logits"] = (None, len(spec.names))
    found |= {port.name: port for port in backend.outputs}
    for name, shape in wanted.items():
        if name not in found:
            raise _mismatch(where, f"it has no output '{name}'")
        if not _fits(found[name].shape, shape):
            raise _mismatch(
                where, f"'{name}' is {_shape(found[name].shape)}, its spec says {_shape(shape)}"
            )
        if found[name].shape[0] is not None:
            raise _mismatch(where, f"'{name}' has the fixed batch {found[name].shape[0]}")


def _fits(found: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    # A side that the graph leaves open is checked when outputs are decoded.
    return len(found) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(found, wanted, strict=True)
    )


def _shape(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)


def _mismatch(where: str, what: str) -> ModelError:
    return ModelError(f"{where} does not fit its own model spec: {what}; export the model again")


def _refused(engine: str, model: Path | bytes, error: Exception) -> ModelError:
    where = "the model" if isinstance(model, bytes) else str(model)
    return ModelError(
        f"{where} is damaged or needs a newer {engine} ({_first_line(error)}):"
        " copy or export the model again"
    )


def _failed(engine: str, images: NDArray[Any], error: Exception) -> ModelError:
    return ModelError(
        f"{engine} failed on a batch of {_shape(images.shape)} ({_first_line(error)}):"
        " try a smaller batch, or export the model again"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
