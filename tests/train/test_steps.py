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
from train_data import Notes, boxes_set, metric_rows, quick_config, same_runs
from whatwhere.errors import TrainError, UsageError, WhatwhereError
from whatwhere.train.batch import Batch
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import CHECKPOINT, WEIGHTS, State
from whatwhere.train.models import Network
from whatwhere.train.run import Run, resume_run
from whatwhere.train.samples import Samples

Fit = Callable[..., State]


class KilledError(Exception):
    """Stands for the end of the process."""


class Dying(Notes):
    """Ends the process after a step."""

    def __init__(self, moment: int) -> None:
        super().__init__()
        self.moment = moment

    def steps(self, done: int, total: int, about: str) -> None:
        if done == self.moment:
            raise KilledError


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


def weights(folder: Path) -> dict[str, Tensor]:
    return {k: v for k, v in load_tensors(folder / CHECKPOINT)[0].items() if k.startswith("net.")}


# Accumulation.


def test_passes_add_up_to_one_large_batch(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    data = workshop / "animals"
    fit(data, plain(classifier_config, batch=6), tmp_path / "whole")
    state = fit(data, plain(classifier_config, batch=2, accumulate=3), tmp_path / "parts")
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


class Narrow:
    """Makes a network fail for batches above a size, as torch does without memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.most = most
        self.seen: list[int] = []
        make = run_module.build

        def narrow(*arguments: Any, **options: Any) -> Network:
            net = make(*arguments, **options)
            loss = net.loss

            def limited(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
                if len(batch.images) > self.most:
                    raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to")
                self.seen.append(len(batch.images))
                return loss(batch)

            monkeypatch.setattr(net, "loss", limited)
            return net

        monkeypatch.setattr(run_module, "build", narrow)


def test_a_batch_that_does_not_fit_is_halved(
    fit: Fit,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = workshop / "animals"
    fit(data, plain(classifier_config, batch=3, accumulate=4), tmp_path / "expected")
    narrow = Narrow(monkeypatch, 3)
    notes = Notes()
    config = plain(classifier_config, batch=12)
    fit(data, config, tmp_path / "run", listener=notes)
    assert set(narrow.seen) == {3}
    said = [text for text in notes.said if "do not fit in memory" in text]
    assert len(said) == 2
    assert same_runs(tmp_path / "expected", tmp_path / "run")
    plan = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))["plan"]
    assert plan["batch"] * plan["accumulate"] == 12
    # A resumed run goes on with the smaller batch.
    with pytest.raises(KilledError):
        fit(data, config, tmp_path / "cut", listener=Dying(2))
    notes = Notes()
    resume_run(tmp_path / "cut", notes)
    assert not [text for text in notes.said if "do not fit" in text]
    assert same_runs(tmp_path / "run", tmp_path / "cut")


def test_not_even_one_picture_fits(
    fit: Fit,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Narrow(monkeypatch, 0)
    with pytest.raises(TrainError, match=r"not even one picture .* smaller --size"):
        fit(workshop / "animals", plain(classifier_config, batch=4), tmp_path / "run")


def test_another_fault_is_not_taken_for_little_memory(
    fit: Fit,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow = Narrow(monkeypatch, 99)

    def wrong(*arguments: Any) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("whatwhere.train.network.Step.forward", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(workshop / "animals", plain(classifier_config), tmp_path / "run")
    assert not narrow.seen


# Which weights are kept, and when it is enough.


def test_patience(fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path) -> None:
    """Without learning, the score cannot improve after the first validation."""
    config = plain(classifier_config, epochs=9, rate=1e-30, patience=2)
    notes = Notes()
    state = fit(workshop / "animals", config, tmp_path / "run", listener=notes)
    assert state.epoch == 3
    assert notes.said[-1] == "stopped: no better accuracy in 2 tries"
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    resume_run(tmp_path / "run")
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert fit(workshop / "animals", replace(config, patience=0), tmp_path / "all").epoch == 9


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

    def stop(*arguments: Any, tensors: Any = None, **options: Any) -> None:
        found["tensors"] = tensors

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


def test_a_loss_that_is_no_number_names_its_pictures(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    config = plain(classifier_config, rate=1e38, clip=1e30, weight_decay=0.0, batch=6)
    with pytest.raises(TrainError) as caught:
        fit(workshop / "animals", config, tmp_path / "run")
    message = str(caught.value)
    assert "in epoch 1, step 2, on " in message
    assert ".jpg" in message
    assert "and 3 more: use a lower rate" in message


class Spoiled(nn.Module):
    """Passes numbers on, and spoils the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        x.register_hook(lambda gradient: gradient * float("nan"))
        return x


def test_a_gradient_that_is_no_number(
    fit: Fit,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = run_module.build

    def spoiled(*arguments: Any, **options: Any) -> Network:
        net = make(*arguments, **options)
        loss = net.loss

        def wrong(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            total, parts = loss(batch)
            return Spoiled()(total), parts

        monkeypatch.setattr(net, "loss", wrong)
        return net

    monkeypatch.setattr(run_module, "build", spoiled)
    with pytest.raises(TrainError, match=r"the gradient became nan in epoch 1, step 1, on .*jpg"):
        fit(workshop / "animals", plain(classifier_config), tmp_path / "run")


def test_half_precision_needs_a_gpu(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    config = plain(classifier_config, precision="16-mixed", device="cpu")
    with pytest.raises(UsageError, match="16-mixed is for GPUs: use bf16-mixed or 32-true"):
        fit(workshop / "animals", config, tmp_path / "run")


# The disk.


def test_a_full_disk_leaves_the_last_checkpoint(
    fit: Fit,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = plain(classifier_config, epochs=3)
    data = workshop / "animals"
    fit(data, config, tmp_path / "whole")
    replace_file = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == CHECKPOINT and Path(target).exists():
            raise OSError(28, "No space left on device", str(self))
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", full)
    folder = tmp_path / "run"
    with pytest.raises(WhatwhereError, match=r"last\.ckpt was not written \(No space left"):
        fit(data, config, folder)
    monkeypatch.setattr(Path, "replace", replace_file)
    assert load_tensors(folder / CHECKPOINT)[1]["state"]["epoch"] == 1
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    resume_run(folder)
    assert same_runs(tmp_path / "whole", folder)


def test_what_config_json_records(
    fit: Fit, classifier_config: TrainConfig, workshop: Path, tmp_path: Path
) -> None:
    fit(workshop / "animals", plain(classifier_config, batch=5, accumulate=2), tmp_path / "run")
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
