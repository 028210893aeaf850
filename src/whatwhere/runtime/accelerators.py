"""ONNX Runtime on a GPU or another accelerator, where the installed build of it can do so.

The usual package runs on the CPU alone (on macOS also with Core ML). `onnxruntime-gpu` brings CUDA
and TensorRT, `onnxruntime-directml` DirectML on Windows; each takes the place of `onnxruntime`.
Operators that an accelerator has not got run on the CPU, as ONNX Runtime arranges it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from whatwhere.errors import UsageError
from whatwhere.runtime.backends import Backend, OnnxRuntimeBackend
from whatwhere.runtime.choice import cache_folder


class Accelerated(OnnxRuntimeBackend):
    """One session, to which calls of all lanes go: the device puts them in a row itself.

    Raises:
        UsageError: the installed ONNX Runtime has no such provider; the message says which
            package has.
        ModelError: it has, but driver or libraries are missing, or the graph is refused.
    """

    package: ClassVar[str]
    slow_start: ClassVar[bool] = False

    def __init__(self, model: Path | bytes, *, threads: int | None = None, lanes: int = 1) -> None:
        if self.provider not in providers():
            raise UsageError(
                f"the installed ONNX Runtime cannot use {self.name} (it has"
                f" {', '.join(providers())}): {self.package}, or leave out --backend"
            )
        super().__init__(model, threads=threads, lanes=1)

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Backend:
        return self


class CudaBackend(Accelerated):
    """NVIDIA GPUs, in float32: TensorFloat-32 would change scores in the third digit."""

    name: ClassVar[str] = "cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"
    package: ClassVar[str] = "pip uninstall onnxruntime, then pip install onnxruntime-gpu"

    @classmethod
    def settings(cls) -> Mapping[str, str]:
        return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


class TensorRtBackend(CudaBackend):
    """NVIDIA's compiler; building a model takes minutes the first time, and is kept."""

    name: ClassVar[str] = "tensorrt"
    provider: ClassVar[str] = "TensorrtExecutionProvider"
    package: ClassVar[str] = (
        "pip uninstall onnxruntime, then pip install onnxruntime-gpu tensorrt-cu12"
    )
    slow_start: ClassVar[bool] = True

    @classmethod
    def settings(cls) -> Mapping[str, str]:
        folder = cache_folder() / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}


class CoreMlBackend(Accelerated):
    """Apple's GPU and neural engine."""

    name: ClassVar[str] = "coreml"
    provider: ClassVar[str] = "CoreMLExecutionProvider"
    package: ClassVar[str] = "it comes with onnxruntime on macOS"


class DirectMlBackend(Accelerated):
    """Any GPU with DirectX 12, on Windows."""

    name: ClassVar[str] = "directml"
    provider: ClassVar[str] = "DmlExecutionProvider"
    package: ClassVar[str] = "pip uninstall onnxruntime, then pip install onnxruntime-directml"


ACCELERATORS: Mapping[str, type[Accelerated]] = {
    backend.name: backend
    for backend in (CudaBackend, TensorRtBackend, CoreMlBackend, DirectMlBackend)
}


def providers() -> list[str]:
    """What the installed ONNX Runtime was built with, by its own names."""
    import onnxruntime as ort

    return [str(name) for name in ort.get_available_providers()]


def candidates() -> list[str]:
    """Accelerators that a trial may try: those here that start in seconds."""
    here = providers()
    return [
        name
        for name, backend in ACCELERATORS.items()
        if backend.provider in here and not backend.slow_start
    ]
