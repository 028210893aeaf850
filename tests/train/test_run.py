"""From data set to run: splits, sizes, data that are odd or too few, what is left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn

import whatwhere.train.run as run_module
from train_data import NAMES, TINY, TINY_RESNET, Notes, boxes_set, classes_folder
from whatwhere.data import Dataset, read
from whatwhere.errors import TrainError, UsageError
from whatwhere.runtime import load, read_spec
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import State
from whatwhere.train.prepare import (
    choose_size,
    complete,
    parity_pictures,
    split_data,
    unused_pictures,
)
from whatwhere.train.run import Run, export_run, resume_run, train_model
from whatwhere.types import Task

Fit = Callable[..., State]


def settings(task: Task, **changes: Any) -> TrainConfig:
    plain = {
        "backbone": TINY if task == "detect" else TINY_RESNET,
        "pretrained": False,
        "width_head": 16,
        "size": 32,
        "epochs": 1,
        "batch": 4,
        "precision": "32-true",
    }
    return replace(TrainConfig.for_task(task), **(plain | changes))


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Fit:
    """`train_model` without the export at its end."""

    def stop(net: nn.Module, spec: Any, state: State, *rest: Any) -> State:
        return state

    monkeypatch.setattr(run_module, "finish", stop)
    return train_model  # type: ignore[return-value]


def labelled(paths: list[str], classes: list[int], splits: list[str | None] | None = None) -> Any:
    images: dict[str, Any] = {"path": paths}
    if splits is not None:
        images["split"] = splits
    labels = {"image": list(range(len(classes))), "class_id": classes}
    return Dataset(images, labels, NAMES, task="classify")


# Splits.


def parts(splits: list[str | None] | None, count: int = 10) -> tuple[list[str], list[str]]:
    """Names of the training and validation pictures that `split_data` chooses."""
    data = labelled([f"{i}.png" for i in range(count)], [i % 2 for i in range(count)], splits)
    training, held = split_data(data, TrainConfig(validation=0.2))
    unused = unused_pictures(data, training, held)
    assert unused == count - len(training) - len(held) - data.splits.get("test", 0)
    return (
        [Path(path).stem for path in training.paths],
        [Path(path).stem for path in held.paths],
    )


def test_splits_that_are_named_are_used() -> None:
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    assert parts(list(names)) == (list("012345"), list("67"))


def test_without_splits_a_share_is_held_out_and_the_test_split_is_not_looked_at() -> None:
    training, held = parts(None)
    assert len(training) == 8
    assert len(held) == 2
    assert not set(training) & set(held)
    # One of each class.
    assert {int(name) % 2 for name in held} == {0, 1}
    training, held = parts(["train"] * 6 + ["test"] * 4)
    assert set(training) | set(held) == set("012345")
    assert held


def test_pictures_of_no_split() -> None:
    """Beside "train" they are left out; where nothing is called so, they are trained on."""
    assert parts(["train"] * 4 + ["val"] * 2 + [None] * 4) == (list("0123"), list("45"))
    assert parts([None] * 6 + ["val"] * 2 + ["test"] * 2) == (list("012345"), list("67"))
    assert parts(["trainval"] * 6 + ["val"] * 2 + ["test"] * 2) == (list("012345"), list("67"))


def test_the_seed_chooses_what_is_held_out() -> None:
    data = labelled([f"{i}.png" for i in range(40)], [0] * 40)
    one, same, other = (split_data(data, TrainConfig(seed=seed))[1].paths for seed in (0, 0, 1))
    assert one == same != other


def test_unused_pictures_are_named(fit: Fit, tmp_path: Path) -> None:
    paths = boxes_set(tmp_path / "data", 8, splits=False).paths
    data = labelled(paths, [0, 1] * 4, ["train"] * 4 + ["val"] * 2 + [None] * 2)
    notes = Notes()
    fit(data, settings("classify"), tmp_path / "run", listener=notes)
    assert notes.said[0] == "not used: 2 pictures that are not in train, val or test"


def test_only_test_pictures(tmp_path: Path, fit: Fit) -> None:
    data = labelled(["a.png", "b.png"], [0, 1], ["test", "test"])
    with pytest.raises(TrainError, match="too few training pictures"):
        fit(data, settings("classify"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Sizes.


def sized(*sizes: tuple[int | None, int | None]) -> Dataset:
    images = {
        "path": [f"{i}.png" for i in range(len(sizes))],
        "width": [w for w, _ in sizes],
        "height": [h for _, h in sizes],
    }
    return Dataset(images, {"image": [0], "class_id": [0]}, ["a"])


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(640, 480)] * 5, 320, (256, 320)),
        ([(480, 640)] * 5, 320, (320, 256)),
        ([(100, 100)] * 3, 64, (64, 64)),
        ([(640, 480)] * 9 + [(480, 640)], 320, (256, 320)),
        ([(640, 480)] * 6 + [(480, 640)] * 4, 320, (320, 320)),
        ([(2000, 20)] * 3, 320, (32, 320)),
        ([(20, 2000)] * 3, 320, (320, 32)),
        ([(None, None)] * 3, 0, (320, 320)),
        ([(1920, 1080)] * 3, 0, (192, 320)),
    ],
)
def test_a_detector_takes_the_shape_of_its_pictures(
    sizes: list[tuple[int | None, int | None]], size: int, expected: tuple[int, int]
) -> None:
    chosen = choose_size(replace(TrainConfig.for_task("detect"), size=size), sized(*sizes))
    assert chosen == expected
    assert all(side % 32 == 0 for side in chosen)


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(32, 32)] * 3, 0, 96),
        ([(64, 48)] * 3, 0, 192),
        ([(500, 375)] * 3, 0, 224),
        ([(8, 8)] * 3, 0, 96),
        ([(None, None)] * 3, 0, 224),
        ([(500, 375)] * 3, 50, 50),
    ],
)
def test_a_classifier_takes_a_square(
    sizes: list[tuple[int | None, int | None]], size: int, expected: int
) -> None:
    chosen = choose_size(replace(TrainConfig.for_task("classify"), size=size), sized(*sizes))
    assert chosen == (expected, expected)


def test_what_is_chosen_by_the_machine() -> None:
    data = sized((64, 64))
    made = complete(TrainConfig(), data)
    assert made.budget == 600
    assert made.device in ("cpu", "cuda")
    assert made.precision in ("32-true", "bf16-mixed")
    assert complete(made, data) == made, "a resumed run keeps what was chosen"
    assert complete(TrainConfig(epochs=3), data).budget == 0
    exact = complete(TrainConfig(device="cpu", precision="32-true", height=40, width=60), data)
    assert (exact.device, exact.precision, exact.height, exact.width) == ("cpu", "32-true", 40, 60)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no usable CUDA device"):
        complete(TrainConfig(device="cuda"), sized((64, 64)))


def test_a_batch_of_one_needs_more_than_one_cell(tmp_path: Path, fit: Fit) -> None:
    data = boxes_set(tmp_path / "data", 4)
    with pytest.raises(UsageError, match="--batch 2"):
        fit(data, settings("detect", batch=1), tmp_path / "run")
    assert fit(data, settings("detect", batch=1, size=64), tmp_path / "run").epoch == 1


# Data that are odd.


def test_a_class_that_is_missing_in_training(fit: Fit, tmp_path: Path) -> None:
    """The last class has no picture at all; the network still has a place for it."""
    paths = boxes_set(tmp_path / "data", 6, splits=False).paths
    data = labelled(paths, [0, 0, 0, 0, 0, 1], ["train"] * 4 + ["val"] * 2)
    state = fit(data, settings("classify"), tmp_path / "run")
    assert 0 <= state.best <= 1


def test_one_class(tmp_path: Path) -> None:
    data = read(classes_folder(tmp_path / "data", {"red": 4}))
    run = train_model(data, settings("classify"), tmp_path / "run")
    assert run.metrics["accuracy"] == 1.0
    assert read_spec(run.model).names == ("red",)
    answer = next(iter(load(run.model).predict([data.paths[0]])))
    assert answer.label_names == ("red",)


def test_one_training_picture(fit: Fit, tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "data", 8, size=(64, 64))
    two = whole.select([1, 7])
    assert two.splits == {"train": 1, "val": 1}
    for size in (32, 64):
        state = fit(two, settings("detect", size=size), tmp_path / f"{size}")
        assert state.plan.steps_per_epoch == 1


def test_fewer_pictures_than_a_batch(fit: Fit, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 4)
    state = fit(data, settings("detect", batch=64, epochs=2), tmp_path / "run")
    assert state.plan.total == 2


def test_a_single_picture_cannot_be_split(tmp_path: Path, fit: Fit) -> None:
    data = boxes_set(tmp_path / "data", 2, splits=False).select([1])
    with pytest.raises(TrainError, match="too few training pictures"):
        fit(data, settings("detect"), tmp_path / "run")


def test_two_pictures_are_enough(tmp_path: Path, fit: Fit) -> None:
    paths = boxes_set(tmp_path / "data", 2, splits=False).paths
    assert fit(labelled(paths, [0, 1]), settings("classify"), tmp_path / "run").epoch == 1


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_split_without_labels(part: str, tmp_path: Path, fit: Fit) -> None:
    whole = boxes_set(tmp_path / "data", 8)
    columns = ("image", "class_id", "x1", "y1", "x2", "y2")
    split_of = [whole.images["split"][int(i)] for i in whole.labels["image"]]
    rows = [row for row, split in enumerate(split_of) if split != part]
    labels = {name: [whole.labels[name][row] for row in rows] for name in columns}
    data = Dataset(whole.images, labels, NAMES)
    with pytest.raises(TrainError, match="label"):
        fit(data, settings("detect"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_without_a_class_of_training(tmp_path: Path, fit: Fit) -> None:
    """AP of a class without objects is undefined, not zero; with no object at all it is None."""
    whole = boxes_set(tmp_path / "data", 8)
    in_validation = [whole.images["split"][int(i)] == "val" for i in whole.labels["image"]]
    labels = whole.labels.with_columns(pl.Series("ignore", in_validation))
    data = Dataset(whole.images, labels, NAMES)
    state = fit(data, settings("detect", epochs=2), tmp_path / "run")
    # The later of equal epochs is kept.
    assert (state.best, state.best_epoch) == (0.0, 2)


def test_unreadable_pictures_are_told_and_left_out(tmp_path: Path, fit: Fit) -> None:
    data = boxes_set(tmp_path / "data", 8)
    Path(data.paths[2]).write_bytes(b"")
    Path(data.paths[7]).write_bytes(b"GIF89a")
    notes = Notes()
    fit(data, settings("detect"), tmp_path / "run", listener=notes)
    told = [text for text in notes.said if "002.png" in text or "007.png" in text]
    assert len(told) == 2
    assert told[0].startswith("left out of training: ")
    assert told[1].startswith("scored as if nothing was found in it: ")


def test_pictures_for_the_comparison(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 12)
    assert len(parity_pictures(data)) == 8
    assert len(parity_pictures(data.select([3, 4]))) == 2
    Path(data.paths[3]).write_bytes(b"")
    assert len(parity_pictures(data.select([3, 4]))) == 1
    with pytest.raises(TrainError, match="no validation picture can be read"):
        parity_pictures(data.select([3]))


# Tasks.


def test_a_task_that_the_labels_do_not_fit(tmp_path: Path, fit: Fit, workshop: Path) -> None:
    for name, task, words in (
        ("shelves", "classify", "--task multilabel"),
        ("animals", "detect", "a box for each label"),
    ):
        with pytest.raises(UsageError, match=words):
            fit(workshop / name, settings(task), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_an_unknown_backbone_leaves_nothing_behind(tmp_path: Path, workshop: Path) -> None:
    with pytest.raises(TrainError, match="resnet81"):
        train_model(workshop / "animals", settings("classify", backbone="resnet81"), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_place_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workshop: Path, fit: Fit
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        fit(workshop / "animals", settings("classify"))
        assert (tmp_path / "runs" / f"classify-{number}" / "last.ckpt").is_file()
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(UsageError, match="is a file"):
        fit(workshop / "animals", settings("classify"), tmp_path / "file")


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
    fit(data, settings("detect"), folder)
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
    assert values["rate"] == TrainConfig.for_task("classify").rate
    with pytest.raises(UsageError, match="epochs or a budget"):
        ww.train(workshop / "animals", epochs=1, budget="1m")  # type: ignore[operator]
