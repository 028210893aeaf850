"""Calibration: what scores say before and after it, on pictures that nothing was fitted on.

The labelled pictures are halved by chance, several times. On one half `calibrate`'s own code
chooses a map (a temperature for one class a picture, Platt's or the isotonic map a class of boxes
and labels), and the peers fit theirs to the same answers; all are measured on the other half by
the same functions: ECE and, of boxes, D-ECE over score and place, log loss, Brier score.

For one class a picture sets of classes are checked, too: `--splits` times the pictures are halved,
a rule for 90 % is fitted on one half, and coverage and size are counted on the other. A promise is
broken where the coverage is so low that it comes by chance in less than 5 % of such halvings (beta-
binomial distribution); that should be so in about 5 %.

Peers: netcal and scikit-learn for the maps, MAPIE for the sets.

    python benchmarks/calibration.py MODEL DATA --split val,test --cache FOLDER
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from _answers import answered, given, has, options, row, show
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

import whatwhere as ww
from whatwhere.evaluation.tuning import Wishes
from whatwhere.evaluation.tuning_classes import tune_classes
from whatwhere.evaluation.tuning_scores import tune_scores
from whatwhere.metrics.answers import class_answers
from whatwhere.metrics.binomial import share_interval
from whatwhere.metrics.conformal import check_coverage, fit_conformal
from whatwhere.metrics.judged import JudgedAnswers, detection_error, judge
from whatwhere.metrics.recalibrate import answer_numbers, row_numbers
from whatwhere.runtime.reading import read_scores
from whatwhere.scoremaps import logit, temper
from whatwhere.specs import AnswerSpec

Numbers = dict[str, float | None]
Scores = NDArray[np.float64]


class Said(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of scikit-learn whose input is what the model says: rows of shares."""

    def __init__(self, count: int = 2) -> None:
        self.count = count
        self.classes_ = np.arange(count)
        self.is_fitted_ = True

    def fit(self, rows: Scores, truth: NDArray[np.int64]) -> Said:
        return self

    def predict_proba(self, rows: Scores) -> Scores:
        return rows

    def predict(self, rows: Scores) -> NDArray[np.int64]:
        return np.asarray(rows.argmax(axis=1))

    def decision_function(self, rows: Scores) -> Scores:
        return np.log(np.maximum(rows, 1e-12))


def scikit_rows(method: str, fit: Scores, truth: NDArray[np.int64], rest: Scores) -> Scores:
    own = CalibratedClassifierCV(FrozenEstimator(Said(fit.shape[1])), method=method)
    return np.asarray(own.fit(fit, truth).predict_proba(rest), dtype=np.float64)


def netcal_rows(fit: Scores, truth: NDArray[np.int64], rest: Scores) -> Scores:
    from netcal.scaling import TemperatureScaling

    own = TemperatureScaling()
    own.fit(fit, truth)
    return np.asarray(own.transform(rest), dtype=np.float64)


def of_classes(
    data: ww.Dataset, result: ww.Result, halves: Sequence[tuple[Any, Any]], netcal: bool
) -> dict[str, list[Numbers]]:
    names = tuple(data.names)
    answers = class_answers(data, result.predictions, frozenset(names))
    rows = answers.scores / answers.scores.sum(axis=1, keepdims=True)
    truth, image = answers.truth, answers.image
    peers: dict[str, Callable[..., Scores]] = {
        "scikit-learn, temperature": partial(scikit_rows, "temperature"),
        "scikit-learn, isotonic": partial(scikit_rows, "isotonic"),
    }
    if netcal:
        peers["netcal, temperature"] = netcal_rows
    found: dict[str, list[Numbers]] = {}

    def add(who: str, values: Scores, right: NDArray[np.int64]) -> None:
        accuracy = {"accuracy": float((values.argmax(axis=1) == right).mean())}
        found.setdefault(who, []).append({**row_numbers(values, right), **accuracy})

    for one, other in halves:
        fit, rest = np.isin(image, one), np.isin(image, other)
        add("as the model says", rows[rest], truth[rest])
        said = [result.predictions[place] for place in one]
        tuned = tune_classes(data.select(one), said, names, AnswerSpec(), Wishes())
        add("whatwhere", temper(rows[rest], tuned.answers.temperature), truth[rest])
        for who, peer in peers.items():
            add(who, peer(rows[fit], truth[fit], rows[rest]), truth[rest])
    return found


def scikit_scores(method: str, fit: Scores, right: NDArray[np.bool_], rest: Scores) -> Scores:
    if method == "isotonic":
        own = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(fit, right)
        return np.asarray(own.predict(rest), dtype=np.float64)
    line = LogisticRegression(C=np.inf).fit(logit(fit)[:, None], right)
    return np.asarray(line.predict_proba(logit(rest)[:, None])[:, 1], dtype=np.float64)


def netcal_scores(method: str, fit: Scores, right: NDArray[np.bool_], rest: Scores) -> Scores:
    from netcal.binning import HistogramBinning
    from netcal.scaling import LogisticCalibration

    own = HistogramBinning(bins=10) if method == "binning" else LogisticCalibration()
    own.fit(fit, right.astype(np.int64))
    return np.asarray(own.transform(rest), dtype=np.float64).reshape(-1)


