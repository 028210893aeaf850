"""Single mistakes: each kind is found with its boxes, names and scores, worst first."""

import numpy as np
import pytest

from muddled_boxes import as_dataset, as_predictions, muddled
from whatwhere.data import Dataset
from whatwhere.metrics.detection import found_boxes, known_boxes, true_boxes
from whatwhere.metrics.single import MISTAKES, Mistake, mistake_rows, single_mistakes
from whatwhere.metrics.tide import tide
from whatwhere.types import Prediction, as_boxes

NAMES = ["cat", "dog", "owl"]


def boxes(*rows: tuple[str, float, tuple[float, ...]], side: int = 200) -> Prediction:
    return Prediction(
        side,
        side,
        object_names=tuple(name for name, _, _ in rows),
        object_scores=np.array([score for _, score, _ in rows], np.float32),
        boxes=as_boxes([box for _, _, box in rows]),
    )


def labelled(*rows: tuple[int, str, tuple[float, ...]], images: int, **columns: object) -> Dataset:
    labels = {
        "image": [image for image, _, _ in rows],
        "class_id": [NAMES.index(name) for _, name, _ in rows],
        "record": [f"file:{line}" for line in range(len(rows))],
    }
    for place, side in enumerate(("x1", "y1", "x2", "y2")):
        labels[side] = [box[place] for _, _, box in rows]
    paths = {"path": [f"/data/{row}.jpg" for row in range(images)]}
    return Dataset(paths, labels | columns, NAMES, task="detect", root="/data")


HERE, THERE = (10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 180.0, 180.0)


def only(found: dict[str, list[Mistake]], kind: str) -> Mistake:
    assert list(found) == [kind]
    (one,) = found[kind]
    return one


def test_something_found_where_nothing_is() -> None:
    data = labelled((0, "cat", HERE), images=1)
    said = boxes(("cat", 0.9, HERE), ("dog", 0.8, THERE), ("dog", 0.3, (0, 100, 30, 130)))
    one = only(single_mistakes("detect", data, [said]), "false positive")
    assert (one.said, one.truth, one.box, one.true_box) == ("dog", None, THERE, None)
    assert one.score == one.weight == pytest.approx(0.8)


def test_something_missed_says_what_was_found_below_the_threshold() -> None:
    data = labelled((0, "cat", HERE), (0, "dog", THERE), images=1)
    said = boxes(("dog", 0.4, (101, 101, 181, 181)), ("dog", 0.1, THERE))
    small, large = (single_mistakes("detect", data, [said])["missed"][at] for at in (1, 0))
    assert (large.truth, large.true_box, large.label) == ("dog", THERE, 1)
    assert large.score == pytest.approx(0.4)
    assert (small.truth, small.score) == ("cat", None)
    assert large.weight == pytest.approx(0.4)  # its side, as a share of the picture's


def test_a_wrong_class_and_a_poor_box_name_both_sides() -> None:
    data = labelled((0, "cat", HERE), (1, "dog", THERE), images=2)
    shifted = (130.0, 100.0, 210.0, 180.0)
    found = single_mistakes(
        "detect", data, [boxes(("owl", 0.9, HERE)), boxes(("dog", 0.7, shifted))]
    )
    assert list(found) == ["wrong class", "poor box"]
    wrong, poor = found["wrong class"][0], found["poor box"][0]
    assert (wrong.truth, wrong.said, wrong.iou) == ("cat", "owl", pytest.approx(1))
    assert (poor.truth, poor.said, poor.true_box, poor.box) == ("dog", "dog", THERE, shifted)
    assert poor.iou == pytest.approx(50 / 110)


def test_a_duplicate_names_the_object_that_was_found_already() -> None:
    data = labelled((0, "cat", THERE), (0, "cat", HERE), images=1)
    said = boxes(("cat", 0.9, HERE), ("cat", 0.8, (12, 10, 62, 60)), ("cat", 0.7, THERE))
    one = only(single_mistakes("detect", data, [said]), "duplicate")
    assert (one.true_box, one.label) == (HERE, 1)
    assert one.iou == pytest.approx(48 / 52)


