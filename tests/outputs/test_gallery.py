"""Galleries: a figure for each mistake, drawn on its place; names are escaped."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from whatwhere.data import Dataset
from whatwhere.images import write_image
from whatwhere.metrics.single import Mistake
from whatwhere.outputs.crops import LABEL, SAID, crop
from whatwhere.outputs.gallery import describe, doubts_html, mistakes_html
from whatwhere.types import Prediction, Task, as_boxes

NAMES = ["cat", "<b>dog"]
HERE, THERE = (20.0, 20.0, 80.0, 80.0), (150.0, 100.0, 220.0, 180.0)


def result(folder: Path, task: Task, labels: dict[str, Any], said: list[Prediction]) -> Any:
    paths = []
    for row in range(len(said)):
        path = folder / f"<i>{row}.png"
        write_image(path, np.full((200, 240, 3), 90, np.uint8))
        paths.append(str(path))
    data = Dataset({"path": paths}, labels, NAMES, task=task, root=str(folder))
    return SimpleNamespace(
        task=task, data=data, predictions=said, threshold=0.3, per_class=dict.fromkeys(NAMES)
    )


@pytest.fixture
def boxes(tmp_path: Path) -> Any:
    said = Prediction(
        240,
        200,
        object_names=("<b>dog", "cat"),
        object_scores=np.array([0.9, 0.8], np.float32),
        boxes=as_boxes([HERE, (100, 20, 140, 60)]),
    )
    x1, y1, x2, y2 = zip(HERE, THERE, strict=True)
    labels = {"image": [0, 0], "class_id": [0, 1], "x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return result(tmp_path, "detect", labels, [said, said])


@pytest.fixture
def classes(tmp_path: Path) -> Any:
    def said(*scores: float) -> Prediction:
        order = np.argsort(scores)[::-1]
        return Prediction(
            240,
            200,
            label_names=tuple(NAMES[place] for place in order),
            label_scores=np.array(scores, np.float32)[order],
        )

    labels = {"image": [0, 1, 2, 3], "class_id": [0, 0, 1, 1]}
    answers = [said(0.9, 0.1), said(0.2, 0.8), said(0.1, 0.9), said(0.3, 0.7)]
    return result(tmp_path, "classify", labels, answers)


def test_each_kind_of_mistake_has_a_gallery(boxes: Any) -> None:
    page = mistakes_html(boxes)
    for kind, count in (("wrong class", 1), ("missed", 1), ("false positive", 3)):
        assert f"<h3>{kind} ({count})</h3>" in page
    assert page.count("<img ") == page.count("data:image/jpeg;base64,") == 5
    assert "label: cat · model: &lt;b&gt;dog 0.90 · IoU 1.00" in page
    assert "&lt;i&gt;0.png" in page
    assert "<b>dog" not in page
    assert "<i>" not in page
    assert mistakes_html(boxes, count=1).count("<img ") == 3
    assert mistakes_html(boxes, count=0) == ""


def test_wrong_answers_of_a_classifier_show_both_scores(classes: Any) -> None:
    page = mistakes_html(classes)
    assert page.count("<img ") == 1
    assert "label: cat 0.20 · model: &lt;b&gt;dog 0.80" in page
    doubts = doubts_html(classes)
    assert "Likely label errors" in doubts
    assert "<b>wrong label</b> (1)" in doubts


def test_pictures_that_cannot_be_read_are_passed_over(boxes: Any) -> None:
    Path(boxes.data.paths[0]).unlink()
    page = mistakes_html(boxes)
    assert "missed" not in page
    assert page.count("<img ") == 2
    Path(boxes.data.paths[1]).unlink()
    assert mistakes_html(boxes) == doubts_html(boxes) == ""


def test_without_mistakes_or_pictures_there_is_no_section(classes: Any) -> None:
    row = classes.predictions[0]
    classes.data = classes.data.select([0, 0])
    classes.predictions = [row, row]
    assert mistakes_html(classes) == doubts_html(classes) == ""
    classes.data = None
    assert mistakes_html(classes) == doubts_html(classes) == ""


def test_a_crop_has_both_boxes_in_their_colours(boxes: Any) -> None:
    image = np.full((200, 240, 3), 90, np.uint8)
    one = Mistake("poor box", 1, 0, 0.5, box=HERE, true_box=(40, 20, 100, 80), label=0)
    drawn = crop(image, boxes.data, one, side=240)
    for colour in (LABEL, SAID):
        near = np.abs(drawn.astype(int) - colour).sum(axis=2) < 30
        assert near.sum() > 100, colour
    assert drawn.shape == (176, 176, 3)  # the 80 pixels of both boxes, and 60 % on each side


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (5000, 4000)])
def test_pictures_of_any_shape_are_drawn(boxes: Any, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    one = Mistake("missed", 1, 0, 0.5, true_box=(0, 0, shape[1], shape[0]), label=0)
    for chosen in (one, Mistake("wrong class", 1, 0, 0.5)):
        drawn = crop(image, boxes.data, chosen, side=200)
        assert drawn.dtype == np.uint8
        assert 0 < max(drawn.shape[:2]) <= 200


def test_a_line_says_what_is_labelled_and_what_is_said() -> None:
    missed = Mistake("missed", 1, 0, 0.5, truth="cat", score=0.2, true_box=HERE)
    assert describe(missed) == "label: cat · model: nothing (a box of score 0.20 is too low)"
    unsaid = Mistake("missed", 1, 0, 0.5, truth="cat", score=0.2, truth_score=0.2)
    assert describe(unsaid) == "label: cat · model: score 0.20 for it"
    invented = Mistake("false positive", 1, 0, 0.5, said="cat", score=0.75)
    assert re.fullmatch("label: nothing · model: cat 0.75", describe(invented))
