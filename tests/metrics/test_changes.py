"""Pictures that two systems answer differently: counted as a person would, worst first."""

from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.changes import changes
from whatwhere.types import Prediction

NAMES = ("cat", "dog", "owl")


def boxes(*rows: tuple[str, float, tuple[float, float, float, float]]) -> Prediction:
    rows = tuple(sorted(rows, key=lambda row: -row[1]))
    return Prediction(
        100,
        100,
        object_names=tuple(name for name, _, _ in rows),
        object_scores=np.array([score for _, score, _ in rows], dtype=np.float32),
        boxes=np.array([box for _, _, box in rows], dtype=np.float32).reshape(-1, 4),
    )


def labels(*rows: tuple[str, float]) -> Prediction:
    return Prediction(
        100,
        100,
        label_names=tuple(name for name, _ in rows),
        label_scores=np.array([score for _, score in rows], dtype=np.float32),
    )


A, B, C = (0, 0, 10, 10), (20, 20, 50, 50), (60, 60, 90, 90)


def located(*rows: tuple[int, str, tuple[int, int, int, int]], ignore: Any = ()) -> Dataset:
    columns: dict[str, Any] = {
        "image": [image for image, _, _ in rows],
        "class_id": [NAMES.index(name) for _, name, _ in rows],
        "ignore": [place in ignore for place in range(len(rows))],
    }
    for place, key in enumerate(("x1", "y1", "x2", "y2")):
        columns[key] = [box[place] for _, _, box in rows]
    paths = [f"{image}.jpg" for image in range(4)]
    return Dataset({"path": paths}, columns, NAMES, task="detect")


def test_boxes() -> None:
    data = located((0, "cat", A), (0, "dog", B), (1, "cat", A), (2, "owl", C), (3, "cat", A))
    first = [
        boxes(("cat", 0.9, A)),
        boxes(("cat", 0.9, A)),
        boxes(("dog", 0.6, C)),
        boxes(("cat", 0.9, A)),
    ]
    second = [
        boxes(("cat", 0.9, A), ("dog", 0.8, B)),  # finds the dog
        boxes(("cat", 0.9, B), ("dog", 0.2, A)),  # beside the cat; the dog is below the threshold
        boxes(("owl", 0.9, C)),  # right at last
        boxes(("cat", 0.7, A)),  # the same with another score
    ]
    found = changes("detect", data, first, second)
    assert [(one.row, one.before, one.after) for one in found] == [(1, 0, 2), (0, 1, 0), (2, 2, 0)]
    worse, more, right = found
    assert (worse.lost, worse.gained, worse.false_after) == (("cat",), (), 1)
    assert worse.weight == pytest.approx(0.9)
    assert (more.gained, more.lost, more.worse_by) == (("dog",), (), -1)
    assert (right.gained, right.false_before, right.false_after) == (("owl",), 1, 0)
    # A threshold of its own for each system.
    low = changes("detect", data, first, second, thresholds=(0.25, 0.1))
    assert low[0].false_after == 2
    only = changes("detect", data, first, second, classes=("dog",))
    assert [(one.row, one.before, one.after) for one in only] == [(0, 1, 0), (2, 1, 0)]


def test_boxes_that_do_not_count_are_no_mistakes() -> None:
    data = located((0, "cat", A), (1, "dog", B), ignore=(1,))
    nothing = [boxes() for _ in range(4)]
    second = [boxes(), boxes(("dog", 0.9, B)), boxes(), boxes()]
    assert changes("detect", data, nothing, second) == []
    # A picture in which nobody looked for owls says nothing about them.
    images = data.images.to_dict(as_series=False) | {"complete": [["cat"], None, None, None]}
    partial = Dataset(images, data.labels, NAMES, task="detect")
    assert changes("detect", partial, nothing, [boxes(("owl", 0.9, C)), *nothing[1:]]) == []
    assert len(changes("detect", data, nothing, [boxes(("owl", 0.9, C)), *nothing[1:]])) == 1


def test_single_labels() -> None:
    data = Dataset(
        {"path": [f"{row}.jpg" for row in range(4)]},
        {"image": [0, 1, 2, 3], "class_id": [0, 1, 2, 0]},
        NAMES,
        task="classify",
    )
    first = [labels(("cat", 0.9)), labels(("cat", 0.5)), labels(("owl", 0.4)), labels(("dog", 1))]
    second = [labels(("dog", 0.6)), labels(("dog", 0.5)), labels(("cat", 0.9)), labels(("owl", 1))]
    found = changes("classify", data, first, second)
    # Two got worse, the surer first; one better; the last is wrong in both.
    assert [(one.row, one.before, one.after) for one in found] == [(2, 0, 1), (0, 0, 1), (1, 1, 0)]
    assert (found[0].lost, found[2].gained) == (("owl",), ("dog",))
    assert changes("classify", data, first, second, classes=("cat",))[0].row == 0


def test_many_labels_and_unknown_ones() -> None:
    data = Dataset(
        {"path": ["0.jpg", "1.jpg"], "labelled": [None, ["cat"]]},
        {"image": [0, 0], "class_id": [0, 1]},
        NAMES,
        task="multilabel",
    )
    first = [labels(("cat", 0.9), ("dog", 0.1)), labels()]
    second = [labels(("dog", 0.9), ("owl", 0.8), ("cat", 0.1)), labels(("owl", 0.9))]
    (one,) = changes("multilabel", data, first, second)
    assert (one.row, one.before, one.after) == (0, 1, 2)
    assert (one.gained, one.lost, one.false_after) == (("dog",), ("cat",), 1)
    # Nothing is said by a score of 0, whatever the threshold.
    same = changes("multilabel", data, first, first, thresholds=(0.0, 0.0))
    assert same == []


@pytest.mark.parametrize("task", ["classify", "multilabel", "detect"])
def test_a_system_and_itself_or_nothing(task: Any) -> None:
    data = located((0, "cat", A))
    data = {"detect": data, "multilabel": data.as_multilabel()}.get(task) or data.select(
        [0]
    ).as_classify()
    answer = [boxes(("cat", 0.9, A)) if task == "detect" else labels(("cat", 0.9))] * len(data)
    assert changes(task, data, answer, answer) == []
    with pytest.raises(UsageError, match="need"):
        changes(task, data, answer, answer[1:])


def test_unknown_task() -> None:
    data = located((0, "cat", A))
    with pytest.raises(UsageError, match="unknown task"):
        changes("guess", data, [boxes()] * 4, [boxes()] * 4)  # type: ignore[arg-type]
