"""Precision, recall, F1 and misses of boxes at any threshold; how tightly boxes fit."""

import numpy as np
import pytest

from made_boxes import generated, oracle
from whatwhere.errors import UsageError
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.curves import steps
from whatwhere.metrics.pairing import pair_boxes
from whatwhere.metrics.thresholds import (
    REFERENCE_RATES,
    at_threshold,
    best_f1,
    miss_curve,
    operating_report,
    ranking,
)
from whatwhere.metrics.tightness import BINS, SIZES, iou_distribution

NAMES = {0: "cat", 1: "dog", 2: "owl"}


def test_counts_are_those_of_pycocotools() -> None:
    truth, found = generated(np.random.default_rng(0), 20, 3, levels=10)
    judge = oracle(list(range(20)), [0, 1, 2], truth, found)
    pairs = pair_boxes(truth, found)
    entries = [one for one in judge.evalImgs if one and one["aRng"] == [0, 1e10]]
    for level, iou in ((0, 0.5), (5, 0.75)):
        for class_id in (None, 1):
            mine = [one for one in entries if class_id in (None, one["category_id"])]
            scores = np.concatenate([one["dtScores"] for one in mine])
            counted = ~np.concatenate([one["dtIgnore"][level] for one in mine]).astype(bool)
            right = np.concatenate([one["dtMatches"][level] for one in mine]) > 0
            objects = sum(int((np.array(one["gtIgnore"]) == 0).sum()) for one in mine)
            curve = ranking(pairs, iou, class_id)
            for threshold in (0.0, 0.3, 0.55, 0.9):
                row = at_threshold(curve, threshold)
                said = counted & (scores >= threshold)
                assert row["true"] == (said & right).sum()
                assert row["false"] == (said & ~right).sum()
                assert row["missed"] == objects - row["true"]
                assert row["precision"] == pytest.approx(row["true"] / said.sum())
                assert row["recall"] == pytest.approx(row["true"] / objects)
                f1 = 2 * row["true"] / (said.sum() + objects)
                assert row["f1"] == pytest.approx(f1)
    with pytest.raises(UsageError, match=r"not 0\.42"):
        ranking(pairs, 0.42)


def test_the_best_threshold_is_the_best_of_all() -> None:
    truth, found = generated(np.random.default_rng(1), 20, 1)
    curve = ranking(pair_boxes(truth, found))
    best = best_f1(curve)
    assert best is not None
    every = [at_threshold(curve, threshold)["f1"] for threshold in found.score]
    assert best["f1"] == max(every)
    assert every.count(best["f1"]) == 1
    assert best_f1(steps(np.zeros(2, bool), np.array([0.5, 0.2]))) is None
    assert best_f1(steps(np.zeros(0, bool), np.zeros(0), positives=3)) is None


def test_equal_scores_are_one_threshold() -> None:
    curve = steps(np.array([True, False, True]), np.array([0.5, 0.5, 0.4]), positives=4)
    assert at_threshold(curve, 0.5)["true"] == at_threshold(curve, 0.5)["false"] == 1
    assert at_threshold(curve, 0.50001) == {
        "threshold": 0.50001,
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "true": 0,
        "false": 0,
        "missed": 4,
    }
    assert at_threshold(steps(np.array([False]), np.array([0.5])), 0.1)["recall"] is None


def test_log_average_miss_rate_by_hand() -> None:
    # 100 pictures, 10 objects: 4 right, 1 wrong, 2 right, 9 wrong, 2 right, 90 wrong, 1 right.
    marks = [*[True] * 4, False, *[True] * 2, *[False] * 9, *[True] * 2, *[False] * 90, True]
    scores = np.linspace(1, 0.01, len(marks))
    curve = miss_curve(steps(np.array(marks), scores, positives=10), images=100)
    # Rates 0.01 to below 0.1: one wrong box, 6 found; from 0.1 on 8; at 1 nine.
    misses = [0.4 if rate < 0.1 - 1e-12 else 0.2 for rate in REFERENCE_RATES[:-1]] + [0.1]
    assert curve.log_average == pytest.approx(np.exp(np.mean(np.log(misses))))
    assert curve.miss_rate[0] == 0.9
    assert curve.false_per_image[-1] == 1
    # Even the first box is one false alarm too many for the lowest rates.
    early = miss_curve(steps(np.array([False, True]), np.array([0.9, 0.5])), images=10)
    assert early.log_average == pytest.approx(np.exp(np.mean(np.log([1] * 4 + [1e-10] * 5))))
    assert miss_curve(steps(np.array([False]), np.array([0.9])), images=10).log_average is None


def test_the_report_has_every_class_and_undefined_numbers() -> None:
    truth, found = generated(np.random.default_rng(2), 20, 2)
    report = operating_report(NAMES, pair_boxes(truth, found), 20, threshold=0.6)
    assert list(report["per_class"]) == ["cat", "dog", "owl"]
    owl = report["per_class"]["owl"]
    assert owl["at"]["f1"] is owl["best"] is owl["log_average_miss_rate"] is None
    cat, dog = report["per_class"]["cat"], report["per_class"]["dog"]
    assert report["macro"]["at"]["recall"] == (cat["at"]["recall"] + dog["at"]["recall"]) / 2
    for key in ("true", "false", "missed"):
        assert report["all"]["at"][key] == cat["at"][key] + dog["at"][key]
    assert 0 < report["all"]["log_average_miss_rate"] < 1


def test_iou_of_matches_by_class_and_size() -> None:
    xywh = np.array([[0, 0, 10, 10], [0, 0, 32, 32], [0, 0, 100, 100], [200, 0, 50, 50]])
    image, class_id = np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])
    area = xywh[:, 2] * xywh[:, 3] * 1.0
    truth = TrueBoxes(image, class_id, xywh * 1.0, area, np.zeros(4, dtype=bool))
    shorter = xywh * np.array([[1, 1, 1, 0.8], [1, 1, 1, 1], [1, 1, 1, 0.6], [1, 1, 1, 0.4]])
    found = FoundBoxes(image, class_id, shorter, np.array([0.9, 0.8, 0.7, 0.6]))
    pairs = pair_boxes(truth, found, [0.5])
    result = iou_distribution(NAMES, truth, pairs)
    assert result["bins"] == BINS.tolist()
    assert result["all"]["count"] == 3
    assert result["all"]["mean"] == pytest.approx(0.8)
    assert result["all"]["median"] == pytest.approx(0.8)
    assert sum(result["all"]["histogram"]) == 3
    assert result["all"]["histogram"][-1] == 1
    per_class = {name: row["mean"] for name, row in result["per_class"].items()}
    assert per_class == {"cat": pytest.approx(0.9), "dog": pytest.approx(0.6), "owl": None}
    # 32 x 32 is on the limit and counts as small.
    assert [result["per_size"][size]["count"] for size in SIZES] == [2, 0, 1]
    assert iou_distribution(NAMES, truth, pairs, threshold=0.75)["all"]["count"] == 2
