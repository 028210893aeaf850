"""COCO's 12 numbers: Whatwhere against pycocotools on one generated set, in one run.

Both start from arrays in memory and end with the numbers. pycocotools is given dictionaries
that were made beforehand, since that is the form it reads; making ours is part of our time.

    python benchmarks/coco_eval.py --images 500 --boxes 7 --found 100
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from importlib.metadata import version
from typing import Any

import numpy as np

import whatwhere as ww
from whatwhere.metrics.coco import CocoScores, FoundBoxes, TrueBoxes, coco_scores


def make_set(
    images: int, classes: int, boxes: int, found: int, seed: int
) -> tuple[TrueBoxes, FoundBoxes]:
    """About `boxes` true boxes and exactly `found` predicted ones a picture.

    Half of the predictions are near a true box; scores have three digits, so many are equal.
    """
    rng = np.random.default_rng(seed)
    counts = rng.poisson(boxes, images)
    image = np.repeat(np.arange(images), counts)
    size = np.exp(rng.uniform(1.5, 5.5, (len(image), 2)))
    xywh = np.concatenate([rng.uniform(0, 400, (len(image), 2)), size], axis=1).round(2)
    class_id = rng.integers(0, classes, len(image))
    ignore = rng.random(len(image)) < 0.01
    truth = TrueBoxes(image, class_id, xywh, xywh[:, 2] * xywh[:, 3], ignore)

    near = rng.integers(0, max(1, len(image)), images * found // 2) if len(image) else []
    shaken = xywh[near] + rng.normal(0, 0.08, (len(near), 4)) * xywh[near][:, [2, 3, 2, 3]]
    shaken[:, 2:] = np.abs(shaken[:, 2:])
    rest = images * found - len(near)
    invented = np.concatenate([rng.uniform(0, 400, (rest, 2)), rng.uniform(4, 200, (rest, 2))], 1)
    score = rng.beta(1, 5, images * found).round(3)
    score[: len(near)] = rng.beta(4, 2, len(near)).round(3)
    answers = FoundBoxes(
        np.concatenate([image[near], rng.integers(0, images, rest)]),
        np.concatenate([class_id[near], rng.integers(0, classes, rest)]),
        np.concatenate([shaken, invented]),
        score,
    )
    return truth, answers


def ours(images: int, classes: int, truth: TrueBoxes, found: FoundBoxes) -> CocoScores:
    names = {class_id: str(class_id) for class_id in range(classes)}
    return coco_scores(np.arange(images), names, truth, found)


def as_records(truth: TrueBoxes, found: FoundBoxes) -> tuple[list[Any], list[Any]]:
    """The same boxes as the dictionaries that pycocotools reads."""
    annotations = [
        {
            "id": number + 1,
            "image_id": image,
            "category_id": class_id,
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
        }
        for number, (image, class_id, box, area, crowd) in enumerate(
            zip(
                truth.image.tolist(),
                truth.class_id.tolist(),
                truth.xywh.tolist(),
                truth.area.tolist(),
                truth.ignore.tolist(),
                strict=True,
            )
        )
    ]
    results = [
        {"image_id": image, "category_id": class_id, "bbox": box, "score": score}
        for image, class_id, box, score in zip(
            found.image.tolist(),
            found.class_id.tolist(),
            found.xywh.tolist(),
            found.score.tolist(),
            strict=True,
        )
    ]
    return annotations, results


def theirs(images: int, classes: int, annotations: list[Any], results: list[Any]) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = {
            "images": [{"id": image} for image in range(images)],
            "categories": [{"id": number, "name": str(number)} for number in range(classes)],
            "annotations": annotations,
        }
        dataset.createIndex()
        judge = COCOeval(dataset, dataset.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--boxes", type=int, default=7, help="true boxes a picture, on average")
    parser.add_argument("--found", type=int, default=100, help="predicted boxes a picture")
    parser.add_argument("--repeats", type=int, default=5, help="of ours; the best counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="100 pictures, 2 repeats")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if options.quick:
        options.images, options.repeats = 100, 2

    size = (options.images, options.classes)
    truth, found = make_set(*size, options.boxes, options.found, options.seed)
    seconds = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        scores = ours(*size, truth, found)
        numbers = scores.summary()
        seconds.append(time.perf_counter() - start)
    records = as_records(truth, found)
    start = time.perf_counter()
    judge = theirs(*size, *records)
    oracle = time.perf_counter() - start

    plain = [-1.0 if value is None else value for value in numbers.values()]
    equal = plain == judge.stats.tolist() and np.array_equal(
        scores.precision, judge.eval["precision"][..., -1]
    )
    work = f"COCO evaluation, {options.images} pictures, {len(found.score)} boxes"
    rows = [
        {
            "work": work,
            "who": "whatwhere",
            "version": ww.__version__,
            "seconds": round(min(seconds), 4),
            "ratio": 1.0,
        },
        {
            "work": work,
            "who": "pycocotools",
            "version": version("pycocotools"),
            "seconds": round(oracle, 4),
            "ratio": round(oracle / min(seconds), 1),
        },
        {
            "work": "numbers equal to the bit",
            "who": "whatwhere",
            "version": ww.__version__,
            "value": int(equal),
            "ratio": 1.0,
        },
    ]
    if options.json:
        for row in rows:
            print(json.dumps(row))
    else:
        for row in rows:
            measured = f"{row['seconds']:.3f} s" if "seconds" in row else row["value"]
            print(
                f"{row['work']:52} {row['who']:22} {row['version']:>8} {measured!s:>10}"
                f" {row['ratio']:>7}x"
            )
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
