"""Multi-label: our recipe against a plain linear probe, from the same ImageNet weights.

Photos of Pascal VOC and COCO become one set of what is in a picture, under COCO's names. VOC's
labels say nothing about COCO's other 60 classes; such pairs count nowhere, in no loss and no
score. Half of the pictures are for training, 15 % choose (our epoch, the probe's L2 penalty), and
35 % are scored by mAP; near duplicates stay together.

The probe is logistic regression, a binary cross-entropy for each class, on the frozen network's
pooled features, standardised, trained to convergence by L-BFGS for each penalty of a wide grid: at
the 224 pixels that the network was made for, and at the size that ours sees.

    python benchmarks/multilabel.py ../shared/data --budget 5m --seeds 3
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch.nn import functional

import whatwhere as ww
from whatwhere.images import read_image
from whatwhere.metrics import score
from whatwhere.metrics.partial import known_pairs
from whatwhere.specs import PreprocessSpec
from whatwhere.train.models.backbone import ScalePixels, create_backbone
from whatwhere.train.recipes import recipe
from whatwhere.types import Prediction

SETS = ("voc2012_mini", "coco128", "coco_tiny")
VOC_TO_COCO = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
PLAIN = 224
PENALTIES = tuple(10.0 ** (k / 2) for k in range(-8, 5))


def photos(folder: Path, extra: bool) -> ww.Dataset:
    """One multi-label set of all photos; with `extra` also the partly labelled ones."""
    parts = []
    for name in (*SETS, *(["photos"] if extra else [])):
        part = ww.read(folder / name)
        mapping = {old: new for old, new in VOC_TO_COCO.items() if old in part.names}
        parts.append(part.rename(mapping))
    return ww.merge(parts).as_multilabel()


def features(data: ww.Dataset, backbone: str, size: int) -> NDArray[np.float64]:
    """The pooled features of each picture, (N, D)."""
    made = create_backbone(backbone, num_classes=0)
    net, scale = made.net.eval(), ScalePixels(made.mean, made.std)
    prepare = PreprocessSpec(size=(size, size), fit="crop", crop=0.95).build()
    found = []
    for path in data.paths:
        image = torch.from_numpy(prepare(read_image(path))[0])[None]
        with torch.no_grad():
            found.append(net(scale(image))[0].numpy())
    return np.stack(found).astype(np.float64)


def targets(data: ww.Dataset) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What is present and what is known, both (N, C)."""
    present = np.zeros((len(data), len(data.names)))
    known = known_pairs(data, "labelled")
    known = np.ones(present.shape, bool) if known is None else known.copy()
    for i in range(len(data)):
        target = data.targets(i)
        present[i, target.class_ids[~target.ignore]] = 1
        known[i, target.class_ids] = True
        known[i, target.class_ids[target.ignore]] = False
    return present, known


def as_predictions(data: ww.Dataset, logits: NDArray[np.float64]) -> list[Prediction]:
    sizes = data.images.select("width", "height").to_numpy()
    answers = []
    for row, (width, height) in zip(logits, sizes, strict=True):
        order = np.argsort(-row, kind="stable")
        scores = (1 / (1 + np.exp(-row[order]))).astype(np.float32)
        names = tuple(data.names[int(i)] for i in order)
        answers.append(Prediction(int(width), int(height), label_names=names, label_scores=scores))
    return answers


