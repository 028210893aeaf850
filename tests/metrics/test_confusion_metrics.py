"""The confusion matrix of a detector, against hotcoco and by hand."""

import numpy as np
import pytest

from muddled_boxes import muddled
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.confusion import Confusion, confusion

NAMES = {4: "owl", 0: "cat", 1: "dog"}


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("iou", [0.3, 0.5])
def test_equal_to_hotcoco_without_crowds(iou: float, threshold: float) -> None:
    import hotcoco

    truth, found = muddled(0, images=40)
    dataset = hotcoco.COCO.from_arrays(
        [{"id": image} for image in range(40)],
        [{"id": class_id, "name": str(class_id)} for class_id in range(3)],
        truth.image,
        truth.class_id,
        truth.xywh,
        area=truth.area,
    )
    table = np.column_stack([found.image, found.xywh, found.score, found.class_id])
    judge = hotcoco.COCOeval(dataset, dataset.load_res(table), "bbox")
    expected = judge.confusion_matrix(iou_thr=iou, min_score=threshold)["matrix"]
    names = {class_id: str(class_id) for class_id in range(3)}
    result = confusion(names, truth, found, threshold=threshold, iou=iou)
    assert np.array_equal(result.matrix, expected)
    assert (np.diagonal(result.matrix)[:3] > 0).all()
    assert result.matrix.sum() == len(truth.image) + (result.partner < 0).sum()


def judged(truth: list[tuple[float, ...]], found: list[tuple[float, ...]]) -> Confusion:
    """Rows are class, x, y, w, h and ignore or score, all in one picture."""
    left, right = np.array(truth).reshape(-1, 6), np.array(found).reshape(-1, 6)
    image = np.zeros(max(len(left), len(right)), dtype=np.int64)
    ours = TrueBoxes(
        image[: len(left)], left[:, 0].astype(np.int64), left[:, 1:5], left[:, 3], left[:, 5] > 0
    )
    boxes = FoundBoxes(
        image[: len(right)], right[:, 0].astype(np.int64), right[:, 1:5], right[:, 5]
    )
    return confusion(NAMES, ours, boxes)


def test_rows_are_the_truth_and_the_last_ones_background() -> None:
    truth = [(0, 0, 0, 10, 10, 0), (1, 50, 0, 10, 10, 0), (4, 90, 0, 10, 10, 0)]
    found = [
        (0, 200, 0, 10, 10, 0.9),  # a cat where nothing is
        (0, 50, 0, 10, 10, 0.8),  # the dog is called a cat
        (0, 0, 0, 10, 10, 0.7),  # the cat
        (1, 50, 0, 10, 10, 0.6),  # the dog again; it is taken
        (4, 90, 0, 10, 10, 0.2),  # too low a score
        (2, 90, 0, 10, 10, 0.9),  # a class that nobody asked for
    ]
    result = judged(truth, found)
    assert result.names == ("owl", "cat", "dog")
    # Columns: owl, cat, dog, missed.
    assert result.matrix.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]]
    assert result.row.tolist() == [0, 1, 2, 3]
    assert result.partner.tolist() == [-1, 1, 0, -1]
    assert result.swaps() == [
        ("owl", "background", 1),
        ("dog", "cat", 1),
        ("background", "cat", 1),
        ("background", "dog", 1),
    ]


def test_a_region_takes_boxes_of_its_class_out() -> None:
    truth = [(0, 0, 0, 100, 100, 1), (0, 10, 10, 10, 10, 0)]
    found = [(0, 40, 40, 10, 10, 0.9), (1, 40, 40, 10, 10, 0.8), (0, 10, 10, 10, 10, 0.7)]
    result = judged(truth, found)
    assert result.matrix.tolist() == [[0] * 4, [0, 1, 0, 0], [0] * 4, [0, 0, 1, 0]]
    assert result.row.tolist() == [1, 2]


def test_nothing_at_all() -> None:
    assert not judged([], []).matrix.any()
    assert judged([(1, 0, 0, 9, 9, 0)], []).matrix[2].tolist() == [0, 0, 0, 1]
    assert judged([], [(1, 0, 0, 9, 9, 0.5)]).matrix[3].tolist() == [0, 0, 1, 0]
    truth, found = muddled(0)
    assert confusion({}, truth, found).matrix.tolist() == [[0]]
