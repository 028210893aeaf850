"""How fast pictures go through a detector, from files to results in memory: ours and peers.

One ONNX file (as Ultralytics exports it) and 100 JPEGs of 1280 pixels for all, one after the other
in one run, each in a process of its own. The limit of the machine is what its cores could do if
they did nothing but decode, resize and run the quickest engine (`whatwhere bench`).

    python benchmarks/predict_speed.py MODEL.onnx --pictures ../shared/data/photos \
        --peer-python peers/bin/python

Without `--pictures` they are generated. `--start` also times whole commands: a new process to the
printed result for one picture. What the peers do is said in `_peer_predict.py`; their Python needs
ultralytics, libreyolo, supervision, onnx and onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2

import whatwhere as ww
from whatwhere.images import encode_image, read_image
from whatwhere.runtime import expand, load
from whatwhere.runtime.bench import bench, generated

HERE = Path(__file__).parent
ENGINES = ("auto", "onnxruntime", "openvino")
PEERS = ("plain", "supervision", "libreyolo", "ultralytics")
SIDE = 1280


def lay_out(sources: str, count: int, folder: Path) -> None:
    """So many JPEGs of 1280 pixels, of the given pictures enlarged or shrunk."""
    if sources:
        files = []
        for path in islice(expand([sources]), count):
            image = read_image(path)
            ratio = SIDE / max(image.shape[:2])
            resized = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_CUBIC)
            files.append(encode_image(resized.astype("uint8"), quality=90))
    else:
        files = generated(min(count, 20))
    for number in range(count):
        (folder / f"{number:04}.jpg").write_bytes(files[number % len(files)])


def ours(model: str, folder: Path, engine: str) -> dict[str, Any]:
    """Milliseconds a picture of the second pass, the limit, and the boxes found."""
    predictor = load(model, backend=engine)
    paths = sorted(map(str, folder.iterdir()))
    boxes, seconds = 0, 0.0
    # Twice for all; with "auto" a trial comes in the second pass at the latest: a third one.
    for _ in range(3 if engine == "auto" else 2):
        start = time.perf_counter()
        rows = list(predictor.stream(paths, threshold=0.25))
        seconds = time.perf_counter() - start
        boxes = sum(len(row.boxes) for row in rows if isinstance(row, ww.Prediction))
    found = bench(predictor, [Path(path).read_bytes() for path in paths[:20]])
    return {
        "ms": 1e3 * seconds / len(paths),
        "boxes": boxes,
        "version": ww.__version__,
        "limit": 1e3 / found.limit,
        "engine": found.engine,
        "peak_mb": found.peak_mb,
    }


def process(command: Sequence[str]) -> dict[str, Any]:
    """The JSON object that a command prints last."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def whole_command(command: Sequence[str], folder: Path, times: int = 5) -> float:
    """Seconds of the quickest of some runs, from the start of the process to its end."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        taken.append(time.perf_counter() - start)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "model",
        nargs="?",
        default="objects-lite",
        help="an ONNX file of Ultralytics' export, 640 pixels; without one ours alone is timed",
    )
    parser.add_argument("--pictures", default="", help="folder; generated if left out")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--peer-python", default="", help="a Python with the peers")
    parser.add_argument("--who", default=",".join(PEERS), help="peers, separated by commas")
    parser.add_argument("--start", action="store_true", help="time whole commands, too")
    parser.add_argument("--quick", action="store_true", help="ten pictures, no peers")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        print(json.dumps(ours(given.model, Path(given.pictures), given.engine)))
        return
    count = 10 if given.quick else given.count
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        folder.mkdir()
        lay_out(given.pictures, count, folder)
        script = str(Path(__file__).resolve())
        results: list[tuple[str, dict[str, Any]]] = []
        for engine in ENGINES:
            command = [sys.executable, script, given.model, "--engine", engine]
            results.append((f"whatwhere, {engine}", process([*command, "--pictures", str(folder)])))
        if given.peer_python and given.model.endswith(".onnx") and not given.quick:
            for who in given.who.split(","):
                command = [given.peer_python, str(HERE / "_peer_predict.py"), who, given.model]
                results.append((who, process([*command, str(folder)])))
        limit = min(answer["limit"] for _, answer in results if "limit" in answer)
        base = results[0][1]["ms"]
        work = f"{count} JPEGs of {SIDE} pixels"
        rows.append(row(work, "limit of the cores", "", limit / 1e3, limit / base))
        for who, answer in results:
            ratio = answer["ms"] / base
            rows.append(row(work, who, answer["version"], answer["ms"] / 1e3, ratio))
            rows[-1]["boxes"] = answer["boxes"]
        if given.start and given.peer_python and given.model.endswith(".onnx"):
            picture = str(next(iter(sorted(folder.iterdir()))))
            mine = [sys.executable, "-m", "whatwhere", "predict", picture, "--model", given.model]
            theirs = [str(Path(given.peer_python).with_name("yolo")), "predict"]
            theirs += [f"model={given.model}", f"source={picture}", "imgsz=640", "save=False"]
            seconds = whole_command(mine, folder), whole_command(theirs, folder)
            rows.append(row("one picture, new process", "whatwhere", "", seconds[0], 1.0))
            ratio = seconds[1] / seconds[0]
            rows.append(row("one picture, new process", "yolo predict", "", seconds[1], ratio))
    for made in rows:
        if given.json:
            print(json.dumps(made))
        else:
            boxes = f"  {made['boxes']} boxes" if "boxes" in made else ""
            print(
                f"{made['work']:28} {made['who']:24} {made['version']:10}"
                f" {1e3 * made['seconds']:9.1f} ms  {made['ratio']:6.2f}{boxes}"
            )


def row(work: str, who: str, version: str, seconds: float, ratio: float) -> dict[str, Any]:
    return {"work": work, "who": who, "version": version, "seconds": seconds, "ratio": ratio}


if __name__ == "__main__":
    main()
