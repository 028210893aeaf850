"""Detectors and classifiers of others: recognised by their graph and metadata, run as ours.

`recognition` collects every way to read a file that the families know (`yolo`, `nanodet`, `detr`,
`torchvision`, `classifiers`) and tries them; `importing` writes down what was found; `backend` runs
a graph by what its spec says. Nothing is guessed at: a graph whose answers could be read in two
ways is refused, because boxes that are nearly right are worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whatwhere.runtime.backends import Backend, open_backend
from whatwhere.runtime.foreign.backend import READERS, ForeignBackend
from whatwhere.runtime.foreign.facts import Facts
from whatwhere.runtime.foreign.importing import Imported, beside_of, import_model, read_beside
from whatwhere.runtime.foreign.pixels import PIXELS
from whatwhere.runtime.foreign.recognition import (
    NAMES_SUFFIX,
    Foreign,
    announce,
    candidates,
    described,
    named,
    read_names,
    summary,
    tried,
)
from whatwhere.runtime.onnxfile import OnnxHeader

__all__ = [
    "NAMES_SUFFIX",
    "PIXELS",
    "READERS",
    "Foreign",
    "ForeignBackend",
    "Imported",
    "announce",
    "beside_of",
    "import_model",
    "named",
    "read_beside",
    "read_names",
    "recognise",
    "summary",
]


def recognise(
    header: OnnxHeader,
    model: Path | bytes,
    where: str,
    names: Sequence[str] | None = None,
    backend: Backend | None = None,
) -> Foreign:
    """What a file without our spec is, as far as that is clear without help.

    Args:
        header: of the file.
        model: the file, or its bytes.
        where: what to call it in messages.
        names: its class names, in the order of its outputs; they win over its own, and over those
            in the file beside it.
        backend: the loaded graph, for trying it; without it the graph is loaded and tried only
            where several families answer in its shape.

    Raises:
        ModelError: it is none of the known exports, or it needs class names or other help.
    """
    facts = Facts(header, model, where)
    found = candidates(facts)
    if len(found) == 1 and backend is None:
        one = found[0]
    else:
        one = tried(found, backend or open_backend("onnxruntime", model), facts)
    if names is None and isinstance(model, Path):
        beside = model.with_suffix(NAMES_SUFFIX)
        names = read_names(beside) if beside.is_file() else None
    return described(one, facts, names)
