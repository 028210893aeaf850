"""Contract of the engines: each registered one is put through the same checks."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from factories import CELL, GRID, KINDS, SIZE, model_bytes, spec_of, write_model
from whatwhere.errors import MissingExtraError, ModelError, UsageError
from whatwhere.runtime.backends import BACKENDS, Backend, check_graph, cores, open_backend


@pytest.fixture(params=sorted(BACKENDS))
def engine(request: pytest.FixtureRequest) -> str:
    """Name of each backend."""
    name = str(request.param)
    pytest.importorskip(name)
    return name


def noise(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def expected(images: NDArray[np.uint8], kind: str) -> dict[str, NDArray[Any]]:
    """The outputs of the tiny models, computed in float64."""
    pixels = images.astype(np.float64)
    found: dict[str, NDArray[Any]] = {}
    if kind != "detect":
        found["logits"] = pixels.mean(axis=(1, 2)) @ ((np.eye(3) * 3 - 1) / 32)
    if kind in ("detect", "both"):
        cells = pixels.reshape(-1, GRID, CELL, GRID, CELL, 3).mean(axis=(2, 4))
        mix = (np.eye(3) * 1.5 - 0.5) / 255
        found["scores"] = np.clip(cells.reshape(len(images), -1, 3) @ mix.T, 0, 1)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_right_for_any_batch(engine: str, kind: str) -> None:
    backend = open_backend(engine, model_bytes(kind), threads=1)
    check_graph(backend, spec_of(kind), "tiny")
    for count in (1, 3, 2):
        images = noise(count)
        outputs = backend(images)
        assert set(outputs) == {port.name for port in backend.outputs}
        for name, values in expected(images, kind).items():
            assert outputs[name].dtype == np.float32
            assert np.allclose(outputs[name], values, atol=1e-4), name
        if "boxes" in outputs:
            assert outputs["boxes"].shape == (count, GRID * GRID, 4)
            assert outputs["boxes"][-1, 1].tolist() == [CELL, 0, 2 * CELL, CELL]


def test_ports_are_described(engine: str) -> None:
    backend = open_backend(engine, model_bytes("both"))
    (port,) = backend.inputs
    assert port == ("images", "uint8", (None, SIZE, SIZE, 3))
    shapes = {port.name: port.shape for port in backend.outputs}
    assert shapes["logits"] == (None, 3)
    assert shapes["boxes"] == (None, 16, 4)


def test_outputs_are_not_overwritten_by_the_next_call(engine: str) -> None:
    backend = open_backend(engine, model_bytes("classify"))
    images = noise(2)
    first = backend(images)["logits"]
    kept = first.copy()
    backend(255 - images)
    assert np.array_equal(first, kept)


def test_calls_from_several_threads(engine: str) -> None:
    backend = open_backend(engine, model_bytes("both"), threads=1)
    batches = [noise(count) for count in (1, 2, 3, 4)] * 4
    with ThreadPoolExecutor(4) as pool:
        for images, outputs in zip(batches, pool.map(backend, batches), strict=True):
            assert np.allclose(outputs["logits"], expected(images, "both")["logits"], atol=1e-4)


def test_pictures_that_are_not_contiguous(engine: str) -> None:
    backend = open_backend(engine, model_bytes("classify"))
    images = noise(2)
    assert np.allclose(
        backend(images[:, ::-1, :, ::-1])["logits"], backend(images)["logits"][:, ::-1], atol=1e-4
    )


def test_weights_in_a_file_beside_the_model(engine: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", "classify", external="weights.bin")
    weights = ((np.eye(3) * 3 - 1) / 32).astype(np.float32)
    (tmp_path / "weights.bin").write_bytes(weights.tobytes())
    images = noise(1)
    found = open_backend(engine, path)(images)["logits"]
    assert np.allclose(found, expected(images, "classify")["logits"], atol=1e-4)


def test_a_graph_that_the_engine_refuses(
    engine: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # A whole protobuf whose graph has an operator that does not exist.
    from onnx import ModelProto

    model = ModelProto.FromString(model_bytes("classify"))
    model.graph.node[0].op_type = "Clast"
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"odd\.onnx is damaged or needs a newer"):
        open_backend(engine, path)
    assert capfd.readouterr().err == ""


def test_a_batch_of_another_size_is_a_sentence(engine: str) -> None:
    backend = open_backend(engine, model_bytes("classify"))
    with pytest.raises(ModelError, match=f"{engine} failed on a batch of 1 x 8 x 8 x 3"):
        backend(np.zeros((1, 8, 8, 3), np.uint8))


def test_a_backend_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"whatwhere\[openvino\]"):
        open_backend("openvino", model_bytes("classify"))


def test_unknown_backends_and_thread_counts() -> None:
    with pytest.raises(UsageError, match="choose one of auto, onnxruntime, openvino"):
        open_backend("tpu", b"")
    with pytest.raises(UsageError, match="threads must be at least 1, not 0"):
        open_backend("auto", b"", threads=0)
    assert cores() >= 1


@pytest.mark.parametrize(
    ("kind", "faults", "words"),
    [
        ("classify", {"input_name": "x"}, "its inputs are x, not 'images'"),
        ("classify", {"dtype": "float32"}, "its input is float32, not uint8"),
        ("classify", {"fixed_batch": 1}, "'images' has the fixed batch 1"),
        ("both", {"leave_out": "scores"}, "it has no output 'scores'"),
        ("both", {"leave_out": "logits"}, "it has no output 'logits'"),
    ],
)
def test_graphs_that_do_not_fit_their_spec(
    engine: str, kind: str, faults: dict[str, Any], words: str
) -> None:
    backend: Backend = open_backend(engine, model_bytes(kind, **faults))
    with pytest.raises(ModelError, match=f"^it does not fit its own model spec: {words}"):
        check_graph(backend, spec_of(kind), "it")


def test_other_class_counts_and_sizes_do_not_fit(engine: str) -> None:
    backend = open_backend(engine, model_bytes("detect"))
    more = spec_of("detect", names=("a", "b", "c", "d"))
    with pytest.raises(ModelError, match="'scores' is any x 16 x 3, its spec says any x any x 4"):
        check_graph(backend, more, "it")
    larger = spec_of("detect", preprocess={"size": (96, 64)})
    with pytest.raises(ModelError, match="'images' is any x 64 x 64 x 3, its spec says any x 96"):
        check_graph(backend, larger, "it")
