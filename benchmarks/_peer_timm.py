"""timm's side of `training_classify.py`: what its train.py does, by timm's public functions.

Two recipes. "script" is train.py without further options: SGD with momentum 0.9 at
0.1 x batch / 256, weight decay 2e-5, random resized crops of 8 % to 100 %, flips, colour jitter
0.4, label smoothing 0.1, cosine schedule. "tuned" adds the options of timm's published command
for EfficientNet-B2 (rand-m9-mstd0.5, random erasing 0.2, an average of the weights) and AdamW at
1e-3, which suits fine-tuning for a few epochs.

train.py counts in epochs and has no time budget: some steps are timed first, outside the budget,
in float32 and in bfloat16; the quicker is taken, and as many epochs are trained as fit. The
warm-up of five epochs is cut to a twentieth, and the average starts short (--model-ema-warmup):
both are meant for 300 epochs. As in train.py, the epoch of the best validation gives the model.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3

BATCH = 64
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "script": {
        "optimizer": {"opt": "sgd", "lr": 0.1 * BATCH / 256, "momentum": 0.9, "weight_decay": 2e-5},
        "loader": {"re_prob": 0.0, "auto_augment": None},
    },
    "tuned": {
        "optimizer": {"opt": "adamw", "lr": 1e-3, "weight_decay": 0.05},
        "loader": {"re_prob": 0.2, "re_mode": "pixel", "auto_augment": "rand-m9-mstd0.5"},
    },
}


def autocast(half: bool) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16, enabled=half)


def step_time(model: torch.nn.Module, loader: Any, loss_of: Any, half: bool) -> float:
    """Median seconds of forward and backward, on a copy."""
    twin = copy.deepcopy(model).train()
    images, classes = next(iter(loader))
    times = []
    for _ in range(6):
        began = time.monotonic()
        with autocast(half):
            loss = loss_of(twin(images), classes)
        loss.backward()
        times.append(time.monotonic() - began)
    return statistics.median(times[2:])


@torch.no_grad()
def logits_of(model: torch.nn.Module, loader: Any, half: bool) -> torch.Tensor:
    model.eval()
    found = []
    for images, _ in loader:
        with autocast(half):
            found.append(model(images).float())
    return torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path, help="folder with train, validation and test")
    parser.add_argument("weights", help="safetensors of the ImageNet weights")
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="tuned")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    torch.manual_seed(42)
    recipe = RECIPES[arguments.recipe]

    sets = {
        name: create_dataset("", root=str(arguments.data), split=name)
        for name in ("train", "validation", "test")
    }
    names = sorted(path.name for path in (arguments.data / "train").iterdir())
    model = timm.create_model(
        arguments.backbone,
        pretrained=True,
        pretrained_cfg_overlay={"file": arguments.weights},
        num_classes=len(names),
    ).to(memory_format=torch.channels_last)
    about = resolve_data_config({"input_size": (3, arguments.size, arguments.size)}, model=model)
    common = {
        "input_size": about["input_size"],
        "batch_size": BATCH,
        "mean": about["mean"],
        "std": about["std"],
        "num_workers": 2,
        "device": torch.device("cpu"),
        "use_prefetcher": False,
    }
    train = create_loader(
        sets["train"],
        is_training=True,
        interpolation="random",
        color_jitter=0.4,
        persistent_workers=True,
        **common,
        **recipe["loader"],
    )
    check = {
        name: create_loader(
            sets[name], interpolation=about["interpolation"], crop_pct=1.0, **common
        )
        for name in ("validation", "test")
    }
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    times = {half: step_time(model, train, loss_of, half) for half in (False, True)}
    half = times[True] < times[False]
    truth = torch.tensor([target for _, target in sets["validation"].reader.samples])
    began = time.monotonic()
    logits_of(model, check["validation"], half)
    # A tenth more for what the trial leaves out: augmentation, optimiser, average.
    each = 1.1 * times[half] * len(train) + time.monotonic() - began

    began = time.monotonic()
    epochs = max(1, int((arguments.budget - 10) / each))
    optimizer = create_optimizer_v2(model, **recipe["optimizer"])
    updates = len(train)
    schedule, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=epochs,
        warmup_epochs=-(-epochs // 20) if epochs > 1 else 0,
        warmup_lr=1e-5,
        step_on_epochs=False,
        updates_per_epoch=updates,
        cooldown_epochs=0,
    )
    average = ModelEmaV3(model, decay=0.9998, use_warmup=True)
    best, best_weights, done = -1.0, {}, 0
    for epoch in range(epochs):
        model.train()
        for images, classes in train:
            with autocast(half):
                loss = loss_of(model(images.contiguous(memory_format=torch.channels_last)), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            average.update(model, step=done)
            schedule.step_update(num_updates=done)
        chosen = average.module if arguments.recipe == "tuned" else model
        accuracy = (logits_of(chosen, check["validation"], half).argmax(1) == truth).float().mean()
        print(f"epoch {epoch + 1}/{epochs}: {accuracy:.4f}", flush=True)
        if accuracy >= best:
            best, best_weights = float(accuracy), copy.deepcopy(chosen.state_dict())
        if time.monotonic() - began + each > arguments.budget:
            break
    seconds = time.monotonic() - began
    model.load_state_dict(best_weights)
    scores = logits_of(model, check["test"], half).softmax(1)
    files = [
        f"{Path(path).parent.name}/{Path(path).name}" for path, _ in sets["test"].reader.samples
    ]
    arguments.out.write_text(
        json.dumps(
            {
                "version": timm.__version__,
                "seconds": seconds,
                "about": f"{epoch + 1} of {epochs} epochs, {1000 * times[half]:.0f} ms a step in"
                f" {'bfloat16' if half else 'float32'}",
                "names": names,
                "scores": dict(zip(files, scores.tolist(), strict=True)),
            }
        )
    )


if __name__ == "__main__":
    main()
