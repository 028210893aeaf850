"""Likely label errors: planted ones stand first, sound labels are left alone."""

import numpy as np
import pytest

from planted import NAMES, Plant, wrong_boxes, wrong_classes, wrong_sets
from whatwhere.data import Dataset
from whatwhere.metrics.doubts import DOUBTS, class_doubt, label_doubts
from whatwhere.metrics.doubts_boxes import right_share
from whatwhere.metrics.single import Mistake, box_rows
from whatwhere.types import Prediction, as_boxes, box_iou


@pytest.mark.parametrize("seed", range(5))
def test_wrong_classes_are_in_the_first_tenth(seed: int) -> None:
    data, answers, bad = wrong_classes(seed)
    found = label_doubts("classify", data, answers)
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    top = {one.image for one in found[: len(data) // 10]}
    assert len(top & bad) >= 0.85 * len(bad)


@pytest.mark.parametrize("seed", range(5))
def test_wrong_sets_of_labels_are_in_the_first_tenth(seed: int) -> None:
    data, answers, bad = wrong_sets(seed)
    found = label_doubts("multilabel", data, answers, limit=len(data) * len(NAMES) // 10)
    top = {(one.image, str(one.truth or one.said)) for one in found}
    assert len(top & bad) >= 0.85 * len(bad)
    assert {one.kind for one in found} == {"doubtful label", "missing label"}


def hits(found: list[Mistake], plants: list[Plant]) -> dict[str, list[bool]]:
    """Which plants the list shows, by kind: a box of it lies on the place."""
    shown: dict[str, list[bool]] = {}
    for plant in plants:
        x, y, width, height = plant.xywh
        place = as_boxes([(x, y, x + width, y + height)])
        near = False
        for one in found:
            box = one.box if plant.kind == "forgotten" else one.true_box
            if one.image == plant.image and box is not None:
                near |= bool(box_iou(as_boxes([box]), place)[0, 0] > 0.5)
        shown.setdefault(plant.kind, []).append(near)
    return shown


@pytest.mark.parametrize("seed", range(4))
def test_errors_of_boxes_are_in_the_first_tenth(seed: int) -> None:
    data, answers, plants = wrong_boxes(seed, images=400)
    found = label_doubts("detect", data, answers)
    shown = hits(found[: data.labels.height // 10], plants)
    assert set(shown) == {"forgotten", "renamed", "shifted", "invented"}
    rate = np.mean([near for kind in shown.values() for near in kind])
    assert rate >= 0.7, shown
    for kind, nears in shown.items():
        assert np.mean(nears) >= 0.3, kind


def test_each_kind_of_error_gets_its_name() -> None:
    data, answers, plants = wrong_boxes(0)
    found = label_doubts("detect", data, answers)
    kinds = {
        "forgotten": "missing label",
        "renamed": "wrong label",
        "shifted": "poor label box",
        "invented": "doubtful label",
    }
    for kind, name in kinds.items():
        assert name in DOUBTS
        mine = [plant for plant in plants if plant.kind == kind]
        named = hits([one for one in found if one.kind == name], mine)[kind]
        assert np.mean(named) >= 0.6, kind


def test_a_label_is_doubted_once_and_a_missing_one_too() -> None:
    data, answers, _ = wrong_boxes(1)
    found = label_doubts("detect", data, answers)
    labels = [one.label for one in found if one.label is not None]
    assert len(labels) == len(set(labels))
    for image in range(len(data)):
        places = [one.box for one in found if one.kind == "missing label" and one.image == image]
        overlap = box_iou(as_boxes(places), as_boxes(places))
        assert (overlap - np.eye(len(places)) < 0.5).all()


def test_a_model_that_agrees_doubts_nothing() -> None:
    data, answers, _ = wrong_classes(0, count=300, share=0.0)
    right = data.labels["class_id"].to_numpy()
    sure = [
        Prediction(9, 9, label_names=(NAMES[one],), label_scores=np.ones(1, np.float32))
        for one in right
    ]
    assert label_doubts("classify", data, sure) == []
    assert len(label_doubts("classify", data, answers)) > 0


def test_pictures_that_could_not_be_read_raise_no_doubt() -> None:
    data, answers, _ = wrong_boxes(2)
    nothing = Prediction(0, 0, boxes=np.zeros((0, 4), np.float32))
    found = label_doubts("detect", data, [nothing, *answers[1:]])
    assert all(one.image != 0 for one in found)
    empty = label_doubts("detect", data, [nothing] * len(data))
    assert empty == []


def test_labels_to_ignore_raise_no_doubt_and_excuse_what_is_found_there() -> None:
    data = Dataset(
        {"path": ["/a"]},
        {"image": [0], "class_id": [0], "x1": [0], "y1": [0], "x2": [300], "y2": [300],
         "ignore": [True]},
        NAMES,
        task="detect",
    )  # fmt: skip
    said = Prediction(
        640,
        480,
        object_names=("cat",),
        object_scores=np.array([0.99], np.float32),
        boxes=as_boxes([(50, 50, 90, 90)]),
    )
    assert label_doubts("detect", data, [said]) == []


def test_confident_learning_by_hand() -> None:
    """Four pictures of two classes; the paper's definition, computed with pencil and paper."""
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.45, 0.55]])
    # Marks: (0.9 + 0.2) / 2 = 0.55 and (0.7 + 0.55) / 2 = 0.625.
    doubt, other, confident = class_doubt(truth, scores)
    assert confident.tolist() == [False, True, False, False]
    assert other.tolist() == [1, 1, 0, 0]
    others = np.array([0.1 / 0.625, 0.8 / 0.625, 0.3 / 0.55, 0.45 / 0.55])
    labelled = np.array([0.9 / 0.55, 0.2 / 0.55, 0.7 / 0.625, 0.55 / 0.625])
    assert doubt == pytest.approx(others / (others + labelled))


def test_the_less_the_labelled_class_is_given_the_more_it_is_doubted() -> None:
    """Wrong labels have scores of next to nothing; genuine mistakes of a model seldom have."""
    truth = np.zeros(4, np.int64)
    scores = np.array([[1e-6, 1 - 1e-6], [1e-3, 0.999], [0.05, 0.95], [0.95, 0.05]])
    doubt, _, _ = class_doubt(np.append(truth, 1), np.append(scores, [[0.5, 0.5]], axis=0))
    assert (np.diff(doubt[:4]) < 0).all()
    assert 0 < doubt[3] < 0.5 < doubt[2] < doubt[0] < 1


def test_no_label_is_taken_for_a_class_without_labels() -> None:
    truth = np.array([0, 1, 0, 1])
    scores = np.array([[0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.9, 0.1, 0.0], [0.1, 0.7, 0.2]])
    _, other, _ = class_doubt(truth, scores)
    assert 2 not in other.tolist()


def test_shares_of_right_boxes_rise_with_the_score() -> None:
    data, answers, _ = wrong_boxes(3)
    rows = box_rows(data, answers, frozenset(NAMES))
    share = right_share(rows.truth, rows.found)
    assert ((share >= 0) & (share <= 1)).all()
    for class_id in range(4):
        mine = np.flatnonzero(rows.found.class_id == class_id)
        order = mine[np.argsort(rows.found.score[mine])]
        assert (np.diff(share[order]) >= 0).all()
    assert share[rows.found.score > 0.8].mean() > 0.8
    assert share[rows.found.score < 0.1].mean() < 0.2
