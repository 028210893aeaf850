"""Bad data through `whatwhere.train`: people are told what is wrong, and nothing breaks.

Each case either trains, with a sentence about what is odd, or is refused with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import Run
from train_data import (
    NAMES,
    TINY_RESNET,
    Notes,
    boxes_set,
    classes_folder,
    grey,
    labelled,
    metric_rows,
    quick_config,
)
from whatwhere.data import Dataset, read
from whatwhere.errors import TrainError
from whatwhere.images import write_image
from whatwhere.train.loop import State
from whatwhere.types import Task

Fit = Callable[..., State]
PLAIN = ("--epochs", 1, "--size", 32, "--batch", 4, "--backbone", TINY_RESNET)
QUICK = (*PLAIN, "--set", "pretrained=false", "--set", "previews=0", "--out")


def told(fit: Fit, data: Dataset, folder: Path, task: Task = "detect", **changes: Any) -> list[str]:
    """What is said while one epoch is trained and scored."""
    notes = Notes()
    state = fit(data, quick_config(task, **changes), folder, listener=notes)
    assert state.epoch == 1
    assert len(metric_rows(folder)) == 1
    for note in notes.said:
        assert "\n" not in note
    return notes.said


def has(notes: Sequence[str], words: str) -> bool:
    return any(words in note for note in notes)


def changed(data: Dataset, keep: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Dataset:
    """The data set with each label changed, or left out for None."""
    names = ("image", "class_id", "x1", "y1", "x2", "y2", "ignore")
    rows = [keep(row) for row in data.labels.select(names).iter_rows(named=True)]
    kept = [row for row in rows if row is not None]
    labels = {name: [row[name] for row in kept] for name in names}
    return Dataset(data.images, labels, data.names, task=data.task)


def split_of(data: Dataset) -> list[str]:
    return list(data.images["split"])


# One of everything.


def test_one_class_of_whole_pictures(fit: Fit, tmp_path: Path) -> None:
    data = read(classes_folder(tmp_path / "data", {"red": 4}))
    notes = told(fit, data, tmp_path / "run", "classify")
    assert has(notes, "all 4 training pictures have the same label (red)")


def test_one_class_of_objects(fit: Fit, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 8, names=("red",))
    notes = told(fit, data, tmp_path / "run")
    assert not has(notes, "the same label")


def test_one_picture(fit: Fit, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 2, splits=False).select([1])
    with pytest.raises(TrainError, match="too few training pictures"):
        told(fit, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_picture_for_each_part(fit: Fit, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 8).select([1, 7])
    assert has(told(fit, data, tmp_path / "run"), "fewer than 10 labels to learn from")


def test_the_same_picture_in_both_parts(fit: Fit, tmp_path: Path) -> None:
    path = boxes_set(tmp_path / "data", 2, splits=False).paths[1]
    data = labelled([path] * 4, [0, 1, 0, 1], ["train", "train", "val", "val"])
    notes = told(fit, data, tmp_path / "run", "classify")
    assert has(notes, "2 of 2 validation pictures are training pictures, too")


# Nothing where something is expected.


def test_empty_pictures_only_in_validation(fit: Fit, tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "data", 8)
    split = split_of(whole)
    data = changed(whole, lambda row: None if split[row["image"]] == "val" else row)
    with pytest.raises(TrainError, match=r"2 validation pictures have no label.*add labels"):
        told(fit, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_some_validation_pictures_are_empty(fit: Fit, tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "data", 8)
    data = changed(whole, lambda row: None if row["image"] == 6 else row)
    told(fit, data, tmp_path / "run")
    assert "AP" in metric_rows(tmp_path / "run")[0]


def test_validation_where_everything_is_to_be_ignored(fit: Fit, tmp_path: Path) -> None:
    """No number is defined, so none is written; the weights are kept all the same."""
    whole = boxes_set(tmp_path / "data", 8)
    split = split_of(whole)
    data = changed(whole, lambda row: row | {"ignore": split[row["image"]] == "val"})
    notes = told(fit, data, tmp_path / "run")
    assert has(notes, "have no validation label")
    assert "AP" not in metric_rows(tmp_path / "run")[0]
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_classes_without_samples(fit: Fit, tmp_path: Path) -> None:
    """One class is in validation alone, one in training alone, one nowhere."""
    paths = boxes_set(tmp_path / "data", 6, splits=False).paths
    images = {"path": paths, "split": ["train"] * 4 + ["val"] * 2}
    labels = {"image": list(range(6)), "class_id": [0, 0, 0, 1, 0, 2]}
    data = Dataset(images, labels, [*NAMES, "ghost"], task="classify")
    notes = told(fit, data, tmp_path / "run", "classify")
    assert has(notes, "1 of 4 classes have no label to learn from or to score (ghost)")
    assert has(notes, "among the validation labels but not among those to learn from (blue)")
    assert has(notes, "1 of 4 classes have no validation label (green)")


def test_pictures_without_labels(fit: Fit, tmp_path: Path) -> None:
    """Several classifying pictures have none; the others are learnt from."""
    paths = boxes_set(tmp_path / "data", 8, splits=False).paths
    images = {"path": paths, "split": ["train"] * 6 + ["val"] * 2}
    data = Dataset(
        images, {"image": [0, 1, 6, 7], "class_id": [0, 1, 0, 1]}, NAMES, task="classify"
    )
    notes = told(fit, data, tmp_path / "run", "classify")
    assert has(notes, "4 of 6 training pictures have no label and teach nothing")


# Too many, too small, in the wrong place.


def test_a_thousand_classes(fit: Fit, tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(1000)]
    paths = boxes_set(tmp_path / "data", 6, splits=False).paths
    images = {"path": paths, "split": ["train"] * 4 + ["val"] * 2}
    labels = {"image": list(range(6)), "class_id": [0, 999, 500, 7, 0, 999]}
    for task in ("classify", "multilabel"):
        data = Dataset(images, labels, names, task=task)  # type: ignore[arg-type]
        notes = told(fit, data, tmp_path / task, task)  # type: ignore[arg-type]
        assert has(notes, "996 of 1000 classes have no label to learn from or to score")
        assert max(map(len, notes)) < 300


def test_a_detector_of_a_thousand_classes(fit: Fit, tmp_path: Path) -> None:
    names = (*NAMES, *(f"class {i}" for i in range(997)))
    whole = boxes_set(tmp_path / "data", 8)
    data = Dataset(whole.images, whole.labels, names)
    assert has(told(fit, data, tmp_path / "run"), "997 of 1000 classes")


@pytest.mark.parametrize("side", [3.0, 0.5])
def test_all_boxes_are_tiny(side: float, fit: Fit, tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "data", 8, size=(96, 96))
    data = changed(whole, lambda row: row | {"x2": row["x1"] + side, "y2": row["y1"] + side})
    notes = told(fit, data, tmp_path / "run")
    assert has(notes, "(100 %) are smaller than 8 pixels at the input of 32x32")
    assert has(notes, "(100 %) are at most one pixel wide or high")


def test_boxes_outside_their_pictures(fit: Fit, tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "data", 8)

    def moved(row: dict[str, Any]) -> dict[str, Any]:
        far = 1000.0 if row["image"] % 2 else 0.0
        return row | {"x1": row["x1"] + far, "x2": row["x2"] + far}

    notes = told(fit, changed(whole, moved), tmp_path / "run")
    assert has(notes, "lie wholly outside their picture and are left out")


def test_more_objects_than_the_model_gives(fit: Fit, tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "data", 8)
    columns = ("image", "class_id", "x1", "y1", "x2", "y2")
    labels = {name: whole.labels[name].to_list() for name in columns}
    for i in range(400):
        row = (1, 0, i % 60, i // 60, i % 60 + 20, i // 60 + 20)
        for name, value in zip(labels, row, strict=True):
            labels[name].append(value)
    notes = told(fit, Dataset(whole.images, labels, NAMES), tmp_path / "run")
    assert has(notes, "1 of 6 training pictures have more than the 300 boxes")


# Files.


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0 no picture"])
def test_unreadable_pictures(content: bytes, fit: Fit, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 8)
    for row in (1, 2, 6):
        Path(data.paths[row]).write_bytes(content)
    Path(data.paths[3]).unlink()
    notes = told(fit, data, tmp_path / "run", previews=1)
    assert sum(note.startswith("left out of training: ") for note in notes) == 3
    assert sum(note.startswith("scored as if nothing was found in it: ") for note in notes) == 1
    assert (tmp_path / "run" / "previews" / "predictions-1.png").is_file()


def test_no_picture_can_be_read(fit: Fit, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 8)
    for path in data.paths:
        Path(path).write_bytes(b"")
    with pytest.raises(TrainError, match="no training picture can be read"):
        told(fit, data, tmp_path / "run")


def test_pictures_of_any_shape(fit: Fit, tmp_path: Path) -> None:
    """A pixel, a strip, and a normal one."""
    random = np.random.default_rng(0)
    shapes = [(1, 1), (1, 400), (400, 1), (60, 80), (60, 80)]
    paths = []
    for i, (height, width) in enumerate(shapes):
        path = tmp_path / "data" / f"{i}.png"
        write_image(path, grey(random, height, width))
        paths.append(str(path))
    images = {
        "path": paths,
        "width": [width for _, width in shapes],
        "height": [height for height, _ in shapes],
        "split": ["train"] * 4 + ["val"],
    }
    labels: dict[str, Any] = {
        "image": list(range(5)),
        "class_id": [0, 1, 0, 1, 0],
        "x1": [0.0] * 5,
        "y1": [0.0] * 5,
        "x2": [float(width) for _, width in shapes],
        "y2": [float(height) for height, _ in shapes],
    }
    notes = told(fit, Dataset(images, labels, NAMES), tmp_path / "run", previews=1)
    assert has(notes, "cover their whole picture")
    for task in ("classify", "multilabel"):
        data = Dataset(images, {k: labels[k] for k in ("image", "class_id")}, NAMES, task=task)
        told(fit, data, tmp_path / task, task, previews=1)  # type: ignore[arg-type]


# Through the command line.


def test_the_command_says_it_and_goes_on(run: Run, tmp_path: Path) -> None:
    outcome = run("train", classes_folder(tmp_path / "data", {"red": 3}), *QUICK, tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert "all 3 training pictures have the same label (red)" in outcome.err
    assert (tmp_path / "run" / "curves.png").is_file()


def test_the_command_refuses_in_one_sentence(run: Run, tmp_path: Path) -> None:
    folder = classes_folder(tmp_path / "data")
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")
    outcome = run("train", folder, *QUICK, tmp_path / "run")
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
    assert "no training picture can be read" in outcome.err.splitlines()[-1]
