"""Pascal VOC's AP, against the development kit's rules as a plain loop over boxes."""

from pathlib import Path

import numpy as np
import pytest

from muddled_boxes import as_dataset, as_predictions, muddled
from whatwhere.data import Dataset
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.voc import all_point_ap, eleven_point_ap, score_voc, voc_scores

NAMES = ["cat", "dog", "owl"]


def reference(class_id: int, truth: TrueBoxes, found: FoundBoxes) -> tuple[float, float]:
    """Both APs of one class, on inclusive pixels with +1 as the development kit counts them."""
    rows = [
        row for row in np.argsort(-found.score, kind="stable") if found.class_id[row] == class_id
    ]
    mine = np.flatnonzero(truth.class_id == class_id)
    positives = int((~truth.ignore[mine]).sum())
    used: set[int] = set()
    marks = []
    for row in rows:
        left, top, width, height = found.xywh[row]
        best, partner = -np.inf, -1
        for other in mine:
            if truth.image[other] != found.image[row]:
                continue
            x, y, w, h = truth.xywh[other]
            # First and last pixel, counted from 1, both inside.
            across = min(left + width, x + w) - max(left + 1, x + 1) + 1
            down = min(top + height, y + h) - max(top + 1, y + 1) + 1
            if across > 0 and down > 0:
                share = across * down / (width * height + w * h - across * down)
                if share > best:
                    best, partner = share, other
        if best >= 0.5:
            if truth.ignore[partner]:
                continue
            marks.append(partner not in used)
            used.add(partner)
        else:
            marks.append(False)
    tp, fp = np.cumsum(marks), np.cumsum(~np.array(marks, dtype=bool))
    recall, precision = tp / positives, tp / (tp + fp)
    eleven = 0.0
    for level in range(11):
        reached = precision[recall >= level / 10 - 1e-12]
        eleven += (reached.max() if len(reached) else 0.0) / 11
    area, last = 0.0, 0.0
    for place in range(len(recall)):
        area += (recall[place] - last) * precision[place:].max()
        last = recall[place]
    return area, eleven


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_development_kit(seed: int) -> None:
    truth, found = muddled(seed, images=40, crowds=0.2)
    # Whole pixels, so that the two ways to write a box mean the same.
    truth = TrueBoxes(truth.image, truth.class_id, np.ceil(truth.xywh), truth.area, truth.ignore)
    found = FoundBoxes(found.image, found.class_id, np.ceil(found.xywh), found.score)
    result = voc_scores(dict(enumerate(NAMES)), truth, found)
    for class_id, name in enumerate(NAMES):
        area, eleven = reference(class_id, truth, found)
        assert 0.05 < area < 0.9
        assert result["per_class"][name]["voc_AP50"] == pytest.approx(area, abs=1e-12)
        assert result["per_class"][name]["voc_AP50_11"] == pytest.approx(eleven, abs=1e-12)
    values = [row["voc_AP50"] for row in result["per_class"].values()]
    assert result["voc_AP50"] == pytest.approx(np.mean(values), abs=1e-12)


def one_picture(truth: list[tuple[float, ...]], found: list[tuple[float, ...]]) -> float | None:
    """AP of boxes (x, y, w, h, difficult) and (x, y, w, h, score)."""
    left, right = np.array(truth).reshape(-1, 5), np.array(found).reshape(-1, 5)
    ids = np.zeros(max(len(left), len(right)), dtype=np.int64)
    result = voc_scores(
        {0: "cat"},
        TrueBoxes(ids[: len(left)], ids[: len(left)], left[:, :4], left[:, 2], left[:, 4] > 0),
        FoundBoxes(ids[: len(right)], ids[: len(right)], right[:, :4], right[:, 4]),
    )
    value: float | None = result["voc_AP50"]
    return value


def test_the_second_box_on_an_object_is_wrong_even_if_another_object_is_free() -> None:
    truth = [(0, 0, 10, 10, 0), (2, 0, 10, 10, 0)]
    # Both lie best on the first object; COCO would give the second one to the other box.
    found = [(0, 0, 10, 10, 0.9), (0.5, 0, 10, 10, 0.8)]
    assert one_picture(truth, found) == pytest.approx(0.5)


def test_a_difficult_object_excuses_what_lies_best_on_it() -> None:
    easy, hard = (0, 0, 10, 10, 0), (100, 100, 10, 10, 1)
    found = [(100, 100, 10, 10, 0.9), (101, 100, 10, 10, 0.8), (0, 0, 10, 10, 0.7)]
    assert one_picture([easy, hard], found) == 1
    # A small part of it is not enough: the overlap is the usual one, not that with a crowd.
    assert one_picture([easy, hard], [(101, 101, 3, 3, 0.9), (0, 0, 10, 10, 0.7)]) == 0.5
    assert one_picture([hard], found) is None
    assert one_picture([easy], []) == 0


def test_eleven_points_are_compared_in_whole_numbers() -> None:
    hits = np.array([1, 2, 3])
    assert all_point_ap(hits, 10) == pytest.approx(0.3)
    assert eleven_point_ap(hits, 10) == pytest.approx(4 / 11)
    assert all_point_ap(hits, 0) is None
    assert eleven_point_ap(hits, 0) is None


def test_from_a_data_set_by_either_flag() -> None:
    truth, found = muddled(5, images=30, crowds=0.3)
    hard = truth.ignore
    answers = as_predictions(found, 30, NAMES)
    marked = as_dataset(truth, 30, NAMES)
    plain = TrueBoxes(truth.image, truth.class_id, truth.xywh, truth.area, np.zeros_like(hard))
    flagged = as_dataset(plain, 30, NAMES, difficult=hard)
    classes = frozenset(NAMES)
    result = score_voc(marked, answers, classes=classes)
    assert result == score_voc(flagged, answers, classes=classes)
    expected = voc_scores(dict(enumerate(NAMES)), truth, found)
    assert result["voc_AP50"] == pytest.approx(expected["voc_AP50"], abs=1e-6)
    assert result != score_voc(as_dataset(plain, 30, NAMES), answers, classes=classes)


def test_real_photographs_with_difficult_objects(shared: Path) -> None:
    import whatwhere as ww

    data: Dataset = ww.read(shared / "voc2012_mini")
    rows = data.labels
    found = FoundBoxes(
        rows["image"].to_numpy().astype(np.int64),
        rows["class_id"].to_numpy().astype(np.int64),
        rows.select(left="x1", top="y1", w=rows["x2"] - rows["x1"], h=rows["y2"] - rows["y1"])
        .to_numpy()
        .astype(np.float64),
        np.linspace(1, 0.5, rows.height),
    )
    answers = as_predictions(found, len(data), list(data.names))
    result = score_voc(data, answers, classes=frozenset(data.names))
    assert sum(row["boxes"] for row in result["per_class"].values()) == rows.height - 38
    # Everything is found, and what is difficult costs nothing.
    assert result["voc_AP50"] == pytest.approx(1)
