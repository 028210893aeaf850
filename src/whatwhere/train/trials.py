"""Train both ways on the same boxes and measure both on the same pictures, for `advise`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from whatwhere.data import Dataset
from whatwhere.errors import ImageError, TrainError, UsageError
from whatwhere.evaluation import Result, evaluate
from whatwhere.evaluation.advice import Trial, Trials
from whatwhere.evaluation.comparison import compare
from whatwhere.evaluation.latency import latency
from whatwhere.images import read_image
from whatwhere.runtime import load_file
from whatwhere.train.recipes import recipe
from whatwhere.train.run import Run, train_model
from whatwhere.train.setting import parse_budget
from whatwhere.train.watch import Listener
from whatwhere.types import Image, Task

BUDGET = "2m"
_SPLITS = {"train": 0.7, "val": 0.15, "test": 0.15}
_TIMED = 8
"""Pictures that latency is measured on."""


def try_both(
    data: Dataset,
    *,
    budget: str | float | None = BUDGET,
    models: Mapping[Task, str] | None = None,
    settings: Mapping[str, str] | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    listener: Listener | None = None,
) -> Trials:
    """Train multi-label and detection on the same pictures, and compare what they say is there.

    Both are measured on the split "test"; where there is none on "val", which then also chose
    the best weights of both; data without splits is divided 70 : 15 : 15 first.

    Args:
        data: labelled with boxes.
        budget: wall-clock time of both trainings together, half for each; None where the
            settings have `epochs`.
        models: family and size for "multilabel" and "detect"; the usual ones if left out.
        settings: fields of `TrainConfig` as text, for both.
        seed: of division and training.
        out: folder for the two runs, `multilabel` and `detect`; `runs/<task>-<number>` if None.
        listener: is told what happens.

    Raises:
        UsageError: the data has no boxes, or a setting is not right.
        TrainError: nothing can be learnt, or a picture cannot be read.
    """
    if data.task != "detect":
        raise UsageError(
            f"{data.source or 'the data'} has labels for {data.task}: only data with boxes can be"
            " trained both ways"
        )
    notes = []
    if not data.splits:
        data = data.with_splits(_SPLITS, seed=seed)
        notes.append("the data had no splits: divided 70 : 15 : 15 into train, val and test")
    measured = next((name for name in ("test", "val") if name in data.splits), None)
    if measured is None:
        raise TrainError(
            f"{data.source or 'the data'} has neither test nor val pictures to measure on: divide"
            " it anew with 'data split'"
        )
    if measured == "val":
        notes.append(
            "measured on val, by which the best weights were chosen: both look a little better"
            " than they are"
        )
    part = data.split_named(measured)
    given = dict(settings or {})
    if budget is not None and "epochs" not in given:
        given["budget"] = str(parse_budget(budget) / 2)
    trials, results = [], []
    for task in ("multilabel", "detect"):
        run = _train(data, task, (models or {}).get(task, ""), given, seed, out, listener)
        trial, result = _measured(task, run, part)
        trials.append(trial)
        results.append(result)
    names = {name for result in results for name in result.notes if "unknown" in name}
    difference = compare(*results, names=("multilabel", "detect"), seed=seed)["mAP"]
    return Trials(tuple(trials), difference, len(part), (*notes, *sorted(names)))


def _train(
    data: Dataset,
    task: Task,
    model: str,
    settings: Mapping[str, str],
    seed: int,
    out: str | os.PathLike[str] | None,
    listener: Listener | None,
) -> Run:
    config = recipe(task, model).with_settings({**settings, "seed": str(seed)})
    if listener:
        listener.note(f"training {task}, {config.model}")
    folder = None if out is None else Path(out) / task
    return train_model(data, config, folder, listener=listener)


def _measured(task: Task, run: Run, part: Dataset) -> tuple[Trial, Result]:
    """The trial, and its result as labels of whole pictures."""
    predictor = load_file(run.model)
    as_labels = evaluate(predictor, part, task="multilabel")
    own = as_labels if task == "multilabel" else evaluate(predictor, part)
    trial = Trial(
        task=task,
        model=predictor.spec.name,
        folder=str(run.folder),
        what=as_labels["mAP"],
        metrics=dict(own),
        ms=latency(predictor, _pictures(part)),
        seconds=run.seconds,
    )
    return trial, as_labels


def _pictures(part: Dataset) -> list[Image]:
    found: list[Image] = []
    for path in part.paths:
        try:
            found.append(read_image(path))
        except ImageError:
            continue  # evaluation has counted it as missed
        if len(found) == _TIMED:
            break
    if not found:
        raise TrainError(f"no picture of {part.source or 'the data'} can be read to measure on")
    return found
