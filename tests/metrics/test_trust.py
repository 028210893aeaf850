"""Intervals and differences of `score`'s numbers, from data sets and predictions."""

from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics import score
from whatwhere.metrics.trust import score_differences, score_intervals
from whatwhere.types import Prediction

NAMES = ("cat", "dog", "owl")


def made(task: Any, images: int = 40, seed: int = 0) -> tuple[Dataset, list[Prediction]]:
    """Labelled pictures and a fair answer to each."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"image": [], "class_id": [], "ignore": []}
    box = ("x1", "y1", "x2", "y2")
    if task == "detect":
        rows |= {name: [] for name in box}
    answers = []
    for image in range(images):
        shown = rng.permutation(3)[: 1 if task == "classify" else rng.integers(0, 3)]
        boxes = []
        for class_id in shown:
            rows["image"].append(image)
            rows["class_id"].append(int(class_id))
            rows["ignore"].append(bool(rng.random() < 0.1))
            corner, size = rng.uniform(0, 100, 2), rng.uniform(20, 150, 2)
            boxes.append(np.concatenate([corner, corner + size]))
            if task == "detect":
                for name, value in zip(box, boxes[-1], strict=True):
                    rows[name].append(float(value))
        scores = np.clip(rng.random(3) * 0.6 + np.isin(np.arange(3), shown) * 0.35, 0, 1)
        order = np.argsort(-scores)
        if task == "detect":
            at = [list(shown).index(k) if k in shown else None for k in order]
            guess = [
                boxes[place] + rng.normal(0, 6, 4) if place is not None else np.array([0, 0, 9, 9])
                for place in at
            ]
            extra = {
                "object_names": tuple(NAMES[k] for k in order),
                "object_scores": scores[order].astype(np.float32),
                "boxes": np.array(guess, dtype=np.float32),
            }
        else:
            extra = {
                "label_names": tuple(NAMES[k] for k in order),
                "label_scores": scores[order].astype(np.float32),
            }
        answers.append(Prediction(width=300, height=300, image=f"{image}.jpg", **extra))
    table = {"path": [f"{image}.jpg" for image in range(images)]}
    return Dataset(table, rows, NAMES, task=task), answers


@pytest.mark.parametrize("classes", [None, ("cat", "owl")])
@pytest.mark.parametrize("task", ["classify", "multilabel", "detect"])
def test_numbers_are_those_of_score(task: Any, classes: tuple[str, ...] | None) -> None:
    data, answers = made(task)
    want = score(task, data, answers, classes=classes)
    result = score_intervals(task, data, answers, classes=classes, samples=60)
    per_class = want.pop("per_class")
    for name, value in want.items():
        assert result[name, None].value == pytest.approx(value, abs=1e-12)
    for class_name, row in per_class.items():
        for name, value in row.items():
            if name not in ("images", "boxes"):
                assert result[name, class_name].value == pytest.approx(value, abs=1e-12)
    assert {key[1] for key in result} == {None, *per_class}
    main = next(iter(result.values()))
    assert main.low < main.value < main.high


@pytest.mark.parametrize("task", ["classify", "multilabel", "detect"])
def test_a_system_equals_itself_and_not_a_poor_one(task: Any) -> None:
    data, answers = made(task, images=80)
    same = score_differences(task, data, answers, answers, samples=40)
    assert {(each.value, each.p) for each in same.values() if each.value is not None} == {(0, 1)}
    # The poor system answers every other picture with its neighbour's answer.
    poor = [answers[row ^ 1] if row % 4 < 2 else answer for row, answer in enumerate(answers)]
    for permute in (True, False):
        result = score_differences(task, data, answers, poor, samples=200, permute=permute)
        main = next(iter(result.values()))
        assert main.high < 0
        assert main.p < 0.05
        assert main.test == ("permutation" if permute else "bootstrap")


@pytest.mark.parametrize("task", ["classify", "multilabel", "detect"])
def test_ones_that_swap_give_opposite_differences(task: Any) -> None:
    data, answers = made(task)
    _, others = made(task, seed=1)
    there = score_differences(task, data, answers, others, samples=25)
    back = score_differences(task, data, others, answers, samples=25)
    for key, one in there.items():
        if one.value is not None:
            assert back[key].value == -one.value
            assert back[key].p == pytest.approx(one.p)


def test_wrong_input() -> None:
    data, answers = made("classify")
    with pytest.raises(UsageError, match="40 predictions"):
        score_intervals("classify", data, answers[1:])
    with pytest.raises(UsageError, match="did you mean"):
        score_intervals("classify", data, answers, classes=["cow"])
    with pytest.raises(UsageError, match="unknown task"):
        score_intervals("guess", data, answers)  # type: ignore[arg-type]
