"""Turn a finished run into the shipped detector `objects-lite`: model file and model card.

Scores come from COCO val 2017 pictures that no step of the training has seen.

    python recipes/objects_lite_ship.py RUN SHARED_DATA
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from objects_lite_data import COARSE, SUPER

import whatwhere as ww
from whatwhere.images import write_atomic
from whatwhere.runtime import read_spec
from whatwhere.train import export_run
from whatwhere.train.config import TrainConfig
from whatwhere.train.export import with_spec

MODELS = Path(__file__).parents[1] / "src" / "whatwhere" / "models"

CARD = """# objects-lite

Where everyday objects are, as one of 12 kinds: person, vehicle, outdoor, animal, accessory,
sports, kitchen, food, furniture, electronic, appliance, indoor. {parameters:.1f} million
parameters, {height} x {width} px, {megabytes:.1f} MB (weights stored as float16).

A first detector: small, and trained on little data that people labelled. It finds large and
plain objects; it misses many small ones and mistakes one kind for another. Look at the scores
below before relying on it.

## Weights

Apache-2.0. Trained by `whatwhere train` from the ImageNet weights of
[imagenet-lite0](imagenet-lite0.md) (Apache-2.0). Made by

    python recipes/objects_lite_data.py SHARED_DATA objects
    {command}
    python recipes/objects_lite_ship.py RUN SHARED_DATA

Architecture `{architecture}`; {epochs} epochs in {minutes:.0f} minutes on {cores}. Data digest:

    {digest}

Every setting stands in the file's spec: `whatwhere models show objects-lite`.

## Data

{images} photographs with {boxes} boxes by people, mapped to COCO's super-categories: 192 that
people labelled completely, 1,543 in which they looked for some classes, the rest without labels. 65
more, labelled completely, chose the best epoch. What people did not look for, another detector
(YOLOX-nano, Apache-2.0) says: its answers to the whole picture, its mirror image and four parts of
it, fused, with scores fitted to the share of right ones; {answers} objects that are learnt
with these scores. So most boxes are a machine's. Many photographs were collected from the web;
people in them were not asked. None of them is part of Whatwhere.

## Scores

On the {test_images} photographs of COCO val 2017 in `coco128`, {test_boxes} boxes, none of them
used in training or for choosing the epoch (`python recipes/objects_lite_ship.py` prints this
table):

| | AP50 | AP | boxes |
|---|---|---|---|
{rows}

Recall of 100 boxes a picture at IoU 0.5, whatever the class: {recall:.3f}. With so few
pictures, the second decimal is uncertain, and classes with few boxes say little.

## Limits

- Not for counting people, for safety, or for any decision about a person.
- Small objects (below 32 x 32 pixels) are mostly missed: AP {small:.3f}.
- It has learnt photographs of everyday scenes: not aerial, medical, night or drawn pictures.
- The 12 kinds are COCO's and mean what COCO put into them: "outdoor" is traffic lights, signs
  and benches, "indoor" is books, clocks, vases.
"""


def super_categories(data: ww.Dataset) -> ww.Dataset:
    """The same boxes under the names of the 12 super-categories."""
    to = np.array([SUPER.index(COARSE[name]) for name in data.names], np.int32)
    labels = data.labels.with_columns(
        pl.Series("class_id", to[data.labels["class_id"].to_numpy()], pl.Int32)
    )
    return ww.Dataset(data.images, labels, SUPER, source=data.source, root=data.root)


def recall_at_100(model: ww.Predictor, data: ww.Dataset) -> float:
    """Share of the boxes that one of the best 100 covers with IoU of at least 0.5."""
    from whatwhere.images import read_image
    from whatwhere.types import box_iou

    found = total = 0
    for i, path in enumerate(data.paths):
        targets = data.targets(i)
        assert targets.boxes is not None
        truth = targets.boxes[~targets.ignore]
        (answer,) = model.predict_images([read_image(path)], evaluation=True)
        assert answer.boxes is not None
        total += len(truth)
        best = answer.boxes[:100]
        if len(truth) and len(best):
            found += int((box_iou(truth, best).max(1) >= 0.5).sum())
    return found / total


def command(settings: dict[str, Any]) -> str:
    """The command that makes such a run, with what differs from the usual settings."""
    given = {"size", "budget", "seed", "task", "teacher", "height", "width"}
    other = {
        field.name: settings[field.name]
        for field in fields(TrainConfig)
        if field.name in ("grow", "zoom", "mosaic", "multi_scale", "start", "epochs")
        and field.name not in given
        and settings[field.name] != field.default
    }
    budget = f" --budget {settings['budget'] / 60:.0f}m" if settings["budget"] else ""
    return (
        f"whatwhere train objects/data --task detect --size {settings['size']}{budget}"
        f" --seed {settings['seed']} \\\n        --set teacher=objects/answers.jsonl"
        + "".join(f" --set {name}={value:g}" for name, value in other.items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("shared", type=Path, help="folder of the labelled sets")
    parser.add_argument("--cores", default="two CPU cores", help="what it was trained on")
    arguments = parser.parse_args()
    target = MODELS / "objects-lite.onnx"
    run = export_run(arguments.run, target, half=True, name="objects-lite")
    test = super_categories(ww.read(arguments.shared / "coco128").split_named("val"))
    model = ww.load(target)
    result = ww.evaluate(model, test)
    metrics = {name: value for name, value in result.metrics.items() if value is not None}
    spec = read_spec(target)
    spec = spec.model_copy(
        update={
            "metrics": metrics,
            "license": "Apache-2.0",
            "postprocess": spec.postprocess.model_copy(update={"score_threshold": 0.3}),
        }
    )
    write_atomic(target, with_spec(target.read_bytes(), spec))
    rows = [f"| **all** | {result['AP50']:.3f} | {result['AP']:.3f} | {test.labels.height} |"]
    counts = np.bincount(test.labels["class_id"].to_numpy(), minlength=len(SUPER))
    for name, count in zip(SUPER, counts, strict=True):
        values = result.per_class.get(name, {})
        numbers = [values.get(key) for key in ("AP50", "AP")]
        text = [("-" if value is None else f"{value:.3f}") for value in numbers]
        rows.append(f"| {name} | {text[0]} | {text[1]} | {count} |")
    settings = json.loads((arguments.run / "config.json").read_text(encoding="utf-8"))
    seconds = run.seconds
    assert spec.data is not None
    answers = sum(
        line.count('"score"') for line in Path(settings["teacher"]).read_text("utf-8").splitlines()
    )
    card = CARD.format(
        parameters=target.stat().st_size / 2e6,
        height=spec.preprocess.size[0],
        width=spec.preprocess.size[1],
        megabytes=target.stat().st_size / 1e6,
        command=command(settings),
        cores=arguments.cores,
        answers=f"{answers:,}",
        architecture=spec.architecture,
        epochs=run.epochs,
        minutes=seconds / 60,
        digest=spec.data.digest,
        images=f"{spec.data.images:,}",
        boxes=f"{spec.data.labels:,}",
        test_images=len(test),
        test_boxes=f"{test.labels.height:,}",
        rows="\n".join(rows),
        recall=recall_at_100(model, test),
        small=metrics.get("APs", float("nan")),
    )
    write_atomic(MODELS / "objects-lite.md", card)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
