"""Open Images' AP50 with groups and a hierarchy: a plain loop, hotcoco, and by hand."""

from typing import Any

import numpy as np
import pytest

from muddled_boxes import as_predictions, muddled
from whatwhere.data import Dataset
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.open_images import open_images_scores, score_open_images
from whatwhere.metrics.voc import all_point_ap

NAMES = {0: "cat", 1: "dog", 2: "owl"}


def shared_area(a: np.ndarray, b: np.ndarray) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return float(across * down) if across > 0 and down > 0 else 0.0


def reference(
    class_id: int, truth: TrueBoxes, group: np.ndarray, found: FoundBoxes
) -> tuple[list[bool], int]:
    """Whether each box that counts is right, best first; and the number of objects."""
    used: set[int] = set()
    marks: dict[int, bool] = {}
    mine = [row for row in range(len(truth.image)) if truth.class_id[row] == class_id]
    order = [row for row in np.argsort(-found.score) if found.class_id[row] == class_id]
    for row in order:
        here = [other for other in mine if truth.image[other] == found.image[row]]
        size = found.xywh[row, 2] * found.xywh[row, 3]

        def iou(other: int, row: int = row, size: float = size) -> float:
            common = shared_area(found.xywh[row], truth.xywh[other])
            return common / (size + truth.xywh[other, 2] * truth.xywh[other, 3] - common)

        def share(other: int, row: int = row, size: float = size) -> float:
            return shared_area(found.xywh[row], truth.xywh[other]) / size

        single = max((one for one in here if not group[one]), key=iou, default=None)
        groups = max((one for one in here if group[one]), key=share, default=None)
        if single is not None and iou(single) >= 0.5 and single not in used:
            used.add(single)
            marks[row] = True
        elif groups is not None and share(groups) >= 0.5:
            if groups not in used:
                used.add(groups)
                marks[row] = True
        else:
            marks[row] = False
    return list(marks.values()), len(mine)


def grouped(seed: int) -> tuple[TrueBoxes, np.ndarray, FoundBoxes]:
    truth, found = muddled(seed, images=30, crowds=0.3)
    return truth, truth.ignore, found


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_a_plain_loop(seed: int) -> None:
    truth, group, found = grouped(seed)
    result = open_images_scores(NAMES, truth, group, found)
    values = []
    for class_id, name in NAMES.items():
        marks, positives = reference(class_id, truth, group, found)
        expected = all_point_ap(np.cumsum(marks), positives)
        got = result["per_class"][name]
        assert got == {"open_images_AP50": pytest.approx(expected, abs=1e-12), "boxes": positives}
        values.append(expected)
    assert result["open_images_AP50"] == pytest.approx(np.mean(values), abs=1e-12)


def test_equal_to_hotcoco_where_objects_of_a_class_do_not_overlap() -> None:
    import hotcoco

    truth, group, found = grouped(5)
    # The first box of each picture and class only: then both rules of matching are one.
    _, first = np.unique(truth.image * 3 + truth.class_id, return_index=True)
    keep = np.isin(np.arange(len(truth.image)), first)
    truth, group = truth.only(keep), group[keep]
    rows = np.arange(1, len(truth.image) + 1)
    dataset = hotcoco.COCO.from_arrays(
        [{"id": image} for image in range(30)],
        [{"id": class_id, "name": name} for class_id, name in NAMES.items()],
        truth.image,
        truth.class_id,
        truth.xywh,
        ids=rows,
        area=truth.area,
    )
    dataset.update_anns([{"id": row, "is_group_of": True} for row in rows[group].tolist()])
    table = np.column_stack([found.image, found.xywh, found.score, found.class_id])
    judge = hotcoco.COCOeval(dataset, dataset.load_res(table), "bbox", oid_style=True)
    judge.evaluate()
    judge.accumulate()
    with pytest.warns(UserWarning, match="image-level-label rule"):
        judge.summarize()
    scores = judge.get_results(per_class=True)
    result = open_images_scores(NAMES, truth, group, found)
    assert group.sum() > 5
    assert result["open_images_AP50"] == pytest.approx(scores["AP"], abs=1e-9)
    for name in NAMES.values():
        expected = scores[f"AP/{name}"]
        assert result["per_class"][name]["open_images_AP50"] == pytest.approx(expected, abs=1e-9)


MIDS = {"animal": "/m/a", "cat": "/m/c", "kitten": "/m/k", "car": "/m/v"}
TREE = {
    "LabelName": "/m/root",
    "Subcategory": [
        {
            "LabelName": "/m/a",
            "Subcategory": [{"LabelName": "/m/c", "Subcategory": [{"LabelName": "/m/k"}]}],
        },
        {"LabelName": "/m/v"},
    ],
}


