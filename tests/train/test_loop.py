"""The loop: repeats bit by bit, resumes exactly, keeps to its budget, says what went wrong."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import whatwhere.train.loop as loop
import whatwhere.train.run as run_module
from train_data import Notes
from whatwhere.data import read
from whatwhere.errors import TrainError, UsageError
from whatwhere.train.checkpoint import load_tensors, save_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT, METRICS, WEIGHTS, State
from whatwhere.train.network import Step, build
from whatwhere.train.prepare import complete, make_fabric, split_data
from whatwhere.train.run import Run, resume_run, train_model
from whatwhere.train.samples import Samples
from whatwhere.train.schedule import Plan
from whatwhere.train.validate import Validation

Fit = Callable[..., State]


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Fit:
    """`train_model` without the export at its end, which takes most of the time."""

    def stop(net: nn.Module, spec: Any, state: State, *rest: Any) -> State:
        return state

    monkeypatch.setattr(run_module, "finish", stop)
    return train_model  # type: ignore[return-value]


def same(one: Path, two: Path) -> bool:
    """Whether two runs ended with the same weights and the same numbers, bit by bit."""
    return all(
        (one / name).read_bytes() == (two / name).read_bytes() for name in (WEIGHTS, METRICS)
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / METRICS).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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
        assert same(before.folder, tmp_path / name), name
        fit(workshop / name, replace(config, seed=1), tmp_path / f"{name}-1")
        assert not same(before.folder, tmp_path / f"{name}-1"), name


def test_every_task_and_precision(fit: Fit, workshop: Path, tmp_path: Path) -> None:
    for task, data in (("multilabel", "shelves"), ("multilabel", "animals")):
        config = TrainConfig.for_task(task).with_settings(  # type: ignore[arg-type]
            {
                "backbone": "test_resnet",
                "pretrained": "false",
                "size": "64",
                "epochs": "2",
                "batch": "6",
                "precision": "bf16-mixed",
            }
        )
        state = fit(workshop / data, config, tmp_path / data)
        assert state.epoch == 2
        assert 0 <= state.best <= 1
        assert "mAP" in rows(tmp_path / data)[-1]


# Stopping and resuming.


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moment", [1, 4, 6, 11])
def test_a_run_that_died_at_any_step_ends_the_same(
    moment: int,
    classifier: Run,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    fit: Fit,
) -> None:
    class Dying(Notes):
        def steps(self, done: int, total: int, about: str) -> None:
            if done == moment:
                raise KilledError

    folder = tmp_path / "run"
    with pytest.raises(KilledError):
        fit(workshop / "animals", classifier_config, folder, listener=Dying())
    if moment < 3:
        with pytest.raises(TrainError, match="no run to resume"):
            resume_run(folder)
        fit(workshop / "animals", classifier_config, folder)
    else:
        assert len(rows(folder)) < 4
        resume_run(folder)
    assert same(classifier.folder, folder)


def test_the_default_network_resumes_exactly_in_bfloat16(
    detector_config: TrainConfig, workshop: Path, tmp_path: Path, fit: Fit
) -> None:
    """Frozen layers, the rewritten depthwise backward pass and mosaics."""
    config = replace(
        detector_config,
        backbone="tf_efficientnet_lite0",
        pretrained=True,
        precision="bf16-mixed",
        size=64,
        epochs=2,
        mosaic=1.0,
    )

    class Dying(Notes):
        def steps(self, done: int, total: int, about: str) -> None:
            if done == 5:
                raise KilledError

    fit(workshop / "shelves", config, tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(workshop / "shelves", config, tmp_path / "cut", listener=Dying())
    resume_run(tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("name", ["shelves", "animals"])
def test_a_killed_process_resumes_exactly(
    name: str,
    detector: Run,
    classifier: Run,
    workshop: Path,
    tmp_path: Path,
    fit: Fit,
) -> None:
    """SIGKILL, at a random moment after the first checkpoint; then `--resume`."""
    before = detector if name == "shelves" else classifier
    folder = tmp_path / "run"
    settings = json.loads((before.folder / "config.json").read_text("utf-8"))
    arguments = ["train", str(workshop / name), "--task", settings["task"], "--out", str(folder)]
    for key in TrainConfig().to_dict():
        if key not in ("task", "budget", "seed", "device"):
            arguments += ["--set", f"{key}={settings[key]}"]
    code = "import sys; from whatwhere.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        for _ in range(60_000):
            if (folder / CHECKPOINT).exists() or process.poll() is not None:
                break
            time.sleep(0.005)
        time.sleep(float(np.random.default_rng().uniform(0, 0.06)))
    finally:
        process.kill()
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output.decode()
    _, about = load_tensors(folder / CHECKPOINT)
    assert 1 <= about["state"]["epoch"] <= 4
    resume_run(folder)
    assert same(before.folder, folder)


def test_resuming_a_finished_run_changes_nothing(classifier: Run, tmp_path: Path, fit: Fit) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classifier.folder, folder)
    resume_run(folder)
    assert same(classifier.folder, folder)


def test_nothing_to_resume(tmp_path: Path, classifier: Run) -> None:
    with pytest.raises(TrainError, match="no run to resume"):
        resume_run(tmp_path / "none")
    with pytest.raises(TrainError, match="no run to resume"):
        resume_run(tmp_path)
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(TrainError, match="no run to resume"):
        resume_run(tmp_path)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("change", ["labels", "names", "training", "validation"])
def test_changed_data_are_refused(
    change: str, workshop: Path, detector: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(detector.folder, folder)
    data = tmp_path / "shelves"
    shutil.copytree(workshop / "shelves", data)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    settings["data"] = str(data)
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    lists = data / "ImageSets" / "Main"
    if change in ("labels", "names"):
        for path in (data / "Annotations").glob("train*.xml"):
            text = path.read_text("utf-8")
            new = text.replace("<name>tin<", "<name>can<" if change == "names" else "<name>box<")
            path.write_text(new, "utf-8")
    else:
        name = "train" if change == "training" else "val"
        lines = (lists / f"{name}.txt").read_text("utf-8").splitlines()
        (lists / f"{name}.txt").write_text("\n".join(lines[1:]) + "\n", "utf-8")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(TrainError, match="have changed since"):
        resume_run(folder)
    with pytest.raises(TrainError, match="have changed since"):
        run_module.export_run(folder, tmp_path / "out.onnx")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "out.onnx").exists()


def test_a_moved_data_set_is_the_same(
    workshop: Path, detector: Run, tmp_path: Path, fit: Fit
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(detector.folder, folder)
    shutil.copytree(workshop / "shelves", tmp_path / "moved")
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    settings["data"] = str(tmp_path / "moved")
    # Runs of the first version did not note their validation pictures.
    del settings["validation_digest"]
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    resume_run(folder)
    assert same(detector.folder, folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"batch": "many"}', '{"batch": 0}', "{}"])
def test_damaged_settings_are_a_sentence(text: str, classifier: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classifier.folder, folder)
    (folder / "config.json").write_text(text, "utf-8")
    for call in (resume_run, run_module.export_run):
        with pytest.raises(TrainError, match=r"config\.json is damaged"):
            call(folder)


def test_a_checkpoint_of_another_network(
    classifier: Run, detector: Run, tmp_path: Path, fit: Fit
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classifier.folder, folder)
    shutil.copy(detector.folder / CHECKPOINT, folder / CHECKPOINT)
    with pytest.raises(TrainError, match="belongs to another network"):
        resume_run(folder)
    (folder / CHECKPOINT).write_bytes(b"\0" * 100)
    with pytest.raises(TrainError, match="damaged"):
        resume_run(folder)


def test_a_folder_that_is_in_use(
    classifier: Run, classifier_config: TrainConfig, workshop: Path
) -> None:
    before = (classifier.folder / CHECKPOINT).read_bytes()
    with pytest.raises(UsageError, match="holds a run already") as caught:
        train_model(workshop / "animals", classifier_config, classifier.folder)
    assert f"--resume {classifier.folder}" in str(caught.value)
    assert (classifier.folder / CHECKPOINT).read_bytes() == before


def test_a_state_goes_through_json() -> None:
    state = State(Plan(3, 5, 6, 0.4), 2, 2, 0.5, 1, 12.5, [{"epoch": 1, "loss": 0.1 + 0.2}])
    assert State.from_dict(json.loads(json.dumps(state.to_dict()))) == state


# What a run writes.


def test_what_a_run_leaves(detector: Run, classifier: Run) -> None:
    for run, numbers in (
        (detector, ["class_loss", "box_loss", "side_loss", "AP", "AP50"]),
        (classifier, ["loss", "accuracy", "top5"]),
    ):
        assert sorted(path.name for path in run.folder.iterdir()) == [
            "config.json",
            "last.ckpt",
            "metrics.csv",
            "model.onnx",
            "model.safetensors",
            "report.html",
        ]
        table = rows(run.folder)
        assert list(table[0])[:2] == ["epoch", "rate"]
        assert set(numbers) <= set(table[0])
        assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
        assert all(float(row[name]) >= 0 for row in table for name in numbers)
        rates = [float(row["rate"]) for row in table]
        assert rates == sorted(rates, reverse=True)
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
    assert [text.split(":")[0] for text in notes.said[1:]] == [f"epoch {i}/4" for i in range(1, 5)]
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


# The budget.


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=made))
    return made


@pytest.mark.parametrize(
    ("budget", "step", "check"),
    [(600, 1.0, 0.1), (60, 0.2, 0.05), (600, 30.0, 0.1), (3600, 0.1, 20.0), (30, 5.0, 1.0)],
)
def test_a_plan_fits_in_its_budget(
    budget: float,
    step: float,
    check: float,
    clock: Clock,
    classifier_config: TrainConfig,
    workshop: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`step` seconds a step, `check` seconds to score a picture."""
    data = read(workshop / "animals")
    config = complete(replace(classifier_config, epochs=0, budget=float(budget)), data)
    training, held = split_data(data, config)
    net = build(config, 2)
    samples = Samples(training, (64, 64), config)
    spec = SimpleNamespace(preprocess=SimpleNamespace(build=lambda: None))
    validation = Validation(held, spec, 0)  # type: ignore[arg-type]
    module = Step(net, config).train()

    def slow(batch: Any) -> Any:
        clock.now += step
        return module(batch)

    def score(self: Validation, *rest: Any) -> None:
        clock.now += check * len(self)

    monkeypatch.setattr(Validation, "predictions", score)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    notes = Notes()
    started = clock.now
    state = loop._plan(slow, net, samples, validation, config, make_fabric(config), started, notes)
    plan = state.plan
    assert plan.epochs >= 1
    assert plan.steps_per_epoch >= 1
    assert plan.step == 0
    spent = clock.now - started
    validations = -(-plan.epochs // state.every)
    whole = spent + plan.total * step + validations * check * len(held)
    if plan.total > 1:
        assert whole <= budget
        if plan.steps_per_epoch == 3:
            # What is kept back: 4 %, the export, the validations, and a step's 5 %.
            assert whole >= 0.8 * budget - 12 - 2 * check * len(held) - 3 * step
    assert "fit in the budget" in notes.said[0]
    # The trial leaves no trace.
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_epochs_that_were_asked_for_are_not_planned(classifier_config: TrainConfig) -> None:
    samples = type("Ten", (), {"__len__": lambda self: 10})()
    config = replace(classifier_config, epochs=60, batch=4)
    state = loop._plan(None, None, samples, None, config, None, 0.0, Notes())  # type: ignore[arg-type]
    assert (state.plan.steps_per_epoch, state.plan.epochs, state.every) == (3, 60, 2)


def test_a_slow_machine_shortens_the_plan(clock: Clock) -> None:
    config = TrainConfig(budget=100.0)
    state = State(Plan(10, 20))
    notes = Notes()
    started, sitting = clock.now, (0, clock.now)
    # Planned: 20 epochs of 4 s. In fact: 8 s.
    while state.epoch < state.plan.epochs:
        for _ in range(10):
            state.plan.advance()
        clock.now += 8
        state.epoch += 1
        loop._shorten(state, config, started, sitting, notes)
    assert clock.now - started <= 100
    assert clock.now - started >= 70
    assert state.plan.progress == 1.0
    assert notes.said[0] == "slower than planned: 11 epochs in all"


def test_a_run_on_time_is_left_alone(clock: Clock) -> None:
    state = State(Plan(10, 20), epoch=10)
    clock.now += 40
    loop._shorten(state, TrainConfig(budget=100.0), 1000.0, (0, 1000.0), Notes())
    assert state.plan.epochs == 20
    # Nor is one without a budget, however slow.
    clock.now += 1e6
    for config in (TrainConfig(epochs=20), TrainConfig()):
        loop._shorten(state, config, 1000.0, (0, 1000.0), Notes())
        assert state.plan.epochs == 20


def test_a_resumed_sitting_is_measured_by_itself(clock: Clock) -> None:
    """Nine epochs were done in another sitting; they say nothing about this machine."""
    state = State(Plan(10, 20), epoch=12)
    started, sitting = clock.now - 45, (9, clock.now)
    clock.now += 12
    loop._shorten(state, TrainConfig(budget=100.0), started, sitting, Notes())
    assert state.plan.epochs == 20
    clock.now += 18
    loop._shorten(state, TrainConfig(budget=100.0), started, sitting, Notes())
    assert state.plan.epochs == 13, "at least one epoch more, so that the rate falls to its end"


def test_a_run_within_a_budget(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    """With a budget below what anything takes, the least is done: one epoch."""
    config = replace(classifier_config, epochs=0, budget=1.0)
    state = fit(workshop / "animals", config, tmp_path / "run")
    assert state.plan.epochs == 1
    assert state.plan.progress == 1.0
    assert (tmp_path / "run" / WEIGHTS).exists()


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