def of_scores(
    data: ww.Dataset, result: ww.Result, halves: Sequence[tuple[Any, Any]], netcal: bool
) -> dict[str, list[Numbers]]:
    task, names = result.task, tuple(data.names)
    peers: dict[str, Callable[..., Scores]] = {
        "scikit-learn, logistic": partial(scikit_scores, "logistic"),
        "scikit-learn, isotonic": partial(scikit_scores, "isotonic"),
    }
    if netcal:
        peers["netcal, logistic"] = partial(netcal_scores, "logistic")
        peers["netcal, binning"] = partial(netcal_scores, "binning")
    found: dict[str, list[Numbers]] = {}

    def add(who: str, judged: JudgedAnswers, values: Scores) -> None:
        numbers = answer_numbers(np.clip(values, 0, 1), judged.true)
        if task == "detect":
            errors = detection_error(replace(judged, score=np.clip(values, 0, 1)))
            numbers |= {"d_ece": errors["score"].d_ece, "d_ece_place": errors["place"].d_ece}
        found.setdefault(who, []).append(numbers)

    for one, other in halves:
        parts = []
        for chosen in (one, other):
            said = [result.predictions[place] for place in chosen]
            parts.append((data.select(chosen), said))
        fit, rest = (judge(task, *part) for part in parts)
        add("as the model says", rest, rest.score)
        tuned = tune_scores(
            task, *parts[0], names, frozenset(names), AnswerSpec(), 0.25, Wishes()
        )  # fmt: skip
        scores = read_scores(rest.score.astype(np.float32), rest.class_id, names, tuned.answers)
        add("whatwhere", rest, scores.astype(np.float64))
        for who, peer in peers.items():
            values = rest.score.copy()
            for place in np.unique(rest.class_id):
                mine, theirs = fit.class_id == place, rest.class_id == place
                if 0 < fit.true[mine].sum() < mine.sum():
                    values[theirs] = peer(fit.score[mine], fit.true[mine], rest.score[theirs])
            add(who, rest, values)
    return found


def mapie_sets(kind: str, fit: Scores, truth: NDArray[np.int64], rest: Scores, alpha: float) -> Any:
    from mapie.classification import SplitConformalClassifier

    own = SplitConformalClassifier(Said(fit.shape[1]), 1 - alpha, kind, prefit=True)
    return own.conformalize(fit, truth).predict_set(rest)[1][:, :, 0]


def sets(
    data: ww.Dataset, result: ww.Result, splits: int, alpha: float, mapie: bool
) -> list[dict[str, Any]]:
    names = list(data.names)
    answers = class_answers(data, result.predictions, frozenset(names))
    rows, truth = answers.scores / answers.scores.sum(axis=1, keepdims=True), answers.truth
    coverage: dict[str, list[float]] = {}
    size: dict[str, list[float]] = {}
    kept: dict[str, list[bool]] = {}
    for seed in range(splits):
        order = np.random.default_rng([seed, 3]).permutation(len(truth))
        fit, rest = order[: len(order) // 2], order[len(order) // 2 :]
        for kind in ("lac", "aps"):
            rule = fit_conformal(rows[fit], truth[fit], alpha, kind)  # type: ignore[arg-type]
            check = check_coverage(rule, rows[rest], truth[rest], names)
            who = f"whatwhere, {kind.upper()}"
            coverage.setdefault(who, []).append(check.coverage or 0.0)
            size.setdefault(who, []).append(check.mean_size or 0.0)
            kept.setdefault(who, []).append(bool(check.holds))
        for kind in ("lac", "aps") if mapie else ():
            inside = mapie_sets(kind, rows[fit], truth[fit], rows[rest], alpha)
            hit = inside[np.arange(len(rest)), truth[rest]].mean()
            who = f"MAPIE, {kind.upper()}"
            coverage.setdefault(who, []).append(float(hit))
            size.setdefault(who, []).append(float(inside.sum(axis=1).mean()))
    made = []
    for who in coverage:
        made.append(row(f"coverage of {1 - alpha:.0%} sets", who, float(np.mean(coverage[who]))))
        made.append(row("  least of all halvings", who, min(coverage[who])))
        made.append(row("  classes in a set", who, float(np.mean(size[who]))))
        if who in kept:
            good = sum(kept[who])
            low, high = share_interval(good, splits) or (0.0, 1.0)
            work = f"  promise kept ({low:.3f} to {high:.3f})"
            made.append(row(work, who, good / splits))
    return made


def main() -> int:
    parser = options(__doc__.partition("\n")[0])
    parser.add_argument("--halvings", type=int, default=10, help="for the maps")
    parser.add_argument("--splits", type=int, default=200, help="for sets of classes")
    parser.add_argument("--alpha", type=float, default=0.1)
    chosen = given(parser)
    if chosen.quick:
        chosen.halvings, chosen.splits = 2, 10
    result = answered(chosen, bare=True)
    data = result.data
    assert data is not None
    halves = []
    for seed in range(chosen.halvings):
        order = np.random.default_rng([seed, 4]).permutation(len(data))
        halves.append((order[: len(order) // 2], order[len(order) // 2 :]))
    netcal = has("netcal")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        measure = of_classes if result.task == "classify" else of_scores
        found = measure(data, result, halves, netcal)
        rows = []
        for name in next(iter(found.values()))[0]:
            base = None
            for who, numbers in found.items():
                values = [one[name] for one in numbers]
                defined = [value for value in values if value is not None]
                mean = float(np.mean(defined)) if defined else None
                base = mean if base is None else base
                ratio = mean / base if mean is not None and base else None
                rows.append(row(name, who, mean, ratio))
        if result.task == "classify":
            rows += sets(data, result, chosen.splits, chosen.alpha, has("mapie"))
    show(rows, as_json=chosen.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
