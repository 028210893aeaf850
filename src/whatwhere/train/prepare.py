"""What is settled before the first step: the run's folder, its data, sizes, device."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from whatwhere.data import Dataset, read
from whatwhere.errors import ImageError, TrainError, UsageError
from whatwhere.images import read_image
from whatwhere.metrics import METRICS
from whatwhere.specs import DataSummary
from whatwhere.train.config import DEFAULT_BUDGET, TrainConfig
from whatwhere.train.loop import CHECKPOINT
from whatwhere.train.network import family_of
from whatwhere.train.scales import check_scales
from whatwhere.train.setting import parse_budget
from whatwhere.types import Image, Task

if TYPE_CHECKING:
    from whatwhere.train.joint import LabelPart

CONFIG = "config.json"
PARITY_PICTURES = 8
_WHOLE: tuple[Task, ...] = ("classify", "multilabel")


def split_data(data: Dataset, config: TrainConfig) -> tuple[Dataset, Dataset]:
    """Training and validation pictures; the test split is never among them.

    Without a split "val", a share of the training pictures is held out, chosen by the seed.
    """
    splits = data.splits
    if "train" in splits:
        training = data.split_named("train")
    elif splits:
        # Pictures of no split count as training pictures here.
        held_back = data.images["split"].is_in(["val", "test"]).fill_null(False)
        training = data.select(np.flatnonzero(~held_back.to_numpy()))
    else:
        training = data
    if "val" in splits:
        return training, data.split_named("val")
    if len(training) < 2:
        raise TrainError(
            f"{data.source or 'the data set'} has too few training pictures ({len(training)}) to"
            " hold some out for validation: add pictures, or a split 'val'"
        )
    share = max(config.validation, 1 / len(training))
    kept, held = training.split(1 - share, share, seed=config.seed, near_duplicates=False)
    return (
        (kept, held)
        if len(held)
        else (training.select(range(1, len(training))), training.select([0]))
    )


def unused_pictures(data: Dataset, training: Dataset, validation: Dataset) -> int:
    """How many pictures are in none of the splits "train", "val" and "test"."""
    return len(data) - len(training) - len(validation) - data.splits.get("test", 0)


def parity_pictures(data: Dataset) -> list[Image]:
    """Some real pictures, spread over a data set, for comparing exports."""
    chosen: list[Image] = []
    for i in np.unique(np.linspace(0, len(data) - 1, PARITY_PICTURES).astype(int)):
        try:
            chosen.append(read_image(data.paths[int(i)]))
        except ImageError as error:
            logging.getLogger(__name__).info("not used for the comparison: %s", error)
    if not chosen:
        raise TrainError("no validation picture can be read: check the data set")
    return chosen


def as_task(data: Dataset, task: Task) -> Dataset:
    """The data set with labels for a task.

    Raises:
        UsageError: its labels do not say enough for it.
    """
    if data.task == task:
        return data
    if task == "multilabel" and data.task == "detect":
        return data.as_multilabel()
    if task == "multilabel":
        return data
    raise UsageError(
        f"{data.source or 'the data set'} has labels for {data.task}, not for {task}:"
        + (
            " detection needs a box for each label"
            if task == "detect"
            else " single-label classification needs exactly one label a picture;"
            " use --task multilabel"
        )
    )


def check_targets(training: Dataset, validation: Dataset) -> None:
    """Refuse data that cannot teach anything before the first step."""
    if len(training) == 0 or training.labels.height == 0:
        raise TrainError(
            f"{training.source or 'the data set'} has {len(training)} training pictures with"
            f" {training.labels.height} labels: nothing can be learnt from them"
        )
    if validation.labels.height == 0:
        raise TrainError(
            f"the {len(validation)} validation pictures have no label, so no score can be"
            " given: add labels or another split"
        )


def complete(config: TrainConfig, data: Dataset) -> TrainConfig:
    """Fill in what is chosen by data and machine.

    Raises:
        UsageError: the device is not there, or input and batch are too small together.
    """
    if not config.epochs and not config.budget:
        config = replace(config, budget=parse_budget(DEFAULT_BUDGET))
    if not (config.height and config.width):
        height, width = choose_size(config, data)
        config = replace(config, height=height, width=width)
    if config.batch == 1 and max(config.height, config.width) <= 32:
        raise UsageError(
            "a batch of 1 with an input of 32 pixels leaves batch norms one value a channel: use"
            " --batch 2 or more"
        )
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no usable CUDA device: use --device cpu")
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if _quick_bfloat16(device) else "32-true"
    check_scales(config)
    names = [metric.name for metric in METRICS[config.task]]
    if family_of(config).two_heads:
        names += [f"label_{metric.name}" for kind in _WHOLE for metric in METRICS[kind]]
    if config.metric and config.metric not in names:
        raise UsageError(
            f"{config.task} has no metric {config.metric!r}: use one of {', '.join(names)}"
        )
    if device == "cpu" and precision == "16-mixed":
        raise UsageError("precision 16-mixed is for GPUs: use bf16-mixed or 32-true on a CPU")
    return replace(config, device=device, precision=precision)


def _quick_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # On a machine with AMX a detector's step (EfficientNet-Lite0, 16 x 256 x 320) took 0.49 s
    # against 0.88 s in float32; without these instructions bfloat16 is emulated.
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def choose_size(config: TrainConfig, data: Dataset) -> tuple[int, int]:
    """(height, width) of the model's input.

    A detector gets the shape of its pictures where nearly all agree (four fifths within a
    tenth of the median aspect ratio), else a square; its tiles are square, too. A classifier
    of tiny pictures gets three times their size: ImageNet weights see little in 32 pixels.
    Many labels in a picture mean small things: these pictures are looked at more closely.
    """
    sizes = data.images.select("width", "height").drop_nulls().to_numpy()
    if config.task != "detect":
        side = config.size
        if not side:
            median = float(np.median(sizes.max(1))) if len(sizes) else 224.0
            most = 320 if config.task == "multilabel" else 224
            side = int(min(most, max(96, np.ceil(3 * median / 32) * 32)))
        return side, side
    side = config.size or 320
    if len(sizes) and not config.tile:
        ratio = sizes[:, 1] / sizes[:, 0]
        median = float(np.median(ratio))
        if np.mean(np.abs(np.log(ratio / median)) < 0.1) >= 0.8:
            short = int(np.ceil(side * min(median, 1 / median) / 32 - 0.05) * 32)
            short = min(side, max(32, short))
            return (short, side) if median <= 1 else (side, short)
    return side, side


def run_folder(folder: str | os.PathLike[str] | None, config: TrainConfig, resume: bool) -> Path:
    """Where the run goes; nothing is made yet, so that refused data leave nothing behind.

    Raises:
        UsageError: another run is there.
    """
    if folder is None:
        number = 1
        while (target := Path("runs") / f"{config.task}-{number}").exists():
            number += 1
    else:
        target = Path(folder)
    if not resume and (target / CHECKPOINT).exists():
        raise UsageError(
            f"{target} holds a run already: go on with it by --resume {target}, or give"
            " another --out"
        )
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file, and a run needs a folder: give another --out")
    return target


def read_settings(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """What `config.json` of a run says: its settings, and all its values.

    Raises:
        TrainError: the file is damaged.
    """
    file = folder / CONFIG
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        config = TrainConfig.from_dict(values)
        missing = {"data", "format", "digest", "names"} - set(values)
    except (ValueError, TypeError, AttributeError, UsageError) as error:
        raise TrainError(f"{file} is damaged ({error}): start the run again") from error
    if missing:
        raise TrainError(f"{file} is damaged (no {min(missing)!r}): start the run again")
    return config, values


def read_again(folder: Path, values: Mapping[str, Any]) -> Dataset:
    """The data set of a run, read as it was then.

    Raises:
        TrainError: it was given in memory.
        DataError: it is not there any more.
    """
    if not values["data"]:
        raise TrainError(
            f"the data of {folder} were given in memory and cannot be read again: hand them over"
            " as data=... from Python"
        )
    return read(values["data"], values["format"], images=values.get("images") or None)


def describe_data(
    whole: Dataset,
    training: Dataset,
    validation: Dataset,
    summary: DataSummary,
    part: LabelPart | None = None,
) -> dict[str, Any]:
    """The part of `config.json` by which the data are found and recognised again."""
    return {
        "data": str(Path(whole.source).resolve()) if whole.source else "",
        "format": whole.format,
        "images": str(Path(whole.images_folder).resolve()) if whole.images_folder else "",
        "digest": summary.digest,
        "validation_digest": validation.digest(),
        "names": list(whole.names),
        "training_pictures": len(training),
        "training_labels": summary.labels,
        "validation_pictures": len(validation),
        "held_out": "val" not in whole.splits,
        **({} if part is None else part.about),
    }


def check_same_data(folder: Path, before: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Refuse to go on with other data than the run began with.

    Args:
        before: values of the run's `config.json`.
        about: the same of the data at hand, by `describe_data`.

    Raises:
        TrainError: class names, pictures or labels differ.
    """
    parts = {
        "names": "class names",
        "digest": "training pictures or their labels",
        "validation_digest": "validation pictures or their labels",
        "label_digest": "training pictures of the second head, or their labels,",
        "label_validation_digest": "validation pictures of the second head, or their labels,",
        "teacher_digest": "teacher's file, beside the data",
        "unlabelled_digest": "pictures without labels, beside those",
    }
    for key, what in parts.items():
        if key in about and before.get(key, about[key]) != about[key]:
            raise TrainError(
                f"the {what} of {about['data'] or 'the data set'} have changed since {folder} was"
                " begun: start a new run"
            )