def probe(data: ww.Dataset, backbone: str, size: int) -> tuple[float, str]:
    """mAP on the test pictures of the best linear probe, and its penalty."""
    parts = {name: data.split_named(name) for name in ("train", "val", "test")}
    x = {name: features(part, backbone, size) for name, part in parts.items()}
    mean, spread = x["train"].mean(0), x["train"].std(0) + 1e-6
    # Penalised weights lie in the span of the training rows, so nothing is lost by going there.
    _, _, axes = np.linalg.svd((x["train"] - mean) / spread, full_matrices=False)
    inputs = {name: torch.from_numpy((value - mean) / spread @ axes.T) for name, value in x.items()}
    present, known = (torch.from_numpy(value) for value in targets(parts["train"]))
    weight = torch.zeros(len(axes), present.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.full((present.shape[1],), -2.0, dtype=torch.float64, requires_grad=True)
    best, chosen, weights = -1.0, 0.0, None
    # From the strongest penalty on: each result is a start for the next.
    for penalty in reversed(PENALTIES):
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=300, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
        )

        def closure(
            penalty: float = penalty, optimizer: torch.optim.LBFGS = optimizer
        ) -> torch.Tensor:
            optimizer.zero_grad()
            logits = inputs["train"] @ weight + bias
            each = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
            loss = (each * known).sum() / len(logits) + penalty / 2 * weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            found = (inputs["val"] @ weight + bias).numpy()
        value = score("multilabel", parts["val"], as_predictions(parts["val"], found))["mAP"]
        if value > best:
            best, chosen, weights = value, penalty, (weight.detach().clone(), bias.detach().clone())
    assert weights is not None
    logits = (inputs["test"] @ weights[0] + weights[1]).numpy()
    number = score("multilabel", parts["test"], as_predictions(parts["test"], logits))["mAP"]
    return float(number), f"L2 {chosen:.2g}, validation {best:.4f}"


def ours(data: ww.Dataset, seed: int, folder: Path, options: dict[str, Any]) -> tuple[float, str]:
    """mAP on the test pictures of our recipe."""
    run = ww.train(data, task="multilabel", seed=seed, out=folder, **options)
    result = ww.evaluate(run.model, data, split="test")
    return float(result["mAP"]), (
        f"epoch {run.best_epoch} of {run.epochs}, validation {run.metrics['mAP']:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--budget", default="5m", help="of our training, for each seed")
    parser.add_argument("--epochs", type=int, help="in place of a budget")
    parser.add_argument("--seeds", type=int, default=1, help="how many splits and trainings")
    parser.add_argument("--size", type=int, default=320, help="pixels, of ours")
    parser.add_argument("--set", action="append", default=[], help="a setting of ours")
    parser.add_argument("--photos", action="store_true", help="train on partly labelled ones too")
    parser.add_argument("--quick", action="store_true", help="one epoch, one seed, 128 pixels")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    missing = [name for name in SETS if not (arguments.data / name).exists()]
    if missing:
        print(f"skipped: {arguments.data} has no {', '.join(missing)}", file=sys.stderr)
        return
    if arguments.quick:
        arguments.epochs, arguments.seeds, arguments.size = 1, 1, 128
    settings = dict(pair.split("=", 1) for pair in arguments.set)
    length = {"epochs": arguments.epochs} if arguments.epochs else {"budget": arguments.budget}
    options = {**length, "size": arguments.size, "settings": settings}
    backbone = settings.get("backbone", recipe("multilabel").backbone)
    whole = photos(arguments.data, arguments.photos)
    sizes = {f"linear probe, {size} px": size for size in sorted({PLAIN, arguments.size})}
    rows: dict[str, list[tuple[float, float]]] = {"whatwhere": [], **{who: [] for who in sizes}}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            data = whole.with_splits({"train": 0.5, "val": 0.15, "test": 0.35}, seed=seed)
            for who in rows:
                began = time.monotonic()
                if who == "whatwhere":
                    value, about = ours(data, seed, Path(folder) / str(seed), options)
                else:
                    value, about = probe(data, backbone, sizes[who])
                rows[who].append((value, time.monotonic() - began))
                print(
                    f"seed {seed} {who:20} mAP {value:.4f}  ({about})", file=sys.stderr, flush=True
                )
    base = float(np.mean([value for value, _ in rows[f"linear probe, {PLAIN} px"]]))
    for who, found in rows.items():
        value = float(np.mean([value for value, _ in found]))
        row = {
            "work": f"VOC + COCO {len(whole)} photos mAP",
            "who": who,
            "version": ww.__version__ if who == "whatwhere" else f"timm {timm.__version__}",
            "value": round(value, 4),
            "ratio": round(value / base, 3),
            "seconds": round(float(np.mean([seconds for _, seconds in found]))),
        }
        print(
            json.dumps(row)
            if arguments.json
            else f"{row['work']:28} {who:20} {value:.4f}  x{row['ratio']}  ({row['seconds']} s)"
        )


if __name__ == "__main__":
    main()
