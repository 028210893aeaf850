"""8 bits against float in ONNX Runtime: speed, size, and what is lost on labelled pictures.

    python benchmarks/quantise.py
    python benchmarks/quantise.py MODEL.onnx DATA

Speed is the ratio of the processor time of one thread, in turns, on a real picture: what else the
machine does falls out of it. AP is of the split test or val, ranges are from the split train.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

# Before NumPy: one thread, whose time is measured.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from _common import needs

import whatwhere as ww
from whatwhere.exporting.originals import open_original
from whatwhere.exporting.pictures import canvases
from whatwhere.runtime import load_file

SHARED = Path("../shared/data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="objects-lite", help="model of a name or file")
    parser.add_argument("data", nargs="?", type=Path, default=SHARED / "coco128")
    parser.add_argument("--pictures", type=int, default=64, help="that give the ranges")
    parser.add_argument("--rounds", type=int, default=40, help="pictures that are timed")
    parser.add_argument("--quick", action="store_true", help="eight pictures, eight rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    if given.quick:
        given.pictures = given.rounds = 8
    needs(given.data)
    data = ww.read(given.data)
    original = open_original(given.model)
    with tempfile.TemporaryDirectory() as folder:
        made = ww.export(
            given.model,
            Path(folder) / "small.onnx",
            precision="int8",
            calibrate=data,
            pictures=given.pictures,
            # What is lost is the result here, not a condition.
            max_loss=1.0,
        )
        assert made.model is not None
        small = made.model.read_bytes()
    engines = [load_file(file, backend="onnxruntime", threads=1) for file in (original.file, small)]
    image = next(canvases(engines[0], list(data.paths)[:1]))
    taken: list[list[float]] = [[], []]
    for _ in range(given.rounds + 2):
        for times, engine in zip(taken, engines, strict=True):
            start = time.thread_time()
            engine.backend(image[None])
            times.append(time.thread_time() - start)
    seconds = [statistics.median(times[2:]) for times in taken]
    change = made.gate.whole
    rows = []
    for who, value, size, spent in zip(
        ("float32", "int8"),
        (change.before, change.after),
        (len(original.file), len(small)),
        seconds,
        strict=True,
    ):
        about = {"who": who, "version": version("onnxruntime")}
        name = original.spec.name
        ratio = round(seconds[0] / spent, 3)
        rows += [
            {"work": f"{name}: one core", **about, "seconds": round(spent, 5), "ratio": ratio},
            {"work": f"{name}: {made.gate.metric}", **about, "value": value, "ratio": None},
            {"work": f"{name}: bytes", **about, "value": size, "ratio": None},
        ]
    for row in rows:
        if given.json:
            print(json.dumps(row))
        else:
            number = row.get("seconds", row.get("value"))
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f} x"
            print(f"{row['work']:32} {row['who']:8} {number:>12.5g} {ratio}")
    if not given.json:
        print(f"{made.gate.sentence}; ranges by {made.ranges}, {len(made.in_float)} in float")


if __name__ == "__main__":
    main()
