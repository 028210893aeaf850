"""Answers of each task, judged: against the other metrics, on made and on real data."""

from pathlib import Path

import numpy as np
import pytest

from whatwhere.data import Dataset, read
from whatwhere.metrics import score
from whatwhere.metrics.judged import detection_error, judge
from whatwhere.metrics.operating import Goal, counts_at, operating_points
from whatwhere.metrics.recalibrate import apply_maps, calibrate_scores
from whatwhere.metrics.reliability import reliability
from whatwhere.types import Prediction, as_boxes

NAMES = ("cat", "dog", "owl")
BOX = (10.0, 20.0, 50.0, 60.0)


def dataset(task: str, **columns: list[object]) -> Dataset:
    return Dataset(
        {"path": [f"/nowhere/{row}.jpg" for row in range(4)]},
        columns,
        NAMES,
        task=task,  # type: ignore[arg-type]
    )


def labels(**scores: float) -> Prediction:
    values = np.array(list(scores.values()), dtype=np.float32)
    return Prediction(100, 80, label_names=tuple(scores), label_scores=values)


def boxes(*rows: tuple[str, float, tuple[float, ...]]) -> Prediction:
    return Prediction(
        100,
        80,
        object_names=tuple(row[0] for row in rows),
        object_scores=np.array([row[1] for row in rows], dtype=np.float32),
        boxes=as_boxes([row[2] for row in rows]),
    )


def test_single_answers() -> None:
    data = dataset("classify", image=[0, 1, 2, 3], class_id=[0, 1, 1, 2])
    answers = [
        labels(cat=0.75, dog=0.25, owl=0.0),
        labels(cat=0.5, dog=0.5, owl=0.0),
        labels(dog=1.0, cat=0.0, owl=0.0),
        Prediction(0, 0),
    ]
    found = judge("classify", data, answers)
    assert found.class_id.tolist() == [0, 0, 1]
    assert found.true.tolist() == [True, False, True]
    assert found.positives.tolist() == [1, 2, 1]
    points = operating_points(found.by_class(), Goal("precision", 1.0))
    assert (points["cat"].right, points["cat"].wrong, points["cat"].pictures) == (1, 0, 4)
    assert 0.5 < points["cat"].threshold <= 0.75  # type: ignore[operator]
    assert (points["owl"].reached, points["owl"].missed) == (False, 1)


def test_labels_that_nobody_looked_for_are_left_out() -> None:
    columns = {"image": [0, 1, 2], "class_id": [0, 0, 1], "ignore": [False, True, False]}
    data = dataset("multilabel", **columns)
    answers = [labels(cat=0.9, dog=0.2)] * 4
    found = judge("multilabel", data, answers)
    assert found.pictures.tolist() == [3, 4, 4]
    assert found.positives.tolist() == [1, 1, 0]
    point = counts_at(found.by_class()["cat"], 0.5)
    assert (point.right, point.wrong) == (1, 2)
    numbers = score("multilabel", data, answers)["per_class"]["cat"]
    assert (point.precision, point.recall, point.f1) == pytest.approx(
        (numbers["precision"], numbers["recall"], numbers["f1"])
    )


def test_boxes_of_crowds_and_of_foreign_classes_are_left_out() -> None:
    corners = {"x1": [10.0, 60.0], "y1": [20.0, 20.0], "x2": [50.0, 90.0], "y2": [60.0, 60.0]}
    data = dataset("detect", image=[0, 0], class_id=[0, 0], ignore=[False, True], **corners)
    answers = [
        boxes(
            ("cat", 0.9, BOX),
            ("cat", 0.8, (62.0, 22.0, 88.0, 58.0)),
            ("unicorn", 0.7, BOX),
            ("dog", 0.6, BOX),
        ),
        *[boxes()] * 3,
    ]
    found = judge("detect", data, answers)
    assert found.class_id.tolist() == [0, 1]
    assert found.true.tolist() == [True, False]
    assert (found.positives.tolist(), found.pictures.tolist()) == ([1, 0, 0], [4, 4, 4])
    assert found.places is not None
    assert found.places[0] == pytest.approx([0.3, 0.5, 0.4, 0.5])
    only = judge("detect", data, answers, classes=frozenset(["dog"]))
    assert (only.names, only.class_id.tolist()) == (("dog",), [0])
    strict = judge("detect", data, [boxes(("cat", 0.9, (10, 20, 50, 52)))] + [boxes()] * 3, iou=0.9)
    assert strict.true.tolist() == [False]


def test_nothing_found_is_no_error() -> None:
    data = dataset("detect", image=[0], class_id=[0], x1=[1.0], y1=[1.0], x2=[9.0], y2=[9.0])
    found = judge("detect", data, [boxes()] * 4)
    assert len(found.score) == 0
    point = operating_points(found.by_class(), Goal("recall", 0.5))["cat"]
    assert (point.reached, point.missed) == (False, 1)
    assert detection_error(found)["place"].d_ece is None


def too_sure_boxes(data: Dataset, seed: int) -> list[Prediction]:
    """Boxes around the labels and beside them; a score of s is right in a share of s² only."""
    rng = np.random.default_rng(seed)
    predictions = []
    for row in range(len(data)):
        truth = data.targets(row).located()
        rows = []
        for class_id, box in zip(truth.class_ids, truth.boxes, strict=True):  # type: ignore[arg-type]
            value = float(rng.random())
            moved = box if rng.random() < value**2 else box + 2 * (box[2:] - box[:2]).max()
            rows.append((data.names[class_id], value, tuple(float(v) for v in moved)))
        rows.sort(key=lambda one: -one[1])
        predictions.append(boxes(*rows) if rows else boxes())
    return predictions


def test_calibration_of_boxes_of_real_data(shared: Path) -> None:
    data = read(shared / "bccd")
    held_out = data.split_named("test")
    fit = judge("detect", data.split_named("train"), too_sure_boxes(data.split_named("train"), 0))
    other = judge("detect", held_out, too_sure_boxes(held_out, 1))
    result = calibrate_scores(
        fit.names, fit.class_id, fit.score, fit.true, fit.image, method="isotonic"
    )
    after = apply_maps(fit.names, result.maps, other.class_id, other.score)
    before = reliability(other.score, other.true).ece
    assert before is not None
    assert before > 0.1
    assert reliability(after, other.true).ece < 0.06  # type: ignore[operator]
    assert result.after["ece"] < 0.04  # type: ignore[operator]
    errors = detection_error(other)
    assert errors["score"].d_ece > 0.1  # type: ignore[operator]
    assert errors["place"].boxes + errors["place"].left_out == (other.score >= 0.3).sum()
