"""The end of a run: its model file, the scores of that very file, the report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from whatwhere.data import Dataset
from whatwhere.evaluation import evaluate
from whatwhere.images import write_atomic
from whatwhere.outputs.report import write_report
from whatwhere.runtime import load_file
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import DataSummary, ModelSpec, PostprocessSpec, PreprocessSpec
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.export import checked_file, with_spec
from whatwhere.train.joint import LabelPart, label_numbers
from whatwhere.train.loop import METRICS, WEIGHTS
from whatwhere.train.models import Network
from whatwhere.train.network import architecture, family_of
from whatwhere.train.prepare import CONFIG, parity_pictures
from whatwhere.train.reference import drift_entry
from whatwhere.train.seen import seen_entry
from whatwhere.train.state import State
from whatwhere.train.tiles import seen_objects
from whatwhere.train.watch import Listener

MODEL = "model.onnx"
REPORT = "report.html"


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
        notes: sentences about what an export kept or left out.
    """

    folder: Path
    model: Path
    metrics: Mapping[str, float]
    epochs: int
    best_epoch: int
    seconds: float
    parity: Mapping[str, float]
    notes: tuple[str, ...] = ()

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
            "notes": list(self.notes),
        }


def finish(
    net: Network,
    spec: ModelSpec,
    state: State,
    folder: Path,
    validation: Dataset,
    listener: Listener,
    *,
    path: Path | None = None,
    half: bool = False,
    report: bool = True,
    tensors: Mapping[str, Tensor] | None = None,
    part: LabelPart | None = None,
) -> Run:
    """Make the model file of a run's best weights, score that very file, write both.

    Args:
        net: the network; takes on the weights.
        spec: its spec; gets the scores.
        state: of the training.
        folder: of the run.
        validation: pictures for the comparison with torch and for the scores.
        listener: is told what happens.
        path: of the model file; `model.onnx` in the folder if None.
        half: weights as float16.
        report: write `report.html` too.
        tensors: the weights, if not the best ones.
        part: data of a second head, for its scores.
    """
    began = time.monotonic()
    if tensors is None:
        tensors, _ = load_tensors(folder / WEIGHTS)
    net.cpu().load_state_dict(tensors)
    file, worst = checked_file(net, spec, parity_pictures(validation), half=half)
    predictor = load_file(file, where="the exported model")
    result = evaluate(predictor, validation)
    metrics = {name: value for name, value in result.metrics.items() if value is not None}
    if part is not None:
        metrics |= label_numbers(evaluate(predictor, part.validation, task=part.task))
    today = datetime.now(UTC).date().isoformat()
    final = spec.model_copy(update={"metrics": metrics, "date": today})
    target = path or folder / MODEL
    entries = seen_entry(folder) | drift_entry(predictor, validation, result, listener)
    write_atomic(target, with_metadata(with_spec(file, final), entries, str(target)))
    if report:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        write_report(
            result,
            folder / REPORT,
            training=folder / METRICS,
            settings=settings,
            sheets=sorted(folder.glob("previews/samples-*.png")),
        )
    seconds = state.elapsed + time.monotonic() - began
    differences = ", ".join(f"{name} {value:.1g}" for name, value in worst.items())
    listener.note(f"{target}: differs from torch by at most {differences}")
    return Run(folder, target, metrics, state.epoch, state.best_epoch, seconds, worst)


def make_spec(
    config: TrainConfig, data: Dataset, net: Network, summary: DataSummary, name: str
) -> ModelSpec:
    """The spec of the model in the making."""
    if config.task == "detect":
        preprocess = PreprocessSpec(
            size=(config.height, config.width), fit="letterbox", tile=config.tile
        )
    else:
        preprocess = PreprocessSpec(size=(config.height, config.width), fit="crop", crop=0.95)
    thresholds = {"classify": 0.0, "multilabel": 0.5, "detect": 0.35}
    return ModelSpec(
        name=name,
        task=config.task,
        names=tuple(data.names),
        label_names=net.label_names,
        label_task=net.label_task,
        preprocess=preprocess,
        postprocess=PostprocessSpec(
            **{
                "score_threshold": thresholds[config.task],
                "end_to_end": net.end_to_end,
                **family_of(config).postprocess,
            }
        ),
        architecture=architecture(config),
        source=f"trained by whatwhere from {net.source}",
        license=net.license,
        data=summary,
        objects=seen_objects(data, config.tile) if config.task == "detect" else None,
        reference=config.portable(),
    )
