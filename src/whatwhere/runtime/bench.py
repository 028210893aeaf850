"""Where the time of a prediction goes, and how near the pipeline comes to the engine's own limit.

The limit of a machine is what its cores could do at best: the seconds that one core needs to
decode a picture, fit it and run the engine on it, divided by the number of cores. What keeps the
pipeline from it is post-processing, handing over between threads, and cores that wait.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.images import encode_image, read_image
from whatwhere.runtime.backends import Backend
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.predictor import Failure, Predictor, PredictorBase

STAGES = ("decode", "fit", "engine", "rest")
"""Reading and decoding the file; resizing; the engine; thresholds, suppression, results."""
_LEAST = 8


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one stage for a picture.

    Args:
        mean, p50, p90, p99: over the pictures.
    """

    mean: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """From seconds, at least one."""
        values = 1e3 * np.asarray(seconds, np.float64)
        return cls(float(values.mean()), *map(float, np.percentile(values, (50, 90, 99))))


@dataclass(frozen=True, slots=True)
class Bench:
    """What was measured of a model on this machine.

    Args:
        model: its name.
        engine: that ran many pictures.
        pictures: how many went through the whole pipeline.
        lanes: threads that ran the model at once.
        stages: on one core, one picture after the other, by the names of `STAGES`.
        single: one picture at a time, from file to result, with all threads.
        throughput: pictures a second of the whole pipeline.
        limit: pictures a second if decoding, fitting and the engine kept every core busy.
        peak_mb: largest memory of the process so far, in megabytes; None where unknown.
    """

    model: str
    engine: str
    pictures: int
    lanes: int
    stages: dict[str, Times]
    single: Times
    throughput: float
    limit: float
    peak_mb: float | None

    @property
    def share(self) -> float:
        """Of the limit that the pipeline reaches; above 1 where measurements scatter."""
        return self.throughput / self.limit

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self) | {"share": self.share}


def bench(
    predictor: Predictor | Pair, sources: Sequence[str | bytes] = (), *, seconds: float = 3.0
) -> Bench:
    """Measure a predictor, for about four times so many seconds.

    Args:
        predictor: as `load` gives it.
        sources: picture files or their bytes, used in turn; generated JPEGs of 1280 x 960 if none.
        seconds: of each of the measurements.

    Raises:
        ImageError: a picture cannot be read.
        UsageError: `seconds` is not above 0.
    """
    if not seconds > 0:
        raise UsageError(f"seconds must be above 0, not {seconds}")
    pictures = list(sources) or generated()
    lanes = predictor.lanes
    engine = predictor.in_lanes(lanes, trial=True)
    # One call on a lane's share of the threads: with as many lanes as cores, on one core.
    stages = _stages(engine, pictures, seconds)
    single = _single(predictor, pictures, seconds)
    throughput, count = _throughput(engine, pictures, seconds)
    core = sum(stages[name].mean for name in ("decode", "fit", "engine")) / 1e3
    return Bench(
        predictor.name,
        _engine_name(engine),
        count,
        lanes,
        stages,
        single,
        throughput,
        lanes / core,
        peak_memory(),
    )


def generated(count: int = 8, height: int = 960, width: int = 1280) -> list[bytes]:
    """JPEG files with shapes, edges and grain, as large as those of photographs are."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (height // 64, width // 64, 3)).astype(np.uint8)
        image = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        for _ in range(24):
            x, y, side = rng.integers(0, width), rng.integers(0, height), rng.integers(20, 200)
            colour = [int(value) for value in rng.integers(0, 256, 3)]
            cv2.rectangle(image, (int(x), int(y)), (int(x + side), int(y + side)), colour, -1)
        grain = rng.integers(-6, 7, image.shape)
        made.append(encode_image(np.clip(image + grain, 0, 255).astype(np.uint8), quality=90))
    return made


def peak_memory() -> float | None:
    """The largest memory that this process has held, in megabytes; None where unknown."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _stages(engine: PredictorBase, pictures: Sequence[Any], seconds: float) -> dict[str, Times]:
    taken: dict[str, list[float]] = {name: [] for name in STAGES}
    with _clocked(engine) as spent:
        for picture in _for(pictures, seconds):
            start = time.perf_counter()
            image = read_image(picture)
            read = time.perf_counter()
            prepared = engine.prepare(image)
            fitted = time.perf_counter()
            spent[0] = 0.0
            engine.infer([prepared], names=[None])
            done = time.perf_counter()
            taken["decode"].append(read - start)
            taken["fit"].append(fitted - read)
            taken["engine"].append(spent[0])
            taken["rest"].append(done - fitted - spent[0])
    # The first pictures meet cold caches.
    return {name: Times.of(values[2:]) for name, values in taken.items()}


def _single(predictor: Predictor | Pair, pictures: Sequence[Any], seconds: float) -> Times:
    taken = []
    for picture in _for(pictures, seconds):
        start = time.perf_counter()
        predictor.predict(picture)
        taken.append(time.perf_counter() - start)
    return Times.of(taken[2:])


def _throughput(
    engine: PredictorBase, pictures: Sequence[Any], seconds: float
) -> tuple[float, int]:
    """Pictures a second of `stream`, and how many there were; its start does not count."""
    lead = 2 * (engine.lanes + 1)
    stop = float("inf")

    def sources() -> Iterator[Any]:
        for number, picture in enumerate(cycle(pictures)):
            if time.perf_counter() > stop and number >= lead + _LEAST:
                return
            yield picture

    count, start = 0, 0.0
    for number, item in enumerate(engine.stream(sources())):
        if isinstance(item, Failure):
            raise item.error
        if number == lead:
            start = time.perf_counter()
            stop = start + seconds
        count += number > lead
    return count / (time.perf_counter() - start), count


def _for(pictures: Sequence[Any], seconds: float) -> Iterator[Any]:
    """The pictures in turn, at least `_LEAST` and two, until the time is over."""
    until = time.perf_counter() + seconds
    yield from islice(cycle(pictures), _LEAST + 2)
    for picture in cycle(pictures):
        if time.perf_counter() > until:
            return
        yield picture


class _Clock:
    """A backend whose time is added up."""

    def __init__(self, backend: Backend, spent: list[float]) -> None:
        self._backend, self._spent = backend, spent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def __call__(self, images: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        start = time.perf_counter()
        outputs = self._backend(images)
        self._spent[0] += time.perf_counter() - start
        return outputs


@contextmanager
def _clocked(engine: PredictorBase) -> Iterator[list[float]]:
    """The seconds spent in the engines of a predictor, in a list of one."""
    spent = [0.0]
    parts = _parts(engine)
    before = [part.backend for part in parts]
    for part in parts:
        part.backend = _Clock(part.backend, spent)  # type: ignore[assignment]
    try:
        yield spent
    finally:
        for part, backend in zip(parts, before, strict=True):
            part.backend = backend


def _parts(engine: PredictorBase) -> list[Predictor]:
    if isinstance(engine, Pair):
        return [engine.detector, engine.classifier]
    return [engine] if isinstance(engine, Predictor) else []


def _engine_name(engine: PredictorBase) -> str:
    names = [getattr(part.backend, "engine", part.backend.name) for part in _parts(engine)]
    return " + ".join(dict.fromkeys(names))


def pictures_of(sources: Sequence[str | os.PathLike[str]], most: int = 64) -> list[bytes]:
    """Up to so many picture files, in memory: disks are not what is measured."""
    from whatwhere.runtime.sources import expand

    return [Path(path).read_bytes() for path in islice(expand([*sources]), most)]
