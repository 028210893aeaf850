"""Models as OpenVINO's own files, in float or, by NNCF, in 8 bits."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from whatwhere.errors import MissingExtraError, ModelError, UsageError
from whatwhere.images import write_atomic
from whatwhere.runtime.ir import RT_SECTION
from whatwhere.specs import SPEC_KEY

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")


def converted(file: bytes, where: str) -> Any:
    """An ONNX file as an `openvino.Model`.

    Args:
        file: with its weights inside.
        where: what to call it in messages.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelError: it cannot convert the graph.
    """
    try:
        import openvino as ov
    except ModuleNotFoundError as error:
        raise MissingExtraError("openvino", "Writing OpenVINO's files") from error
    try:
        return ov.Core().read_model(file)
    except Exception as error:  # the engine raises RuntimeError and its own kinds
        raise ModelError(f"OpenVINO cannot convert {where} ({_first_line(error)})") from error


def quantised(model: Any, feeds: Sequence[Mapping[str, Any]], ignored: Sequence[str] = ()) -> Any:
    """The model in 8 bits: layers in int8, their biases corrected, ranges from these pictures.

    Args:
        model: as `converted` gives it; not changed.
        feeds: inputs by name, one picture each.
        ignored: names of layers that stay in float.

    Raises:
        MissingExtraError: NNCF is not installed.
        ModelError: it cannot quantise the graph.
    """
    # No telemetry, ever: NNCF would send events to its makers.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
    except ModuleNotFoundError as error:
        raise MissingExtraError("nncf", "Quantising for OpenVINO") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    scope = nncf.IgnoredScope(names=list(ignored), validate=False) if ignored else None
    try:
        # Its bars go where they do not mix with results.
        with redirect_stdout(sys.stderr):
            return nncf.quantize(
                model.clone(),
                nncf.Dataset(list(feeds)),
                # Activations with a zero point: those after SiLU are not symmetric.
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(feeds),
                ignored_scope=scope,
            )
    except Exception as error:  # NNCF and the engine raise many kinds
        raise ModelError(f"NNCF cannot quantise the model ({_first_line(error)})") from error


def head_layers(model: Any) -> list[str]:
    """Names of the layers that no other layer follows."""
    followed: set[str] = set()
    heads = []
    for node in reversed(model.get_ordered_ops()):
        name = node.get_friendly_name()
        readers = [one.get_node() for port in node.outputs() for one in port.get_target_inputs()]
        behind = any(reader.get_friendly_name() in followed for reader in readers)
        layer = node.get_type_name() in _LAYERS
        if layer and not behind:
            heads.append(name)
        if layer or behind:
            followed.add(name)
    return heads


def saved(model: Any, metadata: Mapping[str, str], *, half: bool) -> tuple[bytes, bytes]:
    """The `.xml` and the `.bin` of a model.

    Args:
        model: an `openvino.Model`.
        metadata: of an ONNX file; entries of ours are kept.
        half: weights as float16.
    """
    import openvino as ov

    for key, text in metadata.items():
        if key.startswith(SPEC_KEY):
            model.set_rt_info(text, [RT_SECTION, key])
    with tempfile.TemporaryDirectory(prefix="whatwhere-") as folder:
        place = Path(folder) / "model.xml"
        ov.save_model(model, place, compress_to_fp16=half)
        return place.read_bytes(), place.with_suffix(".bin").read_bytes()


def write(files: tuple[bytes, bytes], path: Path) -> None:
    """Write both files; the `.xml` last, since it is what names a model."""
    if path.suffix.lower() != ".xml":
        raise UsageError(f"{path} must end in .xml: it is a model of OpenVINO")
    write_atomic(path.with_suffix(".bin"), files[1])
    write_atomic(path, files[0])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
