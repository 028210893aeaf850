"""What a single-label data set and its predictions give beyond accuracy, against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    log_loss,
    roc_auc_score,
    top_k_accuracy_score,
)

from whatwhere.data import Dataset
from whatwhere.errors import DataError
from whatwhere.metrics import score
from whatwhere.metrics.answers import class_answers
from whatwhere.metrics.classification_detail import classification_detail, top_k
from whatwhere.metrics.registry import FURTHER
from whatwhere.types import Prediction

NAMES = ("cat", "dog", "owl", "yak")


def dataset(truth: np.ndarray, **columns: list[bool]) -> Dataset:
    labels = {"image": list(range(len(truth))), "class_id": truth.tolist(), **columns}
    return Dataset(
        {"path": [f"/nowhere/{row}.jpg" for row in range(len(truth))]},
        labels,
        NAMES,
        task="classify",
    )


def answer(scores: dict[str, float]) -> Prediction:
    ranked = sorted(scores, key=lambda name: -scores[name])
    values = np.array([scores[name] for name in ranked], dtype=np.float32)
    return Prediction(10, 10, label_names=tuple(ranked), label_scores=values)


def example(rows: int = 300) -> tuple[np.ndarray, np.ndarray, list[Prediction]]:
    """Truth of three of four classes, softmax rows as float32 gives them, predictions."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, rows)
    logits = rng.normal(0, 1.5, (rows, 4))
    logits[np.arange(rows), truth] += 1
    table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = [answer(dict(zip(NAMES, row.tolist(), strict=True))) for row in table]
    return truth, table, predictions


def test_numbers_are_scikit_learns() -> None:
    truth, _, predictions = example()
    data = dataset(truth)
    table = class_answers(data, predictions).scores
    result = classification_detail(data, predictions)
    one_hot = np.eye(4)[truth]
    areas = [roc_auc_score(one_hot[:, c], table[:, c]) for c in range(3)]
    assert result["roc_auc"] == pytest.approx(np.mean(areas), abs=1e-9)
    expected = roc_auc_score(one_hot.ravel(), table.ravel())
    assert result["roc_auc_micro"] == pytest.approx(expected, abs=1e-9)
    areas = [average_precision_score(one_hot[:, c], table[:, c]) for c in range(3)]
    assert result["AP_macro"] == pytest.approx(np.mean(areas), abs=1e-9)
    expected = average_precision_score(one_hot.ravel(), table.ravel())
    assert result["AP_micro"] == pytest.approx(expected, abs=1e-9)
    assert result["log_loss"] == pytest.approx(log_loss(truth, table, labels=range(4)), abs=1e-9)
    for k in (1, 2, 3):
        expected = top_k_accuracy_score(truth, table, k=k, labels=range(4))
        assert result["top_k"][k - 1] == pytest.approx(expected, abs=1e-12)
    assert result["top_k"][3] == 1
    standard = score("classify", data, predictions)
    assert result["top_k"][0] == standard["accuracy"]
    assert result["balanced_accuracy"] == pytest.approx(standard["recall"], abs=1e-12)
    assert (result["images"], result["answered"], result["complete"]) == (300, 300, 300)
    assert result["notes"] == []


def test_every_further_number_is_there_and_plain() -> None:
    truth, _, predictions = example()
    result = classification_detail(dataset(truth), predictions)
    for metric in FURTHER["classify"]:
        assert isinstance(result[metric.name], float)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    yak = result["per_class"]["yak"]
    assert (yak["AP"], yak["roc_auc"], yak["images"]) == (None, None, 0)
    assert yak["predicted"] > 0
    assert set(result["curves"]["roc"]["per_class"]) == set(NAMES[:3])
    assert len(result["curves"]["precision_recall"]["all classes"]) == 101


def test_answers_that_name_few_classes_are_not_guessed_at() -> None:
    truth, table, _ = example(60)
    few = [
        answer({NAMES[place]: float(row[place]) for place in np.argsort(-row)[:2]}) for row in table
    ]
    few[0] = Prediction(10, 10)
    result = classification_detail(dataset(truth), few)
    assert result["log_loss"] is result["brier"] is result["ece_classwise"] is None
    assert (result["answered"], result["complete"]) == (59, 0)
    assert "1 of 60 pictures have no answer" in result["notes"][0]
    assert "59 of 59 answers do not name every class" in result["notes"][1]
    best = table[1:].max(axis=1).astype(np.float32).mean()
    right = (table[1:].argmax(axis=1) == truth[1:]).mean()
    assert result["ece"] >= abs(best - right) - 1e-6
    assert result["top_k"][3] == result["top_k"][1]


def test_classes_that_the_data_lack_are_as_if_they_did_not_exist() -> None:
    truth, table, predictions = example(80)
    data = dataset(truth)
    wider = []
    for row in table:
        scores = {name: 0.4 * value for name, value in zip(NAMES, row.tolist(), strict=True)}
        wider.append(answer({**scores, "unicorn": 0.6}))
    plain, passed_over = (
        classification_detail(data, predictions),
        classification_detail(data, wider),
    )
    for key in ("log_loss", "brier", "ece_classwise", "kappa", "roc_auc"):
        assert passed_over[key] == pytest.approx(plain[key], abs=1e-6)
    fewer = classification_detail(data, predictions, classes=frozenset(NAMES[:2]))
    assert list(fewer["per_class"]) == ["cat", "dog"]
    assert fewer["images"] == (truth < 2).sum()


def test_ignored_pictures_are_left_out() -> None:
    truth, _, predictions = example(40)
    ignore = [row % 4 == 0 for row in range(40)]
    result = classification_detail(dataset(truth, ignore=ignore), predictions)
    kept = [row for row in range(40) if not ignore[row]]
    alone = classification_detail(dataset(truth[kept]), [predictions[row] for row in kept])
    assert result == alone


def test_a_class_that_is_named_twice_counts_once() -> None:
    twice = Prediction(
        10,
        10,
        label_names=("cat", "cat", "dog"),
        label_scores=np.array([0.6, 0.5, 0.4], dtype=np.float32),
    )
    table = class_answers(dataset(np.array([1])), [twice])
    assert table.rank.tolist() == [1]
    assert table.scores[0, :2] == pytest.approx([0.6, 0.4])


def test_no_pictures_are_undefined() -> None:
    result = classification_detail(dataset(np.zeros(0, np.int64)), [])
    assert {result[metric.name] for metric in FURTHER["classify"]} == {None}
    assert result["top_k"] is top_k(np.zeros(0, np.int64), 3) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5])
def test_scores_that_are_no_numbers_name_the_picture(value: float) -> None:
    with pytest.raises(DataError, match=r"0\.jpg has a score that is negative or not"):
        classification_detail(dataset(np.array([0])), [answer({"cat": value, "dog": 0.5})])
