"""One engine call with all cores, or several calls at once with a share of them: time a picture.

The engines alone, on one picture of noise: what `runtime/lanes.py` and `runtime/choice.py` rest on.

    python benchmarks/lanes.py MODEL.onnx
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np

from whatwhere.runtime.backends import BACKENDS, Backend, cores
from whatwhere.runtime.choice import installed
from whatwhere.runtime.shipped import model_bytes


def measure(backend: Backend, calls: int, count: int) -> float:
    """Seconds a picture with so many calls at once, after two each that do not count."""
    port = backend.inputs[0]
    sides = [1, *(side or 640 for side in port.shape[1:])]
    picture = np.random.default_rng(0).random(sides)
    pixels = (255 * picture if port.dtype == "uint8" else picture).astype(port.dtype)
    with ThreadPoolExecutor(calls) as pool:
        list(pool.map(lambda _: backend(pixels), range(2 * calls)))
        start = time.perf_counter()
        list(pool.map(lambda _: backend(pixels), range(count)))
        return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="an ONNX file; objects-lite if left out")
    parser.add_argument("--count", type=int, default=40, help="pictures a round, of three")
    parser.add_argument("--quick", action="store_true", help="eight pictures a round")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    count = 8 if given.quick else given.count
    model = Path(given.model).read_bytes() if given.model else model_bytes("objects-lite")
    threads = cores()
    cases: list[tuple[str, str, Backend, int]] = []
    for name in installed({name: name for name in BACKENDS}):
        one = BACKENDS[name](model, threads=threads)
        cases.append((name, f"one call, {threads} threads", one, 1))
        cases.append((name, f"{threads} calls share these threads", one, threads))
        cases.append((name, f"{threads} lanes", one.with_lanes(threads), threads))
    best = [float("inf")] * len(cases)
    for _ in range(3):
        # In turns, so that what else the machine does hits all of them.
        for i, (_, _, backend, calls) in enumerate(cases):
            best[i] = min(best[i], measure(backend, calls, count))
    for (name, work, _, _), seconds in zip(cases, best, strict=True):
        row = {"work": work, "who": name, "version": version(name), "seconds": round(seconds, 5)}
        row["ratio"] = round(seconds / best[0], 3)
        if given.json:
            print(json.dumps(row))
        else:
            print(f"{name:12} {work:32} {1e3 * seconds:8.1f} ms  {row['ratio']:5.2f}")


if __name__ == "__main__":
    main()
