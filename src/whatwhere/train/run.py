"""A training run from data set to model file."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from whatwhere.data import Dataset, read
from whatwhere.errors import ImageError, TrainError, UsageError
from whatwhere.evaluation import evaluate
from whatwhere.images import read_image, write_atomic
from whatwhere.outputs.report import write_report
from whatwhere.runtime import load_file, read_spec
from whatwhere.specs import DataSummary, ModelSpec, PostprocessSpec, PreprocessSpec
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import DEFAULT_BUDGET, TrainConfig, parse_budget
from whatwhere.train.export import checked_file, with_spec
from whatwhere.train.loop import CHECKPOINT, METRICS, WEIGHTS, Listener, State, fit
from whatwhere.train.network import build, family
from whatwhere.train.samples import Samples
from whatwhere.train.validate import Validation
from whatwhere.types import Image, Task

CONFIG = "config.json"
MODEL = "model.onnx"
REPORT = "report.html"
PARITY_PICTURES = 8


class Silent:
    """A listener that says nothing."""

    def note(self, text: str) -> None:
        """Pass over."""

    def steps(self, done: int, total: int, about: str) -> None:
        """Pass over."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished training run.

    Args:
        folder: where everything lies.
        model: the model file.
        metrics: scores of the best weights on the validation pictures.
        epochs: epochs done; `best_epoch` gave the model.
        seconds: wall-clock time of the whole.
        parity: largest differences between torch and the model file.
    """

    folder: Path
    model: Path
    metrics: Mapping[str, float]
    epochs: int
    best_epoch: int
    seconds: float
    parity: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for `train --json`."""
        return {
            "run": str(self.folder),
            "model": str(self.model),
            "metrics": dict(self.metrics),
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "seconds": round(self.seconds, 1),
            "parity": dict(self.parity),
        }


