"""What stands behind a result: intervals, further numbers, tables, and words on small samples."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation import Result
from whatwhere.evaluation.matching import Head, Match
from whatwhere.evaluation.run import finish
from whatwhere.metrics import FURTHER, METRICS
from whatwhere.types import Prediction, Task

NAMES = ("cat", "dog", "owl")
COUNT = 60


def result_of(task: Task, data: Dataset, predictions: list[Prediction]) -> Result:
    way = Match(task, Head(data.task, None), frozenset(data.names), ())
    return finish(way, data, predictions, notes=[])


def labelled(task: Task, classes: int = 3, seed: int = 0) -> tuple[Dataset, list[Prediction]]:
    """Pictures of one class each, and answers that are right three times of four."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=COUNT)
    images = {
        "path": [f"{row}.jpg" for row in range(COUNT)],
        "group": [None if row < 2 else str(row // 6) for row in range(COUNT)],
    }
    labels = {"image": list(range(COUNT)), "class_id": truth.tolist()}
    data = Dataset(images, labels, NAMES, task=task)
    predictions = []
    for row in range(COUNT):
        scores = random.random(3)
        scores[truth[row]] += 1.0 if random.random() < 0.75 else 0.0
        scores /= scores.sum()
        order = np.argsort(-scores)
        names = tuple(NAMES[place] for place in order)
        predictions.append(
            Prediction(10, 10, label_names=names, label_scores=scores[order].astype(np.float32))
        )
    return data, predictions


def boxed(format: str = "", difficult: bool = False) -> tuple[Dataset, list[Prediction]]:
    """One object a picture of 100 x 100; the answer is off by up to 8 pixels, or wrong."""
    random = np.random.default_rng(1)
    rows: dict[str, list[Any]] = {key: [] for key in ("image", "class_id", "x1", "y1", "x2", "y2")}
    rows["ignore"] = []
    predictions = []
    for row in range(COUNT):
        x, y, w, h = random.integers((5, 5, 20, 20), (30, 30, 60, 60))
        name = int(random.integers(3))
        values = (row, name, x, y, x + w, y + h, difficult and row % 5 == 0)
        for key, value in zip(rows, values, strict=True):
            rows[key].append(value)
        shift = random.uniform(-8, 8, 4)
        said = name if random.random() < 0.8 else (name + 1) % 3
        boxes = np.array([[x, y, x + w, y + h], [60, 60, 95, 99]], np.float32)
        boxes[0] += shift
        score = np.sort(random.random(2).astype(np.float32))[::-1]
        predictions.append(
            Prediction(
                100,
                100,
                object_names=(NAMES[said], NAMES[0]),
                object_scores=np.ascontiguousarray(score),
                boxes=boxes,
            )
        )
    images = {
        "path": [f"{row}.jpg" for row in range(COUNT)],
        "width": [100] * COUNT,
        "height": [100] * COUNT,
    }
    return Dataset(images, rows, NAMES, format=format), predictions


def cases() -> list[Any]:
    return [
        pytest.param("classify", *labelled("classify"), id="classify"),
        pytest.param("multilabel", *labelled("multilabel"), id="multilabel"),
        pytest.param("detect", *boxed(), id="detect"),
    ]


@pytest.mark.parametrize(("task", "data", "predictions"), cases())
def test_every_number_has_an_interval(
    task: Task, data: Dataset, predictions: list[Prediction]
) -> None:
    result = result_of(task, data, predictions).with_details(samples=200)
    found = result.details
    assert found is not None
    assert list(found.intervals) == [metric.name for metric in METRICS[task]]
    for name, interval in found.intervals.items():
        assert interval.value == pytest.approx(result[name], abs=1e-12), name
        if interval.value is not None:
            assert interval.low is not None
            assert interval.high is not None
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
    main = next(iter(found.intervals.values()))
    assert main.low is not None
    assert main.high is not None
    assert found.groups == ("none" if task == "detect" else "group")
    assert 0.02 < main.high - main.low < 0.5
    assert set(found.class_intervals) == set(NAMES)
    assert set(found.numbers) <= {metric.name for metric in FURTHER[task]}
    assert len(found.numbers) >= 8
    assert set(found.per_class) == set(NAMES)
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["intervals"].keys() == found.intervals.keys()
    assert written["further"] == dict(found.numbers)
    assert json.dumps(found.to_dict(tables=True), allow_nan=False)
    again = result_of(task, data, predictions).with_details(samples=200)
    assert again.details is not None
    assert again.details.to_dict() == found.to_dict()


def test_no_samples_no_intervals() -> None:
    result = result_of("classify", *labelled("classify")).with_details(samples=0)
    assert result.details is not None
    assert not result.details.intervals
    assert result.details.numbers["balanced_accuracy"] is not None
    assert "intervals" not in result_of("classify", *labelled("classify")).to_dict()


def test_pictures_of_a_video_are_drawn_together() -> None:
    data, predictions = labelled("classify")
    result = result_of("classify", data, predictions)
    alone, together = (result.with_details(groups=column).details for column in ("none", "auto"))
    assert alone is not None
    assert together is not None
    assert alone.intervals["accuracy"].units == COUNT
    # Ten videos, and two pictures of none.
    assert together.intervals["accuracy"].units == 12
    assert together.groups == "group"
    assert any("accuracy means little" in note for note in together.notes)
    with pytest.raises(UsageError, match=r"no column 'film' to group by: they have .*group"):
        result.with_details(groups="film")


def test_few_pictures_mean_little() -> None:
    data, predictions = labelled("classify")
    result = result_of("classify", data.select(range(9)), predictions[:9]).with_details()
    assert any("fewer than 30" in note for note in result.to_dict()["notes"])
    assert any("of 3 classes means little" in note for note in result.to_dict()["notes"])


def test_protocols() -> None:
    data, predictions = boxed("voc", difficult=True)
    result = result_of("detect", data, predictions)
    own = result.with_details(samples=0).details
    assert own is not None
    assert own.protocol == "voc"
    assert 0 < (own.numbers["voc_AP50"] or 0) < 1
    assert "voc_AP50" in own.per_class["cat"]
    coco = result.with_details(samples=0, protocol="coco").details
    assert coco is not None
    assert "voc_AP50" not in coco.numbers
    with pytest.raises(UsageError, match="unknown protocol 'VOC': use one of coco, voc"):
        result.with_details(protocol="VOC")
    with pytest.raises(UsageError, match="protocols are for boxes"):
        result_of("classify", *labelled("classify")).with_details(protocol="voc")


def test_tables_of_a_detector() -> None:
    data, predictions = boxed()
    found = result_of("detect", data, predictions).with_details(samples=0).details
    assert found is not None
    tables = found.tables
    assert set(tables) == {"operating", "confusion", "iou", "errors", "reliability"}
    matrix = np.array(tables["confusion"]["matrix"])
    assert matrix[:3].sum() == COUNT, "each object is in one column"
    assert tables["confusion"]["names"] == [*NAMES, "background"]
    assert tables["operating"]["all"]["at"]["threshold"] == 0.25
    assert tables["errors"]["count"]["class"] > 0
    assert sum(tables["iou"]["all"]["histogram"]) == tables["iou"]["all"]["count"]


def test_boxes_are_those_of_the_files(shared: Any) -> None:
    """Details of COCO results rest on the numbers of the files, not on float32 corners."""
    from whatwhere.data import read
    from whatwhere.evaluation import evaluate_predictions

    folder = shared / "coco_eval"
    data = read(folder / "sampled_gts_bbox_area.json")
    result = evaluate_predictions(folder / "instances_val2014_fakebbox100_results.json", data)
    detailed = result.with_details(samples=50)
    assert detailed.details is not None
    for name, interval in detailed.details.intervals.items():
        assert interval.value == pytest.approx(result[name], abs=1e-14), name
    assert detailed.details.numbers["best_f1"] == pytest.approx(0.8302, abs=1e-4)
