"""LibreYOLO's side of `training.py`, in a process and an environment of its own.

It has no time budget: two epochs are timed first, outside the budget, and as many epochs are
trained as fit.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from libreyolo import LibreYOLO9, LibreYOLOX


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="data.yaml")
    parser.add_argument("pictures", type=Path, help="folder of the test pictures")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=["yolox-n", "yolo9-t"], default="yolox-n")
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--size", type=int, default=320)
    arguments = parser.parse_args()
    kind, size = arguments.model.split("-")
    maker = {"yolox": LibreYOLOX, "yolo9": LibreYOLO9}[kind]
    folder = str(arguments.out.parent.resolve())

    def train(epochs: int, name: str) -> tuple[Any, float]:
        began = time.monotonic()
        model = maker._from_scratch(size=size, device="cpu")
        model.train(
            arguments.data,
            epochs=epochs,
            batch=16,
            imgsz=arguments.size,
            device="cpu",
            workers=2,
            seed=0,
            pretrained=False,
            project=folder,
            name=name,
            exist_ok=True,
        )
        return model, time.monotonic() - began

    short, long = train(1, "trial-1")[1], train(3, "trial-3")[1]
    each = (long - short) / 2
    epochs = max(1, int((arguments.budget - (short - each)) / each))
    model, seconds = train(epochs, "run")
    predictions = []
    for path in sorted(arguments.pictures.iterdir()):
        answer = model.predict(str(path), imgsz=arguments.size, conf=0.001, iou=0.7, max_det=300)
        boxes = answer.boxes
        for box, score, id_ in zip(
            boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), strict=True
        ):
            name = answer.names[int(id_)]
            predictions.append({"image": path.name, "name": name, "score": score, "box": box})
    arguments.out.write_text(
        json.dumps(
            {
                "version": version("libreyolo"),
                "seconds": seconds,
                "about": f"{epochs} epochs",
                "predictions": predictions,
            }
        )
    )


if __name__ == "__main__":
    main()
