"""Notes about odd data: each is one sentence that says what, how many and what to do."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from train_data import boxes_set, quick_config
from whatwhere.data import Dataset, read
from whatwhere.train.config import TrainConfig
from whatwhere.train.models import find_model
from whatwhere.train.sanity import sanity_notes
from whatwhere.types import Task

NAMES = ("a", "b", "c")


def config(task: Task = "detect", side: int = 320, **changes: Any) -> TrainConfig:
    return replace(quick_config(task), height=side, width=side, **changes)


def boxes(
    classes: list[int], side: float | list[float] = 50, *, each: int = 1, **images: Any
) -> Dataset:
    """Pictures of 640 x 640 pixels with `each` square boxes, all in different places."""
    sides = [float(side)] * len(classes) if isinstance(side, int | float) else side
    count = -(-len(classes) // each)
    places = [10.0 + 0.5 * (i % 500) for i in range(len(classes))]
    labels: dict[str, Any] = {
        "image": [i // each for i in range(len(classes))],
        "class_id": classes,
        "x1": places,
        "y1": [20.0] * len(classes),
        "x2": [x + s for x, s in zip(places, sides, strict=True)],
        "y2": [20.0 + s for s in sides],
    }
    table = {
        "path": [f"/p/{i}-{each}-{len(classes)}.png" for i in range(count)],
        "width": [640] * count,
        "height": [640] * count,
    }
    return Dataset(table | images, labels, NAMES, task="detect")


def whole(classes: list[list[int]], task: Task = "classify", **images: Any) -> Dataset:
    """Pictures with labels of the whole."""
    rows = [(i, number) for i, numbers in enumerate(classes) for number in numbers]
    paths = {"path": [f"/p/{i}-{len(classes)}.png" for i in range(len(classes))]}
    labels = {"image": [row[0] for row in rows], "class_id": [row[1] for row in rows]}
    return Dataset(paths | images, labels, NAMES, task=task)


def notes(training: Dataset, validation: Dataset | None = None, **options: Any) -> list[str]:
    if validation is None:
        # As many of each class as nobody could object to.
        validation = boxes([0, 1, 2]) if training.task == "detect" else whole([[0], [1], [2]])
    settings = options.pop("config", None) or config(training.task)
    family = options.pop("family", None) or find_model(settings.model)[0]
    found = sanity_notes(training, validation, settings, family, **options)
    for note in found:
        assert "\n" not in note
        assert not note.endswith(".")
        # What is advised can be done.
        names = {field.name for field in fields(TrainConfig)}
        assert set(re.findall(r"(\w+)=", note)) <= names
    return found


GOOD = [0, 1, 2] * 20


def test_nothing_is_said_of_good_data() -> None:
    assert notes(boxes(GOOD)) == []
    assert notes(whole([[number] for number in GOOD])) == []


def test_nothing_is_said_of_real_data(shared: Path) -> None:
    data = read(shared / "bccd")
    training, validation = data.split_named("train"), data.split_named("val")
    assert notes(training, validation, config=config(side=320)) == []


@pytest.mark.parametrize(
    ("training", "validation", "said"),
    [
        ([0, 1] * 20, [0, 1], "1 of 3 classes have no label to learn from or to score (c)"),
        ([0, 1] * 20, [0, 1, 2], "1 of 3 classes are among the validation labels but not"),
        (GOOD, [0, 1], "1 of 3 classes have no validation label (c)"),
        ([*GOOD[:57], 0, 0, 0], [0, 1, 2], None),
        ([0] * 20 + [1] * 3 + [2], [0, 1, 2], "2 of 3 classes have fewer than 10 labels"),
        ([0] * 1000 + [1] * 10 + [2] * 10, [0, 1, 2], "a has 1,000 labels and b 10"),
        ([0] * 1000 + [1] * 30 + [2] * 30, [0, 1, 2], None),
    ],
)
def test_classes(training: list[int], validation: list[int], said: str | None) -> None:
    found = notes(boxes(training), boxes(validation))
    assert [note.startswith(said or "?") for note in found] == ([True] if said else [])


def test_the_rarest_are_named_first() -> None:
    (note,) = notes(boxes([0] * 20 + [1] * 3 + [2]))
    assert "(c 1, b 3)" in note


def test_many_classes_are_one_sentence() -> None:
    names = [f"class {i}" for i in range(1000)]
    training = Dataset({"path": ["/a", "/b"]}, {"image": [0, 1], "class_id": [0, 1]}, names)
    validation = Dataset({"path": ["/c"]}, {"image": [0], "class_id": [0]}, names)
    found = notes(training, validation, config=config("classify"))
    assert len(found) == 3
    assert "998 of 1000 classes have no label" in found[0]
    assert "and 993 more" in found[0]


def test_ignored_labels_do_not_count() -> None:
    data = boxes([0, 1] * 20 + [2])
    ignoring = Dataset(
        data.images, data.labels.with_columns(ignore=data.labels["class_id"] == 2), NAMES
    )
    assert [note for note in notes(ignoring) if "but not among those to learn from (c)" in note]


def test_tiny_boxes_with_the_size_that_helps() -> None:
    """Boxes of 12 pixels in pictures of 640 are 6 pixels at 320, and 8 from 427 pixels on."""
    (note,) = notes(boxes(GOOD, 12))
    assert note.startswith(
        "60 of 60 boxes (100 %) are smaller than 8 pixels at the input of 320x320"
    )
    assert "smaller than 6.0" in note
    assert "use --size 448 (then 0 of 60 boxes (0 %))" in note
    assert "small_objects=true" in note
    assert notes(boxes(GOOD, 12), config=config(side=448)) == []
    # Who sees tiles has done something already.
    assert notes(boxes(GOOD, 12), config=config(tile=320)) == []


def test_boxes_that_need_more_than_a_larger_input() -> None:
    (note,) = notes(boxes(GOOD, 5))
    assert "use --size 1024 (then 0 of 60 boxes (0 %))" in note
    (note,) = notes(boxes(GOOD, 3))
    # That would take 1,707 pixels; where 96 are shown as 320, the boxes have 10.
    assert "--size" not in note
    assert "use --set tile=96 " in note


def test_other_families_have_no_such_setting() -> None:
    settings = config()
    other = replace(find_model("yolo")[0], name="other")
    (note,) = notes(boxes(GOOD, 12), config=settings, family=other)
    assert "small_objects" not in note


def test_few_tiny_boxes_are_normal() -> None:
    assert notes(boxes(GOOD, [12.0] * 11 + [50.0] * 49)) == []


def test_boxes_that_vanish() -> None:
    found = notes(boxes(GOOD, [1.5] * 3 + [50.0] * 57))
    assert len(found) == 1
    assert found[0].startswith("3 of 60 boxes (5 %) are at most one pixel wide or high")


def test_boxes_in_wrong_places() -> None:
    data = boxes(GOOD)
    shift = np.where(np.arange(60) < 4, 10_000.0, 0.0)
    moved = data.labels.with_columns(x1=data.labels["x1"] + shift, x2=data.labels["x2"] + shift)
    (note,) = notes(Dataset(data.images, moved, NAMES))
    assert note.startswith("4 of 60 boxes (7 %) lie wholly outside their picture")


def test_boxes_that_are_no_boxes() -> None:
    data = boxes(GOOD)
    everything = data.labels.with_columns(
        x1=0 * data.labels["x1"],
        y1=0 * data.labels["y1"],
        x2=0 * data.labels["x1"] + 640,
        y2=0 * data.labels["x1"] + 640,
    )
    (note,) = notes(Dataset(data.images, everything, NAMES))
    assert "cover their whole picture" in note
    same = data.labels.with_columns(x1=0 * data.labels["x1"] + 5, x2=0 * data.labels["x1"] + 60)
    (note,) = notes(Dataset(data.images, same, NAMES))
    assert note.startswith("all 60 boxes lie in the same place")


def test_long_objects() -> None:
    data = boxes(GOOD)
    long = data.labels.with_columns(x2=data.labels["x1"] + 600)
    (note,) = notes(Dataset(data.images, long, NAMES))
    assert "more than 10 times as long as wide" in note


def test_more_boxes_than_the_model_gives() -> None:
    data = boxes(GOOD * 2, each=40)
    (note,) = notes(data, max_detections=30)
    assert note.startswith("3 of 3 training pictures have more than the 30 boxes")
    assert "(up to 40)" in note
    assert notes(data, max_detections=40) == []
    (note,) = notes(boxes(GOOD), boxes(GOOD, each=30), max_detections=29)
    assert note.startswith("2 of 2 validation pictures")


def test_pictures_in_both_parts() -> None:
    data = boxes(GOOD)
    (note,) = notes(data, data)
    assert note.startswith("60 of 60 validation pictures are training pictures, too")


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_labels_that_are_all_the_same(task: Task) -> None:
    found = notes(whole([[1]] * 30, task), whole([[1]] * 5, task), config=config(task))
    assert any("all 30 training pictures have the same label (b)" in note for note in found)


def test_the_same_set_of_labels_in_all_pictures() -> None:
    data = whole([[0, 1]] * 30, "multilabel")
    found = notes(data, whole([[0, 1]] * 5, "multilabel"), config=config("multilabel"))
    assert any("the same label (a, b)" in note for note in found)
    data = whole([[0, 1], [0]] * 15, "multilabel")
    found = notes(data, whole([[0, 1]] * 5, "multilabel"), config=config("multilabel"))
    assert not any("the same label" in note for note in found)


def test_one_class_of_objects_is_normal(tmp_path: Path) -> None:
    data = boxes_set(tmp_path, 60, names=("red",), splits=False, size=(96, 96))
    assert notes(data, data.select([1, 2]), config=config(side=96)) == [
        "2 of 2 validation pictures are training pictures, too, so the score is too good: divide"
        " the data anew with 'data split'"
    ]


def test_pictures_without_a_label() -> None:
    found = notes(whole([[0], [1], [2]] * 20 + [[]] * 4))
    assert found == [
        "4 of 64 training pictures have no label and teach nothing: label them or leave them out"
    ]


def test_partial_labels_and_a_family_that_cannot_use_them() -> None:
    yolo = find_model("yolo")[0]
    blind = replace(yolo, name="blind", partial=False)
    data = boxes(GOOD, labelled=[["a"]] * 10 + [None] * 50)
    assert notes(data) == []
    (note,) = notes(data, family=blind)
    assert note.startswith("in 10 of 60 training pictures not every class was looked for")
    assert "blind" in note
    whole_set = boxes(GOOD)
    some = whole_set.labels.with_columns(ignore=whole_set.labels["image"] < 6)
    (note,) = notes(Dataset(whole_set.images, some, NAMES), family=blind)
    assert note.startswith("6 of 60 boxes (10 %) are to be ignored")


def test_sizes_that_nobody_recorded() -> None:
    data = boxes(GOOD, 1)
    unsized = data.images.with_columns(width=None, height=None)
    assert notes(Dataset(unsized, data.labels, NAMES)) == []
