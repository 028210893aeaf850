"""SAHI's side of `tiling.py`, in a process of its own: pictures in, boxes and seconds out.

- A file that Ultralytics exported: SAHI's own wrapper, which runs it through Ultralytics, as most
  of its users do.
- A model file of ours, for which SAHI has no wrapper: the leanest one that can be written. OpenCV
  letterboxes, ONNX Runtime runs with its own settings, OpenCV suppresses, no torch.

SAHI slices, asks for the whole picture, too, and merges, all with its own defaults (GREEDYNMM by
IoS 0.5), classes apart.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
import onnxruntime
from sahi.models.base import DetectionModel
from sahi.predict import get_sliced_prediction
from sahi.prediction import ObjectPrediction


class OnnxModel(DetectionModel):
    """A model file of ours: uint8 (N, H, W, 3) to boxes (N, A, 4) and scores (N, A, C)."""

    def __init__(self, path: str, names: list[str], threshold: float, iou: float) -> None:
        self.names, self.iou = names, iou
        mapping = {str(number): name for number, name in enumerate(names)}
        super().__init__(path, confidence_threshold=threshold, category_mapping=mapping)

    def set_device(self, device: str | None = None) -> None:
        self.device = "cpu"

    def load_model(self) -> None:
        providers = ["CPUExecutionProvider"]
        self.model = onnxruntime.InferenceSession(self.model_path, providers=providers)
        self.height, self.width = self.model.get_inputs()[0].shape[1:3]

    def perform_inference(self, image: np.ndarray) -> None:
        self._original_predictions = self._answers([image])

    def perform_batch_inference(self, images: list[np.ndarray]) -> None:
        self._original_predictions = self._answers(images)
        self._object_prediction_list_per_image = None

    def convert_original_predictions(
        self, shift_amount: Any = None, full_shape: Any = None
    ) -> None:
        self._create_object_prediction_list_from_original_predictions(shift_amount, full_shape)

    def _answers(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        canvases = np.full((len(images), self.height, self.width, 3), 114, np.uint8)
        places = []
        for canvas, image in zip(canvases, images, strict=True):
            ratio = min(self.height / image.shape[0], self.width / image.shape[1])
            sides = round(image.shape[1] * ratio), round(image.shape[0] * ratio)
            left, top = (self.width - sides[0]) // 2, (self.height - sides[1]) // 2
            small = cv2.resize(image, sides, interpolation=cv2.INTER_AREA)
            canvas[top : top + sides[1], left : left + sides[0]] = small
            places.append((ratio, left, top))
        boxes, scores = self.model.run(["boxes", "scores"], {"images": canvases})
        found = []
        for i, (ratio, left, top) in enumerate(places):
            ids = scores[i].argmax(1)
            best = scores[i][np.arange(len(ids)), ids]
            rows = np.flatnonzero(best > self.confidence_threshold)
            at = (boxes[i][rows] - [left, top, left, top]) / ratio
            sides = np.concatenate([at[:, :2], at[:, 2:] - at[:, :2]], 1)
            kept = cv2.dnn.NMSBoxesBatched(
                sides.tolist(),
                best[rows].tolist(),
                ids[rows].tolist(),
                self.confidence_threshold,
                self.iou,
            )
            kept = np.asarray(kept, np.int64).reshape(-1)
            found.append((at[kept], best[rows][kept], ids[rows][kept]))
        return found

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list: Any = None, full_shape_list: Any = None
    ) -> None:
        shifts = shift_amount_list or [[0, 0]]
        shifts = shifts if isinstance(shifts[0], list) else [shifts]
        shapes = full_shape_list or [None] * len(self._original_predictions)
        shapes = shapes if isinstance(shapes[0], list) else [shapes] * len(shifts)
        every = []
        for answer, shift, shape in zip(self._original_predictions, shifts, shapes, strict=True):
            made = []
            for box, score, number in zip(*answer, strict=True):
                box = np.clip(box, 0, None).tolist()
                if box[2] <= box[0] or box[3] <= box[1]:
                    continue
                made.append(
                    ObjectPrediction(
                        bbox=box,
                        category_id=int(number),
                        category_name=self.names[int(number)],
                        score=float(score),
                        shift_amount=shift,
                        full_shape=shape,
                    )
                )
            every.append(made)
        self._object_prediction_list_per_image = every


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "task", help="JSON: model, names, threshold, iou, tile, overlap, picture ..."
    )
    given = json.loads(parser.parse_args().task)
    if given["ultralytics"]:
        from sahi import AutoDetectionModel

        model: DetectionModel = AutoDetectionModel.from_pretrained(
            model_type="ultralytics",
            model_path=given["model"],
            confidence_threshold=given["threshold"],
            device="cpu",
        )
    else:
        model = OnnxModel(given["model"], given["names"], given["threshold"], given["iou"])
    best = work = float("inf")
    for _ in range(given["turns"]):
        start, busy = time.perf_counter(), time.process_time()
        result = get_sliced_prediction(
            given["picture"],
            model,
            slice_height=given["tile"][0],
            slice_width=given["tile"][1],
            overlap_height_ratio=given["overlap"],
            overlap_width_ratio=given["overlap"],
            postprocess_class_agnostic=False,
            batch_size=given["batch"],
            verbose=0,
        )
        found = result.object_prediction_list
        best = min(best, time.perf_counter() - start)
        work = min(work, time.process_time() - busy)
    rows = [[one.category.name, one.score.value, *one.bbox.to_xyxy()] for one in found]
    answer = {"seconds": best, "core_seconds": work, "found": rows, "version": version("sahi")}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
