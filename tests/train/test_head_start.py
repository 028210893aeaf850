"""The last layer of a classifier begins as the best one for its pretrained body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from train_data import TINY_RESNET, Notes
from whatwhere.train.checkpoint import load_tensors
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import WEIGHTS, State
from whatwhere.train.recipes import recipe

Fit = Callable[..., State]
SAID = "the last layer begins as the logistic regression on"


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a body, as of an earlier training elsewhere."""
    torch.manual_seed(0)
    net = timm.create_model(TINY_RESNET, num_classes=0)
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            # Running statistics of a trained net are not those of a new one.
            part.running_var.fill_(0.5)  # type: ignore[union-attr]
    path = tmp_path_factory.mktemp("body") / "body.safetensors"
    save_file(net.state_dict(), path)
    return path


def config(body: Path, task: str = "classify", **settings: object) -> TrainConfig:
    return replace(
        recipe(task),  # type: ignore[arg-type]
        backbone=TINY_RESNET,
        start=str(body),
        size=64,
        batch=4,
        epochs=2,
        precision="32-true",
        **settings,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_begins_with_an_answer(
    task: str, fit: Fit, body: Path, workshop: Path, tmp_path: Path
) -> None:
    notes = Notes()
    data = workshop / ("animals" if task == "classify" else "shelves")
    fit(data, config(body, task), tmp_path / "run", listener=notes)
    assert any(SAID in note for note in notes.said)
    assert any(note.startswith("before the first step: ") for note in notes.said)


def test_training_that_harms_keeps_the_beginning(
    fit: Fit, body: Path, workshop: Path, tmp_path: Path
) -> None:
    first = fit(workshop / "animals", config(body, rate=1e-9), tmp_path / "still")
    notes = Notes()
    spoiled = config(body, rate=300.0, weight_decay=0.0)
    state = fit(workshop / "animals", spoiled, tmp_path / "run", listener=notes)
    before = next(note for note in notes.said if note.startswith("before the first step"))
    assert float(before.split()[-1]) == pytest.approx(first.best, abs=1e-4)
    assert state.best_epoch == 0
    kept, _ = load_tensors(tmp_path / "run" / WEIGHTS)
    still, _ = load_tensors(tmp_path / "still" / WEIGHTS)
    for name, tensor in kept.items():
        torch.testing.assert_close(tensor, still[name], atol=1e-5, rtol=1e-4)


def test_not_where_it_is_switched_off_or_all_is_new_or_given(
    fit: Fit, body: Path, workshop: Path, tmp_path: Path
) -> None:
    without = config(body, head_start=False)
    fresh = replace(config(body), start="", pretrained=False)
    fit(workshop / "animals", config(body), tmp_path / "whole")
    given = replace(config(body), start=str(tmp_path / "whole"))
    for name, settings in {"off": without, "fresh": fresh, "given": given}.items():
        notes = Notes()
        fit(workshop / "animals", settings, tmp_path / name, listener=notes)
        assert not any(SAID in note for note in notes.said), name
