"""KITTI's AP of 2D boxes, against the rules of its readme as a plain loop, and by hand."""

from pathlib import Path

import numpy as np
import pytest

from muddled_boxes import as_dataset, as_predictions, muddled
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.detection import known_boxes, score_detection
from whatwhere.metrics.kitti import Visibility, kitti_scores, score_kitti

NAMES = {0: "Car", 1: "Pedestrian", 2: "Van", 3: "DontCare", 4: "Tram"}
LIMITS = {"easy": (40, 0, 0.15), "moderate": (25, 1, 0.3), "hard": (25, 2, 0.5)}
ENOUGH = {0: 0.7, 1: 0.5}
NEAR = {0: 2}


def areas(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Common area and that of each; boxes are left, top, width, height."""
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    common = across * down if across > 0 and down > 0 else 0.0
    return common, first[2] * first[3], second[2] * second[3]


class Judge:
    """One class at one difficulty, picture by picture, object by object, box by box."""

    def __init__(
        self, class_id: int, level: str, truth: TrueBoxes, seen: Visibility, found: FoundBoxes
    ) -> None:
        self.truth, self.found, self.enough = truth, found, ENOUGH[class_id]
        height, occlusion, truncation = LIMITS[level]
        self.valid: dict[int, bool] = {}
        for row in range(len(truth.image)):
            fine = (
                seen.occlusion[row] <= occlusion
                and seen.truncation[row] <= truncation
                and truth.xywh[row, 3] >= height
            )
            if truth.class_id[row] == class_id:
                self.valid[row] = fine
            elif truth.class_id[row] == NEAR.get(class_id):
                self.valid[row] = False
        self.regions = [row for row in range(len(truth.image)) if truth.class_id[row] == 3]
        self.usable: dict[int, bool] = {}
        for row in range(len(found.image)):
            if int(found.xywh[row, 3]) < height:
                self.usable[row] = False
            elif found.class_id[row] == class_id:
                self.usable[row] = True

    def fits(self, box: int, truth: int) -> float:
        if self.found.image[box] != self.truth.image[truth]:
            return 0.0
        common, a, b = areas(self.found.xywh[box], self.truth.xywh[truth])
        return common / (a + b - common) if common else 0.0

    def run(self, threshold: float | None) -> tuple[list[float], int, int]:
        """Scores of the right boxes, and the numbers of right and wrong ones."""
        taken: set[int] = set()
        scores = []
        for truth, counts in self.valid.items():
            choice = [
                box
                for box in self.usable
                if box not in taken
                and (threshold is None or self.found.score[box] >= threshold)
                and self.fits(box, truth) > self.enough
            ]
            if not choice:
                continue
            if threshold is None:
                box = max(choice, key=lambda one: self.found.score[one])
            else:
                tall = [one for one in choice if self.usable[one]]
                box = max(tall, key=lambda one: self.fits(one, truth)) if tall else choice[0]
            taken.add(box)
            if counts and self.usable[box]:
                scores.append(float(self.found.score[box]))
        wrong = 0
        for box, tall in self.usable.items():
            late = threshold is not None and self.found.score[box] < threshold
            if not tall or box in taken or late:
                continue
            inside = 0.0
            for region in self.regions:
                if self.truth.image[region] == self.found.image[box]:
                    common, own, _ = areas(self.found.xywh[box], self.truth.xywh[region])
                    inside = max(inside, common / own)
            wrong += inside <= self.enough
        return scores, len(scores), wrong

    def average_precision(self) -> float | None:
        objects = sum(self.valid.values())
        if not objects:
            return None
        scores = sorted(self.run(None)[0], reverse=True)
        curve = np.zeros(41)
        reached, place = 0.0, 0
        for number, score in enumerate(scores, 1):
            last = number == len(scores)
            if not last and (number + 1) / objects - reached < reached - number / objects:
                continue
            _, right, wrong = self.run(score)
            curve[place] = right / (right + wrong)
            reached, place = reached + 1 / 40, place + 1
        return float(np.mean([curve[level:].max() for level in range(1, 41)]))


def street(seed: int, images: int) -> tuple[TrueBoxes, Visibility, FoundBoxes]:
    truth, found = muddled(seed, images, 5, extra=2)
    rng = np.random.default_rng(seed)
    count = len(truth.image)
    # Mostly cars and pedestrians, as on a street.
    many = np.where(rng.random(count) < 0.6, truth.class_id % 2, truth.class_id)
    truth = TrueBoxes(truth.image, many, truth.xywh, truth.area, many == 3)
    said = np.where(rng.random(len(found.image)) < 0.6, found.class_id % 2, found.class_id)
    seen = Visibility(
        rng.choice([0.0, 1.0, 2.0, 3.0], count, p=[0.6, 0.2, 0.1, 0.1]),
        rng.choice([0.0, 0.1, 0.4, 0.9], count, p=[0.6, 0.2, 0.1, 0.1]),
    )
    return truth, seen, FoundBoxes(found.image, said, found.xywh, found.score)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_a_plain_loop(seed: int) -> None:
    truth, seen, found = street(seed, images=30)
    result = kitti_scores(NAMES, truth, seen, found)
    assert list(result["per_class"]) == ["Car", "Pedestrian"]
    for level in LIMITS:
        values = []
        for class_id in ENOUGH:
            expected = Judge(class_id, level, truth, seen, found).average_precision()
            got = result["per_class"][NAMES[class_id]][f"kitti_{level}"]
            assert got == pytest.approx(expected, abs=1e-12)
            values.append(expected)
        assert result[f"kitti_{level}"] == pytest.approx(np.mean(values), abs=1e-12)
    assert result["kitti_easy"] > 0
    assert result["kitti_easy"] != result["kitti_moderate"] != result["kitti_hard"]


def scene(
    truth: list[tuple[float, ...]], found: list[tuple[float, ...]], **kinds: float
) -> float | None:
    """AP of cars at moderate; rows are class, x, y, w, h and, of found boxes, a score."""
    # A hundred times: of few objects even perfect boxes score little, see below.
    left, right = np.array(truth * 100).reshape(-1, 5), np.array(found * 100).reshape(-1, 6)
    right[:, 5] -= np.arange(len(right)) * 1e-5
    pictures = np.arange(100)
    seen = Visibility(
        np.full(len(left), kinds.get("occlusion", 0.0)),
        np.full(len(left), kinds.get("truncation", 0.0)),
    )
    classes = left[:, 0].astype(np.int64)
    image = np.repeat(pictures, len(truth))
    ours = TrueBoxes(image, classes, left[:, 1:], left[:, 3], classes == 3)
    image = np.repeat(pictures, len(found))
    boxes = FoundBoxes(image, right[:, 0].astype(int), right[:, 1:5], right[:, 5])
    value: float | None = kitti_scores(NAMES, ours, seen, boxes)["kitti_moderate"]
    return value


CAR, VAN, REGION = 0, 2, 3
HIT = (CAR, 0, 0, 60, 60, 0.5)
OBJECT = (CAR, 0, 0, 60, 60)


def test_what_does_not_count() -> None:
    assert scene([OBJECT], [HIT]) == 1
    assert scene([OBJECT], []) == 0
    assert scene([OBJECT], [HIT], occlusion=2) is None
    assert scene([OBJECT], [HIT], truncation=0.31) is None
    assert scene([(CAR, 0, 0, 60, 24)], [HIT]) is None
    other = (CAR, 200, 0, 60, 60, 0.9)
    assert scene([OBJECT], [HIT, other]) == 0.5
    # A van, a region, and a box that is too low excuse it.
    assert scene([OBJECT, (VAN, 200, 0, 60, 60)], [HIT, other]) == 1
    assert scene([OBJECT, (REGION, 190, 0, 300, 300)], [HIT, other]) == 1
    assert scene([OBJECT, (REGION, 230, 0, 300, 300)], [HIT, other]) == 0.5
    assert scene([OBJECT], [HIT, (CAR, 200, 0, 60, 24.9, 0.9)]) == 1


def test_few_objects_are_scored_low_as_by_the_development_kit() -> None:
    ids = np.zeros(10, dtype=np.int64)
    xywh = np.tile([0.0, 0, 60, 60], (10, 1))
    truth = TrueBoxes(np.arange(10), ids, xywh, xywh[:, 2] ** 2, ids > 0)
    found = FoundBoxes(np.arange(10), ids, xywh, np.linspace(0.9, 0.5, 10))
    result = kitti_scores(NAMES, truth, Visibility(ids * 1.0, ids * 1.0), found)
    assert result["kitti_easy"] == 9 / 40
    assert "Car" in result["notes"][0]


def test_cars_need_an_overlap_of_seven_tenths() -> None:
    assert scene([OBJECT], [(CAR, 0, 0, 60, 43, 0.5)]) == 1
    assert scene([OBJECT], [(CAR, 0, 0, 60, 41, 0.5)]) == 0


def test_other_classes_are_scored_where_there_are_no_official_ones() -> None:
    truth, _, found = street(3, images=20)
    names = ["tree", "bush", "rock", "DontCare", "bird"]
    data = as_dataset(truth, 20, names)
    answers = as_predictions(found, 20, names)
    result = score_kitti(data, answers, classes=frozenset(names))
    assert list(result["per_class"]) == ["tree", "bush", "rock", "bird"]
    assert result["kitti_hard"] > 0
    part = score_kitti(data, answers, classes=frozenset({"tree", "rock"}))
    assert part["per_class"] == {n: result["per_class"][n] for n in ("tree", "rock")}


def test_the_flags_of_other_formats_and_the_numbers_of_kittis() -> None:
    truth, _, found = street(4, images=30)
    names = list(NAMES.values())
    count = len(truth.image)
    rng = np.random.default_rng(0)
    occluded, truncated = rng.random(count) < 0.4, rng.random(count) < 0.2
    data = as_dataset(truth, 30, names, occluded=occluded, truncated=truncated)
    answers = as_predictions(found, 30, names)
    result = score_kitti(data, answers, classes=frozenset(names))
    seen = Visibility(occluded * 1.0, truncated * 1.0)
    assert result["kitti_moderate"] == pytest.approx(
        kitti_scores(NAMES, truth, seen, found)["kitti_moderate"], abs=1e-4
    )
    extra = ['{"kitti": {"occluded": 3, "truncated": 0.00}}'] * count
    unknown = as_dataset(truth, 30, names, occluded=occluded, extra=extra)
    result = score_kitti(unknown, answers, classes=frozenset(names))
    assert result["kitti_hard"] is None
    assert result["per_class"]["Car"]["boxes_hard"] == 0


def test_real_frames(shared: Path) -> None:
    import whatwhere as ww

    frames = ww.read(shared / "kitti")
    data = frames.select(np.tile(np.arange(3), 100))
    rows = data.labels
    boxes = rows.select("x1", "y1", "x2", "y2").to_numpy().astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    found = FoundBoxes(
        rows["image"].to_numpy().astype(np.int64),
        rows["class_id"].to_numpy().astype(np.int64),
        boxes,
        np.linspace(0.9, 0.5, rows.height),
    )
    answers = as_predictions(found, len(data), list(data.names))
    result = score_kitti(data, answers, classes=frozenset(data.names))
    counted = {name: row["boxes_hard"] for name, row in result["per_class"].items()}
    # One car is too low, and the cyclist's occlusion is unknown.
    assert counted == {"Car": 100, "Cyclist": 0, "Pedestrian": 100}
    assert result["per_class"]["Pedestrian"]["kitti_easy"] == 1
    assert result["per_class"]["Cyclist"]["kitti_easy"] is None
    assert result["kitti_hard"] == 1
    assert score_kitti(data, answers[::-1], classes=frozenset(data.names))["kitti_hard"] == 0


def test_coco_numbers_of_kitti_data_leave_out_what_lies_in_dont_care_regions() -> None:
    """A region of KITTI says of no class whether it is there; COCO's of its own class alone."""
    truth = TrueBoxes(
        np.array([0, 0]),
        np.array([0, 3]),
        np.array([[0.0, 0, 50, 50], [100, 0, 200, 100]]),
        np.array([2500.0, 20000]),
        np.array([False, True]),
    )
    found = FoundBoxes(
        np.array([0, 0]),
        np.array([0, 0]),
        np.array([[120.0, 10, 40, 40], [0, 0, 50, 50]]),
        np.array([0.9, 0.8]),
    )
    names = list(NAMES.values())
    answers = as_predictions(found, 1, names)
    data = as_dataset(truth, 1, names)
    assert score_detection(data, answers, classes=frozenset(["Car"]))["AP"] == pytest.approx(0.5)
    data.format = "kitti"
    scored = score_detection(data, answers, classes=frozenset(["Car"]))
    assert scored["AP"] == pytest.approx(1)
    assert {name: row["boxes"] for name, row in scored["per_class"].items()} == {"Car": 1}
    known, _ = known_boxes(data, truth, found)
    assert known.class_id.tolist() == [0, 3, 0, 1, 2, 4]
    assert known.ignore.tolist() == [False] + 5 * [True]
