"""Batches: what is in them, in which order, and that they repeat exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from train_data import (
    NAMES,
    boxes_set,
    classes_folder,
    classifier_config,
    detector_config,
    partly_labelled,
    plain_config,
    quick_config,
)
from whatwhere.data import Dataset, read
from whatwhere.data.tables import BOX
from whatwhere.errors import TrainError
from whatwhere.images import read_image
from whatwhere.train.batch import NO_CLASS, Batch
from whatwhere.train.picture_cache import Pictures, WorkingSize
from whatwhere.train.recipes import recipe
from whatwhere.train.samples import Samples

SIZE = (64, 96)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return boxes_set(tmp_path_factory.mktemp("boxes"), splits=False)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return read(classes_folder(tmp_path_factory.mktemp("classes"), splits=("train",)))


def equal(a: Batch, b: Batch) -> bool:
    if not torch.equal(a.images, b.images):
        return False
    if a.boxes is not None and b.boxes is not None:
        return all(
            torch.equal(getattr(a.boxes, name), getattr(b.boxes, name))
            for name in ("boxes", "classes", "valid", "ignore")
        )
    assert a.classes is not None
    assert b.classes is not None
    return torch.equal(a.classes, b.classes)


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_batches_do_not_depend_on_workers_or_cache(
    task: str, boxes: Dataset, classes: Dataset
) -> None:
    data = boxes if task == "detect" else classes
    config = detector_config() if task == "detect" else classifier_config()
    runs = []
    for workers, cache in ((1, 64), (3, 64), (2, 0)):
        samples = Samples(data, SIZE, replace(config, workers=workers, cache=cache))
        runs.append(list(samples.epoch(1, 3, True)))
    for other in runs[1:]:
        assert len(other) == len(runs[0]) == 3
        assert all(equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_epochs_and_seeds_differ(boxes: Dataset) -> None:
    samples = Samples(boxes, SIZE, detector_config())
    first = next(iter(samples.epoch(0, 1, True)))
    assert equal(first, next(iter(samples.epoch(0, 1, True))))
    assert not equal(first, next(iter(samples.epoch(1, 1, True))))
    other = Samples(boxes, SIZE, detector_config(seed=1))
    assert not equal(first, next(iter(other.epoch(0, 1, True))))


def test_an_epoch_shows_every_picture_once(boxes: Dataset) -> None:
    samples = Samples(boxes, SIZE, detector_config())
    order = samples.order(0)
    assert sorted(order) == list(range(len(boxes)))
    assert list(order) != list(samples.order(1))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20])
def test_the_number_of_batches_is_the_number_of_steps(steps: int, classes: Dataset) -> None:
    samples = Samples(classes, (32, 32), classifier_config(batch=5, workers=3))
    batches = list(samples.epoch(0, steps, False))
    assert [len(batch.images) for batch in batches] == [5] * steps


def test_without_augmentation_the_sample_is_the_picture(boxes: Dataset) -> None:
    samples = Samples(boxes, SIZE, plain_config())
    batch = samples.batch(np.array([3, 1]), 0, 0, False)
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (2, *SIZE, 3)
    assert batch.boxes is not None
    for place, row in enumerate((3, 1)):
        assert np.array_equal(batch.images[place].numpy(), read_image(boxes.paths[row]))
        targets = boxes.targets(row)
        valid = batch.boxes.valid[place]
        assert targets.boxes is not None
        assert int(valid.sum()) == len(targets.class_ids)
        np.testing.assert_allclose(batch.boxes.boxes[place][valid].numpy(), targets.boxes)
        assert batch.boxes.classes[place][valid].tolist() == targets.class_ids.tolist()
    assert batch.boxes.known is None


def test_boxes_are_scaled_with_a_shrunk_picture(boxes: Dataset) -> None:
    samples = Samples(boxes, (32, 48), plain_config())
    assert samples.pictures[1][0].shape == (32, 48, 3)
    assert samples.pictures[1][1] == SIZE
    batch = samples.batch(np.array([1]), 0, 0, False)
    assert batch.boxes is not None
    targets = boxes.targets(1)
    assert targets.boxes is not None
    np.testing.assert_allclose(batch.boxes.boxes[0].numpy(), targets.boxes / 2, atol=1e-4)


def test_a_batch_of_pictures_without_objects(boxes: Dataset) -> None:
    batch = Samples(boxes, SIZE, plain_config()).batch(np.array([0, 0]), 0, 0, False)
    assert batch.boxes is not None
    assert batch.boxes.boxes.shape == (2, 0, 4)
    assert batch.boxes.valid.shape == (2, 0)


def test_classify_targets(classes: Dataset) -> None:
    samples = Samples(classes, (32, 32), classifier_config())
    rows = samples.order(0)
    batch = samples.batch(rows, 0, 0, False)
    assert batch.classes is not None
    assert batch.classes.dtype == torch.int64
    expected = [int(classes.targets(int(row)).class_ids[0]) for row in rows]
    assert batch.classes.tolist() == expected
    assert batch.boxes is None


def test_pictures_without_a_class_teach_nothing(tmp_path: Path) -> None:
    paths = boxes_set(tmp_path, 3, splits=False).paths
    labels = {"image": [0, 1], "class_id": [2, 1], "ignore": [False, True]}
    data = Dataset({"path": paths}, labels, NAMES, task="classify")
    config = classifier_config()
    batch = Samples(data, (32, 32), config).batch(np.arange(3), 0, 0, False)
    assert batch.classes is not None
    assert batch.classes.tolist() == [2, NO_CLASS, NO_CLASS]


def test_multilabel_targets(tmp_path: Path) -> None:
    config = replace(recipe("multilabel"), batch=4)
    batch = Samples(partly_labelled(tmp_path), (32, 32), config).batch(np.arange(4), 0, 0, False)
    assert batch.present is not None
    assert batch.known is not None
    assert batch.present.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert batch.known.tolist() == [
        [True, True, True],
        [True, True, True],
        [True, False, True],
        [True, True, False],
    ]


def test_partly_labelled_boxes_reach_the_loss(tmp_path: Path) -> None:
    whole = boxes_set(tmp_path, 4, splits=False)
    images = {"path": whole.paths, "complete": [["red"], None, None, None]}
    columns = ("image", "class_id", "x1", "y1", "x2", "y2")
    data = Dataset(images, {name: whole.labels[name].to_list() for name in columns}, NAMES)
    batch = Samples(data, SIZE, plain_config()).batch(np.arange(2), 0, 0, False)
    assert batch.boxes is not None
    assert batch.boxes.known is not None
    assert batch.boxes.known.tolist() == [[True, False, False], [True, True, True]]


def test_unreadable_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    data = boxes_set(tmp_path, 4, splits=False)
    Path(data.paths[2]).write_bytes(b"nothing")
    seen: list[tuple[int, int]] = []
    samples = Samples(data, SIZE, detector_config(), progress=lambda i, n: seen.append((i, n)))
    assert len(samples) == 3
    assert sorted(samples.order(0)) == [0, 1, 3]
    assert list(samples.pictures.unreadable) == [2]
    assert "002.png" in samples.pictures.unreadable[2]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for batch in samples.epoch(0, 4, True):
        assert len(batch.images) == 3


def test_no_readable_picture_at_all(tmp_path: Path) -> None:
    data = boxes_set(tmp_path, 2, splits=False)
    for path in data.paths:
        Path(path).write_bytes(b"")
    with pytest.raises(TrainError, match="no training picture can be read"):
        Samples(data, SIZE, detector_config())


def test_a_lone_picture_comes_twice(tmp_path: Path) -> None:
    """A batch of one would leave a batch norm over one pixel a single value."""
    data = boxes_set(tmp_path, 2, splits=False).select([1])
    (batch,) = Samples(data, SIZE, detector_config()).epoch(0, 1, True)
    assert len(batch.images) == 2


def test_the_cache_has_a_limit(boxes: Dataset) -> None:
    pictures = Pictures(boxes.paths, WorkingSize(SIZE), limit=3 * 64 * 96 * 3)
    pictures.load_all(2)
    assert len(pictures) == 3
    assert "5 of 8 pictures do not fit in the cache" in pictures.notes[0]
    for i in range(len(boxes)):
        assert np.array_equal(pictures[i][0], read_image(boxes.paths[i]))


def test_crops_are_taken_from_larger_pictures(classes: Dataset) -> None:
    """40 pixels, of which a crop may take 1 / zoom: kept at zoom times the input's size."""
    small = Samples(classes, (16, 16), classifier_config(zoom=2.0))
    assert small.pictures[0][0].shape == (32, 32, 3)
    large = Samples(classes, (64, 64), classifier_config(zoom=2.0))
    assert large.pictures[0][0].shape == (40, 40, 3), "pictures are never enlarged in memory"


