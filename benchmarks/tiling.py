"""Large pictures in tiles: ours and SAHI with the same model file, tiles, overlap and thresholds.

- aerial: a mosaic of 4,000 pixels of aerial photographs (DOTA), `objects-lite`: speed only, because
  it knows next to nothing of what they show.
- slide: a mosaic of the test pictures of a data set (BCCD: 3,840 pixels, about a thousand cells),
  and a model that was trained on its other pictures: speed, and what is found at IoU 0.5 at the
  model's own threshold.

From the file to results in memory, the whole picture is looked at, too; the best of the turns. Core
seconds are processor time of all threads: on a busy machine they say more than seconds, but they
count threads that spin while they wait.

    python benchmarks/tiling.py --model BCCD.onnx --peer-python peers/bin/python

The Python of the peer needs sahi and onnxruntime; and ultralytics, if that is where the model comes
from. `_peer_tiling.py` says what it does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import whatwhere as ww
from whatwhere.images import read_image, write_image
from whatwhere.runtime import find_file
from whatwhere.runtime.choice import installed
from whatwhere.runtime.shipped import SHIPPED
from whatwhere.runtime.tiling import tile_shape
from whatwhere.types import box_iou

OVERLAP, IOU = 0.2, 0.5
Truth = list[tuple[str, list[float]]]


def aerial(folder: Path, target: Path, side: int) -> str:
    """A mosaic of the pictures in a folder, as a PNG."""
    images = [read_image(path) for path in sorted(folder.glob("*.png"))]
    if not images:
        raise SystemExit(f"skipped: no picture in {folder}")
    rows = []
    while sum(row.shape[0] for row in rows) < side:
        row: list[Any] = []
        height = min(image.shape[0] for image in images)
        while sum(part.shape[1] for part in row) < side:
            row.append(images[(len(row) + len(rows)) % len(images)][:height])
        rows.append(np.concatenate(row, 1)[:, :side])
    write_image(target, np.ascontiguousarray(np.concatenate(rows)[:side]))
    return str(target)


def slide(data: ww.Dataset, target: Path, across: int, down: int) -> tuple[str, Truth]:
    """A mosaic of pictures of one size, and its boxes."""
    part = data.split_named("test") if "test" in data.splits else data
    width, height = part.images.select("width", "height").row(0)
    mosaic = np.zeros((down * height, across * width, 3), np.uint8)
    truth: Truth = []
    rows = [i for i in range(len(part)) if part.images.row(i)[1:3] == (width, height)]
    for place, i in enumerate(rows[: across * down]):
        y, x = place // across * height, place % across * width
        mosaic[y : y + height, x : x + width] = read_image(part.paths[i])
        targets = part.targets(i)
        for number, box in zip(targets.class_ids, targets.boxes, strict=True):
            moved = np.asarray(box) + np.array([x, y, x, y])
            truth.append((part.names[int(number)], moved.tolist()))
    write_image(target, mosaic)
    return str(target), truth


def matched(found: list[list[Any]], truth: Truth) -> tuple[float, float]:
    """Recall and precision: from the best box on, each takes the free object it overlaps most."""
    right = 0
    for name in {name for name, _ in truth}:
        real = np.array([box for kind, box in truth if kind == name], np.float32)
        said = sorted((row for row in found if row[0] == name), key=lambda row: -row[1])
        if not said:
            continue
        shares = box_iou(np.array([row[2:] for row in said], np.float32), real)
        free = np.ones(len(real), bool)
        for row in shares:
            best = int(np.where(free, row, -1).argmax())
            if free[best] and row[best] >= IOU:
                free[best] = False
                right += 1
    return right / max(1, len(truth)), right / max(1, len(found))


def ours(
    model: str, picture: str, tile: int, merge: Any, engine: str, turns: int
) -> tuple[float, float, list[list[Any]]]:
    """Seconds, core seconds, and rows of name, score, box."""
    loaded = ww.load(model, backend=engine).with_tiles(tile, overlap=OVERLAP, merge=merge)
    best = work = float("inf")
    for _ in range(turns):
        start, busy = time.perf_counter(), time.process_time()
        answer = loaded.predict(picture)
        best = min(best, time.perf_counter() - start)
        work = min(work, time.process_time() - busy)
    assert answer.boxes is not None
    rows = zip(answer.object_names, answer.object_scores.tolist(), answer.boxes, strict=True)
    return best, work, [[name, score, *box.tolist()] for name, score, box in rows]


def sahi(
    python: str, model: str, picture: str, tile: int, batch: int, turns: int
) -> dict[str, Any]:
    """The same of SAHI."""
    spec = ww.load(model).spec
    file = SHIPPED[model].file if model in SHIPPED else find_file(model)
    task = {
        "model": str(file),
        "ultralytics": spec.graph is not None,
        "names": spec.names,
        "threshold": spec.postprocess.score_threshold,
        "iou": spec.postprocess.nms_iou,
        "tile": tile_shape(tile, spec.preprocess.size),
        "overlap": OVERLAP,
        "picture": picture,
        "batch": batch,
        "turns": turns,
    }
    # Not resolved: a link to Python is what makes an environment its own.
    command = [python, str(Path(__file__).with_name("_peer_tiling.py")), json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--aerial", type=Path, default=Path("../shared/data/dota/images"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/bccd"))
    parser.add_argument("--model", default="", help="trained on the data; without it no slide")
    parser.add_argument("--peer-python", default="", help="a Python with sahi")
    parser.add_argument("--tile", type=int, default=640)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--engines", default="onnxruntime,openvino")
    parser.add_argument("--merges", default="nms,greedy-nmm,nmm")
    parser.add_argument("--quick", action="store_true", help="half the size, two turns")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    turns, less = (2, 2) if given.quick else (given.turns, 1)
    with tempfile.TemporaryDirectory() as folder:
        works: list[tuple[str, str, str, Truth]] = []
        if given.aerial.is_dir():
            mosaic = aerial(given.aerial, Path(folder, "aerial.png"), 4000 // less)
            works.append(("aerial", "objects-lite", mosaic, []))
        if given.model and given.data.exists():
            path, truth = slide(
                ww.read(given.data), Path(folder, "slide.png"), 6 // less, 8 // less
            )
            works.append(("slide", given.model, path, truth))
        if not works:
            print("skipped: the data are not here", file=sys.stderr)
        for work, model, picture, truth in works:
            first: tuple[float, float] | None = None
            for who, version, seconds, busy, found in contest(given, model, picture, turns):
                first = first or (seconds, busy)
                row: dict[str, Any] = {"work": work, "who": who, "version": version}
                row |= {"seconds": round(seconds, 3), "ratio": round(first[0] / seconds, 2)}
                row |= {"core_seconds": round(busy, 3), "core_ratio": round(first[1] / busy, 2)}
                row["boxes"] = len(found)
                if truth:
                    recall, precision = matched(found, truth)
                    row |= {"recall": round(recall, 4), "precision": round(precision, 4)}
                if given.json:
                    print(json.dumps(row), flush=True)
                else:
                    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def contest(
    given: argparse.Namespace, model: str, picture: str, turns: int
) -> Iterator[tuple[str, str, float, float, list[list[Any]]]]:
    """Name, version, seconds, core seconds and boxes of each contestant."""
    if given.peer_python:
        for batch in (1, 8):
            peer = sahi(given.peer_python, model, picture, given.tile, batch, turns)
            who = "sahi" + (f" batch {batch}" if batch > 1 else "")
            yield who, peer["version"], peer["seconds"], peer["core_seconds"], peer["found"]
    for engine in installed({name: name for name in given.engines.split(",")}):
        for merge in given.merges.split(","):
            seconds, busy, found = ours(model, picture, given.tile, merge, engine, turns)
            yield f"ours {engine} {merge}", ww.__version__, seconds, busy, found


if __name__ == "__main__":
    main()
