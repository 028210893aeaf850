"""How many pictures a second training works through, and where the time goes.

The whole loop counts: decoding from the cache, mosaics and other augmentation, forward and
backward pass, optimizer, averaging; validation does not. Ultralytics runs in a process of its own
with its default augmentation; both nets see 320 x 320 pixels in batches of 16.

    python benchmarks/training_speed.py ../shared/data/bccd
    python benchmarks/training_speed.py ../shared/data/bccd --peer-python peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _common import needs, place, run
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

import whatwhere as ww
from whatwhere.train import recipe
from whatwhere.train.network import Step, build

HERE = Path(__file__).parent
SIDE = 320


class Clock:
    """Remembers when each step ended, and sums the time of what is wrapped."""

    def __init__(self, batch: int) -> None:
        self.ends: list[tuple[int, float]] = []
        self.spent: dict[str, float] = {}
        self.batch = batch

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def steps(self, done: int, total: int, about: str) -> None:
        if done > 0:
            self.ends.append((done, time.perf_counter()))

    def wrap(self, owner: Any, name: str, label: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*arguments, **options)
            finally:
                self.spent[label] = self.spent.get(label, 0.0) + time.perf_counter() - began

        setattr(owner, name, timed)


def flops(model: str) -> float:
    """Operations of one forward pass, counted by PyTorch (two for each multiply-add)."""
    net = build(recipe("detect", model), ("a", "b", "c")).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8))
    return float(counter.get_total_flops())


def ours(model: str, data: Path, epochs: int, folder: Path) -> dict[str, Any]:
    dataset = ww.read(data)
    config = recipe("detect", model)
    clock = Clock(config.batch)
    clock.wrap(Step, "forward", "forward and loss")
    clock.wrap(Fabric, "backward", "backward")
    clock.wrap(torch.optim.AdamW, "step", "optimizer")
    settings = {"height": str(SIDE), "width": str(SIDE), "batch": "16", "previews": "0"}
    ww.train(
        dataset,
        model=model,
        epochs=epochs,
        out=folder / "speed",
        settings=settings,
        listener=clock,
    )
    per_epoch = max(done for done, _ in clock.ends) // epochs
    durations, whole = [], 0.0
    for (before, start), (done, end) in zip(clock.ends, clock.ends[1:], strict=False):
        # Between epochs there is validation, and the first epoch builds kernels and caches.
        if done == before + 1 and (done - 1) % per_epoch and done > per_epoch:
            durations.append(end - start)
            whole += end - start
    counted = len(durations) / (per_epoch * epochs)
    inside = sum(clock.spent.values()) * counted
    return {
        "pictures": 16 / statistics.median(durations),
        "mean_pictures": 16 * len(durations) / whole,
        "outside": 1 - inside / whole,
        "flops": flops(model),
        "parts": {k: v * counted / len(durations) for k, v in clock.spent.items()},
        "step": whole / len(durations),
    }


def ultralytics(data: Path, epochs: int, folder: Path, python: str) -> dict[str, Any]:
    dataset = ww.read(data)
    dataset.write(folder / "yolo", format="yolo")
    out = folder / "answers.json"
    command = [python, str((HERE / "_peer_ultralytics.py").resolve())]
    command += [str(folder / "yolo" / "data.yaml"), str(folder / "yolo" / "images" / "test")]
    command += [str(out), "--budget", "1", "--epochs", str(epochs), "--size", str(SIDE)]
    run(command, folder, YOLO_CONFIG_DIR=str(folder))
    answer = json.loads(out.read_text())
    pictures = len(dataset.split_named("train"))
    seconds = statistics.median(answer["epoch_seconds"])
    return {
        "version": answer["version"],
        "pictures": pictures / seconds,
        "flops": answer["flops"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data/bccd"))
    parser.add_argument("--models", default="yolo-s", help="ours, separated by commas")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--peer-python", default="", help="a Python that has ultralytics")
    parser.add_argument("--quick", action="store_true", help="two epochs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    epochs = 2 if arguments.quick else arguments.epochs
    needs(arguments.data)
    if arguments.worker:
        made = ours(arguments.models, arguments.data, epochs, arguments.worker.parent)
        arguments.worker.write_text(json.dumps(made))
        return
    rows: list[tuple[str, str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for model in arguments.models.split(","):
            # A process each, since the clock wraps methods for good.
            folder = place(temporary, model)
            out = folder / "ours.json"
            command = [sys.executable, str(Path(__file__).resolve()), str(arguments.data.resolve())]
            command += ["--models", model, "--epochs", str(epochs), "--worker", str(out)]
            run(command, folder)
            rows.append((f"whatwhere {model}", ww.__version__, json.loads(out.read_text())))
        if arguments.peer_python:
            folder = place(temporary, "peer")
            made = ultralytics(arguments.data, epochs, folder, arguments.peer_python)
            rows.append(("ultralytics yolov8n", made["version"], made))
        else:
            print("skipped: ultralytics needs --peer-python", file=sys.stderr)
    base = rows[-1][2]["pictures"]
    for who, release, made in rows:
        row = {
            "work": "pictures a second, training at 320 x 320",
            "who": who,
            "version": release,
            "value": round(made["pictures"], 2),
            "ratio": round(made["pictures"] / base, 2),
            "gflops": round(made["flops"] / 1e9, 2),
        }
        if "outside" in made:
            row["outside"] = round(made["outside"], 3)
        if arguments.json:
            print(json.dumps(row))
            continue
        text = f"{who:22} {release:9} {row['value']:6.2f} pictures/s  x{row['ratio']:.2f}"
        print(f"{text}  {row['gflops']:.2f} GFLOP")
        if "outside" in made:
            parts = ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in made["parts"].items())
            print(f"  a step of {1000 * made['step']:.0f} ms: {parts};", end=" ")
            print(f"{100 * made['outside']:.1f} % outside of these")


if __name__ == "__main__":
    main()
