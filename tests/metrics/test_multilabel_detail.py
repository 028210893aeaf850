"""What a multi-label data set gives beyond mAP, against scikit-learn; unknown labels left out."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    average_precision_score,
    log_loss,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.multilabel_detail import (
    best_threshold,
    multilabel_detail,
    multilabel_numbers,
)
from whatwhere.metrics.registry import FURTHER
from whatwhere.types import Prediction

NAMES = ("cat", "dog", "owl", "yak")


def tables(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random((rows, 4)) < (0.5, 0.3, 0.1, 0.05)
    return truth, np.clip(rng.random((rows, 4)) * 0.6 + truth * 0.25, 0, 1)


def test_numbers_are_scikit_learns() -> None:
    truth, scores = tables()
    result = multilabel_numbers(NAMES, truth, scores)
    for kind in ("micro", "weighted"):
        expected = average_precision_score(truth, scores, average=kind)
        assert result[f"AP_{kind}"] == pytest.approx(expected, abs=1e-9)
        values = precision_recall_fscore_support(truth, scores >= 0.5, average=kind)
        for key, value in zip(("precision", "recall", "f1"), values[:3], strict=True):
            assert result[f"{key}_{kind}"] == pytest.approx(value, abs=1e-9)
    assert result["roc_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    expected = roc_auc_score(truth, scores, average="micro")
    assert result["roc_auc_micro"] == pytest.approx(expected, abs=1e-9)
    flat = np.stack([1 - scores.ravel(), scores.ravel()], axis=1)
    assert result["log_loss"] == pytest.approx(log_loss(truth.ravel(), flat), abs=1e-9)
    best = []
    for column in range(4):
        precision, recall, _ = precision_recall_curve(truth[:, column], scores[:, column])
        best.append((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())
    assert result["f1_best"] == pytest.approx(np.mean(best), abs=1e-9)
    assert result["f1_tuned"] <= result["f1_best"]


def test_every_further_number_is_there_and_plain() -> None:
    result = multilabel_numbers(NAMES, *tables(50))
    for metric in FURTHER["multilabel"]:
        assert isinstance(result[metric.name], float)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    hnp.arrays(bool, (6, 3)),
    hnp.arrays(np.float64, (6, 3), elements=st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0])),
    hnp.arrays(bool, (6, 3)),
)
def test_what_is_unknown_changes_nothing(
    truth: np.ndarray, scores: np.ndarray, known: np.ndarray
) -> None:
    result = multilabel_numbers(NAMES[:3], truth, scores, known)
    other = np.where(known, truth, ~truth), np.where(known, scores, 1 - scores)
    assert multilabel_numbers(NAMES[:3], *other, known) == result


def test_own_thresholds_decide_what_is_said() -> None:
    truth, scores = tables()
    labels = np.argwhere(truth)
    data = Dataset(
        {"path": [f"/nowhere/{row}.jpg" for row in range(len(truth))]},
        {"image": labels[:, 0].tolist(), "class_id": labels[:, 1].tolist()},
        NAMES,
        task="multilabel",
    )
    predictions = [
        Prediction(9, 9, label_names=NAMES, label_scores=row.astype(np.float32)) for row in scores
    ]
    plain = multilabel_detail(data, predictions)
    best = {name: row["threshold_best"] for name, row in plain["per_class"].items()}
    tuned = multilabel_detail(data, predictions, thresholds=best)
    f1 = [row["f1"] for row in tuned["per_class"].values()]
    assert np.mean(f1) == pytest.approx(plain["f1_best"], abs=1e-12)
    part = multilabel_detail(data, predictions, classes=frozenset(["dog"]))
    assert part["per_class"]["dog"] == plain["per_class"]["dog"]
    assert part["pairs"] == len(truth)


def test_tuned_f1_is_no_higher_on_noise_than_a_rule_that_says_all() -> None:
    rng = np.random.default_rng(1)
    truth, scores = rng.random((60, 4)) < 0.3, rng.random((60, 4))
    result = multilabel_numbers(NAMES, truth, scores)
    share = truth.mean(axis=0)
    say_all = np.mean(2 * share / (1 + share))
    # Chosen and judged on the same pictures, thresholds seem to gain something.
    assert result["f1_best"] > say_all + 0.02
    assert result["f1_tuned"] < say_all + 0.02


def test_no_positives_are_undefined() -> None:
    none = np.zeros((0, 4), bool)
    result = multilabel_numbers(NAMES, none, np.zeros((0, 4)))
    assert {result[metric.name] for metric in FURTHER["multilabel"]} == {None}
    assert best_threshold(np.zeros(3, bool), np.ones(3)) is None
    absent = multilabel_numbers(NAMES, np.zeros((5, 4), bool), np.full((5, 4), 0.2))
    assert absent["roc_auc"] is absent["f1_tuned"] is absent["lrap"] is None
    assert absent["subset_accuracy"] == 1


def test_scores_outside_0_to_1_are_refused() -> None:
    with pytest.raises(UsageError, match=r"go from 0 to 7"):
        multilabel_numbers(NAMES, np.ones((1, 4), bool), np.array([[0.0, 1, 7, 1]]))
