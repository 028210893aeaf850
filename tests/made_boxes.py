"""Generated boxes, and pycocotools on arrays, for the tests of detection metrics."""

import contextlib
import io
from typing import Any

import numpy as np

from whatwhere.metrics.coco import FoundBoxes, TrueBoxes


def oracle(images: list[int], classes: list[int], truth: TrueBoxes, found: FoundBoxes) -> Any:
    """pycocotools on the same arrays, fed as dictionaries."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = {
            "images": [{"id": image} for image in images],
            "categories": [{"id": class_id, "name": str(class_id)} for class_id in classes],
            "annotations": [
                {
                    "id": number + 1,
                    "image_id": int(truth.image[number]),
                    "category_id": int(truth.class_id[number]),
                    "bbox": truth.xywh[number].tolist(),
                    "area": float(truth.area[number]),
                    "iscrowd": int(truth.ignore[number]),
                }
                for number in range(len(truth.image))
            ],
        }
        dataset.createIndex()
        rows = [
            {
                "image_id": int(found.image[number]),
                "category_id": int(found.class_id[number]),
                "bbox": found.xywh[number].tolist(),
                "score": float(found.score[number]),
            }
            for number in range(len(found.image))
        ]
        judge = COCOeval(dataset, dataset.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def generated(
    rng: np.random.Generator,
    images: int,
    classes: int,
    *,
    boxes: int = 6,
    extra: int = 6,
    levels: int | None = None,
    crowds: float = 0.1,
) -> tuple[TrueBoxes, FoundBoxes]:
    """Random boxes; predictions are shaken copies of the truth and inventions."""
    counts = rng.integers(0, boxes + 1, images)
    image = np.repeat(np.arange(images), counts)
    count = len(image)
    xywh = np.concatenate(
        [rng.uniform(0, 300, (count, 2)), np.exp(rng.uniform(0.5, 5.5, (count, 2)))], axis=1
    ).round(2)
    area = xywh[:, 2] * xywh[:, 3] * rng.choice([1.0, 0.6], count)
    class_id = rng.integers(0, classes, count)
    truth = TrueBoxes(image, class_id, xywh, area, rng.random(count) < crowds)

    twice = rng.permutation(np.repeat(np.arange(count), rng.integers(0, 3, count)))
    shaken = xywh[twice] + rng.normal(0, 0.05, (len(twice), 4)) * xywh[twice][:, [2, 3, 2, 3]]
    shaken[:, 2:] = np.abs(shaken[:, 2:])
    invented = np.concatenate(
        [rng.uniform(0, 300, (extra * images, 2)), rng.uniform(0, 90, (extra * images, 2))], axis=1
    )
    all_boxes = np.concatenate([shaken, invented])
    score = rng.random(len(all_boxes))
    if levels is not None:
        score = np.floor(score * levels) / levels
    order = rng.permutation(len(all_boxes))
    found = FoundBoxes(
        np.concatenate([image[twice], rng.integers(0, images, extra * images)])[order],
        np.concatenate([class_id[twice], rng.integers(0, classes, extra * images)])[order],
        all_boxes[order],
        score[order],
    )
    return truth, found
