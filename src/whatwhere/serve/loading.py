"""From a model's place to an engine that is warm and answers."""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whatwhere import __version__
from whatwhere.errors import ModelError
from whatwhere.runtime import find_file, load, shipped
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.loading import RUN_MODEL
from whatwhere.runtime.predictor import Predictor, PredictorBase
from whatwhere.serve.engine import Engine
from whatwhere.serve.limits import PictureRoom
from whatwhere.serve.settings import ModelSource, ServeSettings, check_name
from whatwhere.specs import ModelSpec

_DIGITS = 12
# A larger batch must be quicker by this share: it makes the first of its pictures wait.
_GAIN = 0.1
_BATCHES = (2, 4, 8, 16)
_TRIAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one version of a model lies.

    Args:
        version: its name; None if the content decides.
        path: what `runtime.load` gets.
        stamp: changes when the file does: path, time of change in nanoseconds, bytes; () for a
            shipped model.
    """

    version: str | None
    path: str
    stamp: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """One version of a model, ready to answer.

    Args:
        name, version: in the repository.
        place: what it was loaded from.
        spec: of the model; of a pair that of its detector.
        label_names: classes that a detector or pair gives whole pictures; () of others.
        title: what its predictions carry as `model`.
        engine: takes its pictures.
        time: when it was loaded, seconds since 1970-01-01 UTC.
        file: the model file; None for a shipped model.
        seen: what the file says about its training pictures (`specs.SEEN_KEY`); "" if nothing.
        drift: its text of what later pictures are compared with (`specs.DRIFT_KEY`); "" if none.
    """

    name: str
    version: str
    place: Place
    spec: ModelSpec
    label_names: tuple[str, ...]
    title: str
    engine: Engine
    time: float
    file: Path | None
    seen: str
    drift: str


def find_places(source: ModelSource, keep: int) -> list[Place]:
    """The versions that a source offers, the newest last.

    In a folder of versions numbers count as numbers, so 10 is newer than 9.

    Args:
        keep: of a folder of versions, how many of the newest.

    Raises:
        ModelError: there is nothing.
    """
    if source.path in shipped.names():
        return [Place(source.version or __version__, source.path, ())]
    folder = Path(source.path)
    if folder.is_dir() and not (folder / RUN_MODEL).is_file():
        found = _versions(folder)
        if not found:
            raise ModelError(
                f"the folder {source.path} has neither {RUN_MODEL} nor versions: give a model"
                " file, the folder of a finished run, or a folder of VERSION.onnx files"
            )
        if source.version is not None:
            raise ModelError(f"{source.path} is a folder of versions: leave @{source.version} out")
        return [Place(version, str(path), stamp_of(path)) for version, path in found[-keep:]]
    return [Place(source.version, source.path, stamp_of(find_file(source.path)))]


def stamp_of(file: Path) -> tuple[str | int, ...]:
    """What changes when a file does.

    Raises:
        ModelError: it has gone.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}): check the path") from None
    return (os.fspath(file.resolve()), status.st_mtime_ns, status.st_size, status.st_ino)


def open_version(name: str, place: Place, settings: ServeSettings, threads: int) -> Loaded:
    """Load a version, run it once, and start its lanes; nothing else is disturbed.

    Args:
        threads: CPU threads of all lanes together.

    Raises:
        ModelError, UsageError, MissingExtraError: as `runtime.load`; the file changed meanwhile.
    """
    given = load(place.path, backend=settings.backend, threads=threads)
    # One thread a lane beats several threads in one run (ADR 0015).
    lanes = given.lanes
    predictor = given.in_lanes(lanes, trial=True)
    batch = settings.batch or best_batch(predictor, settings.latency_seconds)
    if settings.batch is not None:
        _warm(predictor, 1)
    file = None if not place.stamp else find_file(place.path)
    version = place.version
    if file is not None:
        if version is None:
            with file.open("rb") as content:
                version = hashlib.file_digest(content, "sha256").hexdigest()[:_DIGITS]
        if stamp_of(file) != place.stamp:
            raise ModelError(f"{file} changed while it was loaded: it will be loaded again")
    assert version is not None
    return Loaded(
        name=name,
        version=version,
        place=place,
        spec=given.spec,
        label_names=_label_names(given),
        title=given.name,
        engine=Engine(
            predictor,
            lanes,
            queue=settings.queue,
            batch=batch,
            max_pixels=settings.max_pixels,
            title=f"{name}@{version}",
            room=PictureRoom(max(settings.watched_pixels, settings.max_pixels)),
        ),
        time=time.time(),
        file=file,
        seen=given.seen if isinstance(given, Predictor) else "",
        drift=given.drift if isinstance(given, Predictor) else "",
    )


def best_batch(predictor: PredictorBase, latency_seconds: float) -> int:
    """The batch that runs quickest a picture, in one lane, within the latency; takes a second.

    On a CPU this is mostly 1: one thread gains nothing by doing more at a time.
    """
    until = time.monotonic() + _TRIAL_SECONDS
    best, quickest = 1, _warm(predictor, 1)
    for batch in _BATCHES:
        if time.monotonic() + 2 * batch * quickest > until or batch * quickest > latency_seconds:
            break
        each = _warm(predictor, batch) / batch
        if each > (1 - _GAIN) * quickest or each * batch > latency_seconds:
            break
        best, quickest = batch, each
    return best


def _warm(predictor: PredictorBase, batch: int) -> float:
    """Seconds of a run on pictures of noise; the better of two."""
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    prepared = [predictor.prepare(picture)] * batch
    times = []
    for _ in range(2):
        start = time.monotonic()
        predictor.infer(prepared, names=[None] * batch)
        times.append(time.monotonic() - start)
    return min(times)


def _label_names(predictor: Predictor | Pair) -> tuple[str, ...]:
    if isinstance(predictor, Pair):
        return tuple(predictor.classifier.spec.names)
    return tuple(predictor.spec.label_names or ())


def _versions(folder: Path) -> list[tuple[str, Path]]:
    found: dict[str, Path] = {}
    for entry in folder.iterdir():
        path = entry / RUN_MODEL if entry.is_dir() else entry
        version = entry.name if entry.is_dir() else entry.stem
        if path.suffix != ".onnx" or not path.is_file() or _natural(version) is None:
            continue
        found[version] = path
    return sorted(found.items(), key=lambda item: _natural(item[0]) or [])


def _natural(version: str) -> list[tuple[int, int, str]] | None:
    """Orders versions as people do; None for what cannot be one."""
    try:
        check_name(version)
    except ValueError:
        return None
    parts = re.findall(r"\d+|\D+", version)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
