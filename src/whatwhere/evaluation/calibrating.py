"""Calibrate a model on labelled pictures, choose its thresholds, and write both into its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from whatwhere.data import Dataset
from whatwhere.errors import ModelError, UsageError
from whatwhere.evaluation.matching import Head, Match, match, some
from whatwhere.evaluation.run import second_data
from whatwhere.evaluation.tuning import Tuned, Wishes
from whatwhere.evaluation.tuning_classes import tune_classes
from whatwhere.evaluation.tuning_scores import tune_scores
from whatwhere.images import write_atomic
from whatwhere.metrics.operating import Goal
from whatwhere.runtime import Failure, Predictor, load
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.loading import find_file
from whatwhere.runtime.onnxfile import read_header
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import SPEC_KEY, AnswerSpec, CalibrationSummary, DataSummary, ModelSpec
from whatwhere.types import Prediction, Task

Progress = Callable[[int, int], None]
Auto = Literal["auto"]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What `calibrate` found.

    Args:
        spec: of the model with all of it, as it is or would be written.
        main: the head that the data judge.
        labels: a detector's second head, if the data judge it too.
        model, source, split: what was calibrated, and on which pictures.
        out: the file that was written; None if none was.
        unreadable: pictures that were left out.
        notes: sentences about what is doubtful or was left out.
    """

    spec: ModelSpec
    main: Tuned
    labels: Tuned | None
    model: str
    source: str
    split: str | None
    out: Path | None = None
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def failed(self) -> tuple[str, ...]:
        """Sentences about what was asked for and cannot be had; it is not in the file."""
        return self.main.failed + (() if self.labels is None else self.labels.failed)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `calibrate --json`: plain values, undefined numbers as null."""
        return {
            **self.main.to_dict(),
            "model": self.model,
            "data": self.source,
            "split": self.split,
            "out": None if self.out is None else str(self.out),
            "unreadable": list(self.unreadable),
            "notes": [*self.notes, *self.main.notes],
            **({} if self.labels is None else {"labels": self.labels.to_dict()}),
        }


def calibrate(
    model: Predictor | str | os.PathLike[str],
    data: Dataset,
    *,
    split: str | None = None,
    goal: Goal | str | None = "auto",
    per_class: bool = True,
    nearest: bool = False,
    scores: bool = True,
    abstain: float | None = None,
    confidence: float | None = None,
    conformal: float | None = None,
    sets: Literal["lac", "aps"] = "lac",
    out: str | os.PathLike[str] | None = None,
    batch: int | None = None,
    backend: str = "auto",
    progress: Progress | None = None,
) -> Calibration:
    """Make scores mean what they say, and choose the thresholds that go with them.

    Fits on labelled pictures that the model was not trained on: a temperature for single-label
    heads, Platt's or the isotonic map for each class of others, whichever is better in folds;
    then what is asked for. The runtime, `evaluate` and the server read all of it from the model
    file. Which boxes a detector finds does not change, only what their scores say and which
    are kept.

    Args:
        model: a predictor, or what `runtime.load` takes.
        data: labelled pictures, a few hundred at least.
        split: use this split of the data only; None for all of it.
        goal: of the thresholds, such as "f1", "precision=0.9", "recall=0.95" or "cost=1:5" (wrong
            to missed). "auto": F1 for multi-label heads and boxes, none for single-label ones;
            None: thresholds keep the answers that they keep now. A single-label answer whose
            class does not reach its threshold is "not sure".
        per_class: a threshold for each class; otherwise one for all.
        nearest: where a goal cannot be reached, take what comes nearest; otherwise such classes
            keep their thresholds.
        scores: calibrate scores; otherwise they stay as the file has them.
        abstain: share of wrong answers that is accepted of a single-label head; pictures with
            less sure answers are "not sure".
        confidence: with which `abstain` holds on new pictures, such as 0.95; None: it holds on
            these.
        conformal: chance with which a set of classes is to hold the right one, such as 0.9.
        sets: "lac" for the smallest sets, "aps" for sets that grow with difficulty.
        out: write the model with all of it to this file, which may be the model's own.
        batch, backend: as in `evaluate`.
        progress: called with the pictures done and their total.

    Raises:
        UsageError: model, data and wishes do not fit together, or there are too few pictures.
        ModelError: the model is missing, damaged, or its file cannot be written anew.
    """
    predictor = load(model, backend=backend) if isinstance(model, str | os.PathLike) else model
    if isinstance(predictor, Pair):
        raise UsageError(
            f"{predictor.name} is a pair of models: calibrate {predictor.detector.name} or"
            f" {predictor.classifier.name} by itself"
        )
    for name, share in (("abstain", abstain), ("confidence", confidence), ("conformal", conformal)):
        if share is not None and not 0 < share < 1:
            raise UsageError(f"{name} must lie between 0 and 1, not {share}")
    target = None if out is None else Path(out)
    file = None if target is None else _file(model, predictor, target)
    spec = predictor.spec
    part = data if split is None else data.split_named(split)
    heads = [Head(spec.task, spec.names)]
    if spec.label_names:
        heads.append(Head(spec.label_task, spec.label_names))
    way = match(heads, part, predictor.name)
    if way.head.task != way.task:
        raise UsageError(
            f"model {predictor.name} gives boxes, and {part.source} has none to compare them with:"
            " calibrate it on data with boxes"
        )
    wishes = Wishes(
        per_class=per_class,
        nearest=nearest,
        scores=scores,
        risk=abstain,
        confidence=confidence,
        coverage=conformal,
        sets=sets,
    )
    notes = list(way.notes)
    digests = {part.digest(), data.digest()}
    if spec.data is not None and spec.data.digest in digests:
        notes.append(
            "the model was trained on these very pictures, on which it is surer and better than on"
            " others: calibrate on pictures that it has not seen"
        )
    if spec.calibration is not None and spec.calibration.data.digest in digests:
        notes.append(
            "the model was calibrated on these very pictures before, so that the numbers of before"
            " look better than they are"
        )
    predictions, unreadable = _predict(predictor, part, batch, progress)
    if unreadable:
        notes.append(
            f"{len(unreadable)} of {len(part)} pictures cannot be read and are left out:"
            f" {some(unreadable)}"
        )
        keep = [row for row, one in enumerate(predictions) if one is not None]
        part = part.select(keep)
    answers = [one for one in predictions if one is not None]
    main = way.head is heads[0]
    second, second_way = None, None
    if way.task == "detect" and spec.label_names:
        second = second_data(spec, part)
        if second is not None:
            second_way = match(heads[1:], second, predictor.name)
    _check(way.task, None if second_way is None else second_way.task, wishes, predictor.name)
    tuned = _tune(spec, way, part, answers, wishes, goal, main=main)
    changed = spec.with_answers(tuned.answers, main=main)
    labels = None
    if second is not None and second_way is not None:
        labels = _tune(spec, second_way, second, answers, wishes, goal, main=False)
        changed = changed.with_answers(labels.answers, main=False)
    wanted = goal if isinstance(goal, str | None) else repr(goal)
    changed = changed.model_copy(
        update={"calibration": _summary(part, split, wishes, wanted, tuned, labels)}
    )
    if target is not None and file is not None:
        entry = {SPEC_KEY: changed.model_dump_json()}
        write_atomic(target, with_metadata(file, entry, str(target)))
    return Calibration(
        spec=changed,
        main=tuned,
        labels=labels,
        model=predictor.name,
        source=str(data.source),
        split=split,
        out=target,
        unreadable=tuple(unreadable),
        notes=tuple(notes),
    )


def plain(spec: ModelSpec) -> ModelSpec:
    """The spec that gives all answers with scores as the model gives them.

    Boxes come one for each place, as in a prediction, down to the evaluation's threshold; of
    labels all.
    """
    every = AnswerSpec.model_construct(thresholds=dict.fromkeys(spec.names, 0.0))
    others = AnswerSpec.model_construct(thresholds=dict.fromkeys(spec.label_names, 0.0))
    post = spec.postprocess
    changed = post.model_copy(
        update={
            "score_threshold": post.evaluation_threshold,
            "top": max(len(spec.names), len(spec.label_names)),
        }
    )
    bare = spec.with_answers(every if spec.task == "multilabel" else AnswerSpec())
    bare = bare.with_answers(
        others if spec.label_task == "multilabel" else AnswerSpec(), main=False
    )
    return bare.model_copy(update={"postprocess": changed})


def _predict(
    predictor: Predictor, data: Dataset, batch: int | None, progress: Progress | None
) -> tuple[list[Prediction | None], list[str]]:
    """An answer a picture, None for those that cannot be read, and their names."""
    bare = Predictor(plain(predictor.spec), predictor.backend)
    short = data.relative_paths()
    found: list[Prediction | None] = []
    unreadable = []
    size = predictor.batch if batch is None else batch
    for row, item in enumerate(bare.stream(data.paths, batch=size)):
        if isinstance(item, Failure):
            unreadable.append(short[row])
        found.append(None if isinstance(item, Failure) else item)
        if progress is not None and (len(found) % size == 0 or len(found) == len(data)):
            progress(len(found), len(data))
    return found, unreadable


def _check(task: Task, second: Task | None, wishes: Wishes, name: str) -> None:
    asked = wishes.risk is not None or wishes.coverage is not None
    if asked and "classify" not in (task, second):
        raise UsageError(
            f"abstaining and sets of classes are for single-label models, and {name} is of task"
            f" {task}: ask for a precision instead"
        )
    if wishes.confidence is not None and wishes.risk is None:
        raise UsageError("the confidence is that of the accepted risk: ask for abstaining, too")


def _tune(
    spec: ModelSpec,
    way: Match,
    data: Dataset,
    predictions: list[Prediction],
    wishes: Wishes,
    goal: Goal | str | None,
    *,
    main: bool,
) -> Tuned:
    current = spec.answers if main else spec.label_answers
    names = spec.names if main else spec.label_names
    if goal == "auto":
        goal = None if way.task == "classify" else "f1"
    wanted = Goal.parse(goal) if isinstance(goal, str) else goal
    wishes = replace(wishes, goal=wanted)
    if way.task == "classify":
        if wishes.risk is not None and wanted is not None and not wishes.per_class:
            raise UsageError(
                "one threshold for all classes and a score for abstaining are the same thing: ask"
                " for one of them"
            )
        return tune_classes(data, predictions, names, current, wishes)
    viewed = predictions
    if way.task == "multilabel":
        nothing = np.zeros(0, np.float32)
        viewed = [
            replace(one, object_names=(), object_scores=nothing, boxes=None, object_labels=())
            for one in predictions
        ]
    return tune_scores(
        way.task,
        data,
        viewed,
        names,
        way.classes,
        current,
        spec.postprocess.score_threshold,
        replace(wishes, risk=None, coverage=None),
    )


def _file(model: Predictor | str | os.PathLike[str], predictor: Predictor, target: Path) -> bytes:
    """The bytes of the model that is to be written anew."""
    from whatwhere.runtime import shipped

    if isinstance(model, Predictor):
        raise UsageError("a loaded predictor has no file to write anew: give the path of its file")
    if os.fspath(model) in shipped.names():
        return shipped.model_bytes(os.fspath(model))
    path = find_file(model)
    header = read_header(path, str(path))
    if SPEC_KEY not in header.metadata:
        raise ModelError(
            f"{path} is not a Whatwhere model, so that nothing can be written into it: leave out"
            f" the file to write, and use what is found with --threshold ({predictor.spec.source})"
        )
    if header.external and target.parent.resolve() != path.parent.resolve():
        raise ModelError(
            f"{path} keeps its weights beside it ({', '.join(header.external)}): write the new file"
            f" into {path.parent}"
        )
    return path.read_bytes()


def _summary(
    data: Dataset,
    split: str | None,
    wishes: Wishes,
    goal: str | None,
    tuned: Tuned,
    labels: Tuned | None,
) -> CalibrationSummary:
    settings = {
        "goal": goal,
        "per_class": wishes.per_class,
        "nearest": wishes.nearest,
        "scores": wishes.scores,
        "abstain": wishes.risk,
        "confidence": wishes.confidence,
        "conformal": wishes.coverage,
        "sets": wishes.sets,
        "method": tuned.method,
    }
    before, after = dict(tuned.before), dict(tuned.after)
    if labels is not None:
        before |= {f"labels {name}": value for name, value in labels.before.items()}
        after |= {f"labels {name}": value for name, value in labels.after.items()}
    name = Path(data.source).name
    return CalibrationSummary(
        data=DataSummary(
            digest=data.digest(),
            images=len(data),
            labels=data.labels.height,
            description=name if split is None else f"{name}, {split}",
        ),
        settings=settings,
        before={key: value for key, value in before.items() if value is not None},
        after={key: value for key, value in after.items() if value is not None},
    )
