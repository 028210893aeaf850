"""Reading an ONNX file's header: against the `onnx` package, and damage of every kind."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import KINDS, model_bytes, spec_of, write_model
from whatwhere.errors import ModelError
from whatwhere.runtime.onnxfile import read_header

WHOLE = model_bytes("both")


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_are_what_onnx_reads(kind: str, tmp_path: Path) -> None:
    import onnx

    path = write_model(tmp_path / "m.onnx", kind, spec=spec_of(kind, license="© Straße"))
    theirs = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert read_header(path, "m").metadata == theirs
    assert read_header(path.read_bytes(), "m").metadata == theirs
    assert read_header(path, "m").external == ()


def header_or_error(data: bytes) -> dict[str, str] | str:
    """The metadata, or the sentence; any other exception fails the test."""
    try:
        return read_header(data, "it").metadata
    except ModelError as error:
        return str(error)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_was_cut_off(size: int) -> None:
    found = header_or_error(WHOLE[:size])
    # Cut between two entries a file still reads as whole, but then its spec is missing.
    if isinstance(found, str):
        assert found.startswith("it is not")
    else:
        assert found.keys() < read_header(WHOLE, "it").metadata.keys()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_no_model(data: bytes) -> None:
    found = header_or_error(data)
    assert found.startswith("it ") if isinstance(found, str) else "whatwhere" not in found


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_flipped_bits_are_a_sentence_at_worst(place: int, flip: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= flip
    found = header_or_error(bytes(damaged))
    assert found.startswith("it ") if isinstance(found, str) else set(found)


def test_files_that_are_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "hacked"),)  # type: ignore[return-value]

    for suffix, kind in ((".pt", "PyTorch"), (".PTH", "PyTorch"), (".safetensors", "safetensors")):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ModelError, match=f"is a {kind} file, which is not loaded here"):
            read_header(path, path.name)
    disguised = tmp_path / "model.onnx"
    disguised.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError):
        read_header(disguised, "disguised")
    assert not (tmp_path / "hacked").exists()


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone is not a file: check the path"):
        read_header(tmp_path / "gone.onnx", "gone")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match="nil is empty"):
        read_header(tmp_path / "empty.onnx", "nil")


@pytest.mark.parametrize(
    "place", ["../weights.bin", "/etc/passwd", "sub/weights.bin", "..", "C:\\weights.bin"]
)
def test_weights_outside_the_folder_are_refused(place: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "a" / "m.onnx", "classify", external=place)
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelError, match="outside its own folder"):
        read_header(path, "m")


def test_weights_beside_the_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", "detect", external="w.bin")
    with pytest.raises(ModelError, match=r"needs its weights beside it, in 'w\.bin'"):
        read_header(path, "m")
    (tmp_path / "w.bin").touch()
    assert read_header(path, "m").external == ("w.bin",)
    with pytest.raises(ModelError, match="load it by its path, not from bytes"):
        read_header(path.read_bytes(), "m")


def test_weights_of_a_branch_are_found_too() -> None:
    import numpy as np
    from onnx import TensorProto, external_data_helper, helper, numpy_helper

    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "w")
    external_data_helper.set_external_data(tensor, "../w.bin")
    tensor.ClearField("raw_data")
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "b", [], [out], [tensor]
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    port = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    model = helper.make_model(helper.make_graph([node], "g", [port], [out]))
    with pytest.raises(ModelError, match="outside its own folder"):
        read_header(model.SerializeToString(), "m")
