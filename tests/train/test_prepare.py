"""What is settled before the first step: splits, sizes, device, pictures to compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train_data import Notes, boxes_set, labelled, quick_config
from whatwhere.data import Dataset
from whatwhere.errors import TrainError, UsageError
from whatwhere.train.config import TrainConfig
from whatwhere.train.loop import State
from whatwhere.train.prepare import (
    choose_size,
    complete,
    parity_pictures,
    split_data,
    unused_pictures,
)
from whatwhere.train.recipes import recipe

Fit = Callable[..., State]


# Splits.


def parts(splits: list[str | None] | None, count: int = 10) -> tuple[list[str], list[str]]:
    """Names of the training and validation pictures that `split_data` chooses."""
    data = labelled([f"{i}.png" for i in range(count)], [i % 2 for i in range(count)], splits)
    training, held = split_data(data, TrainConfig(validation=0.2))
    unused = unused_pictures(data, training, held)
    assert unused == count - len(training) - len(held) - data.splits.get("test", 0)
    return (
        [Path(path).stem for path in training.paths],
        [Path(path).stem for path in held.paths],
    )


def test_splits_that_are_named_are_used() -> None:
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    assert parts(list(names)) == (list("012345"), list("67"))


def test_without_splits_a_share_is_held_out_and_the_test_split_is_not_looked_at() -> None:
    training, held = parts(None)
    assert len(training) == 8
    assert len(held) == 2
    assert not set(training) & set(held)
    # One of each class.
    assert {int(name) % 2 for name in held} == {0, 1}
    training, held = parts(["train"] * 6 + ["test"] * 4)
    assert set(training) | set(held) == set("012345")
    assert held


def test_pictures_of_no_split() -> None:
    """Beside "train" they are left out; where nothing is called so, they are trained on."""
    assert parts(["train"] * 4 + ["val"] * 2 + [None] * 4) == (list("0123"), list("45"))
    assert parts([None] * 6 + ["val"] * 2 + ["test"] * 2) == (list("012345"), list("67"))
    assert parts(["trainval"] * 6 + ["val"] * 2 + ["test"] * 2) == (list("012345"), list("67"))


def test_the_seed_chooses_what_is_held_out() -> None:
    data = labelled([f"{i}.png" for i in range(40)], [0] * 40)
    one, same, other = (split_data(data, TrainConfig(seed=seed))[1].paths for seed in (0, 0, 1))
    assert one == same != other


def test_unused_pictures_are_named(fit: Fit, tmp_path: Path) -> None:
    paths = boxes_set(tmp_path / "data", 8, splits=False).paths
    data = labelled(paths, [0, 1] * 4, ["train"] * 4 + ["val"] * 2 + [None] * 2)
    notes = Notes()
    fit(data, quick_config("classify"), tmp_path / "run", listener=notes)
    assert notes.said[0] == "not used: 2 pictures that are not in train, val or test"


def test_only_test_pictures(tmp_path: Path, fit: Fit) -> None:
    data = labelled(["a.png", "b.png"], [0, 1], ["test", "test"])
    with pytest.raises(TrainError, match="too few training pictures"):
        fit(data, quick_config("classify"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Sizes.


def sized(*sizes: tuple[int | None, int | None]) -> Dataset:
    images = {
        "path": [f"{i}.png" for i in range(len(sizes))],
        "width": [w for w, _ in sizes],
        "height": [h for _, h in sizes],
    }
    return Dataset(images, {"image": [0], "class_id": [0]}, ["a"])


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(640, 480)] * 5, 320, (256, 320)),
        ([(480, 640)] * 5, 320, (320, 256)),
        ([(100, 100)] * 3, 64, (64, 64)),
        ([(640, 480)] * 9 + [(480, 640)], 320, (256, 320)),
        ([(640, 480)] * 6 + [(480, 640)] * 4, 320, (320, 320)),
        ([(2000, 20)] * 3, 320, (32, 320)),
        ([(20, 2000)] * 3, 320, (320, 32)),
        ([(None, None)] * 3, 0, (320, 320)),
        ([(1920, 1080)] * 3, 0, (192, 320)),
    ],
)
def test_a_detector_takes_the_shape_of_its_pictures(
    sizes: list[tuple[int | None, int | None]], size: int, expected: tuple[int, int]
) -> None:
    chosen = choose_size(replace(recipe("detect"), size=size), sized(*sizes))
    assert chosen == expected
    assert all(side % 32 == 0 for side in chosen)


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(32, 32)] * 3, 0, 96),
        ([(64, 48)] * 3, 0, 192),
        ([(500, 375)] * 3, 0, 224),
        ([(8, 8)] * 3, 0, 96),
        ([(None, None)] * 3, 0, 224),
        ([(500, 375)] * 3, 50, 50),
    ],
)
def test_a_classifier_takes_a_square(
    sizes: list[tuple[int | None, int | None]], size: int, expected: int
) -> None:
    chosen = choose_size(replace(recipe("classify"), size=size), sized(*sizes))
    assert chosen == (expected, expected)


def test_what_is_chosen_by_the_machine() -> None:
    data = sized((64, 64))
    made = complete(TrainConfig(), data)
    assert made.budget == 600
    assert made.device in ("cpu", "cuda")
    assert made.precision in ("32-true", "bf16-mixed")
    assert complete(made, data) == made, "a resumed run keeps what was chosen"
    assert complete(TrainConfig(epochs=3), data).budget == 0
    exact = complete(TrainConfig(device="cpu", precision="32-true", height=40, width=60), data)
    assert (exact.device, exact.precision, exact.height, exact.width) == ("cpu", "32-true", 40, 60)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no usable CUDA device"):
        complete(TrainConfig(device="cuda"), sized((64, 64)))


def test_a_batch_of_one_needs_more_than_one_cell(tmp_path: Path, fit: Fit) -> None:
    data = boxes_set(tmp_path / "data", 4)
    with pytest.raises(UsageError, match="--batch 2"):
        fit(data, quick_config("detect", batch=1), tmp_path / "run")
    assert fit(data, quick_config("detect", batch=1, size=64), tmp_path / "run").epoch == 1


def test_pictures_for_the_comparison(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 12)
    assert len(parity_pictures(data)) == 8
    assert len(parity_pictures(data.select([3, 4]))) == 2
    Path(data.paths[3]).write_bytes(b"")
    assert len(parity_pictures(data.select([3, 4]))) == 1
    with pytest.raises(TrainError, match="no validation picture can be read"):
        parity_pictures(data.select([3]))
