"""Other tools' side of `predict_speed.py`, each in a process of its own.

All get the same ONNX file and folder of JPEGs, and end with the results in memory. The folder is
gone through twice; the second time counts.

- ultralytics: `YOLO(file).predict(folder, stream=True)`, on ONNX Runtime.
- libreyolo: `LibreYOLO(file)`, picture by picture, as its documents show.
- supervision: what its users write around ONNX Runtime: OpenCV reads and letterboxes, the
  engine runs with its own settings, `sv.Detections.with_nms` suppresses.
- plain: the same with nothing but OpenCV, NumPy and ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD, IOU = 0.25, 0.6


def ultralytics(model: str, folder: Path) -> Callable[[], int]:
    from ultralytics import YOLO

    loaded = YOLO(model, task="detect")

    def run() -> int:
        options: dict[str, Any] = {"imgsz": 640, "conf": THRESHOLD, "iou": IOU, "device": "cpu"}
        answers = loaded.predict(str(folder), stream=True, verbose=False, **options)
        return sum(len(answer.boxes) for answer in answers)

    return run


def libreyolo(model: str, folder: Path) -> Callable[[], int]:
    from libreyolo import LibreYOLO

    loaded = LibreYOLO(model, device="cpu")
    files = sorted(folder.iterdir())

    def run() -> int:
        return sum(len(loaded(str(file), conf=THRESHOLD, iou=IOU).boxes) for file in files)

    return run


def _letterboxed(file: Path, side: int) -> tuple[np.ndarray, float]:
    import cv2

    image = cv2.imread(str(file))
    assert image is not None
    ratio = side / max(image.shape[:2])
    small = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_LINEAR)
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    pixels = canvas[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    return np.ascontiguousarray(pixels), ratio


def _candidates(model: str, folder: Path) -> Callable[[], Any]:
    """For each picture its boxes x1 y1 x2 y2, scores and classes above the threshold."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name, side = session.get_inputs()[0].name, int(session.get_inputs()[0].shape[2])
    files = sorted(folder.iterdir())

    def run() -> Any:
        for file in files:
            pixels, ratio = _letterboxed(file, side)
            rows = session.run(None, {name: pixels})[0][0].T
            scores = rows[:, 4:].max(1)
            kept = scores > THRESHOLD
            middle, size = rows[kept, :2], rows[kept, 2:4]
            boxes = np.concatenate([middle - size / 2, middle + size / 2], 1) / ratio
            yield boxes, scores[kept], rows[kept, 4:].argmax(1)

    return run


def supervision(model: str, folder: Path) -> Callable[[], int]:
    import supervision as sv

    candidates = _candidates(model, folder)

    def run() -> int:
        total = 0
        for boxes, scores, classes in candidates():
            found = sv.Detections(xyxy=boxes, confidence=scores, class_id=classes)
            total += len(found.with_nms(threshold=IOU))
        return total

    return run


def plain(model: str, folder: Path) -> Callable[[], int]:
    import cv2

    candidates = _candidates(model, folder)

    def run() -> int:
        total = 0
        for boxes, scores, classes in candidates():
            sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
            total += len(
                cv2.dnn.NMSBoxesBatched(
                    sides.tolist(), scores.tolist(), classes.tolist(), THRESHOLD, IOU
                )
            )
        return total

    return run


PEERS = {
    "ultralytics": (ultralytics, "ultralytics"),
    "libreyolo": (libreyolo, "libreyolo"),
    "supervision": (supervision, "supervision"),
    "plain": (plain, "onnxruntime"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("who", choices=PEERS)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    maker, package = PEERS[arguments.who]
    run = maker(arguments.model, arguments.folder)
    run()
    start = time.perf_counter()
    boxes = run()
    seconds = time.perf_counter() - start
    count = len(list(arguments.folder.iterdir()))
    print(json.dumps({"ms": 1e3 * seconds / count, "boxes": boxes, "version": version(package)}))


if __name__ == "__main__":
    main()
