"""What is exported: one whole ONNX file with its spec, wherever its parts lay."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime import Predictor, find_file, load_file, read_spec
from whatwhere.runtime.onnxfile import read_header
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import SPEC_KEY, ModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A finished model.

    Args:
        file: the ONNX file, with all weights inside and the spec in its metadata.
        spec: what it says about itself.
        where: what to call it in messages.
        path: of the file; None for a shipped model.
    """

    file: bytes
    spec: ModelSpec
    where: str
    path: Path | None

    def load(self, backend: str = "onnxruntime", *, threads: int | None = None) -> Predictor:
        """The model, loaded."""
        return load_file(self.file, backend=backend, threads=threads, where=self.where)


def open_original(model: str | os.PathLike[str], name: str | None = None) -> Original:
    """A model from a shipped name, a model file (also one of others) or a run folder.

    Args:
        model: as in `runtime.load`.
        name: of the exported model; that of the original if None.

    Raises:
        ModelError: it is missing, damaged or of no known form.
        UsageError: it is a pair of models.
    """
    from whatwhere.runtime import shipped

    given = os.fspath(model)
    path: Path | None = None
    if given in shipped.names():
        parts = shipped.SHIPPED[given].parts
        if parts:
            raise UsageError(
                f"{given} is a pair of models: export one of {', '.join(parts)} after the other"
            )
        file = shipped.model_bytes(given)
        (spec,) = shipped.SHIPPED[given].specs
    else:
        path = find_file(given)
        header = read_header(path, given)
        file = _whole(path) if header.external else path.read_bytes()
        spec = read_spec(path)
    if name is not None:
        spec = spec.model_copy(update={"name": name})
    return Original(carrying(file, spec, given), spec, given, path)


def carrying(file: bytes, spec: ModelSpec, where: str) -> bytes:
    """The same ONNX file with this spec inside; other entries that it has stay."""
    known = read_header(file, where).metadata
    ours = SPEC_KEY in known
    entries = spec.to_metadata()
    # A file of others keeps what other tools read in it.
    chosen = {key: entries[key] for key in entries if ours or key == SPEC_KEY or key not in known}
    return with_metadata(file, chosen, where)


def _whole(path: Path) -> bytes:
    """A file whose weights lie beside it as one."""
    from whatwhere.exporting.graphs import onnx_module

    onnx = onnx_module()
    try:
        data: bytes = onnx.load(str(path)).SerializeToString()
    except Exception as error:  # the library and protobuf raise kinds of their own
        raise ModelError(f"{path} cannot be joined with its weights ({error})") from error
    return data