def test_regions_to_ignore_make_no_mistake() -> None:
    data = labelled((0, "cat", THERE), images=1, ignore=[True])
    assert not single_mistakes("detect", data, [boxes(("cat", 0.9, (110, 110, 140, 140)))])
    assert not single_mistakes("detect", data, [boxes()])


def test_classes_that_were_not_looked_for_make_no_mistake() -> None:
    whole = labelled((0, "cat", HERE), images=1)
    images = whole.images.to_dict(as_series=False) | {"labelled": [["cat"]]}
    data = Dataset(images, whole.labels, NAMES, task="detect")
    said = [boxes(("cat", 0.9, HERE), ("dog", 0.9, THERE))]
    assert not single_mistakes("detect", data, said)
    assert single_mistakes("detect", whole, said)
    assert not single_mistakes("detect", whole, said, classes=["cat"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_of_them_are_those_that_tide_counts(seed: int) -> None:
    truth, found = muddled(seed, crowds=0.1)
    data, said = as_dataset(truth, 25, NAMES), as_predictions(found, 25, NAMES)
    mine = single_mistakes("detect", data, said, threshold=0.0, limit=None)
    arrays = known_boxes(data, true_boxes(data), found_boxes(said, data.names))
    theirs = tide(dict(enumerate(NAMES)), *arrays).count
    words = {"class": "wrong class", "location": "poor box", "both": "class and place"}
    words |= {"background": "false positive"}
    assert {kind: len(ones) for kind, ones in mine.items()} == {
        words.get(kind, kind): count for kind, count in theirs.items() if count
    }
    for kind, ones in mine.items():
        assert kind in MISTAKES
        assert [one.rank for one in ones] == list(range(1, len(ones) + 1))
        weights = [one.weight for one in ones]
        assert weights == sorted(weights, reverse=True)
        some = single_mistakes("detect", data, said, threshold=0.0, limit=2)[kind]
        assert [one.weight for one in some] == weights[:2]


def test_wrong_answers_of_a_classifier_come_surest_first() -> None:
    data = Dataset(
        {"path": ["a", "b", "c", "d"]}, {"image": [0, 1, 2, 3], "class_id": [0, 0, 1, 2]}, NAMES
    )

    def said(*rows: tuple[str, float]) -> Prediction:
        scores = np.array([score for _, score in rows], np.float32)
        return Prediction(9, 9, label_names=tuple(n for n, _ in rows), label_scores=scores)

    answers = [
        said(("dog", 0.5), ("cat", 0.4), ("owl", 0.1)),
        said(("owl", 0.9), ("dog", 0.1), ("cat", 0.0)),
        said(("dog", 1.0), ("cat", 0.0), ("owl", 0.0)),
        said(),
    ]
    found = single_mistakes("classify", data, answers)
    first, second = found["wrong class"]
    assert (first.image, first.truth, first.said, first.truth_score) == (1, "cat", "owl", 0.0)
    assert (second.image, second.said) == (0, "dog")
    (nothing,) = found["missed"]
    assert (nothing.image, nothing.said, nothing.score) == (3, None, None)


def test_labels_that_are_said_wrongly_or_not_at_all() -> None:
    data = Dataset(
        {"path": ["a", "b"], "labelled": [None, ["cat"]]},
        {"image": [0, 0, 1], "class_id": [0, 1, 0]},
        NAMES,
        task="multilabel",
    )
    scores = np.array([0.9, 0.8, 0.2], np.float32)
    said = Prediction(9, 9, label_names=("owl", "cat", "dog"), label_scores=scores)
    found = single_mistakes("multilabel", data, [said, said])
    assert {kind: [(one.image, one.truth, one.said) for one in ones]
            for kind, ones in found.items()} == {
        "false positive": [(0, None, "owl")],
        "missed": [(0, "dog", None)],
    }  # fmt: skip


def test_rows_are_plain_values_with_names_of_pictures_and_records() -> None:
    data = labelled((0, "cat", HERE), (0, "dog", THERE), images=1)
    found = single_mistakes("detect", data, [boxes(("owl", 0.75, THERE))])
    (row,) = mistake_rows(found["wrong class"], data)
    assert row["image"] == "0.jpg"
    assert row["record"] == "file:1"
    assert (row["box"], row["score"], row["iou"]) == ([100, 100, 180, 180], 0.75, 1)
