"""The contract that the scores of every task keep, and what each does with a data set."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics import METRICS, PRIMARY, SCORERS, score
from whatwhere.metrics.mistakes import mistakes
from whatwhere.types import TASKS, Prediction, Task

NAMES = ("cat", "dog", "owl", "yak")


def dataset(task: Task, labels: dict[str, list[Any]], images: int = 6, **columns: Any) -> Dataset:
    paths = [f"/nowhere/{row}.jpg" for row in range(images)]
    return Dataset({"path": paths, **columns}, labels, NAMES, task=task)


def example(task: Task) -> Dataset:
    """Six pictures of cats, dogs and owls; no yak."""
    if task == "classify":
        return dataset(task, {"image": range(6), "class_id": [0, 1, 2, 0, 1, 2]})
    image, class_id = [0, 0, 1, 2, 3, 4, 4, 5], [0, 1, 1, 2, 0, 1, 2, 2]
    if task == "multilabel":
        return dataset(task, {"image": image, "class_id": class_id})
    left = np.arange(8) * 3.0
    size = np.array([20, 50, 150, 20, 50, 150, 60, 40.0])
    columns = {"x1": left, "y1": left, "x2": left + size, "y2": left + size}
    return dataset(task, {"image": image, "class_id": class_id, **columns})


def prediction(
    labels: Sequence[tuple[str, float]] = (),
    objects: Sequence[tuple[str, float, Sequence[float]]] | None = None,
) -> Prediction:
    rows = objects or ()
    return Prediction(
        640,
        480,
        label_names=tuple(name for name, _ in labels),
        label_scores=np.array([value for _, value in labels], dtype=np.float32),
        object_names=tuple(name for name, _, _ in rows),
        object_scores=np.array([value for _, value, _ in rows], dtype=np.float32),
        boxes=None
        if objects is None
        else np.array([box for _, _, box in rows], dtype=np.float32).reshape(-1, 4),
    )


def perfect(data: Dataset) -> list[Prediction]:
    answers = []
    for row in range(len(data)):
        # No two pictures have one score: COCO ranks equal ones by the order of the pictures.
        value = 0.9 - 0.05 * row
        targets = data.targets(row)
        names = [NAMES[class_id] for class_id in targets.class_ids]
        if targets.boxes is None:
            answers.append(prediction([(name, value) for name in names]))
        else:
            rows = zip(names, targets.boxes, strict=True)
            answers.append(prediction(objects=[(name, value, box.tolist()) for name, box in rows]))
    return answers


def with_unicorn(answer: Prediction) -> Prediction:
    labels = list(zip(answer.label_names, answer.label_scores.tolist(), strict=True))
    if answer.boxes is None:
        return prediction([("unicorn", 0.99), *labels])
    rows = zip(
        answer.object_names, answer.object_scores.tolist(), answer.boxes.tolist(), strict=True
    )
    return prediction(objects=[("unicorn", 0.99, (0, 0, 9, 9)), *rows])


def nothing(data: Dataset) -> list[Prediction]:
    return [prediction(objects=[]) if data.task == "detect" else prediction()] * len(data)


def test_every_task_has_a_scorer_metrics_and_a_primary_number() -> None:
    assert set(SCORERS) == set(METRICS) == set(PRIMARY) == set(TASKS)
    for task in TASKS:
        names = [metric.name for metric in METRICS[task]]
        assert PRIMARY[task] in names
        assert len(set(names)) == len(names)
        for metric in METRICS[task]:
            assert metric.definition.endswith(".")
            assert metric.source


@pytest.mark.parametrize("task", TASKS)
class TestContract:
    def test_keys_are_the_registered_names_in_order(self, task: Task) -> None:
        data = example(task)
        result = score(task, data, perfect(data))
        assert list(result) == [metric.name for metric in METRICS[task]] + ["per_class"]
        assert list(result["per_class"]) == list(NAMES)

    def test_a_perfect_answer_scores_one(self, task: Task) -> None:
        data = example(task)
        result = score(task, data, perfect(data))
        per_class = result.pop("per_class")
        assert all(value == pytest.approx(1) for value in result.values())
        for name in NAMES[:3]:
            counts = {"images", "boxes"}
            assert all(v == pytest.approx(1) for k, v in per_class[name].items() if k not in counts)

    def test_no_answer_scores_zero(self, task: Task) -> None:
        data = example(task)
        result = score(task, data, nothing(data))
        del result["per_class"]
        # Without any score, the uninterpolated AP is the share of positives.
        chance = {"mAP"} if task == "multilabel" else set()
        assert all(value == 0 for name, value in result.items() if name not in chance)

    def test_a_class_without_positives_is_undefined_and_in_no_mean(self, task: Task) -> None:
        data = example(task)
        row = score(task, data, perfect(data))["per_class"]["yak"]
        assert row.pop("boxes" if task == "detect" else "images") == 0
        assert set(row.values()) == {None}

    def test_without_labels_all_is_undefined(self, task: Task) -> None:
        columns: dict[str, list[Any]] = {"image": [], "class_id": []}
        data = dataset(task, columns)
        result = score(task, data, nothing(data))
        del result["per_class"]
        assert set(result.values()) == {None}

    def test_the_order_of_pictures_does_not_matter(self, task: Task) -> None:
        data = example(task)
        answers = perfect(data)
        answers[1], answers[2] = answers[2], answers[1]
        order = [5, 2, 0, 1, 4, 3]
        turned = score(task, data.select(order), [answers[row] for row in order])
        assert turned == score(task, data, answers)

    def test_values_are_plain_and_in_range(self, task: Task) -> None:
        data = example(task)
        answers = perfect(data)[::-1]
        result = score(task, data, answers, curves=True)
        for metric in METRICS[task]:
            value = result[metric.name]
            assert type(value) is float
            assert math.isfinite(value)
            assert 0 <= value < 1
        assert ("confusion" in result) == (task == "classify")
        assert ("curves" in result) == (task != "classify")

    def test_what_is_said_of_foreign_classes_is_passed_over(self, task: Task) -> None:
        data = example(task)
        answers = perfect(data)
        foreign = [with_unicorn(answer) for answer in answers]
        assert score(task, data, foreign) == score(task, data, answers)

    def test_chosen_classes_score_as_if_the_others_did_not_exist(self, task: Task) -> None:
        data = example(task)
        result = score(task, data, perfect(data), classes=["dog", "owl"])
        assert list(result["per_class"]) == ["dog", "owl"]
        assert result[PRIMARY[task]] == pytest.approx(1)

    def test_too_few_predictions_are_refused(self, task: Task) -> None:
        data = example(task)
        with pytest.raises(UsageError, match="6 pictures need 6 predictions, not 2"):
            score(task, data, perfect(data)[:2])

    def test_an_unknown_class_is_refused_with_a_proposal(self, task: Task) -> None:
        data = example(task)
        with pytest.raises(UsageError, match="did you mean cat"):
            score(task, data, perfect(data), classes=["catt"])


def test_an_unknown_task_is_refused() -> None:
    data = example("detect")
    with pytest.raises(UsageError, match="use one of classify, multilabel, detect"):
        score("segment", data, perfect(data))  # type: ignore[arg-type]


def test_an_ignored_box_is_neither_missed_nor_found() -> None:
    box = {"x1": [0, 100], "y1": [0, 100], "x2": [50, 180], "y2": [50, 180]}
    columns = {"image": [0, 0], "class_id": [0, 0], **box, "ignore": [False, True]}
    data = dataset("detect", columns, images=1)
    one = [prediction(objects=[("cat", 0.5, (0, 0, 50, 50))])]
    both = [prediction(objects=[("cat", 0.9, (100, 100, 180, 180)), ("cat", 0.5, (0, 0, 50, 50))])]
    assert score("detect", data, one)["AP"] == pytest.approx(1)
    assert score("detect", data, both)["AP"] == pytest.approx(1)
    assert score("detect", data, both)["per_class"]["cat"]["boxes"] == 1


def test_the_data_sets_own_area_decides_the_size() -> None:
    box = {"x1": [0.0], "y1": [0.0], "x2": [100.0], "y2": [100.0]}
    answers = [prediction(objects=[("cat", 0.5, (0, 0, 100, 100))])]
    by_box = dataset("detect", {"image": [0], "class_id": [0], **box}, images=1)
    own = dataset("detect", {"image": [0], "class_id": [0], **box, "area": [900.0]}, images=1)
    assert score("detect", by_box, answers)["APl"] == pytest.approx(1)
    assert score("detect", own, answers)["APl"] is None
    assert score("detect", own, answers)["APs"] == pytest.approx(1)


def test_boxes_score_as_labels_by_the_best_box_of_each_class() -> None:
    data = example("detect")
    result = score("multilabel", data, perfect(data))
    assert result["mAP"] == 1
    assert result == score("multilabel", data.as_multilabel(), perfect(data))


def test_ignored_labels_leave_the_picture_out() -> None:
    labels = {"image": [0, 1, 2], "class_id": [0, 1, 2], "ignore": [False, True, False]}
    data = dataset("classify", labels, images=3)
    wrong_where_ignored = [prediction([(name, 1.0)]) for name in ("cat", "owl", "owl")]
    assert score("classify", data, wrong_where_ignored)["accuracy"] == 1
    data = dataset("multilabel", labels, images=3)
    result = score("multilabel", data, wrong_where_ignored)
    assert result["per_class"]["dog"]["AP"] is None
    assert result["per_class"]["owl"]["precision"] == 0.5


def test_classes_that_nobody_looked_for_make_no_false_positives() -> None:
    box = {"x1": [0, 0], "y1": [0, 0], "x2": [50, 50], "y2": [50, 50]}
    labels = {"image": [0, 1], "class_id": [0, 1], **box}
    answers = [
        prediction(objects=[("dog", 0.9, (9, 9, 40, 40)), ("cat", 0.5, (0, 0, 50, 50))]),
        prediction(objects=[("dog", 0.5, (0, 0, 50, 50))]),
    ]
    whole = dataset("detect", labels, images=2)
    looked_for = [["cat"], ["dog"]]
    part = dataset("detect", labels, images=2, labelled=looked_for, complete=looked_for)
    assert score("detect", whole, answers)["AP50"] == pytest.approx(0.75)
    assert score("detect", part, answers)["AP50"] == pytest.approx(1)
    # Without a word on completeness, what was looked for counts as complete.
    silent = dataset("detect", labels, images=2, labelled=looked_for)
    assert score("detect", silent, answers)["AP50"] == pytest.approx(1)
    assert score("multilabel", whole, answers)["mAP"] == pytest.approx(0.75)
    assert score("multilabel", part, answers)["mAP"] == pytest.approx(1)


def test_a_class_that_nobody_located_is_no_mistake() -> None:
    labels = {
        "image": [0, 0, 1],
        "class_id": [0, 1, 0],
        "x1": [0, None, 0],
        "y1": [0, None, 0],
        "x2": [50, None, 50],
        "y2": [50, None, 50],
    }
    answers = [
        prediction(objects=[("dog", 0.9, (9, 9, 40, 40)), ("cat", 0.5, (0, 0, 50, 50))]),
        prediction(objects=[("cat", 0.5, (0, 0, 50, 50))]),
    ]
    data = dataset("detect", labels, images=2)
    assert score("detect", data, answers)["AP50"] == pytest.approx(1)
    assert mistakes("detect", data.targets(0), answers[0], data.names, 0.95) == 1