def pictures(labelled: list[list[str] | None] | None = None, **more: Any) -> Dataset:
    """A cat in the first picture, a car in the second."""
    names = list(MIDS)
    labels: dict[str, Any] = {"image": [0, 1], "class_id": [names.index("cat"), 3]}
    labels |= {"x1": [0, 0], "y1": [0, 0], "x2": [50, 50], "y2": [50, 50]}
    images: dict[str, Any] = {"path": ["/nowhere/0.jpg", "/nowhere/1.jpg"]}
    if labelled is not None:
        images["labelled"] = labelled
    info = {name: {"mid": mid} for name, mid in MIDS.items()}
    return Dataset(images, labels | more, names, class_info=info, info={"hierarchy": TREE})


def said(*rows: tuple[int, str, float, int]) -> Any:
    """Boxes of 50 x 50 pixels: picture, class, score, left."""
    names = [*MIDS, "unicorn"]
    image, name, score, left = zip(*rows, strict=True)
    xywh = np.array([[at, 0, 50, 50] for at in left], dtype=np.float64)
    ids = np.array([names.index(one) for one in name])
    return as_predictions(FoundBoxes(np.array(image), ids, xywh, np.array(score)), 2, names)


def per_class(data: Dataset, answers: Any) -> dict[str, float | None]:
    result = score_open_images(data, answers, classes=frozenset(data.names))
    return {name: row["open_images_AP50"] for name, row in result["per_class"].items()}


def test_a_label_stands_for_the_classes_above_it() -> None:
    answers = said((0, "cat", 0.9, 0), (0, "unicorn", 0.9, 0))
    assert per_class(pictures(), answers) == {"animal": 0, "cat": 1, "kitten": None, "car": 0}
    answers = said((0, "animal", 0.9, 0), (0, "cat", 0.8, 0), (1, "car", 0.9, 0))
    assert per_class(pictures(), answers) == {"animal": 1, "cat": 1, "kitten": None, "car": 1}


def test_only_verified_classes_count_with_what_follows_from_the_hierarchy() -> None:
    # The second picture has no animal, so no cat and no kitten; nobody looked for cars in the
    # first one, and of kittens nothing is known there.
    data = pictures([["cat"], ["car", "animal"]])
    found = said((0, "cat", 0.5, 0), (0, "animal", 0.5, 0), (1, "car", 0.5, 0))
    perfect = {"animal": 1, "cat": 1, "kitten": None, "car": 1}
    assert per_class(data, found) == perfect
    fine = [(0, "cat", 0.5, 0), (0, "animal", 0.5, 0), (1, "car", 0.5, 0)]
    assert per_class(data, said(*fine, (0, "car", 0.9, 99))) == perfect
    # Everywhere looked at: the same box is wrong.
    assert per_class(pictures(), said(*fine, (0, "car", 0.9, 99)))["car"] == 0.5
    assert per_class(data, said(*fine, (1, "cat", 0.9, 99)))["cat"] == 0.5
    assert per_class(data, said(*fine, (1, "animal", 0.9, 99)))["animal"] == 0.5
    # An animal is shown in the first picture; another one there is wrong.
    assert per_class(data, said(*fine, (0, "animal", 0.9, 99)))["animal"] == 0.5


def test_groups_and_other_labels_to_be_ignored() -> None:
    crowd = pictures(iscrowd=[True, False], ignore=[True, False])
    in_it = [(0, "cat", 0.9, 20), (0, "cat", 0.8, 24), (1, "car", 0.5, 0)]
    assert per_class(crowd, said(*in_it))["cat"] == 1
    assert per_class(crowd, said((0, "cat", 0.9, 30)))["cat"] == 0
    hard = pictures(ignore=[True, False])
    assert per_class(hard, said(*in_it))["cat"] is None


def test_without_a_hierarchy_a_note_says_so() -> None:
    data = pictures()
    plain = Dataset(data.images, data.labels, data.names)
    answers = said((0, "cat", 0.9, 0))
    result = score_open_images(plain, answers, classes=frozenset(plain.names))
    assert "hierarchy" in result["notes"][0]
    assert result["per_class"]["animal"]["open_images_AP50"] is None
    whole = score_open_images(data, answers, classes=frozenset({"cat"}))
    assert whole["notes"] == []
    assert whole["open_images_AP50"] == 1
