"""What a model learns in a fixed time: ours, and torchvision's FCOS on the same backbone.

Every competitor gets the same wall-clock budget, data, backbone and ImageNet weights, one
after the other, and is scored on the test split by the same code.

    python benchmarks/training.py bccd ../shared/data/bccd --budget 10m --peer
    python benchmarks/training.py cifar10 ../shared/data/cifar10_folders --budget 10m
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import whatwhere as ww
from whatwhere.images import read_image
from whatwhere.metrics import score
from whatwhere.train.config import parse_budget
from whatwhere.train.models.backbone import create_backbone
from whatwhere.transforms import resize
from whatwhere.types import Prediction

TASKS = {"bccd": "detect", "cifar10": "classify"}
KEYS = {"bccd": ("AP", "AP50"), "cifar10": ("accuracy",)}


class Log:
    """Notes of the training on standard error."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def steps(self, done: int, total: int, about: str) -> None:
        """Not shown."""


def ours(work: str, data: ww.Dataset, budget: str, folder: Path) -> dict[str, Any]:
    run = ww.train(data, task=TASKS[work], budget=budget, out=folder / work, listener=Log())
    result = ww.evaluate(run.model, data, split="test")
    return {"seconds": run.seconds, **{key: result[key] for key in KEYS[work]}}


def fcos(data: ww.Dataset, budget: float) -> dict[str, Any]:
    """A plain torchvision FCOS: frozen batch norms, AdamW, one cycle, bfloat16, flips."""
    from torchvision.models.detection import FCOS
    from torchvision.ops import FeaturePyramidNetwork, misc

    class Body(torch.nn.Module):
        out_channels = 128

        def __init__(self) -> None:
            super().__init__()
            made = create_backbone("tf_efficientnet_lite0", levels=(8, 16, 32))
            self.net = made.net
            self.pyramid = FeaturePyramidNetwork(list(made.channels), self.out_channels)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            names = ("0", "1", "2")
            return self.pyramid(dict(zip(names, self.net(x), strict=True)))

        def train(self, mode: bool = True) -> Body:
            super().train(mode)
            for module in self.net.modules():
                if isinstance(module, torch.nn.BatchNorm2d | misc.FrozenBatchNorm2d):
                    module.eval()
            return self

    from torchvision.models.detection.anchor_utils import AnchorGenerator

    started = time.monotonic()
    torch.manual_seed(0)
    body = Body()
    model = FCOS(
        body,
        num_classes=len(data.names),
        anchor_generator=AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3),
        min_size=240,
        max_size=320,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).train()
    train, test = data.split_named("train"), data.split_named("test")
    pictures = []
    for i, path in enumerate(train.paths):
        image = read_image(path)
        ratio = 320 / max(image.shape[:2])
        small = resize(image, (round(image.shape[0] * ratio), round(image.shape[1] * ratio)))
        targets = train.targets(i)
        assert targets.boxes is not None
        pictures.append((small, targets.boxes * ratio, targets.class_ids))
    head = [p for n, p in model.named_parameters() if not n.startswith("backbone.net")]
    optimizer = torch.optim.AdamW(
        [{"params": list(body.net.parameters()), "lr": 2e-4}, {"params": head, "lr": 1e-3}]
    )
    rng, peak = np.random.default_rng(0), [2e-4, 1e-3]
    steps = 0
    # Leave time for the test pictures, as the other side leaves it for its export.
    while (progress := (time.monotonic() - started) / (budget - 20)) < 1:
        factor = min(progress / 0.1, 1.0) * (1 + math.cos(math.pi * progress)) / 2 + 0.01
        for group, rate in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = rate * factor
        images, targets_list = [], []
        for row in rng.choice(len(pictures), 16):
            image, boxes, ids = pictures[int(row)]
            tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
            box = torch.from_numpy(boxes.copy())
            if rng.random() < 0.5:
                tensor = tensor.flip(-1)
                box = torch.stack(
                    [image.shape[1] - box[:, 2], box[:, 1], image.shape[1] - box[:, 0], box[:, 3]],
                    1,
                )
            images.append(tensor)
            targets_list.append({"boxes": box, "labels": torch.from_numpy(ids.copy())})
        with torch.autocast("cpu", torch.bfloat16):
            losses = model(images, targets_list)
        loss = sum(losses.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        steps += 1
    model.eval()
    answers = []
    for path in test.paths:
        image = read_image(path)
        with torch.no_grad():
            (out,) = model([torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255])
        answers.append(
            Prediction(
                image.shape[1],
                image.shape[0],
                object_names=tuple(data.names[int(i)] for i in out["labels"]),
                object_scores=out["scores"].numpy().astype(np.float32),
                boxes=out["boxes"].numpy().astype(np.float32),
            )
        )
    numbers = score("detect", test, answers)
    print(f"FCOS: {steps} steps", file=sys.stderr)
    return {"seconds": time.monotonic() - started, "AP": numbers["AP"], "AP50": numbers["AP50"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="?", choices=sorted(TASKS), default="bccd")
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data/bccd"))
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--peer", action="store_true", help="bccd: also torchvision's FCOS")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.budget = "60s"
    if not arguments.data.exists():
        print(f"skipped: {arguments.data} is not here", file=sys.stderr)
        return
    data = ww.read(arguments.data)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        made = ours(arguments.work, data, arguments.budget, Path(folder))
        results.append(("whatwhere", ww.__version__, made))
        print(made, file=sys.stderr, flush=True)
    if arguments.peer and arguments.work == "bccd":
        made = fcos(data, parse_budget(arguments.budget))
        results.append(("torchvision FCOS", version("torchvision"), made))
    for key in KEYS[arguments.work]:
        base = results[-1][2][key]
        for who, release, numbers in results:
            row = {
                "work": f"{arguments.work} {arguments.budget} {key}",
                "who": who,
                "version": release,
                "value": round(numbers[key], 4),
                "ratio": round(numbers[key] / base, 3) if base else None,
                "seconds": round(numbers["seconds"]),
            }
            print(
                json.dumps(row)
                if arguments.json
                else f"{row['work']:24} {who:18} {row['value']:.4f}  ({row['seconds']} s)"
            )


if __name__ == "__main__":
    main()
