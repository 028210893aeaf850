"""COCO's numbers of weighted pictures, equal to hotcoco's on pictures that are copied."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_boxes import generated
from whatwhere.metrics.bootstrap import draws, intervals
from whatwhere.metrics.bootstrap_boxes import BoxNumbers, pooled_boxes
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes, coco_scores
from whatwhere.metrics.paired import differences


def expected(images: int, names: dict[int, str], truth: TrueBoxes, found: FoundBoxes) -> Any:
    scores = coco_scores(np.arange(images), names, truth, found)
    values = list(scores.summary().values())
    for class_id in sorted(names):
        values += scores.of_class(class_id).values()
    return np.array([np.nan if value is None else value for value in values])


def copied(
    weights: np.ndarray, truth: TrueBoxes, found: FoundBoxes
) -> tuple[int, TrueBoxes, FoundBoxes]:
    """Each picture as often as its weight, copies side by side."""
    source = np.repeat(np.arange(len(weights)), weights)

    def rows(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = [np.flatnonzero(image == picture) for picture in source]
        new = np.repeat(np.arange(len(source)), [len(found) for found in at])
        return np.concatenate([np.zeros(0, int), *at]), new

    t, t_image = rows(truth.image)
    f, f_image = rows(found.image)
    return (
        len(source),
        TrueBoxes(t_image, truth.class_id[t], truth.xywh[t], truth.area[t], truth.ignore[t]),
        FoundBoxes(f_image, found.class_id[f], found.xywh[f], found.score[f]),
    )


@pytest.mark.parametrize(("seed", "crowds", "levels"), [(0, 0.1, None), (1, 0.6, None), (2, 0, 9)])
def test_once_each_equals_hotcoco(seed: int, crowds: float, levels: int | None) -> None:
    names = {0: "a", 1: "b", 2: "c", 9: "never"}
    truth, found = generated(np.random.default_rng(seed), 30, 3, crowds=crowds, levels=levels)
    numbers = BoxNumbers(30, names, truth, found)
    got = numbers(np.ones((1, 30), dtype=np.int32))[0]
    np.testing.assert_allclose(got, expected(30, names, truth, found), rtol=0, atol=1e-12)
    assert len(numbers.keys) == len(got)


def test_once_each_equals_hotcoco_on_the_published_set(shared: Path) -> None:
    folder = shared / "coco_eval"
    dataset = json.loads((folder / "sampled_gts_bbox_area.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    ids = np.unique([image["id"] for image in dataset["images"]])

    def column(rows: list[dict[str, Any]], key: str) -> np.ndarray:
        return np.array([row[key] for row in rows])

    rows = dataset["annotations"]
    truth = TrueBoxes(
        np.searchsorted(ids, column(rows, "image_id")),
        column(rows, "category_id"),
        column(rows, "bbox").astype(float),
        column(rows, "area").astype(float),
        column(rows, "iscrowd").astype(bool),
    )
    found = FoundBoxes(
        np.searchsorted(ids, column(results, "image_id")),
        column(results, "category_id"),
        column(results, "bbox").astype(float),
        column(results, "score").astype(float),
    )
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    numbers = BoxNumbers(len(ids), names, truth, found)
    got = numbers(np.ones((1, len(ids)), dtype=np.int32))[0]
    np.testing.assert_allclose(got, expected(len(ids), names, truth, found), rtol=0, atol=1e-12)
    ap = intervals(numbers, samples=100)["AP", None]
    assert ap.value == pytest.approx(0.5036, abs=5e-5)
    assert 0.4 < ap.low < ap.value < ap.high < 0.6


def test_recall_levels_that_rounding_misses() -> None:
    """57 of 100 objects do not reach COCO's level 57, which is 0.5700000000000001."""
    image = np.arange(100)
    zero = np.zeros(100, dtype=np.int64)
    xywh = np.tile([0.0, 0, 50, 50], (100, 1))
    truth = TrueBoxes(image, zero, xywh, np.full(100, 2500.0), np.zeros(100, dtype=bool))
    for count in (*range(27, 31), *range(55, 60), 99, 100):
        rows = slice(0, count)
        found = FoundBoxes(image[rows], zero[rows], xywh[rows], np.linspace(1, 0.5, count))
        got = BoxNumbers(100, {0: "a"}, truth, found, sizes=False)(np.ones((1, 100), np.int32))
        want = coco_scores(image, {0: "a"}, truth, found).summary()["AP"]
        assert got[0, 0] == pytest.approx(want, abs=1e-12)