def test_labels_without_a_box_teach_nothing_about_places(boxes: Dataset) -> None:
    first = boxes.labels["image"][0]
    bare = boxes.labels.with_row_index("row").with_columns(
        pl.when(pl.col("row") != 0).then(pl.col(name)).alias(name) for name in BOX
    )
    part = boxes._like(boxes.images, bare.drop("row"))
    made = Samples(part, SIZE, plain_config()).sample(int(first), 0, 0, False)
    assert np.isfinite(made.boxes).all()
    assert len(made.boxes) == len(made.classes) == len(part.targets(int(first)).class_ids) - 1
    # What is somewhere in the picture is no background there.
    assert made.known is not None
    assert not made.known[part.labels["class_id"][0]]


def test_processes_share_each_step(tmp_path: Path) -> None:
    """The parts of a step are the same pictures, however many processes make them."""
    samples = Samples(boxes_set(tmp_path, 8, splits=False), (64, 96), quick_config("detect"))
    whole = list(samples.epoch(3, 4, True, pictures=6))
    shares = [list(samples.epoch(3, 4, True, pictures=6, rank=i, ranks=3)) for i in range(3)]
    for step, batch in enumerate(whole):
        for rank in range(3):
            part = shares[rank][step]
            assert part.rows == batch.rows[rank::3]
            assert torch.equal(part.images, batch.images[rank::3])
    assert samples.files(whole[0].rows[:1])[0].endswith(f"{whole[0].rows[0]:03}.png")
