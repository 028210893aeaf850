"""Batches: mixed, balanced and repeated pictures, extreme sets, and errors in threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from train_data import (
    boxes_set,
    classes_folder,
    classifier_config,
    detector_config,
    partly_labelled,
    plain_config,
)
from whatwhere.data import Dataset, read
from whatwhere.errors import ImageError
from whatwhere.train.batch import Batch
from whatwhere.train.recipes import recipe
from whatwhere.train.samples import Samples

SIZE = (64, 96)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return boxes_set(tmp_path_factory.mktemp("boxes"), splits=False)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read(classes_folder(tmp_path_factory.mktemp("classes"), splits=("train",)))


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_mixed_batches_repeat_exactly(task: str, boxes: Dataset, classes: Dataset) -> None:
    """Mixing, repeats and balance too follow from seed, epoch and position alone."""
    data = boxes if task == "detect" else classes
    more = {"mixup": 0.5, "repeats": 2, "balance": 1.0}
    config = detector_config(**more) if task == "detect" else classifier_config(cutmix=0.5, **more)
    first, second = (
        list(Samples(data, SIZE, replace(config, workers=workers)).epoch(1, 3, True))
        for workers in (1, 3)
    )
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
        assert a.rows == b.rows
        if task == "classify":
            assert a.classes is None
            assert a.present is not None
            assert b.present is not None
            assert torch.equal(a.present, b.present)
            assert torch.allclose(a.present.sum(1), torch.ones(4))


def test_mixing_ends_with_the_mosaics(classes: Dataset, boxes: Dataset) -> None:
    config = classifier_config(mixup=0.5, cutmix=0.5)
    early, late = (
        Samples(classes, (32, 32), config).batch(np.arange(4), 0, 0, mixing)
        for mixing in (True, False)
    )
    assert early.classes is None
    assert late.classes is not None
    assert late.present is None
    samples = Samples(boxes, SIZE, plain_config(mixup=1.0))
    most = [
        samples.batch(np.array([2, 3]), 0, 0, mixing).boxes.valid.sum()  # type: ignore[union-attr]
        for mixing in (True, False)
    ]
    assert most[0] > most[1]


def test_mixed_pictures_of_many_labels(tmp_path: Path) -> None:
    config = replace(recipe("multilabel"), batch=4, mixup=1.0)
    batch = Samples(partly_labelled(tmp_path), (32, 32), config).batch(np.arange(4), 0, 0, True)
    assert batch.present is not None
    assert batch.known is not None
    assert batch.present.shape == batch.known.shape == (4, 3)
    assert ((batch.present > 0) & (batch.present < 1)).any()
    assert batch.present.max() <= 1


def test_balance_says_how_often_rare_pictures_come(tmp_path: Path) -> None:
    data = read(classes_folder(tmp_path, {"red": 12, "green": 3}, splits=("train",)))
    samples = Samples(data, (32, 32), classifier_config(balance=1.0))
    assert any("up to 4.0 times as often" in note for note in samples.notes)
    rare = sum(
        int(data.targets(int(row)).class_ids[0] == data.names.index("green"))
        for epoch in range(4)
        for row in samples.order(epoch)
    )
    assert 28 <= rare <= 32
    assert not Samples(data, (32, 32), classifier_config()).notes


def test_a_thousand_classes(tmp_path: Path) -> None:
    paths = boxes_set(tmp_path, 6, splits=False).paths
    names = [f"class {k}" for k in range(1000)]
    labels = {"image": [0, 1, 2, 3, 4, 5], "class_id": [0, 999, 500, 500, 1, 2]}
    single = Dataset({"path": paths}, labels, names, task="classify")
    config = classifier_config(mixup=1.0, balance=0.5)
    batch = Samples(single, (32, 32), config).batch(np.arange(6), 0, 0, True)
    assert batch.present is not None
    assert batch.present.shape == (6, 1000)
    many = Dataset({"path": paths}, labels, names, task="multilabel")
    plain_batch = Samples(many, (32, 32), replace(recipe("multilabel"), batch=6)).batch(
        np.arange(6), 0, 0, False
    )
    assert plain_batch.present is not None
    assert plain_batch.present.nonzero().tolist() == [
        [i, class_id] for i, class_id in enumerate(labels["class_id"])
    ]


def test_one_class_and_one_picture(tmp_path: Path) -> None:
    whole = boxes_set(tmp_path / "boxes", 3, splits=False, names=("red",)).select([1])
    config = detector_config(mixup=1.0, repeats=3, balance=1.0)
    for batch in Samples(whole, SIZE, config).epoch(0, 3, True):
        assert batch.boxes is not None
        assert batch.boxes.valid.any()
        assert set(batch.boxes.classes[batch.boxes.valid].tolist()) == {0}
        assert batch.rows == (0, 0)
    folder = classes_folder(tmp_path / "classes", {"red": 1}, splits=("train",))
    mixed = Samples(read(folder), (32, 32), classifier_config(mixup=1.0))
    (batch,) = mixed.epoch(0, 1, True)
    assert batch.present is not None
    torch.testing.assert_close(batch.present, torch.ones(2, 1))


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_a_thread_ends_the_epoch(
    workers: int, boxes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Samples(boxes, SIZE, detector_config(workers=workers))
    begun = []
    usual = samples.batch

    def batch(rows: object, epoch: int, start: int, *rest: object) -> Batch:
        begun.append(start)
        if start == 8:
            raise MemoryError("no room")
        return usual(rows, epoch, start, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(samples, "batch", batch)
    epoch = samples.epoch(0, 1000, True)
    assert [len(next(epoch).images) for _ in range(2)] == [4, 4]
    with pytest.raises(MemoryError, match="no room"):
        next(epoch)
    assert len(begun) <= 2 + 1 + workers + 2, "nothing more is begun"


def test_a_picture_that_vanishes_is_named(tmp_path: Path) -> None:
    data = boxes_set(tmp_path, 4, splits=False)
    samples = Samples(data, SIZE, detector_config(cache=0))
    Path(data.paths[2]).unlink()
    with pytest.raises(ImageError, match=r"002\.png"):
        list(samples.epoch(0, 4, False))


def test_batches_are_made_only_a_few_ahead(boxes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = Samples(boxes, SIZE, detector_config(workers=2))
    begun = []
    usual = samples.batch
    monkeypatch.setattr(samples, "batch", lambda *args: (begun.append(1), usual(*args))[1])
    threads = cv2.getNumThreads()
    epoch = samples.epoch(0, 500, True)
    for _ in range(5):
        next(epoch)
    assert len(begun) <= 5 + 2 + 2
    epoch.close()  # type: ignore[attr-defined]
    assert len(begun) <= 5 + 2 + 2
    assert cv2.getNumThreads() == threads
