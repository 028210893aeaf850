"""COCO's numbers, equal to pycocotools' to the last bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_boxes import generated, oracle
from whatwhere.metrics.coco import SUMMARY, FoundBoxes, TrueBoxes, coco_scores

GOLDEN = {
    "AP": 0.5036,
    "AP50": 0.6970,
    "AP75": 0.5717,
    "APs": 0.5933,
    "APm": 0.5580,
    "APl": 0.4894,
    "AR1": 0.3868,
    "AR10": 0.5937,
    "AR100": 0.5954,
    "ARs": 0.6548,
    "ARm": 0.6031,
    "ARl": 0.5537,
}


def compare(images: list[int], classes: list[int], truth: TrueBoxes, found: FoundBoxes) -> Any:
    """Both on one set: every array and all 12 numbers must be the same bits."""
    judge = oracle(images, classes, truth, found)
    scores = coco_scores(images, {c: str(c) for c in classes}, truth, found)
    assert np.array_equal(scores.precision, judge.eval["precision"][..., 2])
    assert np.array_equal(scores.recall, judge.eval["recall"])
    ours = [-1.0 if value is None else value for value in scores.summary().values()]
    assert ours == judge.stats.tolist()
    for column, class_id in enumerate(sorted(classes)):
        own = judge.eval["precision"][:, :, column, 0, 2]
        mean = float(np.mean(own[own > -1])) if (own > -1).any() else None
        assert scores.of_class(class_id)["AP"] == mean
    return scores


def test_golden_numbers_and_pycocotools_on_the_published_set(shared: Path) -> None:
    folder = shared / "coco_eval"
    dataset = json.loads((folder / "sampled_gts_bbox_area.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    rows = dataset["annotations"]
    truth = TrueBoxes(
        np.array([row["image_id"] for row in rows]),
        np.array([row["category_id"] for row in rows]),
        np.array([row["bbox"] for row in rows], dtype=np.float64),
        np.array([row["area"] for row in rows], dtype=np.float64),
        np.array([row["iscrowd"] for row in rows], dtype=bool),
    )
    found = FoundBoxes(
        np.array([row["image_id"] for row in results]),
        np.array([row["category_id"] for row in results]),
        np.array([row["bbox"] for row in results], dtype=np.float64),
        np.array([row["score"] for row in results], dtype=np.float64),
    )
    images = [image["id"] for image in dataset["images"]]
    classes = [category["id"] for category in dataset["categories"]]
    scores = compare(images, classes, truth, found)
    assert {name: round(value, 4) for name, value in scores.summary().items()} == GOLDEN


@pytest.mark.parametrize("seed", range(4))
def test_generated_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = generated(rng, images=25, classes=4)
    scores = compare(list(range(25)), list(range(4)), truth, found)
    assert 0 < scores.summary()["AP50"] < 1


def test_ties_in_scores() -> None:
    rng = np.random.default_rng(5)
    truth, found = generated(rng, images=20, classes=2, levels=3)
    compare(list(range(20)), list(range(2)), truth, found)


def test_mostly_crowds() -> None:
    rng = np.random.default_rng(6)
    truth, found = generated(rng, images=20, classes=2, crowds=0.7)
    assert truth.ignore.sum() > 10
    compare(list(range(20)), list(range(2)), truth, found)


def test_more_than_100_boxes_a_picture_and_class() -> None:
    rng = np.random.default_rng(7)
    truth, found = generated(rng, images=2, classes=1, boxes=30, extra=150, levels=40)
    assert np.bincount(found.image).max() > 120
    compare([0, 1], [0], truth, found)


def test_pictures_without_labels_and_classes_without_positives() -> None:
    rng = np.random.default_rng(8)
    truth, found = generated(rng, images=5, classes=2)
    scores = compare(list(range(12)), [0, 1, 7], truth, found)
    assert scores.of_class(7) == {"AP": None, "AP50": None, "AR100": None}
    assert scores.curve(7) is None
    assert len(scores.curve() or []) == 101


def test_ids_need_not_be_in_order() -> None:
    rng = np.random.default_rng(9)
    truth, found = generated(rng, images=6, classes=3, levels=2)
    new_image = np.array([907, 12, 55, 3, 1_000_000_007, 44])
    new_class = np.array([90, 2, 17])
    truth = TrueBoxes(
        new_image[truth.image], new_class[truth.class_id], truth.xywh, truth.area, truth.ignore
    )
    found = FoundBoxes(new_image[found.image], new_class[found.class_id], found.xywh, found.score)
    compare(new_image.tolist(), new_class.tolist(), truth, found)


def test_pairs_may_be_compared_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    truth, found = generated(rng, images=15, classes=5, levels=6)
    # Class 3 has no boxes, class 9 neither boxes nor labels.
    found = found.only(found.class_id != 3)
    whole = compare(list(range(15)), [0, 1, 2, 3, 4, 9], truth, found)
    monkeypatch.setattr("whatwhere.metrics.coco_judge._MOST_PAIRS", 40)
    turns = compare(list(range(15)), [0, 1, 2, 3, 4, 9], truth, found)
    assert np.array_equal(whole.precision, turns.precision)
    assert turns.class_ids == whole.class_ids


def test_objects_that_many_boxes_want() -> None:
    """Chains of overlapping objects, of which some are crowds: most boxes have several choices."""
    rng = np.random.default_rng(11)
    step = np.array([[4.0 * k, 3.0 * k, 60, 60] for k in range(12)])
    xywh = np.concatenate([step, step / 2, step * 2])
    copies = np.repeat(xywh, 20, axis=0) + rng.normal(0, 2, (720, 4))
    image = np.repeat(np.arange(3), 12)
    crowd = np.arange(36) % 7 == 5
    truth = TrueBoxes(image, image * 0, xywh, xywh[:, 2] * xywh[:, 3], crowd)
    found = FoundBoxes(
        np.repeat(image, 20), np.repeat(image * 0, 20), copies, rng.random(720).round(1)
    )
    assert 0 < (compare([0, 1, 2], [0], truth, found).summary()["AP"] or 0) < 1


_side = st.sampled_from([0.0, 0.5, 1.0, 10.0, 31.9, 32.0, 96.0, 96.1, 200.0])
_row = st.tuples(st.integers(0, 2), st.integers(0, 1), _side, _side, _side, _side, st.booleans())
_guess = st.tuples(
    st.integers(0, 2),
    st.integers(0, 1),
    _side,
    _side,
    _side,
    _side,
    st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(_row, max_size=8), st.lists(_guess, min_size=1, max_size=12))
def test_any_small_set(rows: list[Any], guesses: list[Any]) -> None:
    """Zero sizes, areas on the limits, equal boxes, equal scores, all-crowd classes."""
    a = np.array(rows, dtype=np.float64).reshape(-1, 7)
    b = np.array(guesses, dtype=np.float64).reshape(-1, 7)
    truth = TrueBoxes(
        a[:, 0].astype(np.int64),
        a[:, 1].astype(np.int64),
        a[:, 2:6],
        a[:, 4] * a[:, 5],
        a[:, 6].astype(bool),
    )
    found = FoundBoxes(b[:, 0].astype(np.int64), b[:, 1].astype(np.int64), b[:, 2:6], b[:, 6])
    compare([0, 1, 2], [0, 1], truth, found)


def test_nothing_at_all_is_undefined_not_zero() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    empty = np.zeros((0, 4))
    truth = TrueBoxes(nothing, nothing, empty, np.zeros(0), np.zeros(0, dtype=bool))
    found = FoundBoxes(nothing, nothing, empty, np.zeros(0))
    for images, names in (([], {}), ([1, 2], {}), ([], {0: "a"}), ([1], {0: "a"})):
        summary = coco_scores(images, names, truth, found).summary()
        assert summary == dict.fromkeys(SUMMARY)


def test_no_boxes_found_scores_zero() -> None:
    one = np.ones(1, dtype=np.int64)
    truth = TrueBoxes(
        one, one, np.array([[0.0, 0, 50, 50]]), np.array([2500.0]), np.zeros(1, dtype=bool)
    )
    nothing = np.zeros(0, dtype=np.int64)
    found = FoundBoxes(nothing, nothing, np.zeros((0, 4)), np.zeros(0))
    summary = coco_scores([1], {1: "a"}, truth, found).summary()
    assert summary["AP"] == summary["AR100"] == 0
    assert summary["APs"] is None
