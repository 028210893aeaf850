"""Open models: a shipped name, a model file, or the folder of a training run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whatwhere.errors import ModelError, UsageError
from whatwhere.runtime import hub
from whatwhere.runtime.backends import check_graph, open_backend
from whatwhere.runtime.ir import is_ir, read_ir
from whatwhere.runtime.onnxfile import OnnxHeader, read_header
from whatwhere.runtime.predictor import Predictor
from whatwhere.specs import DRIFT_KEY, SEEN_KEY, SPEC_KEY, ModelSpec

if TYPE_CHECKING:
    from whatwhere.runtime.cascade import Pair

RUN_MODEL = "model.onnx"


def load(
    model: str | os.PathLike[str],
    *,
    backend: str = "auto",
    threads: int | None = None,
    names: Sequence[str] | None = None,
) -> Predictor | Pair:
    """A predictor from the name of a shipped model, a model file or a run folder.

    A shipped name wins over a file of that name; write `./name` for the file.

    Detectors and classifiers of others are taken, too, where `foreign` knows their form; what
    a file was taken for is said on the log.

    Args:
        model: such as "default", "model.onnx" or "runs/street"; or a name of `runtime.hub`, once it
            was fetched.
        backend: "auto", "onnxruntime" or "openvino".
        threads: CPU threads; None for one a core.
        names: class names of a file of others that carries none; without them those in the
            file of the same name with the suffix `.names`, one a line.

    Raises:
        ModelError: there is no such model, it is damaged or of no known form, or it needs names.
        UsageError: unknown backend, threads below 1, or names for a model that has its own.
        MissingExtraError: the backend is not installed.
    """
    from whatwhere.runtime import shipped

    given = os.fspath(model)
    if given in shipped.names():
        if names is not None:
            raise _has_names(given)
        return shipped.load(given, backend=backend, threads=threads)
    return load_file(find_file(given), backend=backend, threads=threads, names=names)


def find_file(model: str | os.PathLike[str]) -> Path:
    """The model file that a path means: itself, or the one of a training run's folder.

    A name of `runtime.hub` means the file in the cache that `whatwhere models get` wrote; like a
    shipped name it wins over a file of that name.

    Raises:
        ModelError: there is none; the message says what may be given, or the command that gets it.
    """
    given = os.fspath(model)
    if (known_elsewhere := hub.find(given)) is not None:
        return known_elsewhere.required()
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
            f" {', '.join(shipped.names())}, or one that  whatwhere models  lists"
        )
    return path


def load_file(
    model: Path | bytes,
    *,
    backend: str = "auto",
    threads: int | None = None,
    where: str | None = None,
    names: Sequence[str] | None = None,
) -> Predictor:
    """A predictor from a model file or its bytes; everything is checked before it is used.

    Args:
        model: the ONNX file, or its bytes; or an OpenVINO file (`.xml`) that was exported.
        backend, threads, names: as in `load`; OpenVINO's own file runs in OpenVINO only.
        where: what to call the model in messages; the path by default.

    Raises:
        ModelError, UsageError, MissingExtraError: as in `load`.
    """
    place = where or ("the model" if isinstance(model, bytes) else str(model))
    header = _header(model, place)
    spec = _own_spec(header, model, place)
    if spec is not None:
        if names is not None:
            raise _has_names(place)
        engine = open_backend(backend, model, threads=threads)
        if spec.graph is None:
            check_graph(engine, spec, place)
            made = Predictor(spec, engine)
        else:
            from whatwhere.runtime.foreign import ForeignBackend

            made = Predictor(spec, ForeignBackend(engine, spec, place))
        made.file = model if isinstance(model, Path) else None
        made.seen = header.metadata.get(SEEN_KEY, "")
        made.drift = header.metadata.get(DRIFT_KEY, "")
        return made
    from whatwhere.runtime.foreign import ForeignBackend, announce, recognise

    engine = open_backend(backend, model, threads=threads)
    foreign = recognise(header, model, place, names, engine)
    announce(foreign, place)
    return Predictor(foreign.spec, ForeignBackend(engine, foreign.spec, place))


def read_spec(model: Path | bytes, where: str | None = None) -> ModelSpec:
    """The spec in a model file, without loading the model.

    For a file of others it is the one that `load` would make; where several families answer in its
    shape, the file is loaded to try them.

    Raises:
        ModelError: the file is missing, damaged or of no known form.
    """
    place = where or ("the model" if isinstance(model, bytes) else str(model))
    header = _header(model, place)
    spec = _own_spec(header, model, place)
    if spec is not None:
        return spec
    from whatwhere.runtime.foreign import recognise

    return recognise(header, model, place).spec


def _header(model: Path | bytes, place: str) -> OnnxHeader:
    if isinstance(model, Path) and is_ir(model):
        return read_ir(model, place)
    return read_header(model, place)


def _own_spec(header: OnnxHeader, model: Path | bytes, place: str) -> ModelSpec | None:
    """The spec in a file or beside it; None if it is of others and was never imported."""
    if SPEC_KEY in header.metadata:
        return ModelSpec.from_metadata(header.metadata, place)
    if isinstance(model, bytes):
        return None
    from whatwhere.runtime.foreign import read_beside

    return read_beside(model)


def _has_names(place: str) -> UsageError:
    return UsageError(f"{place} has its own class names: leave names=... out")
