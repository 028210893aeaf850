"""Calibration and thresholds of heads with a score for each class: multi-label and boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.data.splitting import group_numbers
from whatwhere.errors import UsageError
from whatwhere.evaluation.tuning import (
    Method,
    Tuned,
    Wishes,
    accepted,
    choose,
    counted,
    doubts,
    shortfalls,
)
from whatwhere.metrics.folds import folds
from whatwhere.metrics.judged import JudgedAnswers, detection_error, judge
from whatwhere.metrics.operating import OperatingPoint
from whatwhere.metrics.recalibrate import FEW, Numbers, answer_numbers, fit_maps
from whatwhere.metrics.reliability import binary_log_loss
from whatwhere.runtime.reading import lowest_raw, read_scores
from whatwhere.specs import AnswerSpec
from whatwhere.types import Prediction, Task

_NEVER = 1.0
"""The threshold of a class that a map never lets reach its own."""


def tune_scores(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    names: tuple[str, ...],
    classes: frozenset[str],
    current: AnswerSpec,
    usual: float,
    wishes: Wishes,
) -> Tuned:
    """Maps and thresholds for the classes of one head.

    Platt's map or the isotonic one, whichever has the lower log loss in folds, if that is lower
    than that of the scores as they are. A class for which no threshold is chosen keeps its
    answers: its old threshold is moved as its scores are.

    Args:
        task: "multilabel" or "detect".
        data: labelled pictures that the model was not trained on; groups stay in one fold.
        predictions: one a picture, with scores as the model gives them, down to low ones. Of
            boxes one for each place, as a prediction has them.
        names: classes of the head.
        classes: those that the data have, too.
        current: how the file reads these scores now.
        usual: its threshold for classes that have none of their own.
        wishes: what is asked for.

    Raises:
        UsageError: there are fewer than 2 pictures or groups, or nothing was answered.
    """
    whole = judge(task, data, predictions, classes=classes)
    if not len(whole.score):
        raise UsageError(f"the model answers nothing on {data.source}: nothing can be calibrated")
    parts = _parts(task, data, predictions, classes, wishes.seed)
    held = _joined(whole, [rest for _, rest in parts])
    readings: dict[Method, list[AnswerSpec]] = {"kept": [current] * len(parts)}
    if wishes.scores:
        readings["platt"] = [_fitted(fit, "platt", current)[0] for fit, _ in parts]
        readings["isotonic"] = [_fitted(fit, "isotonic", current)[0] for fit, _ in parts]
    scores = {
        method: np.concatenate(
            [_read(rest, one) for (_, rest), one in zip(parts, each, strict=True)]
        )
        for method, each in readings.items()
    }
    losses = {method: binary_log_loss(one, held.true) or 0.0 for method, one in scores.items()}
    method = min(losses, key=losses.__getitem__)
    reading = current
    shared: tuple[str, ...] = ()
    if method in ("platt", "isotonic"):
        reading, shared = _fitted(whole, method, current)

    otherwise = moved(names, current, reading, usual)
    chosen, found = choose(
        replace(whole, score=_read(whole, reading)).by_class(), wishes, otherwise
    )
    kept = []
    for (fit, rest), one in zip(parts, readings[method], strict=True):
        here, _ = choose(
            replace(fit, score=_read(fit, one)).by_class(),
            wishes,
            moved(names, current, one, usual),
            accepted(found, wishes),
        )
        kept.append(_read(rest, one) >= _limits(rest.names, here)[rest.class_id])
    points = _points(held, np.concatenate(kept), chosen, found)
    old = {name: current.thresholds.get(name, usual) for name in names}
    said = scores["kept"] >= _limits(held.names, old)[held.class_id]
    thresholds = current.thresholds
    if wishes.goal is not None or reading is not current:
        thresholds = {name: value for name, value in chosen.items() if value != usual}
    notes = [*doubts(points, len(data)), *_notes(method, shared, names, reading, wishes)]
    return Tuned(
        task=task,
        answers=reading.model_copy(update={"thresholds": thresholds}),
        method=method,
        images=len(data),
        before=_numbers(task, held, scores["kept"]),
        after=_numbers(task, held, scores[method]),
        points=points,
        before_points=_points(held, said, old, {}),
        failed=tuple(shortfalls(found, wishes)),
        notes=tuple(notes),
    )


def _parts(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    seed: int,
) -> list[tuple[JudgedAnswers, JudgedAnswers]]:
    """The answers to fit on and the rest, for each fold."""
    result = []
    for masks in folds(group_numbers(data.images["group"].to_list()), seed=seed):
        pair = []
        for mask in masks:
            rows = np.flatnonzero(mask).tolist()
            said = [predictions[row] for row in rows]
            pair.append(judge(task, data.select(rows), said, classes=classes))
        result.append((pair[0], pair[1]))
    return result


def moved(
    names: Sequence[str], current: AnswerSpec, reading: AnswerSpec, usual: float
) -> dict[str, float]:
    """Thresholds under another calibration that keep the same answers, by class name."""
    result = {name: current.thresholds.get(name, usual) for name in names}
    if reading is current:
        return result
    for place, (name, limit) in enumerate(result.items()):
        raw = lowest_raw(current.temperature, current.maps.get(name), limit)
        if raw > 1:
            result[name] = _NEVER
            continue
        again = read_scores(np.array([raw], np.float32), np.array([place]), names, reading)
        result[name] = float(again[0])
    return result


def _read(judged: JudgedAnswers, answers: AnswerSpec) -> NDArray[np.float64]:
    """Calibrated scores, rounded as in a prediction."""
    scores = judged.score.astype(np.float32)
    return read_scores(scores, judged.class_id, judged.names, answers).astype(np.float64)


def _fitted(
    judged: JudgedAnswers, method: Method, current: AnswerSpec
) -> tuple[AnswerSpec, tuple[str, ...]]:
    """The reading with maps in place of all calibration before, and classes that share one."""
    assert method in ("platt", "isotonic")
    maps, shared = fit_maps(
        judged.names,
        judged.class_id,
        judged.score,
        judged.true,
        "platt" if method == "platt" else "isotonic",
    )
    return current.model_copy(update={"temperature": 1.0, "maps": maps}), shared


def _joined(whole: JudgedAnswers, parts: Sequence[JudgedAnswers]) -> JudgedAnswers:
    """The answers of all folds; `image` means nothing in it."""
    places = [part.places for part in parts if part.places is not None]
    return replace(
        whole,
        class_id=np.concatenate([part.class_id for part in parts]),
        score=np.concatenate([part.score for part in parts]),
        true=np.concatenate([part.true for part in parts]),
        image=np.concatenate([part.image for part in parts]),
        places=np.concatenate(places) if len(places) == len(parts) else None,
    )


def _limits(names: Sequence[str], thresholds: Mapping[str, float]) -> NDArray[np.float32]:
    return np.array([thresholds[name] for name in names], dtype=np.float32)


def _points(
    held: JudgedAnswers,
    kept: NDArray[np.bool_],
    thresholds: Mapping[str, float],
    found: Mapping[str, OperatingPoint],
) -> dict[str, OperatingPoint]:
    """What thresholds gave, by class; with the threshold and whether the goal is reached."""
    result = {}
    for place, name in enumerate(held.names):
        rows = held.class_id == place
        positives, pictures = int(held.positives[place]), int(held.pictures[place])
        point = counted(kept[rows], held.true[rows], positives, pictures)
        reached = found[name].reached if name in found else True
        result[name] = replace(point, threshold=thresholds[name], reached=reached)
    return result


def _numbers(task: Task, held: JudgedAnswers, scores: NDArray[np.float64]) -> Numbers:
    numbers = answer_numbers(scores, held.true)
    if task == "detect":
        errors = detection_error(replace(held, score=scores))
        numbers |= {"d_ece": errors["score"].d_ece, "d_ece_place": errors["place"].d_ece}
    return numbers


def _notes(
    method: Method,
    shared: Sequence[str],
    names: Sequence[str],
    reading: AnswerSpec,
    wishes: Wishes,
) -> list[str]:
    notes = []
    if wishes.scores and method == "kept":
        notes.append(
            "no map lowers the log loss on pictures that it was not fitted on: scores stay as they"
            " are"
        )
    if shared:
        notes.append(
            f"{len(shared)} of {len(names)} classes have fewer than {FEW} right or wrong answers"
            " and take the map of all classes together"
        )
    if method != "kept":
        bare = [name for name in names if name not in reading.maps]
        if bare:
            notes.append(
                f"{len(bare)} of {len(names)} classes keep their scores: they are not in the data,"
                " or no rising map fits"
            )
    return notes
