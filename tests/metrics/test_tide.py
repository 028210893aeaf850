"""Kinds of errors, against tidecv's figures and hotcoco."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muddled_boxes import muddled
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.registry import FURTHER
from whatwhere.metrics.tide import COSTS, KINDS, LEFT_OUT, RIGHT, Tide, tide

NAMES = {0: "cat", 1: "dog", 2: "owl"}


def boxes(*rows: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """image, class, x, y, w, h, and a last column."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    return table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:6], table[:, 6]


def judged(truth: list[tuple[float, ...]], found: list[tuple[float, ...]]) -> Tide:
    image, class_id, xywh, ignore = boxes(*truth)
    ours = TrueBoxes(image, class_id, xywh, xywh[:, 2] * xywh[:, 3], ignore > 0)
    return tide(NAMES, ours, FoundBoxes(*boxes(*found)))


# What tidecv 1.0.1 gives for muddled(seed, crowds=crowds): AP50 in percent, then COSTS.
TIDECV = {
    (0, 0.0): [
        10.3835285697,
        9.0109479468,
        4.6316103429,
        0.2026759931,
        0.3365982797,
        14.0756238672,
        4.5395105187,
        32.5207618593,
        12.419816103,
    ],
    (1, 0.0): [
        15.1821052832,
        5.782112762,
        5.4845517574,
        0.0754769537,
        0.2222367405,
        13.5802663591,
        9.9055500299,
        27.3921521425,
        20.1567033451,
    ],
    (2, 0.15): [
        11.2236777621,
        1.9128424023,
        2.4505039663,
        0.1609052664,
        0.404363381,
        21.7419149221,
        8.2909945566,
        37.6212067264,
        11.6095146041,
    ],
    (3, 0.3): [
        19.6136327919,
        1.1516790027,
        1.5061868824,
        0.0410022687,
        0.3817323501,
        20.3977914275,
        12.6896189619,
        31.871515723,
        17.1390639064,
    ],
}


@pytest.mark.parametrize("case", TIDECV)
def test_equal_to_tidecv(case: tuple[int, float]) -> None:
    seed, crowds = case
    result = tide(NAMES, *muddled(seed, crowds=crowds))
    got = [result.ap50, *(result.cost[name] for name in COSTS)]
    assert [100 * value for value in got if value is not None] == pytest.approx(
        TIDECV[case], abs=1e-9
    )


def test_equal_to_tidecv_on_real_boxes(shared: Path) -> None:
    folder = shared / "coco_eval"
    labels = json.loads((folder / "sampled_gts_bbox_area.json").read_text())["annotations"]
    classes = {row["category_id"] for row in labels}
    answers = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    # tidecv takes a class without objects into the mean, and reorders equal scores.
    answers = [row for row in answers if row["category_id"] in classes]

    def column(rows: list[dict[str, Any]], key: str) -> np.ndarray:
        return np.array([row[key] for row in rows])

    truth = TrueBoxes(
        column(labels, "image_id"),
        column(labels, "category_id"),
        column(labels, "bbox"),
        column(labels, "area"),
        column(labels, "iscrowd") > 0,
    )
    found = FoundBoxes(
        column(answers, "image_id"),
        column(answers, "category_id"),
        column(answers, "bbox"),
        column(answers, "score") - 1e-9 * np.arange(len(answers)),
    )
    result = tide({class_id: str(class_id) for class_id in classes}, truth, found)
    got = [result.ap50, *(result.cost[name] for name in COSTS)]
    # fmt: off
    assert [100 * value for value in got if value is not None] == pytest.approx(
        [69.7082735731, 15.5725026248, 0.2498821311, 0, 0.0205992259, 0, 10.5613574183,
         7.4062950266, 19.3055523557], abs=1e-9,
    )
    # fmt: on
    assert list(result.count.values()) == [74, 1, 0, 1, 0, 106]


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_hotcoco_without_crowds(seed: int) -> None:
    import hotcoco

    truth, found = muddled(seed)
    dataset = hotcoco.COCO.from_arrays(
        [{"id": image} for image in range(25)],
        [{"id": class_id, "name": name} for class_id, name in NAMES.items()],
        truth.image,
        truth.class_id,
        truth.xywh,
        area=truth.area,
    )
    table = np.column_stack([found.image, found.xywh, found.score, found.class_id])
    judge = hotcoco.COCOeval(dataset, dataset.load_res(table), "bbox")
    judge.evaluate()
    expected = judge.tide_errors()
    result = tide(NAMES, truth, found)
    keys = dict(zip((*KINDS, "missed"), ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), strict=True))
    assert result.count == {name: expected["counts"][key] for name, key in keys.items()}
    assert min(result.count.values()) > 0
    assert result.ap50 == pytest.approx(expected["ap_base"], abs=1e-9)
    # Of wrong classes and places hotcoco repairs all, tidecv only the best of an object.
    keys = {name: keys[name] for name in ("both", "duplicate", "background")}
    keys |= {"false_positive": "FP", "false_negative": "FN"}
    for name, key in keys.items():
        assert result.cost[name] == pytest.approx(expected["delta_ap"][key], abs=1e-9)


