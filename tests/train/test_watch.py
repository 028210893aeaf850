"""Watchers are shown each part of a run, in its order, and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from train_data import metric_rows, same_runs
from whatwhere.data import Dataset
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import State
from whatwhere.train.run import Run, resume_run, train_model
from whatwhere.types import Prediction

Fit = Callable[..., State]


class Diary:
    """A watcher that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.first: Batch | None = None
        self.names: Sequence[str] = ()

    def started(
        self, config: TrainConfig, folder: Path, first_batch: Batch, names: Sequence[str]
    ) -> None:
        self.calls.append(("started", (config.height, folder.name)))
        self.first, self.names = first_batch, names

    def epoch(self, row: Mapping[str, float]) -> None:
        self.calls.append(("epoch", row["epoch"]))

    def validated(self, epoch: int, dataset: Dataset, predictions: Sequence[Prediction]) -> None:
        assert len(predictions) == len(dataset) == 4
        self.calls.append(("validated", epoch))

    def finished(self, folder: Path) -> None:
        self.calls.append(("finished", folder.name))


def test_a_watcher_is_shown_everything(
    fit: Fit,
    classifier: Run,
    classifier_config: TrainConfig,
    workshop: Path,
    tmp_path: Path,
) -> None:
    diary = Diary()
    folder = tmp_path / "run"
    fit(workshop / "animals", classifier_config, folder, watchers=[diary])
    epochs = [(kind, i) for i in range(1, 5) for kind in ("validated", "epoch")]
    assert diary.calls == [("started", (64, "run")), *epochs, ("finished", "run")]
    assert diary.first is not None
    assert diary.first.images.shape == (4, 64, 64, 3)
    assert diary.first.images.dtype == torch.uint8
    assert len(diary.first.rows) == 4
    assert list(diary.names) == ["cat", "dog"]
    assert len(metric_rows(folder)) == 4
    assert same_runs(classifier.folder, folder)


def test_a_sitting_without_steps_does_not_start(
    fit: Fit, classifier: Run, workshop: Path, tmp_path: Path, classifier_config: TrainConfig
) -> None:
    fit(workshop / "animals", classifier_config, tmp_path / "run")
    resume_run(tmp_path / "run")
    diary = Diary()
    train_model(
        workshop / "animals", classifier_config, tmp_path / "run", resume=True, watchers=[diary]
    )
    assert diary.calls == [("finished", "run")]
