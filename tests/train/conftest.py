"""Two small trained runs that many tests look at; none may change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import whatwhere.train.run as run_module
from docs_data import make_workshop
from train_data import TINY, TINY_RESNET
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import State
from whatwhere.train.recipes import recipe
from whatwhere.train.run import Run, train_model

Fit = Callable[..., State]

DETECTOR = replace(
    recipe("detect"),
    backbone=TINY,
    pretrained=False,
    width_head=32,
    size=96,
    batch=4,
    epochs=4,
    precision="32-true",
)
CLASSIFIER = replace(
    recipe("classify"),
    backbone=TINY_RESNET,
    pretrained=False,
    size=64,
    batch=4,
    # A few steps from random weights should end with scores that are worth comparing.
    rate=3e-3,
    epochs=4,
    precision="32-true",
)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shelves` (Pascal VOC) and `animals` (class folders), both with three splits."""
    folder = tmp_path_factory.mktemp("workshop")
    make_workshop(folder)
    return folder


@pytest.fixture(scope="session")
def detector_config() -> TrainConfig:
    return DETECTOR


@pytest.fixture(scope="session")
def classifier_config() -> TrainConfig:
    return CLASSIFIER


@pytest.fixture(scope="session")
def detector(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A detector of 96 x 64 pixels, trained for four epochs of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "detector"
    return train_model(workshop / "shelves", DETECTOR, folder)


@pytest.fixture(scope="session")
def classifier(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier of 64 x 64 pixels, trained for four epochs of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    return train_model(workshop / "animals", CLASSIFIER, folder)


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Fit:
    """`train_model` without the export at its end, which takes most of the time."""

    def stop(net: nn.Module, spec: Any, state: State, *rest: Any, **options: Any) -> State:
        return state

    monkeypatch.setattr(run_module, "finish", stop)
    return train_model  # type: ignore[return-value]