def test_each_kind_by_hand() -> None:
    truth = [(0, 0, 0, 0, 10, 10, 0), (0, 1, 50, 0, 10, 10, 0), (1, 0, 0, 0, 10, 10, 0)]
    found = [
        (0, 0, 0, 0, 10, 10, 0.9),  # right
        (0, 0, 0, 0, 10, 9, 0.8),  # the same again
        (0, 0, 50, 0, 10, 10, 0.7),  # a dog, called cat
        (0, 1, 54, 0, 10, 10, 0.6),  # the dog, misplaced
        (0, 2, 54, 0, 10, 10, 0.5),  # misplaced and misnamed
        (0, 0, 200, 0, 10, 10, 0.4),  # nothing there
    ]
    result = judged(truth, found)
    kinds = [KINDS.index(name) for name in ("duplicate", "class", "location", "both", "background")]
    assert result.kind.tolist() == [RIGHT, *kinds]
    assert result.partner.tolist() == [0, -1, 1, 1, -1, -1]
    assert result.missed.tolist() == [2]
    assert result.count == dict.fromkeys((*KINDS, "missed"), 1)
    assert result.per_class["cat"]["count"]["missed"] == 1
    assert result.per_class["dog"]["count"]["location"] == 1
    assert result.per_class["owl"]["ap50"] is None
    assert set(result.per_class["owl"]["cost"].values()) == {None}
    # The dog called cat has the higher score, so it is the one that would be repaired.
    assert result.per_class["dog"]["cost"]["class"] == 1
    assert result.per_class["dog"]["cost"]["location"] == 0


def test_boxes_in_a_region_are_left_out() -> None:
    truth = [(0, 0, 0, 0, 10, 10, 0), (0, 0, 100, 0, 90, 90, 1)]
    found = [(0, 0, 120, 20, 10, 10, 0.9), (0, 0, 0, 0, 10, 10, 0.8)]
    result = judged(truth, found)
    assert result.kind.tolist() == [LEFT_OUT, RIGHT]
    assert result.ap50 == 1
    assert sum(result.count.values()) == 0


def test_rows_point_at_the_boxes_that_were_given() -> None:
    truth, found = muddled(7, crowds=0.1)
    result = tide(NAMES, truth, found)
    assert sorted(result.row.tolist()) == list(range(len(found.image)))
    right = result.kind == RIGHT
    assert np.array_equal(found.class_id[result.row[right]], truth.class_id[result.partner[right]])
    named = {0: "cat", 2: "owl"}
    part = tide(named, truth, found)
    assert set(found.class_id[part.row].tolist()) == {0, 2}
    assert list(part.per_class) == ["cat", "owl"]


def test_at_most_100_boxes_a_picture() -> None:
    truth = [(0, 0, 0, 0, 10, 10, 0)]
    found = [(0, 0, 100 + place, 0, 1, 1, 0.9) for place in range(100)]
    result = judged(truth, [*found, (0, 0, 0, 0, 10, 10, 0.1)])
    assert len(result.row) == 100
    assert result.count["missed"] == 1


def test_without_objects_all_is_undefined() -> None:
    result = judged([], [(0, 0, 0, 0, 10, 10, 0.9)])
    assert result.ap50 is None
    assert set(result.cost.values()) == {None}
    assert result.count["background"] == 1
    empty = judged([(0, 0, 0, 0, 10, 10, 0)], [])
    assert empty.ap50 == 0
    assert empty.count["missed"] == 1
    registered = {metric.name for metric in FURTHER["detect"]}
    assert set(empty.numbers()) <= registered
