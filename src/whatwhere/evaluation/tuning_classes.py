"""Calibration of heads with one class a picture: temperature, "not sure", sets of classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

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
from whatwhere.metrics.binomial import share_interval
from whatwhere.metrics.calibration import Temperature, fit_temperature
from whatwhere.metrics.conformal import fit_conformal
from whatwhere.metrics.folds import folds
from whatwhere.metrics.multilabel import score_table
from whatwhere.metrics.operating import Judged, OperatingPoint
from whatwhere.metrics.recalibrate import row_numbers
from whatwhere.metrics.reliability import log_loss
from whatwhere.metrics.selective import abstain_threshold, abstention_at, risk_coverage
from whatwhere.runtime.reading import unsure_rows
from whatwhere.scoremaps import temper
from whatwhere.specs import AnswerSpec, ConformalSpec
from whatwhere.types import Prediction

Rows = NDArray[np.float64]
Ids = NDArray[np.int64]

_SLACK = 1e-6
"""Sets are this much wider than fitted, since scores are rounded on the way to a prediction."""


@dataclass(frozen=True, slots=True)
class _Fit:
    """What is fitted on some pictures."""

    answers: AnswerSpec
    points: Mapping[str, OperatingPoint]
    failed: tuple[str, ...]


def tune_classes(
    data: Dataset,
    predictions: Sequence[Prediction],
    names: tuple[str, ...],
    current: AnswerSpec,
    wishes: Wishes,
) -> Tuned:
    """Temperature, thresholds, the score of "not sure" and the rule for sets of one head.

    The temperature is kept as it was if another has no lower log loss in folds. Thresholds and
    rules of old scores are dropped where the scores change and nobody asks for new ones.

    Args:
        data: labelled pictures that the model was not trained on; groups stay in one fold.
        predictions: one a picture, every class with its probability at temperature 1.
        names: classes of the head, C of them; pictures of other classes are left out.
        current: how the file reads these scores now.
        wishes: what is asked for.

    Raises:
        UsageError: there are fewer than 2 pictures or groups.
    """
    picture, truth = _truth(data, names)
    if len(truth) < 2:
        raise UsageError(
            f"{data.source} has {len(truth)} pictures of the model's classes: give at least 2"
        )
    raw = score_table(predictions, names)[picture]
    groups = group_numbers(data.images["group"].to_list())[picture]
    parts = list(folds(groups, seed=wishes.seed))
    temperatures = [_temperature(raw[fit], truth[fit]).value for fit, _ in parts]
    kept_rows = _tempered(raw, current.temperature)
    new_rows = np.zeros_like(raw)
    for (_, rest), value in zip(parts, temperatures, strict=True):
        new_rows[rest] = _tempered(raw[rest], value)
    method: Method = "kept"
    before_loss, after_loss = log_loss(kept_rows, truth), log_loss(new_rows, truth)
    if wishes.scores and (after_loss or 0.0) < (before_loss or 0.0):
        method = "temperature"
    held = kept_rows if method == "kept" else new_rows
    start = _start(current, wishes, method)

    final = start
    notes = []
    if method == "temperature":
        found = _temperature(raw, truth)
        final = start.model_copy(update={"temperature": found.value})
        if found.at_border:
            notes.append(
                f"no temperature within bounds is best, {found.value:g} is the last tried: nearly"
                " all answers are right or scores say nothing; calibrate on more, harder pictures"
            )
    whole = _fit(_tempered(raw, final.temperature), truth, names, final, wishes)
    unsure = np.zeros(len(truth), dtype=bool)
    inside = np.ones(raw.shape, dtype=bool)
    # Pictures of folds in which there is a score that keeps the risk.
    counts = np.ones(len(truth), dtype=bool)
    for (fit, rest), value in zip(parts, temperatures, strict=True):
        one = start if method == "kept" else start.model_copy(update={"temperature": value})
        here = _fit(
            _tempered(raw[fit], one.temperature),
            truth[fit],
            names,
            one,
            wishes,
            accepted(whole.points, wishes),
        )
        unsure[rest] = _unsure(held[rest], names, here.answers)
        if here.answers.conformal is not None:
            inside[rest] = here.answers.conformal.build().sets(held[rest].astype(np.float32))
        if wishes.risk is not None and whole.answers.abstain is not None:
            counts[rest] = here.answers.abstain is not None
    if not counts.all():
        notes.append(
            f"no score keeps the risk of {wishes.risk:g} in some folds, which are left out of the"
            " counts: it rests on little, calibrate on more pictures"
        )
    points = {}
    before_points = {}
    if wishes.goal is not None or wishes.risk is not None:
        points = _points(held[counts], truth[counts], names, ~unsure[counts], whole)
        sure = ~_unsure(kept_rows, names, current)
        before_points = _points(kept_rows, truth, names, sure, _Fit(current, {}, ()))
        before_points = {name: before_points[name] for name in points}
    right = held.argmax(axis=1) == truth
    notes += [*doubts(whole.points, len(truth)), *_notes(current, start, wishes, method)]
    return Tuned(
        task="classify",
        answers=whole.answers,
        method=method,
        images=len(truth),
        before=row_numbers(kept_rows, truth),
        after=row_numbers(held, truth),
        points=points,
        before_points=before_points,
        abstain=_abstained(whole.answers, unsure[counts], right[counts])
        if whole.answers.hesitates
        else None,
        conformal=_covered(whole.answers.conformal, inside, truth),
        risk_coverage=risk_coverage(held.max(axis=1), right).risk,
        failed=whole.failed,
        notes=tuple(notes),
    )


def _truth(data: Dataset, names: tuple[str, ...]) -> tuple[Ids, Ids]:
    """Pictures that count and their class, place in `names`."""
    place_of = {name: place for place, name in enumerate(names)}
    places = np.array([place_of.get(name, -1) for name in data.names], dtype=np.int64)
    truth = places[data.labels["class_id"].to_numpy().astype(np.int64)]
    ignored = data.labels["ignore"].fill_null(False).to_numpy().astype(bool)
    keep = (truth >= 0) & ~ignored
    return data.labels["image"].to_numpy().astype(np.int64)[keep], truth[keep]


def _temperature(rows: Rows, truth: Ids) -> Temperature:
    return fit_temperature(rows, truth) or Temperature(1.0, at_border=False)


def _tempered(rows: Rows, temperature: float) -> Rows:
    """Calibrated rows, rounded as in a prediction."""
    changed = rows if temperature == 1.0 else temper(rows, temperature)
    return changed.astype(np.float32).astype(np.float64)


def _start(current: AnswerSpec, wishes: Wishes, method: Method) -> AnswerSpec:
    """What stays as it was: nothing that was chosen by other scores, or is asked for anew."""
    changed: dict[str, Any] = {}
    if method == "temperature" or (wishes.goal is not None and wishes.per_class):
        changed["thresholds"] = {}
    one = wishes.goal is not None and not wishes.per_class
    if method == "temperature" or wishes.risk is not None or one:
        changed["abstain"] = None
    if method == "temperature" or wishes.coverage is not None:
        changed["conformal"] = None
    return current.model_copy(update=changed)


def _fit(
    rows: Rows,
    truth: Ids,
    names: tuple[str, ...],
    start: AnswerSpec,
    wishes: Wishes,
    taken: Collection[str] | None = None,
) -> _Fit:
    """Everything that is asked for, on calibrated rows (N, C); `taken` as in `choose`."""
    first, best = rows.argmax(axis=1), rows.max(axis=1)
    right = first == truth
    changed: dict[str, Any] = {}
    points: dict[str, OperatingPoint] = {}
    failed: list[str] = []
    if wishes.goal is not None:
        judged = {}
        for place in np.union1d(first, truth).tolist():
            said = first == place
            positives = int((truth == place).sum())
            judged[names[place]] = Judged(best[said], right[said], positives, len(truth))
        chosen, points = choose(judged, wishes, {}, taken)
        failed += shortfalls(points, wishes)
        if wishes.per_class:
            changed["thresholds"] = chosen
        elif chosen:
            changed["abstain"] = next(iter(chosen.values()))
    if wishes.risk is not None:
        found = abstain_threshold(best, right, wishes.risk, confidence_level=wishes.confidence)
        changed["abstain"] = found.threshold
        if found.threshold is None:
            sure = "" if wishes.confidence is None else f" with confidence {wishes.confidence:g}"
            failed.append(
                f"no score keeps the share of wrong answers at {wishes.risk:g}{sure}: the model"
                " answers always, as before"
            )
    if wishes.coverage is not None:
        rule = fit_conformal(rows, truth, 1 - wishes.coverage, wishes.sets)
        if math.isinf(rule.limit):
            needed = math.ceil(wishes.coverage / (1 - wishes.coverage))
            failed.append(
                f"sets that hold the right class with a chance of {wishes.coverage:g} need at"
                f" least {needed} pictures, not {len(truth)}: none are given"
            )
        else:
            changed["conformal"] = ConformalSpec(
                kind=rule.kind,
                coverage=wishes.coverage,
                limit=rule.limit + _SLACK,
                pictures=rule.pictures,
            )
    return _Fit(start.model_copy(update=changed), points, tuple(failed))


def _unsure(rows: Rows, names: tuple[str, ...], answers: AnswerSpec) -> NDArray[np.bool_]:
    return unsure_rows(answers, names, rows.argmax(axis=1), rows.max(axis=1).astype(np.float32))


def _points(
    rows: Rows, truth: Ids, names: tuple[str, ...], kept: NDArray[np.bool_], fit: _Fit
) -> dict[str, OperatingPoint]:
    """What the answers that were kept are worth, by class that occurs."""
    first = rows.argmax(axis=1)
    result = {}
    for place in np.union1d(first, truth).tolist():
        said, name = first == place, names[place]
        positives = int((truth == place).sum())
        point = counted(kept[said], truth[said] == place, positives, len(truth))
        found = fit.points.get(name)
        result[name] = replace(
            point,
            threshold=max(fit.answers.abstain or 0.0, fit.answers.thresholds.get(name, 0.0)),
            reached=True if found is None else found.reached,
        )
    return result


def _abstained(
    answers: AnswerSpec, unsure: NDArray[np.bool_], right: NDArray[np.bool_]
) -> dict[str, Any]:
    found = abstention_at((~unsure).astype(np.float64), right, 0.5)
    return {
        **asdict(replace(found, threshold=answers.abstain)),
        "risk_without": float((~right).mean()) if len(right) else None,
    }


def _covered(
    rule: ConformalSpec | None, inside: NDArray[np.bool_], truth: Ids
) -> dict[str, Any] | None:
    if rule is None:
        return None
    hit, size = inside[np.arange(len(truth)), truth], inside.sum(axis=1)
    interval = share_interval(int(hit.sum()), len(hit))
    return {
        "kind": rule.kind,
        "expected": rule.coverage,
        "coverage": float(hit.mean()),
        "interval": interval,
        "holds": None if interval is None else interval[1] >= rule.coverage,
        "mean_size": float(size.mean()),
        "single": float((size == 1).mean()),
        "limit": rule.limit,
        "pictures": len(hit),
    }


def _notes(current: AnswerSpec, start: AnswerSpec, wishes: Wishes, method: Method) -> list[str]:
    notes = []
    if wishes.scores and method == "kept":
        notes.append(
            "no temperature lowers the log loss on pictures that it was not fitted on: scores stay"
            " as they are"
        )
    dropped = [
        words
        for words, had, has, asked in (
            ("thresholds of classes", current.thresholds, start.thresholds, wishes.goal),
            ("the score of 'not sure'", current.abstain, start.abstain, wishes.risk),
            ("sets of classes", current.conformal, start.conformal, wishes.coverage),
        )
        if had and not has and asked is None
    ]
    if dropped:
        notes.append(
            f"the scores change, so what was chosen by the old ones is dropped ("
            f"{', '.join(dropped)}): ask for it again"
        )
    return notes
