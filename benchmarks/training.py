"""What a detector learns in a fixed time: ours and its peers, one after the other.

Every contestant gets the same wall-clock budget, the same pictures and labels and a process of
its own, and is scored on the test split by the same code (bit-equal to pycocotools). Ours and
torchvision's detectors start from the same ImageNet weights; Ultralytics and LibreYOLO start from
scratch, since their weights come from hubs.

    python benchmarks/training.py ../shared/data/bccd --budget 10m
    python benchmarks/training.py ../shared/data/bccd --budget 10m --who fcos,dfine
    python benchmarks/training.py ../shared/data/bccd --budget 10m \
        --who yolo-s,ultralytics,libreyolo --peer-python peers/bin/python

A name of ours is a model (`--model`) with a budget of its own, if one stands behind a colon:
`yolo-s:3m`. `ultralytics` and `libreyolo` need a Python that has them: `--peer-python`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import options, ours, place, run

import whatwhere as ww
from whatwhere.metrics import score
from whatwhere.train.setting import parse_budget
from whatwhere.types import Prediction

HERE = Path(__file__).parent
TORCHVISION = ("fcos", "retinanet", "faster-rcnn", "ssdlite")
OTHERS = ("ultralytics", "libreyolo")
USUAL = ("yolo-s", *(f"torchvision-{kind}" for kind in TORCHVISION))


def contestant(
    model: str, data: Path, budget: str, folder: Path, settings: list[str]
) -> dict[str, Any]:
    """One of our models, with its numbers."""
    made, result = ours(data, budget, folder, settings, model)
    return made | {"numbers": {**result.metrics, "per_class": result.per_class}}


def peer(who: str, data: Path, budget: float, folder: Path, python: str) -> dict[str, Any]:
    """A peer's script, which writes its boxes on the test pictures."""
    dataset = ww.read(data)
    out = folder / "answers.json"
    if who in OTHERS:
        ww.read(data).write(folder / "yolo", format="yolo")
        script = [python, str((HERE / f"_peer_{who}.py").resolve())]
        script += [str(folder / "yolo" / "data.yaml"), str(folder / "yolo" / "images" / "test")]
    else:
        script = [sys.executable, str((HERE / "_peer_torchvision.py").resolve())]
        script += [who.removeprefix("torchvision-"), str(data.resolve())]
    # Ultralytics keeps settings in a folder of its own; a fresh one disturbs nobody.
    run([*script, str(out), "--budget", str(budget)], folder, YOLO_CONFIG_DIR=str(folder))
    answer: dict[str, Any] = json.loads(out.read_text())
    test = dataset.split_named("test")
    answer["numbers"] = score("detect", test, as_predictions(test, answer["predictions"]))
    return answer


def as_predictions(test: ww.Dataset, rows: list[dict[str, Any]]) -> list[Prediction]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(Path(row["image"]).stem, []).append(row)
    predictions = []
    sizes = test.images.select("width", "height").to_numpy()
    for path, (width, height) in zip(test.paths, sizes, strict=True):
        mine = sorted(found.get(Path(path).stem, []), key=lambda row: -row["score"])[:300]
        predictions.append(
            Prediction(
                int(width),
                int(height),
                object_names=tuple(row["name"] for row in mine),
                object_scores=np.array([row["score"] for row in mine], np.float32),
                boxes=np.array([row["box"] for row in mine], np.float32).reshape(-1, 4),
            )
        )
    return predictions


def main() -> None:
    arguments = options(
        __doc__.splitlines()[0],
        data="bccd",
        budget="10m",
        who=USUAL,
        quick=("yolo-s", "torchvision-fcos"),
        peers="ultralytics, libreyolo",
    )
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.who.split(","):
            who, _, own = name.partition(":")
            budget = own or arguments.budget
            if who in OTHERS and not arguments.peer_python:
                print(f"skipped: {who} needs --peer-python", file=sys.stderr)
                continue
            folder = place(arguments.keep or temporary, name.replace(":", "-"))
            if who in OTHERS or who.startswith("torchvision-"):
                python = arguments.peer_python
                made = peer(who, arguments.data, parse_budget(budget), folder, python)
            else:
                made = contestant(who, arguments.data, budget, folder, arguments.set)
                who = f"whatwhere {who}"
            results.append((who, budget, made))
            numbers = made["numbers"]
            print(
                f"{who:24} {budget:5} AP {numbers['AP']:.4f}  AP50 {numbers['AP50']:.4f}"
                f"  ({made['seconds']:.0f} s, {made['about']})",
                file=sys.stderr,
                flush=True,
            )
    for key in ("AP", "AP50"):
        for who, budget, made in results:
            value = made["numbers"][key]
            first = results[0][2]["numbers"][key]
            row = {
                "work": f"{arguments.data.resolve().name} {budget} {key}",
                "who": who,
                "version": made["version"],
                "value": round(value, 4),
                "ratio": round(first / value, 3) if value else None,
                "seconds": round(made["seconds"]),
            }
            text = f"{row['work']:22} {who:24} {row['version']:9} {value:.4f}  ({row['seconds']} s)"
            print(json.dumps(row) if arguments.json else text)
    for who, budget, made in results:
        each = made["numbers"]["per_class"]
        if not arguments.json:
            text = ", ".join(f"{name} {row['AP50']:.3f}" for name, row in each.items())
            print(f"AP50 of {who} {budget}: {text}")


if __name__ == "__main__":
    main()
