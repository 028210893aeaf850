"""Open models: a shipped name, a model file, or the folder of a training run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from whatwhere.errors import ModelError
from whatwhere.runtime.backends import check_graph, open_backend
from whatwhere.runtime.onnxfile import read_header
from whatwhere.runtime.predictor import Predictor
from whatwhere.specs import ModelSpec

if TYPE_CHECKING:
    from whatwhere.runtime.cascade import Pair

RUN_MODEL = "model.onnx"


def load(
    model: str | os.PathLike[str], *, backend: str = "auto", threads: int | None = None
) -> Predictor | Pair:
    """A predictor from the name of a shipped model, a model file or a run folder.

    A shipped name wins over a file of that name; write `./name` for the file.

    Args:
        model: such as "default", "model.onnx" or "runs/street".
        backend: "auto", "onnxruntime" or "openvino".
        threads: CPU threads; None for one a core.

    Raises:
        ModelError: there is no such model, or it is damaged or not ours.
        UsageError: unknown backend, or threads below 1.
        MissingExtraError: the backend is not installed.
    """
    from whatwhere.runtime import shipped

    given = os.fspath(model)
    if given in shipped.names():
        return shipped.load(given, backend=backend, threads=threads)
    return load_file(find_file(given), backend=backend, threads=threads)


def find_file(model: str | os.PathLike[str]) -> Path:
    """The model file that a path means: itself, or the one of a training run's folder.

    Raises:
        ModelError: there is none; the message says what may be given.
    """
    given = os.fspath(model)
    path = Path(given)
    if path.is_dir():
        path = path / RUN_MODEL
        if not path.is_file():
            raise ModelError(
                f"the folder {given} has no {RUN_MODEL}: give the folder of a finished run,"
                " or a model file"
            )
    elif not path.exists():
        from whatwhere.runtime import shipped

        run = Path("runs") / given / RUN_MODEL
        known = f"; did you mean {run.parent}?" if run.is_file() else ""
        raise ModelError(
            f"there is no model {given!r}{known}: give a model file, a run folder or one of"
            f" {', '.join(shipped.names())}"
        )
    return path


def load_file(
    model: Path | bytes,
    *,
    backend: str = "auto",
    threads: int | None = None,
    where: str | None = None,
) -> Predictor:
    """A predictor from a model file or its bytes; everything is checked before it is used.

    Args:
        model: the ONNX file, or its bytes.
        backend, threads: as in `load`.
        where: what to call the model in messages; the path by default.

    Raises:
        ModelError, UsageError, MissingExtraError: as in `load`.
    """
    place = where or ("the model" if isinstance(model, bytes) else str(model))
    spec = read_spec(model, place)
    engine = open_backend(backend, model, threads=threads)
    check_graph(engine, spec, place)
    return Predictor(spec, engine)


def read_spec(model: Path | bytes, where: str | None = None) -> ModelSpec:
    """The spec in a model file, without loading the model.

    Raises:
        ModelError: the file is missing, damaged or not ours.
    """
    place = where or ("the model" if isinstance(model, bytes) else str(model))
    return ModelSpec.from_metadata(read_header(model, place).metadata, place)