def train_model(
    data: Dataset | str | os.PathLike[str],
    config: TrainConfig,
    folder: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    listener: Listener | None = None,
    resume: bool = False,
) -> Run:
    """Train, validate, export. See `whatwhere.train.train` for the meaning of the settings.

    Raises:
        TrainError: the data cannot be trained on, or the folder holds another run.
    """
    started = time.monotonic()
    listener = listener or Silent()
    whole = data if isinstance(data, Dataset) else read(data, format)
    config = _complete(config, whole)
    target = _folder(folder, config, resume)
    training, validation_data = split_data(_as_task(whole, config.task), config)
    _check_targets(training, validation_data)
    size = (config.height, config.width)
    # The digest of what is trained on, whatever part of the folder that is.
    summary = DataSummary(
        digest=training.digest(),
        images=len(training),
        labels=training.labels.height,
        description=Path(whole.source).name or whole.format,
    )
    about = {
        "data": str(Path(whole.source).resolve()) if whole.source else "",
        "format": whole.format,
        "digest": summary.digest,
        "names": list(whole.names),
        "training_pictures": len(training),
        "training_labels": summary.labels,
        "validation_pictures": len(validation_data),
        "held_out": "val" not in whole.splits,
    }
    if resume:
        _same_data(target, about)
    write_atomic(target / CONFIG, json.dumps(config.to_dict() | about, indent=2) + "\n")
    listener.note(
        f"{config.task}: {len(training)} pictures to train on, {len(validation_data)} to"
        f" validate, {len(whole.names)} classes, input {size[0]}x{size[1]}, {config.precision}"
    )
    net = build(config, len(whole.names))
    spec = make_spec(config, whole, net, summary, target.name)
    fabric = _fabric(config)
    samples = Samples(training, size, config)
    for row, error in samples.pictures.unreadable.items():
        listener.note(f"left out {training.paths[row]}: {error}")
    validation = Validation(validation_data, spec, config.cache * 2**20 // 4)
    state = fit(
        net,
        samples,
        validation,
        config,
        fabric,
        target,
        listener,
        started=started,
        resume=resume,
    )
    del samples, validation
    return finish(net, spec, state, target, validation_data, listener)


def resume_run(folder: str | os.PathLike[str], listener: Listener | None = None) -> Run:
    """Go on with a run that was stopped; its settings and data are those of its `config.json`.

    Raises:
        TrainError: there is no such run, or its data has changed.
    """
    target = Path(folder)
    file = target / CONFIG
    if not file.is_file() or not (target / CHECKPOINT).is_file():
        raise TrainError(
            f"{target} has no run to resume ({CONFIG} and {CHECKPOINT} are needed): give the"
            " folder of a run that finished at least one epoch"
        )
    values = json.loads(file.read_text(encoding="utf-8"))
    config = TrainConfig.from_dict(values)
    return train_model(
        values["data"], config, target, format=values["format"], listener=listener, resume=True
    )


def finish(
    net: nn.Module,
    spec: ModelSpec,
    state: State,
    folder: Path,
    validation: Dataset,
    listener: Listener,
    *,
    path: Path | None = None,
    half: bool = False,
    report: bool = True,
) -> Run:
    """Make the model file of a run's best weights, score that very file, write both.

    Args:
        net: the network; takes on the best weights.
        spec: its spec; gets the scores.
        state: of the training.
        folder: of the run.
        validation: pictures for the comparison with torch and for the scores.
        listener: is told what happens.
        path: of the model file; `model.onnx` in the folder if None.
        half: weights as float16.
        report: write `report.html` too.
    """
    began = time.monotonic()
    tensors, _ = load_tensors(folder / WEIGHTS)
    net.cpu().load_state_dict(tensors)
    file, worst = checked_file(net, spec, parity_pictures(validation), half=half)
    result = evaluate(load_file(file, where="the exported model"), validation)
    metrics = {name: value for name, value in result.metrics.items() if value is not None}
    today = datetime.now(UTC).date().isoformat()
    final = spec.model_copy(update={"metrics": metrics, "date": today})
    target = path or folder / MODEL
    write_atomic(target, with_spec(file, final))
    if report:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        write_report(result, folder / REPORT, training=folder / METRICS, settings=settings)
    seconds = state.elapsed + time.monotonic() - began
    differences = ", ".join(f"{name} {value:.1g}" for name, value in worst.items())
    listener.note(f"{target}: differs from torch by at most {differences}")
    return Run(folder, target, metrics, state.epoch, state.best_epoch, seconds, worst)


def export_run(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    half: bool = False,
    name: str | None = None,
) -> Run:
    """Write the model file of a run again, for example with weights in half the size.

    Raises:
        TrainError: the folder is no run, or the model file differs from the network.
    """
    target = Path(folder)
    if not (target / CONFIG).is_file() or not (target / WEIGHTS).is_file():
        raise TrainError(
            f"{target} is not the folder of a training run ({CONFIG} and {WEIGHTS} are"
            " needed): give one that 'whatwhere train' wrote"
        )
    values = json.loads((target / CONFIG).read_text(encoding="utf-8"))
    config = TrainConfig.from_dict(values)
    whole = read(values["data"], values["format"])
    _, validation = split_data(_as_task(whole, config.task), config)
    net = build(config, len(values["names"]))
    _, about = load_tensors(target / CHECKPOINT)
    state = State.from_dict(about["state"])
    if (target / MODEL).is_file():
        spec = read_spec(target / MODEL)
    else:
        summary = DataSummary(
            digest=values["digest"],
            images=values["training_pictures"],
            labels=values["training_labels"],
            description=Path(values["data"]).name,
        )
        spec = make_spec(config, whole, net, summary, target.name)
    spec = spec.model_copy(update={} if name is None else {"name": name})
    out = Path(path) if path is not None else target / MODEL
    return finish(net, spec, state, target, validation, Silent(), path=out, half=half, report=False)


def split_data(data: Dataset, config: TrainConfig) -> tuple[Dataset, Dataset]:
    """Training and validation pictures; the test split is never among them.

    Without a split "val", a share of the training pictures is held out, chosen by the seed.
    """
    splits = data.splits
    if "train" in splits:
        training = data.split_named("train")
    elif splits:
        rest = np.flatnonzero(~data.images["split"].is_in(["val", "test"]).to_numpy())
        training = data.select(rest)
    else:
        training = data
    if "val" in splits:
        return training, data.split_named("val")
    if len(training) < 2:
        raise TrainError(
            f"{len(training)} training pictures are too few to hold some out for validation:"
            " add pictures, or a split 'val'"
        )
    share = max(config.validation, 1 / len(training))
    kept, held = training.split(1 - share, share, seed=config.seed)
    return (
        (kept, held)
        if len(held)
        else (training.select(range(1, len(training))), training.select([0]))
    )


def make_spec(
    config: TrainConfig, data: Dataset, net: Any, summary: DataSummary, name: str
) -> ModelSpec:
    """The spec of the model in the making."""
    if config.task == "detect":
        preprocess = PreprocessSpec(size=(config.height, config.width), fit="letterbox")
    else:
        preprocess = PreprocessSpec(size=(config.height, config.width), fit="crop", crop=0.95)
    return ModelSpec(
        name=name,
        task=config.task,
        names=tuple(data.names),
        preprocess=preprocess,
        postprocess=PostprocessSpec(
            score_threshold={"classify": 0.0, "multilabel": 0.5, "detect": 0.35}[config.task]
        ),
        architecture=family(config),
        source=f"trained by whatwhere from {net.source}",
        license=net.license,
        data=summary,
        reference=config.to_dict(),
    )


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


def _as_task(data: Dataset, task: Task) -> Dataset:
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


def _check_targets(training: Dataset, validation: Dataset) -> None:
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


def _complete(config: TrainConfig, data: Dataset) -> TrainConfig:
    """Fill in what is chosen by data and machine."""
    if not config.epochs and not config.budget:
        config = replace(config, budget=parse_budget(DEFAULT_BUDGET))
    if not (config.height and config.width):
        height, width = choose_size(config, data)
        config = replace(config, height=height, width=width)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no usable CUDA device: use --device cpu")
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if _quick_bfloat16(device) else "32-true"
    return replace(config, device=device, precision=precision)


def _quick_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # With AMX or AVX512-BF16 a step took about half of the time in benchmarks; without
    # them bfloat16 is emulated and slower than float32.
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def choose_size(config: TrainConfig, data: Dataset) -> tuple[int, int]:
    """(height, width) of the model's input.

    A detector gets the shape of its pictures where nearly all agree (four fifths within a
    tenth of the median aspect ratio), else a square. A classifier of tiny pictures gets
    three times their size: ImageNet weights see little in 32 pixels.
    """
    sizes = data.images.select("width", "height").drop_nulls().to_numpy()
    if config.task != "detect":
        side = config.size
        if not side:
            median = float(np.median(sizes.max(1))) if len(sizes) else 224.0
            side = int(min(224, max(96, np.ceil(3 * median / 32) * 32)))
        return side, side
    side = config.size or 320
    if len(sizes):
        ratio = sizes[:, 1] / sizes[:, 0]
        median = float(np.median(ratio))
        if np.mean(np.abs(np.log(ratio / median)) < 0.1) >= 0.8:
            short = int(np.ceil(side * min(median, 1 / median) / 32 - 0.05) * 32)
            short = min(side, max(32, short))
            return (short, side) if median <= 1 else (side, short)
    return side, side


def _fabric(config: TrainConfig) -> Fabric:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
        fabric = Fabric(
            accelerator="gpu" if config.device == "cuda" else "cpu",
            devices=1,
            precision=config.precision,  # type: ignore[arg-type]
        )
        fabric.launch()
    return fabric


def _folder(folder: str | os.PathLike[str] | None, config: TrainConfig, resume: bool) -> Path:
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
    target.mkdir(parents=True, exist_ok=True)
    return target


def _same_data(folder: Path, about: Mapping[str, Any]) -> None:
    before = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    for key, what in (("names", "class names"), ("digest", "pictures or labels")):
        if before.get(key) != about[key]:
            raise TrainError(
                f"the {what} of {about['data']} have changed since {folder} was begun: start a"
                " new run"
            )
