"""OpenVINO's own model files: an `.xml` with the graph and the spec, a `.bin` with the weights.

`whatwhere export --to openvino` writes them. The spec stands in the runtime information of the
`.xml` (`rt_info`), so the two files are the whole model. Reading it needs no OpenVINO.
"""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from whatwhere.errors import ModelError
from whatwhere.runtime.onnxfile import OnnxHeader
from whatwhere.specs import SPEC_KEY

SUFFIX = ".xml"
RT_SECTION = "whatwhere"
"""Element of `rt_info` whose children hold our entries, each named as in an ONNX file."""


def is_ir(model: Path | bytes) -> bool:
    """Whether it is named as such a file."""
    return isinstance(model, Path) and model.suffix.lower() == SUFFIX


def read_ir(model: Path, where: str) -> OnnxHeader:
    """Our entries in an `.xml`, as the metadata of an ONNX file.

    Raises:
        ModelError: it is missing, no whole XML, has no weights beside it, or no spec.
    """
    if not model.is_file():
        raise ModelError(f"{where} is not a file: check the path of the model")
    found: dict[str, str] = {}
    path: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if path[-3:-1] == ["rt_info", RT_SECTION] and "value" in attributes:
            found[name] = attributes["value"]

    def end(_: str) -> None:
        path.pop()

    def refuse(*_: object) -> None:
        raise ValueError("it declares entities, which such files never do")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    # Entities of entities can grow without end.
    parser.EntityDeclHandler = refuse
    try:
        with model.open("rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, ValueError, OSError) as error:
        raise ModelError(
            f"{where} is not a whole OpenVINO file ({error}): copy or export the model again"
        ) from error
    weights = model.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(
            f"{where} needs its weights beside it, in {weights.name!r}: copy that file too"
        )
    if SPEC_KEY not in found:
        raise ModelError(
            f"{where} is an OpenVINO file without a model spec: give the .onnx file that it was"
            " made from, or one written by 'whatwhere export --to openvino'"
        )
    return OnnxHeader(found)
