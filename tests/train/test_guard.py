"""float16's loss scale: some steps are left out, many in a row are a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

import whatwhere.train.run as run_module
from train_data import Dying, KilledError, quick_config, same_runs
from whatwhere.errors import TrainError
from whatwhere.train.batch import Batch
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.guard import Guard
from whatwhere.train.loop import CHECKPOINT, State
from whatwhere.train.run import resume_run
from whatwhere.train.schedule import Plan

Fit = Callable[..., State]

_BATCH = Batch(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), rows=(1, 0))


def _guard(precision: str) -> Guard:
    samples: Any = SimpleNamespace(files=lambda rows: [f"/data/{row}.jpg" for row in rows])
    config = replace(quick_config("classify"), precision=precision, rate=0.003)
    return Guard(samples, config, State(Plan(3, 2, 4)))


def test_float16_leaves_out_some_steps() -> None:
    guard = _guard("16-mixed")
    for norm in (float("inf"), float("nan"), 1.0) * 30:
        guard.gradient(torch.tensor(norm), _BATCH)
    for _ in range(20):
        guard.gradient(torch.tensor(float("inf")), _BATCH)
    with pytest.raises(TrainError, match=r"the gradient became inf in epoch 1, step 5, on 1\.jpg"):
        guard.gradient(torch.tensor(float("inf")), _BATCH)


def test_others_leave_out_none() -> None:
    for precision in ("32-true", "bf16-mixed"):
        guard = _guard(precision)
        guard.gradient(torch.tensor(1.0), _BATCH)
        guard.gradient(None, _BATCH)
        guard.loss(1e30, _BATCH)
        with pytest.raises(TrainError) as caught:
            guard.gradient(torch.tensor(float("inf")), _BATCH)
        message = str(caught.value)
        assert "--set rate=0.001" in message
        assert ("precision=32-true" in message) == (precision != "32-true")
        assert "on 1.jpg, 0.jpg: " in message


def test_the_loss_scale_is_part_of_a_checkpoint(
    fit: Fit,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a CPU, where the settings refuse float16, the same code runs, only slowly."""

    def half(config: TrainConfig) -> Fabric:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=2)
        fabric = Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))
        fabric.launch()
        return fabric

    monkeypatch.setattr(run_module, "make_fabric", half)
    # The scale is far too large at first, so the first steps are left out.
    monkeypatch.setattr(
        "whatwhere.train.guard.Guard.gradient", lambda self, norm, batch: seen.append(float(norm))
    )
    seen: list[float] = []
    # Smaller inputs are computed in float32.
    config = replace(classifier_config, epochs=2, size=96, previews=0)
    fit(workshop / "animals", config, tmp_path / "whole")
    assert any(norm == float("inf") or norm != norm for norm in seen[:4])
    with pytest.raises(KilledError):
        fit(workshop / "animals", config, tmp_path / "cut", listener=Dying(4))
    scale = load_tensors(tmp_path / "cut" / CHECKPOINT)[1]["precision"]["scale"]
    assert scale < 2.0**40
    resume_run(tmp_path / "cut")
    assert same_runs(tmp_path / "whole", tmp_path / "cut")
    assert json.loads((tmp_path / "cut" / "config.json").read_text("utf-8"))["plan"]["steps"] == 6