def test_drawn_pictures_equal_hotcoco_on_copies() -> None:
    names = {0: "a", 1: "b"}
    truth, found = generated(np.random.default_rng(3), 12, 2, crowds=0.2)
    numbers = BoxNumbers(12, names, truth, found)
    weights = np.concatenate(list(draws(np.arange(12), 12, 8, seed=0)))
    assert weights.max() > 2
    got = numbers(weights)
    for row, often in zip(got, weights, strict=True):
        images, *boxes = copied(often, truth, found)
        want = expected(images, names, *boxes)
        np.testing.assert_allclose(row, want, rtol=0, atol=1e-12)


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = generated(np.random.default_rng(4), 20, 2)
    numbers = BoxNumbers(20, {0: "a", 1: "b"}, truth, found)
    weights = np.concatenate(list(draws(np.arange(20), 20, 30, seed=0)))
    whole = numbers(weights)
    monkeypatch.setattr("whatwhere.metrics.bootstrap_boxes._CELLS", 1)
    np.testing.assert_array_equal(whole, numbers(weights))


def test_support_counts_pictures_with_labels_of_the_class() -> None:
    truth, found = generated(np.random.default_rng(5), 40, 3)
    result = intervals(BoxNumbers(40, {0: "a", 1: "b", 5: "no"}, truth, found), samples=20)
    held = truth.only((truth.class_id == 1) & ~truth.ignore)
    assert result["AP", "b"].units == len(np.unique(held.image))
    assert result["AP", None].units == 40
    large = truth.only(~truth.ignore & np.isin(truth.class_id, [0, 1]) & (truth.area >= 96**2))
    assert result["APl", None].units == len(np.unique(large.image))
    assert (result["AP", "no"].value, result["AP", "no"].units) == (None, 0)


def test_no_boxes_at_all() -> None:
    none = np.zeros(0, dtype=np.int64)
    truth = TrueBoxes(none, none, np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=bool))
    found = FoundBoxes(none, none, np.zeros((0, 4)), np.zeros(0))
    result = intervals(BoxNumbers(3, {0: "a"}, truth, found), samples=5)
    assert {interval.value for interval in result.values()} == {None}


def worse(found: FoundBoxes, share: float, seed: int = 0) -> FoundBoxes:
    """The same without a share of its boxes."""
    return found.only(np.random.default_rng(seed).random(len(found.image)) >= share)


def test_a_detector_does_not_differ_from_itself() -> None:
    truth, found = generated(np.random.default_rng(6), 30, 2)
    numbers = BoxNumbers(30, {0: "a", 1: "b"}, truth, found)
    both = BoxNumbers(60, {0: "a", 1: "b"}, *pooled_boxes(truth, found, found))
    for pooled in (None, both):
        for result in differences(numbers, numbers, pooled, samples=50).values():
            if result.value is not None:
                assert (result.value, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_a_planted_difference_is_found() -> None:
    truth, found = generated(np.random.default_rng(7), 80, 2)
    names = {0: "a", 1: "b"}
    poor = worse(found, 0.4)
    one, two = BoxNumbers(80, names, truth, found), BoxNumbers(80, names, truth, poor)
    both = BoxNumbers(160, names, *pooled_boxes(truth, found, poor))
    for pooled in (None, both):
        result = differences(one, two, pooled, samples=150)["AR100", None]
        assert result.high < 0
        assert result.p < 0.02
        assert result.value == pytest.approx(result.second - result.first)


def test_pooled_boxes_hold_both_systems() -> None:
    """All pictures by the one system are its own numbers."""
    truth, found = generated(np.random.default_rng(8), 25, 2)
    names = {0: "a", 1: "b"}
    poor = worse(found, 0.5)
    both = BoxNumbers(50, names, *pooled_boxes(truth, found, poor))
    only_first = np.tile(np.array([[1, 0]], dtype=np.int32), (1, 25))
    once = np.ones((1, 25), dtype=np.int32)
    for weights, system in ((only_first, found), (1 - only_first, poor)):
        alone = BoxNumbers(25, names, truth, system)(once)
        np.testing.assert_allclose(both(weights), alone, rtol=0, atol=1e-12)
