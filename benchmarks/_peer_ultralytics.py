"""Ultralytics' side of `training.py`, in a process and an environment of its own.

It imports nothing of ours, and Ultralytics (AGPL-3.0) is no dependency of ours: give the Python
of an environment that has it by `training.py --peer-python`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from ultralytics import YOLO, __version__, settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="data.yaml")
    parser.add_argument("pictures", type=Path, help="folder of the test pictures")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="yolov8n")
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=0, help="in place of the budget, for speed")
    arguments = parser.parse_args()
    settings.update({"sync": False})
    began = time.monotonic()
    model = YOLO(f"{arguments.model}.yaml")  # from scratch
    epochs: list[float] = []
    model.add_callback("on_train_epoch_start", lambda trainer: epochs.append(time.monotonic()))
    ends: list[float] = []
    model.add_callback("on_train_epoch_end", lambda trainer: ends.append(time.monotonic()))
    length = (
        {"epochs": arguments.epochs, "val": False}
        if arguments.epochs
        else {"time": arguments.budget / 3600}
    )
    model.train(
        data=arguments.data,
        imgsz=arguments.size,
        batch=16,
        workers=2,
        device="cpu",
        pretrained=False,
        plots=False,
        seed=0,
        project=str(arguments.out.parent.resolve()),
        name="run",
        exist_ok=True,
        **length,
    )
    seconds = time.monotonic() - began
    best = arguments.out.parent / "run" / "weights" / "best.pt"
    model = YOLO(str(best))
    predictions = []
    for path in sorted(arguments.pictures.iterdir()):
        if arguments.epochs:
            break
        (answer,) = model.predict(
            str(path), imgsz=arguments.size, conf=0.001, iou=0.7, max_det=300, verbose=False
        )
        for box, score, kind in zip(
            answer.boxes.xyxy.tolist(),
            answer.boxes.conf.tolist(),
            answer.boxes.cls.tolist(),
            strict=True,
        ):
            name = answer.names[int(kind)]
            predictions.append({"image": path.name, "name": name, "score": score, "box": box})
    arguments.out.write_text(
        json.dumps(
            {
                "version": __version__,
                "seconds": seconds,
                "about": f"{len(ends)} epochs",
                # The first epoch builds kernels and caches.
                "epoch_seconds": [b - a for a, b in zip(epochs, ends, strict=False)][1:],
                "flops": _flops(model, arguments.size),
                "predictions": predictions,
            }
        )
    )


def _flops(model: YOLO, size: int) -> float:
    """Operations of one forward pass, counted by PyTorch (two for each multiply-add)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.model.eval()(torch.zeros(1, 3, size, size))
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
