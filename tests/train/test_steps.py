"""What a step may be made of: passes, sizes, bodies that stand still, and too little memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import whatwhere.train.run as run_module
from train_data import (
    Dying,
    KilledError,
    Loss,
    Notes,
    boxes_set,
    change_loss,
    metric_rows,
    quick_config,
    same_runs,
)
from whatwhere.errors import TrainError, UsageError, WhatwhereError
from whatwhere.train.batch import Batch
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT, WEIGHTS, State
from whatwhere.train.models.classifier import Classifier
from whatwhere.train.run import Run, resume_run
from whatwhere.train.samples import Samples

Fit = Callable[..., State]


# A classifier without batch norms, dropout and multi-pass differences: all pictures are equal.
PLAIN = {
    "backbone": "test_convnext",
    "pretrained": False,
    "size": 64,
    "epochs": 2,
    "precision": "32-true",
    "dropout": 0.0,
    "previews": 0,
}


def plain(classifier_config: TrainConfig, **changes: Any) -> TrainConfig:
    return replace(classifier_config, **PLAIN | changes)


@pytest.fixture
def animals(fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path) -> Fit:
    """Trains the plain classifier with changed settings into a folder of `tmp_path`."""

    def run(folder: str, listener: Notes | None = None, **changes: Any) -> State:
        config = plain(classifier_config, **changes)
        return fit(workshop / "animals", config, tmp_path / folder, listener=listener)

    return run


def weights(folder: Path) -> dict[str, Tensor]:
    return {k: v for k, v in load_tensors(folder / CHECKPOINT)[0].items() if k.startswith("net.")}


# Accumulation.


def test_passes_add_up_to_one_large_batch(animals: Fit, tmp_path: Path) -> None:
    animals("whole", batch=6)
    state = animals("parts", batch=2, accumulate=3)
    assert (state.plan.steps_per_epoch, state.plan.total) == (2, 4), "steps of the optimizer"
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for name, value in whole.items():
        # Adam's first steps are large for any gradient, so sums in another order are seen.
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=2e-4)
    for row, twin in zip(
        metric_rows(tmp_path / "whole"), metric_rows(tmp_path / "parts"), strict=True
    ):
        assert float(twin["loss"]) == pytest.approx(float(row["loss"]), rel=1e-4)


def test_a_cut_batch_is_the_whole(tmp_path: Path) -> None:
    samples = Samples(boxes_set(tmp_path, 8, splits=False), (64, 96), quick_config("detect"))
    batch = samples.batch(np.arange(6), 0, 0, False)
    parts = batch.cut(3)
    assert [len(part.images) for part in parts] == [2, 2, 2]
    assert sum((part.rows for part in parts), ()) == batch.rows
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert batch.boxes is not None
    boxes = [part.boxes.boxes for part in parts if part.boxes is not None]
    assert torch.equal(torch.cat(boxes), batch.boxes.boxes)
    assert parts[0].classes is None


# Everything at once repeats and resumes.


@pytest.mark.parametrize("moment", [4, 8])
def test_all_of_it_resumes_exactly(
    moment: int, fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    config = replace(
        classifier_config,
        backbone="tf_efficientnet_lite0",
        pretrained=True,
        frozen=0.5,
        multi_scale=0.5,
        grow=0.5,
        batch=2,
        accumulate=2,
        epochs=3,
        patience=7,
        metric="f1",
        previews=0,
    )
    data = workshop / "animals"
    fit(data, config, tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(data, config, tmp_path / "cut", listener=Dying(moment))
    resume_run(tmp_path / "cut")
    assert same_runs(tmp_path / "whole", tmp_path / "cut")


# Memory.


NO_MEMORY = "DefaultCPUAllocator: not enough memory: you tried to"


class Narrow:
    """Makes networks fail for batches above a size, as torch does without memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.most = most
        self.seen: list[int] = []
        change_loss(monkeypatch, self._limited)

    def _limited(self, loss: Loss) -> Loss:
        def limited(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            if len(batch.images) > self.most:
                raise RuntimeError(NO_MEMORY)
            self.seen.append(len(batch.images))
            return loss(batch)

        return limited


@pytest.mark.parametrize("batch", [12, 9])
def test_a_batch_that_does_not_fit_is_cut(
    batch: int, animals: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals("expected", batch=3, accumulate=batch // 3)
    narrow = Narrow(monkeypatch, 3)
    notes = Notes()
    state = animals("run", notes, batch=batch)
    assert set(narrow.seen) == {3}
    said = [text for text in notes.said if "do not fit in memory" in text]
    assert [text.partition(" ")[0] for text in said] == {12: ["12", "6"], 9: ["9"]}[batch]
    assert same_runs(tmp_path / "expected", tmp_path / "run")
    plan = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))["plan"]
    assert plan["batch"] * plan["accumulate"] == batch
    # A resumed run goes on with the smaller batch.
    with pytest.raises(KilledError):
        animals("cut", Dying(state.plan.total), batch=batch)
    notes = Notes()
    resume_run(tmp_path / "cut", notes)
    assert not [text for text in notes.said if "do not fit" in text]
    assert same_runs(tmp_path / "run", tmp_path / "cut")


def test_the_trial_for_a_budget_finds_that_it_does_not_fit(
    animals: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    Narrow(monkeypatch, 3)
    notes = Notes()
    state = animals("run", notes, batch=9, epochs=0, budget=1.0)
    assert (state.batch, state.accumulate) == (3, 3)
    said = [text for text in notes.said if "do not fit in memory" in text]
    assert said == [
        "9 pictures at once do not fit in memory: 3 pass at once from now on, 3 times a step, so"
        " that a step sees as many as before"
    ]


def test_a_validation_that_does_not_fit_is_cut(
    animals: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals("expected", batch=4)
    most, seen = 1, set()
    forward = Classifier.forward

    def limited(self: Classifier, images: Tensor) -> dict[str, Tensor]:
        if not self.training:
            if len(images) > most:
                raise RuntimeError(NO_MEMORY)
            seen.add(len(images))
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", limited)
    state = animals("run", batch=4)
    assert (state.batch, seen) == (4, {1})
    kept = weights(tmp_path / "expected")
    assert all(torch.equal(kept[name], x) for name, x in weights(tmp_path / "run").items())
    assert metric_rows(tmp_path / "run")[-1].keys() == metric_rows(tmp_path / "expected")[-1].keys()
    most = 0
    with pytest.raises(TrainError, match="not even one picture"):
        animals("none", batch=4)


def test_not_even_one_picture_fits(animals: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    Narrow(monkeypatch, 0)
    with pytest.raises(TrainError, match=r"not even one picture .* smaller --size"):
        animals("run", batch=4)


def test_another_fault_is_not_taken_for_little_memory(
    animals: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = Narrow(monkeypatch, 99)

    def wrong(*arguments: Any) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("whatwhere.train.network.Step.forward", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        animals("run")
    assert not narrow.seen


# Which weights are kept, and when it is enough.


def test_patience(animals: Fit, tmp_path: Path) -> None:
    """Without learning, the score cannot improve after the first validation."""
    notes = Notes()
    state = animals("run", notes, epochs=9, rate=1e-30, patience=2)
    assert state.epoch == 3
    assert notes.said[-1] == "stopped: no better accuracy in 2 tries"
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    resume_run(tmp_path / "run")
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert animals("all", epochs=9, rate=1e-30).epoch == 9


def test_a_chosen_metric(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    notes = Notes()
    config = plain(classifier_config, metric="f1")
    state = fit(workshop / "animals", config, tmp_path / "run", listener=notes)
    rows = metric_rows(tmp_path / "run")
    assert state.best == pytest.approx(max(float(row["f1"]) for row in rows), abs=1e-5)
    assert "f1" in notes.said[-1]
    with pytest.raises(UsageError, match="classify has no metric 'AP': use one of accuracy, top5"):
        fit(workshop / "animals", replace(config, metric="AP"), tmp_path / "no")
    with pytest.raises(TrainError, match="say nothing about APl: set metric to one of AP, "):
        fit(workshop / "shelves", quick_config("detect", metric="APl"), tmp_path / "none")


def test_best_and_last_weights(
    detector: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}

    def stop(*arguments: Any, tensors: Any = None, **options: Any) -> Run:
        found["tensors"] = tensors
        return detector

    monkeypatch.setattr(run_module, "finish", stop)
    run_module.export_run(detector.folder, tmp_path / "a.onnx")
    assert found["tensors"] is None
    run_module.export_run(detector.folder, tmp_path / "a.onnx", which="last")
    kept, _ = load_tensors(detector.folder / CHECKPOINT)
    assert found["tensors"].keys() == load_tensors(detector.folder / WEIGHTS)[0].keys()
    for name, value in found["tensors"].items():
        assert torch.equal(value, kept[f"average.{name}"])
    with pytest.raises(UsageError, match="best or last"):
        run_module.export_run(detector.folder, which="first")


# Numbers that are none.


def test_a_loss_that_is_no_number_names_its_pictures(animals: Fit) -> None:
    with pytest.raises(TrainError) as caught:
        animals("run", rate=1e38, clip=1e30, weight_decay=0.0, batch=6)
    message = str(caught.value)
    assert "in epoch 1, step 2, on " in message
    assert ".jpg" in message
    assert "and 3 more: use a lower rate" in message


class Spoiled(nn.Module):
    """Passes numbers on, and spoils the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        x.register_hook(lambda gradient: gradient * float("nan"))
        return x


def test_a_gradient_that_is_no_number(animals: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(loss: Loss) -> Loss:
        def wrong(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            total, parts = loss(batch)
            return Spoiled()(total), parts

        return wrong

    change_loss(monkeypatch, spoiled)
    with pytest.raises(TrainError, match=r"the gradient became nan in epoch 1, step 1, on .*jpg"):
        animals("run")


def test_half_precision_needs_a_gpu(animals: Fit) -> None:
    with pytest.raises(UsageError, match="16-mixed is for GPUs: use bf16-mixed or 32-true"):
        animals("run", precision="16-mixed", device="cpu")


# The disk.


def test_a_full_disk_leaves_the_last_checkpoint(
    animals: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals("whole", epochs=3)
    replace_file = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == CHECKPOINT and Path(target).exists():
            raise OSError(28, "No space left on device", str(self))
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", full)
    folder = tmp_path / "run"
    with pytest.raises(WhatwhereError, match=r"last\.ckpt was not written \(No space left"):
        animals("run", epochs=3)
    monkeypatch.setattr(Path, "replace", replace_file)
    assert load_tensors(folder / CHECKPOINT)[1]["state"]["epoch"] == 1
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    resume_run(folder)
    assert same_runs(tmp_path / "whole", folder)


def test_what_config_json_records(animals: Fit, tmp_path: Path) -> None:
    animals("run", batch=5, accumulate=2)
    values = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert values["plan"] == {
        "epochs": 2,
        "steps": 4,
        "steps_per_epoch": 2,
        "batch": 5,
        "accumulate": 2,
        "processes": 1,
        "validate_every": 1,
    }
    assert {"whatwhere", "torch", "timm"} <= set(values["versions"])
    assert (values["height"], values["width"]) == (64, 64)
