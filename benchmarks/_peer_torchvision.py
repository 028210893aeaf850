"""torchvision's side of `training.py`: its detectors on the backbone and weights that ours has.

Plain use of torchvision's own classes: their anchors, assignment, losses and post-processing;
a pyramid and a head of 128 channels; ImageNet's batch norms kept fixed, AdamW with a warm-up and
half a cosine, bfloat16 where the machine has it, flips.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

import whatwhere as ww
from whatwhere.images import read_image
from whatwhere.train.models.backbone import create_backbone
from whatwhere.train.prepare import _quick_bfloat16 as quick_bfloat16
from whatwhere.transforms import resize

SIDE = 320


class Body(nn.Module):
    """Features of strides 8, 16 and 32, with or without a pyramid."""

    out_channels = 128

    def __init__(self, pyramid: bool = True) -> None:
        super().__init__()
        made = create_backbone("tf_efficientnet_lite0", levels=(8, 16, 32))
        self.net, self.channels = made.net, made.channels
        channels = list(made.channels)
        self.pyramid = FeaturePyramidNetwork(channels, self.out_channels) if pyramid else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        levels = dict(zip(("0", "1", "2"), self.net(x), strict=True))
        return levels if self.pyramid is None else self.pyramid(levels)

    def train(self, mode: bool = True) -> Body:
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def make(kind: str, classes: int, height: int, width: int) -> nn.Module:
    scale = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    fit = {"min_size": min(height, width), "max_size": max(height, width)} | scale
    body = Body(kind != "ssdlite")
    if kind == "fcos":
        points = AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3)
        return FCOS(body, classes, anchor_generator=points, **fit)
    sizes = tuple((s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in (32, 64, 128))
    if kind == "retinanet":
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 3)
        return RetinaNet(body, classes, anchor_generator=anchors, **fit)
    if kind == "faster-rcnn":
        anchors = AnchorGenerator(((24,), (48,), (96,)), ((0.5, 1.0, 2.0),) * 3)
        pool = MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2)
        return FasterRCNN(body, classes + 1, rpn_anchor_generator=anchors, box_roi_pool=pool, **fit)
    boxes = DefaultBoxGenerator([[2, 3]] * 3, min_ratio=0.08, max_ratio=0.6)
    head = SSDLiteHead(
        list(body.channels), boxes.num_anchors_per_location(), classes + 1, nn.BatchNorm2d
    )
    return SSD(body, boxes, (width, height), classes + 1, head=head, **scale)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["fcos", "retinanet", "faster-rcnn", "ssdlite"])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=float, required=True)
    arguments = parser.parse_args()
    started = time.monotonic()
    torch.manual_seed(0)
    data = ww.read(arguments.data)
    train, test = data.split_named("train"), data.split_named("test")
    # torchvision's two-stage and SSD heads count the background as class 0.
    shift = 0 if arguments.kind in ("fcos", "retinanet") else 1
    samples = []
    for i, path in enumerate(train.paths):
        image = read_image(path)
        ratio = SIDE / max(image.shape[:2])
        small = resize(image, (round(image.shape[0] * ratio), round(image.shape[1] * ratio)))
        targets = train.targets(i)
        assert targets.boxes is not None
        samples.append((small, targets.boxes * ratio, targets.class_ids + shift))
    height, width = samples[0][0].shape[:2]
    model = make(arguments.kind, len(data.names), height, width).train()
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in model.named_parameters() if n.startswith("backbone.net")]},
        {"params": [p for n, p in model.named_parameters() if not n.startswith("backbone.net")]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    rng, peak, steps = np.random.default_rng(0), (2e-4, 1e-3), 0
    # Leave time for the test pictures, as the other side leaves it for its export.
    length = arguments.budget - min(20.0, arguments.budget / 10)
    while (progress := (time.monotonic() - started) / length) < 1:
        factor = min(progress / 0.1, 1.0) * (1 + math.cos(math.pi * progress)) / 2 + 0.01
        for group, rate in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = rate * factor
        images, wanted = [], []
        for row in rng.choice(len(samples), 16):
            image, boxes, ids = samples[int(row)]
            tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
            box = torch.from_numpy(boxes.copy())
            if rng.random() < 0.5:
                tensor = tensor.flip(-1)
                x1, y1, x2, y2 = box.unbind(1)
                box = torch.stack([image.shape[1] - x2, y1, image.shape[1] - x1, y2], 1)
            images.append(tensor)
            wanted.append({"boxes": box, "labels": torch.from_numpy(ids.copy())})
        with torch.autocast("cpu", torch.bfloat16, enabled=quick_bfloat16("cpu")):
            loss = sum(model(images, wanted).values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        steps += 1
    seconds = time.monotonic() - started
    predictions = []
    model.eval()
    for path in test.paths:
        image = torch.from_numpy(read_image(path).copy()).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            (found,) = model([image])
        for box, score, kind in zip(
            found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True
        ):
            name = data.names[kind - shift]
            predictions.append({"image": Path(path).name, "name": name, "score": score, "box": box})
    arguments.out.write_text(
        json.dumps(
            {
                "version": version("torchvision"),
                "seconds": seconds,
                "about": f"{steps} steps",
                "predictions": predictions,
            }
        )
    )


if __name__ == "__main__":
    main()
