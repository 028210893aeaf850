"""The loop: repeats bit by bit, resumes exactly, keeps to its budget, says what went wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train_data import Notes, classes_folder, metric_rows, same_runs
from whatwhere.errors import TrainError, UsageError
from whatwhere.train.checkpoint import load_tensors, save_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT, WEIGHTS, State
from whatwhere.train.recipes import recipe
from whatwhere.train.run import Run, train_model
from whatwhere.train.schedule import Plan

Fit = Callable[..., State]


# Repeating.


def test_equal_seeds_give_equal_runs(
    fit: Fit,
    detector: Run,
    classifier: Run,
    detector_config: TrainConfig,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
) -> None:
    for name, before, config in (
        ("shelves", detector, detector_config),
        ("animals", classifier, classifier_config),
    ):
        # Neither the number of threads nor the cache is part of what is random.
        fit(workshop / name, replace(config, workers=3, cache=0), tmp_path / name)
        assert same_runs(before.folder, tmp_path / name), name
        fit(workshop / name, replace(config, seed=1), tmp_path / f"{name}-1")
        assert not same_runs(before.folder, tmp_path / f"{name}-1"), name


def test_every_task_and_precision(fit: Fit, workshop: Path, tmp_path: Path) -> None:
    for task, data in (("multilabel", "shelves"), ("multilabel", "animals")):
        config = recipe(task).with_settings(  # type: ignore[arg-type]
            {
                "backbone": "test_resnet",
                "pretrained": "false",
                "size": "96",
                "epochs": "2",
                "batch": "6",
                "precision": "bf16-mixed",
            }
        )
        state = fit(workshop / data, config, tmp_path / data)
        assert state.epoch == 2
        assert 0 <= state.best <= 1
        assert "mAP" in metric_rows(tmp_path / data)[-1]


def test_a_folder_that_is_in_use(
    classifier: Run, classifier_config: TrainConfig, workshop: Path
) -> None:
    before = (classifier.folder / CHECKPOINT).read_bytes()
    with pytest.raises(UsageError, match="holds a run already") as caught:
        train_model(workshop / "animals", classifier_config, classifier.folder)
    assert f"--resume {classifier.folder}" in str(caught.value)
    assert (classifier.folder / CHECKPOINT).read_bytes() == before


def test_a_state_goes_through_json() -> None:
    state = State(Plan(3, 5, 6, 0.4), 2, 2, 0.5, 1, 0.1, 12.5, [{"epoch": 1, "loss": 0.1 + 0.2}])
    assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_a_short_fine_tuning_learns(fit: Fit, tmp_path: Path) -> None:
    """Eighteen steps: a last layer that starts wide or a short warm-up lets the features die."""
    data = classes_folder(tmp_path / "data", {"red": 8, "green": 8, "blue": 8})
    config = recipe("classify").with_settings(
        {"size": "64", "epochs": "6", "batch": "8", "seed": "1", "precision": "32-true"}
    )
    state = fit(data, config, tmp_path / "run")
    assert state.best == 1.0
    assert state.rows[0]["loss"] < 1.5
    assert state.rows[-1]["loss"] < 0.45


# What a run writes.


def test_what_a_run_leaves(detector: Run, classifier: Run) -> None:
    for run, numbers in (
        (detector, ["class_loss", "box_loss", "side_loss", "AP", "AP50"]),
        (classifier, ["loss", "accuracy", "top5"]),
    ):
        assert sorted(path.name for path in run.folder.iterdir()) == [
            "config.json",
            "curves.png",
            "last.ckpt",
            "metrics.csv",
            "model.onnx",
            "model.safetensors",
            "previews",
            "report.html",
            "seen.npz",
        ]
        table = metric_rows(run.folder)
        assert list(table[0])[:2] == ["epoch", "rate"]
        assert set(numbers) <= set(table[0])
        assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
        assert all(float(row[name]) >= 0 for row in table for name in numbers)
        rates = [float(row["rate"]) for row in table]
        # Twelve steps, of which the first three or four warm up.
        assert rates[1:] == sorted(rates[1:], reverse=True)
        primary = "AP" if run is detector else "accuracy"
        best = max(float(row[primary]) for row in table)
        assert float(table[run.best_epoch - 1][primary]) == best
        assert run.epochs == 4
        assert run.seconds > 0
        assert load_tensors(run.folder / WEIGHTS)[1] == {"epoch": run.best_epoch}
        text = (run.folder / "report.html").read_text("utf-8")
        assert "<html" in text
        assert run.to_dict()["model"] == str(run.folder / "model.onnx")
        json.dumps(run.to_dict())


def test_the_weights_are_the_average_of_the_best_epoch(classifier: Run) -> None:
    """The last epoch of equal scores is the best; where it is the last one, both files agree."""
    weights, _ = load_tensors(classifier.folder / WEIGHTS)
    whole, about = load_tensors(classifier.folder / CHECKPOINT)
    assert set(weights) == {name[8:] for name in whole if name.startswith("average.")}
    equal = all(torch.equal(weights[name], whole[f"average.{name}"]) for name in weights)
    assert equal == (about["state"]["best_epoch"] == 4)


def test_listeners_are_told(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    notes = Notes()
    fit(workshop / "animals", classifier_config, tmp_path / "run", listener=notes)
    assert "12 pictures to train on, 4 to validate, 2 classes, input 64x64" in notes.said[0]
    assert "2 of 2 classes have fewer than 10 labels to learn from" in notes.said[1]
    assert [text.split(":")[0] for text in notes.said[2:]] == [f"epoch {i}/4" for i in range(1, 5)]
    assert notes.done == [(i, 12) for i in range(1, 13)]


def test_a_loss_that_is_no_number(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    config = replace(classifier_config, rate=1e38, clip=1e30, weight_decay=0.0)
    with pytest.raises(TrainError) as caught:
        fit(workshop / "animals", config, tmp_path / "run")
    message = str(caught.value)
    assert message.startswith("the loss became ")
    assert "--set rate=3.3e+37" in message
    assert not (tmp_path / "run" / "model.onnx").exists()


def test_an_interrupted_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / CHECKPOINT
    save_tensors(path, {"a": torch.ones(3)}, {"epoch": 1})

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(Exception, match="No space left"):
        save_tensors(path, {"a": torch.zeros(3)}, {"epoch": 2})
    monkeypatch.undo()
    assert load_tensors(path)[1] == {"epoch": 1}
    assert [item.name for item in tmp_path.iterdir()] == [CHECKPOINT]
