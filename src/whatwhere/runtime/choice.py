"""Which engine runs a model fastest here: measured once for a model and a machine, and kept.

Engines differ by a factor of two and more, in either direction, by model and processor; so
nothing but a trial tells. An engine that does not give the numbers of ONNX Runtime is left out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import WhatwhereError

# Outputs may differ by this share of the largest value, which is what export allows, too.
TOLERANCE = 1e-4
_ROUNDS = 3
_SECONDS = 0.25
"""Of each round of each engine."""
_SIDE = 224
"""Of the trial's pictures, where a graph leaves its input's sides open."""
_LOG = logging.getLogger(__name__)

# Loads an engine by name, for so many calls at once.
Opener = Callable[[str, int], Any]


def cache_folder() -> Path:
    """Where things are kept that can be made again: `WHATWHERE_CACHE`, or the system's place."""
    given = os.environ.get("WHATWHERE_CACHE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        place = Path.home() / "Library" / "Caches"
    else:
        place = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(place) / "whatwhere"


def installed(modules: Mapping[str, str]) -> list[str]:
    """Names of those engines whose module (by name of the engine) is there."""
    return [name for name, module in modules.items() if find_spec(module) is not None]


def trial_key(model: Path | bytes, engines: Sequence[str], threads: int, lanes: int) -> str:
    """What a trial's result holds for: the model's content, processor, engines and threads."""
    if isinstance(model, bytes):
        digest = hashlib.sha256(model).hexdigest()
    else:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    versions = ",".join(f"{name} {_version(name)}" for name in engines)
    return f"{digest} | {_processor()} | {threads} threads, {lanes} lanes | {versions}"


def _version(engine: str) -> str:
    """Of the engine's package; accelerators and several packages of that name are ONNX Runtime."""
    if engine == "openvino":
        return metadata.version(engine)
    import onnxruntime as ort

    return str(ort.__version__)


def remembered(key: str) -> str | None:
    """The engine that an earlier trial chose; None if there was none."""
    found = _read().get(key)
    return found if isinstance(found, str) else None


def remember(key: str, engine: str) -> None:
    """Keep a trial's result; a place that cannot be written is said on the log, no more."""
    from whatwhere.images import write_atomic

    table = _read() | {key: engine}
    try:
        write_atomic(_file(), json.dumps(table, indent=1).encode())
    except (OSError, WhatwhereError) as error:
        _LOG.warning("the choice of the engine cannot be kept (%s): it is made again", error)


def quickest(engines: Sequence[str], opened: Opener, lanes: int, title: str) -> str:
    """Measure engines on pictures of noise, with as many calls at once as there are lanes.

    Args:
        engines: names; the first is the reference for what comes out.
        opened: loads one of them for a number of calls at once.
        lanes: calls at once.
        title: of the model, for the log.

    Returns:
        The name of the quickest engine that agrees with the reference.
    """
    reference = opened(engines[0], lanes)
    pictures = _noise(reference.inputs[0].shape, reference.inputs[0].dtype)
    wanted = reference(pictures)
    runs = {engines[0]: reference}
    for name in engines[1:]:
        try:
            engine = opened(name, lanes)
            worst = difference(wanted, engine(pictures))
        except WhatwhereError as error:
            _LOG.warning("%s: %s cannot run it (%s)", title, name, error)
            continue
        if worst > TOLERANCE:
            _LOG.warning(
                "%s: %s is left out, its numbers differ from those of %s by %.2g of the largest",
                title,
                name,
                engines[0],
                worst,
            )
        else:
            runs[name] = engine
    if len(runs) == 1:
        return engines[0]
    times = dict.fromkeys(runs, float("inf"))
    with ThreadPoolExecutor(lanes) as pool:
        # In turns, so that what else the machine does hits all of them.
        for _ in range(_ROUNDS):
            for name, engine in runs.items():
                times[name] = min(times[name], _measure(engine, pictures, pool, lanes))
    best = min(times, key=times.__getitem__)
    table = ", ".join(f"{name} {1e3 * times[name]:.1f} ms" for name in runs)
    _LOG.warning("%s: %s is the quickest engine here (%s a picture)", title, best, table)
    return best


def difference(
    one: Mapping[str, NDArray[np.float32]], other: Mapping[str, NDArray[np.float32]]
) -> float:
    """The largest difference of any output, as a share of its largest value, at least of 1."""
    worst = 0.0
    for name, values in one.items():
        if name not in other or other[name].shape != values.shape:
            return float("inf")
        if values.size:
            scale = max(1.0, float(np.abs(values).max()))
            found = float(np.abs(values - other[name]).max()) / scale
            # NaN is no agreement.
            worst = max(worst, found if np.isfinite(found) else float("inf"))
    return worst


def _measure(engine: Any, pictures: NDArray[Any], pool: ThreadPoolExecutor, lanes: int) -> float:
    """Seconds a picture, with every lane busy."""
    until = time.perf_counter() + _SECONDS

    def work(_: int) -> int:
        count = 0
        while count == 0 or time.perf_counter() < until:
            engine(pictures)
            count += 1
        return count

    start = time.perf_counter()
    total = sum(pool.map(work, range(lanes)))
    return (time.perf_counter() - start) / total


def _noise(shape: tuple[int | None, ...], dtype: str) -> NDArray[Any]:
    """One picture, smooth enough to be one, in the form of a graph's first input."""
    rng = np.random.default_rng(0)
    sides = [1, *(side or _SIDE for side in shape[1:])]
    values = rng.random(sides)
    for axis in range(1, len(sides)):
        if sides[axis] > 4:
            values = (values + np.roll(values, 1, axis) + np.roll(values, 2, axis)) / 3
    # Pixels as 0..255 in whole numbers, as 0..1 in others.
    return (255 * values).astype(dtype) if dtype == "uint8" else values.astype(dtype)


def _processor() -> str:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return name
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else name


def _file() -> Path:
    return cache_folder() / "engines.json"


def _read() -> dict[str, Any]:
    """All results kept so far; nothing if there are none, or the file is not ours."""
    try:
        table = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
