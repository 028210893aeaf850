"""fastai's side of `training_classify.py`, in a process and an environment of its own.

`vision_learner(...).fine_tune(epochs)` with fastai's usual transforms (`aug_transforms`) and
everything else as it comes: one epoch of the head, then all layers at rates by depth. It has no
time budget: some steps are timed first, outside the budget, and as many epochs are trained as fit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import fastai
import torch
from fastai.vision.all import (
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    vision_learner,
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="folder with train, validation and test")
    parser.add_argument("weights", help="safetensors of the ImageNet weights")
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    torch.manual_seed(42)
    loaders = ImageDataLoaders.from_folder(
        arguments.data,
        train="train",
        valid="validation",
        item_tfms=Resize(arguments.size),
        batch_tfms=aug_transforms(size=arguments.size),
        bs=64,
        num_workers=2,
        device=torch.device("cpu"),
        seed=42,
    )
    learner = vision_learner(
        loaders,
        arguments.backbone,
        metrics=accuracy,
        pretrained_cfg_overlay={"file": arguments.weights},
    )

    def step_time(steps: int = 8) -> float:
        """Median seconds of making a batch, forward and backward, without changing anything."""
        times = []
        batches = iter(loaders.train)
        model = learner.model.train()
        state = {name: value.clone() for name, value in model.state_dict().items()}
        for _ in range(min(steps, len(loaders.train))):
            began = time.monotonic()
            images, classes = next(batches)
            learner.loss_func(model(images), classes).backward()
            times.append(time.monotonic() - began)
        model.zero_grad()
        model.load_state_dict(state)
        return statistics.median(times[2:])

    frozen = step_time()
    learner.unfreeze()
    each = step_time()
    learner.freeze()
    validation = len(loaders.valid_ds) / len(loaders.train_ds) / 2
    head, whole = ((1.05 + validation) * x * len(loaders.train) for x in (frozen, each))
    epochs = max(1, int((arguments.budget - head) / whole))
    began = time.monotonic()
    learner.fine_tune(epochs)
    seconds = time.monotonic() - began
    files = get_image_files(arguments.data / "test")
    probabilities, _ = learner.get_preds(dl=learner.dls.test_dl(files))
    arguments.out.write_text(
        json.dumps(
            {
                "version": fastai.__version__,
                "seconds": seconds,
                "about": f"1 + {epochs} epochs, {1000 * each:.0f} ms a step in float32",
                "names": list(loaders.vocab),
                "scores": {
                    f"{path.parent.name}/{path.name}": row
                    for path, row in zip(files, probabilities.tolist(), strict=True)
                },
            }
        )
    )


if __name__ == "__main__":
    main()
