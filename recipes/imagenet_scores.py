"""Score `imagenet-lite0`, and the names that `default` gives to objects.

    python recipes/imagenet_scores.py FOLDER

FOLDER holds `images/`, whose file names begin with an ImageNet synset ("n02123159_..."),
and `machine_boxes.json`: COCO boxes in those pictures with COCO's super-categories. Prints
the lines that stand in the model cards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from timm.data import ImageNetInfo

from whatwhere.images import read_image
from whatwhere.runtime import Predictor, cascade, shipped
from whatwhere.runtime.decode import softmax
from whatwhere.transforms import Preprocess
from whatwhere.types import Image, as_boxes


def probabilities(model: Predictor, inputs: list[Image]) -> NDArray[np.float64]:
    """Probabilities (N, 1000) for pictures that already have the model's size."""
    batches = [np.stack(inputs[start : start + 32]) for start in range(0, len(inputs), 32)]
    return softmax(np.concatenate([model.backend(batch)["logits"] for batch in batches]))


def score_resampling(
    model: Predictor, pictures: dict[str, Image], truth: Callable[[str], int]
) -> None:
    targets = np.array([truth(name) for name in pictures])
    for resample in ("area", "bilinear", "bicubic"):
        fit = Preprocess((224, 224), "crop", 0.875, resample)
        shares = probabilities(model, [fit(image)[0] for image in pictures.values()])
        order = np.argsort(-shares, axis=1)
        top1 = (order[:, 0] == targets).mean()
        top5 = (order[:, :5] == targets[:, None]).any(axis=1).mean()
        print(f"{resample}: {len(targets)} pictures, top-1 {top1:.3f}, top-5 {top5:.3f}")


def score_names(
    model: Predictor, pictures: dict[str, Image], truth: Callable[[str], int], boxes: Path
) -> None:
    """How often a box gets a name, and how often it is the class of the picture."""
    fits = cascade.read_supercategories(shipped.MODELS / "imagenet_supercategories.tsv")
    coco = json.loads(boxes.read_text(encoding="utf-8"))
    kinds = {row["id"]: row["supercategory"] for row in coco["categories"]}
    files = {row["id"]: Path(row["file_name"]).name for row in coco["images"]}
    counts = dict.fromkeys(("fitting", "best", "named", "right", "other", "other_named"), 0)
    for row in coco["annotations"]:
        name, kind = files[row["image_id"]], kinds[row["category_id"]]
        x, y, width, height = row["bbox"]
        box = as_boxes([[x, y, x + width, y + height]])[0]
        crop, geometry = model.prepare(cascade.crop_box(pictures[name], box))
        (answer,) = model.infer([(crop, geometry)], names=[name], evaluation=True)
        given = cascade.choose_name(kind, answer, fits)
        target = model.spec.names[truth(name)]
        if kind in fits[target]:
            counts["fitting"] += 1
            counts["best"] += target == next(n for n in answer.label_names if kind in fits[n])
            counts["named"] += bool(given)
            counts["right"] += bool(given) and given[0].name == target
        else:
            counts["other"] += 1
            counts["other_named"] += bool(given)
    print(
        f"{counts['fitting']} boxes whose kind fits the picture's class: it is the best fitting"
        f" class of {counts['best'] / counts['fitting']:.3f}; named"
        f" {counts['named'] / counts['fitting']:.3f}, of which right"
        f" {counts['right'] / counts['named']:.3f}"
    )
    print(f"{counts['other']} boxes of another kind: {counts['other_named']} got a name")


def main(folder: Path) -> None:
    synsets = {synset: index for index, synset in enumerate(ImageNetInfo().label_names())}

    def truth(name: str) -> int:
        return synsets[name.partition("_")[0]]

    files = sorted((folder / "images").iterdir())
    pictures = {path.name: read_image(path) for path in files}
    model = shipped.load("imagenet-lite0")
    assert isinstance(model, Predictor)
    score_resampling(model, pictures, truth)
    score_names(model, pictures, truth, folder / "machine_boxes.json")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
