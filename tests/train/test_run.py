"""From data set to run: splits, sizes, data that are odd or too few, what is left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from train_data import (
    NAMES,
    TINY_RESNET,
    Notes,
    boxes_set,
    classes_folder,
    labelled,
    quick_config,
)
from whatwhere.data import Dataset, read
from whatwhere.errors import TrainError, UsageError
from whatwhere.runtime import load, read_spec
from whatwhere.train.loop import State
from whatwhere.train.recipes import recipe
from whatwhere.train.run import Run, export_run, resume_run, train_model

Fit = Callable[..., State]


# Data that are odd.


def test_a_class_that_is_missing_in_training(fit: Fit, tmp_path: Path) -> None:
    """The last class has no picture at all; the network still has a place for it."""
    paths = boxes_set(tmp_path / "data", 6, splits=False).paths
    data = labelled(paths, [0, 0, 0, 0, 0, 1], ["train"] * 4 + ["val"] * 2)
    state = fit(data, quick_config("classify"), tmp_path / "run")
    assert 0 <= state.best <= 1


def test_one_class(tmp_path: Path) -> None:
    data = read(classes_folder(tmp_path / "data", {"red": 4}))
    run = train_model(data, quick_config("classify"), tmp_path / "run")
    assert run.metrics["accuracy"] == 1.0
    assert read_spec(run.model).names == ("red",)
    answer = next(iter(load(run.model).predict([data.paths[0]])))
    assert answer.label_names == ("red",)


def test_one_training_picture(fit: Fit, tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "data", 8, size=(64, 64))
    two = whole.select([1, 7])
    assert two.splits == {"train": 1, "val": 1}
    for size in (32, 64):
        state = fit(two, quick_config("detect", size=size), tmp_path / f"{size}")
        assert state.plan.steps_per_epoch == 1


def test_fewer_pictures_than_a_batch(fit: Fit, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 4)
    state = fit(data, quick_config("detect", batch=64, epochs=2), tmp_path / "run")
    assert state.plan.total == 2


def test_a_single_picture_cannot_be_split(tmp_path: Path, fit: Fit) -> None:
    data = boxes_set(tmp_path / "data", 2, splits=False).select([1])
    with pytest.raises(TrainError, match="too few training pictures"):
        fit(data, quick_config("detect"), tmp_path / "run")


def test_two_pictures_are_enough(tmp_path: Path, fit: Fit) -> None:
    paths = boxes_set(tmp_path / "data", 2, splits=False).paths
    assert fit(labelled(paths, [0, 1]), quick_config("classify"), tmp_path / "run").epoch == 1


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_split_without_labels(part: str, tmp_path: Path, fit: Fit) -> None:
    whole = boxes_set(tmp_path / "data", 8)
    columns = ("image", "class_id", "x1", "y1", "x2", "y2")
    split_of = [whole.images["split"][int(i)] for i in whole.labels["image"]]
    rows = [row for row, split in enumerate(split_of) if split != part]
    labels = {name: [whole.labels[name][row] for row in rows] for name in columns}
    data = Dataset(whole.images, labels, NAMES)
    with pytest.raises(TrainError, match="label"):
        fit(data, quick_config("detect"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_without_a_class_of_training(tmp_path: Path, fit: Fit) -> None:
    """AP of a class without objects is undefined, not zero; with no object at all it is None."""
    whole = boxes_set(tmp_path / "data", 8)
    in_validation = [whole.images["split"][int(i)] == "val" for i in whole.labels["image"]]
    labels = whole.labels.with_columns(pl.Series("ignore", in_validation))
    data = Dataset(whole.images, labels, NAMES)
    state = fit(data, quick_config("detect", epochs=2), tmp_path / "run")
    # The later of equal epochs is kept.
    assert (state.best, state.best_epoch) == (0.0, 2)


def test_unreadable_pictures_are_told_and_left_out(tmp_path: Path, fit: Fit) -> None:
    data = boxes_set(tmp_path / "data", 8)
    Path(data.paths[2]).write_bytes(b"")
    Path(data.paths[7]).write_bytes(b"GIF89a")
    notes = Notes()
    fit(data, quick_config("detect"), tmp_path / "run", listener=notes)
    told = [text for text in notes.said if "002.png" in text or "007.png" in text]
    assert len(told) == 2
    assert told[0].startswith("left out of training: ")
    assert told[1].startswith("scored as if nothing was found in it: ")


# Tasks.


def test_a_task_that_the_labels_do_not_fit(tmp_path: Path, fit: Fit, workshop: Path) -> None:
    for name, task, words in (
        ("shelves", "classify", "--task multilabel"),
        ("animals", "detect", "a box for each label"),
    ):
        with pytest.raises(UsageError, match=words):
            fit(workshop / name, quick_config(task), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_an_unknown_backbone_leaves_nothing_behind(tmp_path: Path, workshop: Path) -> None:
    with pytest.raises(TrainError, match="resnet81"):
        train_model(
            workshop / "animals", quick_config("classify", backbone="resnet81"), tmp_path / "r"
        )
    assert not (tmp_path / "r").exists()


def test_the_place_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workshop: Path, fit: Fit
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        fit(workshop / "animals", quick_config("classify"))
        assert (tmp_path / "runs" / f"classify-{number}" / "last.ckpt").is_file()
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(UsageError, match="is a file"):
        fit(workshop / "animals", quick_config("classify"), tmp_path / "file")


def test_the_settings_file(classifier: Run, workshop: Path) -> None:
    values = json.loads((classifier.folder / "config.json").read_text("utf-8"))
    assert values["data"] == str((workshop / "animals").resolve())
    assert values["format"] == "folders"
    assert values["names"] == ["cat", "dog"]
    assert values["training_pictures"] == 12
    assert values["validation_pictures"] == 4
    assert values["held_out"] is False
    assert (values["height"], values["width"]) == (64, 64)


# Runs on data in memory.


def test_data_in_memory(tmp_path: Path, fit: Fit) -> None:
    data = boxes_set(tmp_path / "data", 8)
    folder = tmp_path / "run"
    fit(data, quick_config("detect"), folder)
    for call in (resume_run, export_run):
        with pytest.raises(TrainError, match="given in memory"):
            call(folder)
    assert resume_run(folder, data=data).epoch == 1  # type: ignore[attr-defined]


# Exports of a run.


def test_an_export_without_model_file(classifier: Run, tmp_path: Path) -> None:
    """A run that was stopped has weights and no model file yet."""
    folder = tmp_path / "stopped"
    shutil.copytree(classifier.folder, folder)
    (folder / "model.onnx").unlink()
    made = export_run(folder)
    before, after = read_spec(classifier.model), read_spec(made.model)
    assert after.name == "stopped"
    assert after.model_copy(update={"name": before.name}) == before
    assert made.metrics == classifier.metrics
    assert made.best_epoch == classifier.best_epoch
    assert (folder / "report.html").read_bytes() == (classifier.folder / "report.html").read_bytes()


def test_no_run_to_export(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="not the folder of a training run"):
        export_run(tmp_path)
    with pytest.raises(TrainError, match="not the folder of a training run"):
        export_run(tmp_path / "none")


# The package is a function (docs/adr/0005).


@pytest.mark.parametrize("first", ["", "import whatwhere.train.run", "import whatwhere.train"])
def test_the_package_can_be_called(first: str, workshop: Path, tmp_path: Path) -> None:
    """Before and after a part of it was imported; a task of no kind shows that it was reached."""
    code = (
        f"{first}\nimport whatwhere as ww\n"
        f"try: ww.train({str(workshop / 'animals')!r}, 'guess', out={str(tmp_path / 'run')!r})\n"
        "except ww.UsageError as error: print(error)\n"
        "import whatwhere.train.run\n"
        "assert callable(ww.train) and ww.train is whatwhere.train\n"
        "assert ww.train.train.__name__ == 'train'\n"
        "assert ww.train.run.Run is ww.train.Run\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unknown task 'guess'" in done.stdout


def test_the_call_from_python(workshop: Path, tmp_path: Path, fit: Fit) -> None:
    import whatwhere as ww

    notes = Notes()
    state: Any = ww.train(  # type: ignore[operator]
        str(workshop / "animals"),
        "classify",
        epochs=1,
        backbone=TINY_RESNET,
        size=32,
        batch=3,
        seed=5,
        out=tmp_path / "run",
        device="cpu",
        settings={"pretrained": "false", "flip": "0"},
        listener=notes,
    )
    assert state.epoch == 1
    values = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    expected = {"batch": 3, "seed": 5, "flip": 0.0, "pretrained": False, "height": 32, "epochs": 1}
    assert {name: values[name] for name in expected} == expected
    assert values["rate"] == recipe("classify").rate
    with pytest.raises(UsageError, match="epochs or a budget"):
        ww.train(workshop / "animals", epochs=1, budget="1m")  # type: ignore[operator]
