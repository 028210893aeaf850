"""Training on tiles: objects at their scale, cut at the border, and scored as they ship."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import nn

from train_data import COLOURS, NAMES, boxes_set, grey, quick_config
from whatwhere.data import Dataset
from whatwhere.images import write_image
from whatwhere.runtime import load_file
from whatwhere.runtime.tiling import Tiles
from whatwhere.specs import ModelSpec, PreprocessSpec
from whatwhere.train.augment import Sample
from whatwhere.train.config import TrainConfig
from whatwhere.train.prepare import choose_size
from whatwhere.train.run import train_model
from whatwhere.train.samples import Samples
from whatwhere.train.tiles import cut, seen_objects
from whatwhere.train.validate import Validation

PLAIN = TrainConfig(task="detect", tile=100, zoom=1.0, mosaic=0.0, flip=0.0, colour=0.0)


def large(boxes: list[list[int]], size: tuple[int, int] = (400, 600)) -> Sample:
    """A large picture with red rectangles."""
    image = grey(np.random.default_rng(0), *size)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = COLOURS["red"]
    count = len(boxes)
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(image, found, np.zeros(count, np.int64), np.zeros(count, bool))


def red(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    wide = image.astype(int)
    return wide[..., 0] - wide[..., 1:].max(-1) > 60


def test_objects_keep_their_pixels_in_most_samples() -> None:
    """Objects of 12 pixels in tiles of 100, shown in 200: 24; in the whole picture 4."""
    given_sample = large([[310, 120, 322, 132]])
    sides, aimed = [], 0
    for seed in range(100):
        made = cut(given_sample, (400, 600), (200, 200), PLAIN, np.random.default_rng(seed))
        assert made.image.shape == (200, 200, 3)
        assert (made.boxes >= 0).all()
        assert (made.boxes <= 200).all()
        for box in made.boxes[~made.ignore]:
            inside = red(made.image)[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])]
            assert inside.mean() > 0.6
        aimed += len(made.boxes) > 0
        if (made.image == 114).all(2).mean() < 0.2:  # not the letterboxed whole
            sides += [max(box[2:] - box[:2]) for box in made.boxes[~made.ignore]]
    assert np.median(sides) == pytest.approx(24, abs=1)
    assert 65 <= aimed <= 97, "most tiles hold the object, some are background"


@settings(max_examples=60, deadline=None)
@given(st.integers(60, 500), st.integers(60, 500), st.integers(32, 300), st.integers(0, 10_000))
def test_tiles_of_any_picture(height: int, width: int, tile: int, seed: int) -> None:
    config = replace(PLAIN, tile=tile, zoom=1.5)
    given_sample = large([[5, 5, 20, 30], [40, 40, 55, 50]], (height, width))
    made = cut(given_sample, (height, width), (64, 96), config, np.random.default_rng(seed))
    assert made.image.shape == (64, 96, 3)
    assert (made.boxes >= 0).all()
    assert (made.boxes <= [96, 64, 96, 64]).all()


def test_a_picture_without_objects_gives_background() -> None:
    for seed in range(10):
        made = cut(large([]), (400, 600), (64, 64), PLAIN, np.random.default_rng(seed))
        assert made.boxes.shape == (0, 4)


def _set(folder: Path, count: int = 6, size: tuple[int, int] = (240, 320)) -> Dataset:
    """Pictures with small squares, each of a colour, that are far from each other."""
    random = np.random.default_rng(1)
    rows: dict[str, list[Any]] = {key: [] for key in ("image", "class_id", "x1", "y1", "x2", "y2")}
    for i in range(count):
        image = grey(random, *size)
        for k in range(3):
            x, y = 20 + 100 * k + int(random.integers(60)), int(random.integers(10, 210))
            image[y : y + 14, x : x + 14] = COLOURS[NAMES[k]]
            for key, value in zip(rows, (i, k, x, y, x + 14, y + 14), strict=True):
                rows[key].append(value)
        write_image(folder / f"{i}.png", image)
    images = {
        "path": [str(folder / f"{i}.png") for i in range(count)],
        "width": [size[1]] * count,
        "height": [size[0]] * count,
        "split": ["train"] * (count - 2) + ["val"] * 2,
    }
    return Dataset(images, rows, NAMES, root=str(folder))


def test_working_pictures_have_the_scale_of_a_tile(tmp_path: Path) -> None:
    data = _set(tmp_path)
    samples = Samples(data, (64, 64), replace(PLAIN, tile=128))
    assert samples.pictures[0][0].shape == (120, 160, 3)
    assert samples.pictures[0][1] == (240, 320)
    whole = Samples(data, (64, 64), replace(PLAIN, tile=64))
    assert whole.pictures[0][0].shape == (240, 320, 3)
    for mosaic in (0.0, 1.0):
        config = replace(PLAIN, tile=64, mosaic=mosaic, mixup=0.5, batch=4)
        first, second = (list(Samples(data, (64, 64), config).epoch(0, 2, True)) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a.images, b.images)
            assert a.boxes is not None
            assert a.boxes.valid.any()


def test_the_input_of_tiles_is_square(tmp_path: Path) -> None:
    data = _set(tmp_path)
    assert choose_size(replace(PLAIN, tile=0, size=128), data) == (96, 128)
    assert choose_size(replace(PLAIN, size=96), data) == (96, 96)


class Finder(nn.Module):
    """A network that gives one box around the pixels of each colour; no weights to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        boxes, scores = torch.zeros(len(images), 3, 4), torch.zeros(len(images), 3, 3)
        for i, image in enumerate(images.numpy()):
            wide = image.astype(int)
            for k in range(3):
                rest = [c for c in range(3) if c != k]
                ys, xs = np.nonzero(wide[..., k] - wide[..., rest].max(-1) > 60)
                if len(ys):
                    box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                    boxes[i, k] = torch.tensor(box)
                    scores[i, k, k] = 0.9
        return {"boxes": boxes, "scores": scores}


def test_validation_sees_the_tiles_that_prediction_sees(tmp_path: Path) -> None:
    """Squares of 14 pixels in pictures of 320: in tiles exact, in 128 pixels too coarse."""
    data = _set(tmp_path)
    numbers = []
    for tile in (0, 128):
        preprocess = PreprocessSpec(size=(128, 128), tile=tile, tile_overlap=0.25)
        spec = ModelSpec(name="finder", task="detect", names=NAMES, preprocess=preprocess)
        validation = Validation(data, spec, 2**20)
        fabric = Fabric(accelerator="cpu", devices=1)
        numbers.append(validation.score(Finder(), fabric, 4)["AP"])
        assert isinstance(validation.picture(0), Tiles) == bool(tile)
    assert numbers[1] > 0.95
    assert numbers[0] < 0.85


def test_the_score_in_training_is_the_score_that_ships(tmp_path: Path) -> None:
    data = _set(tmp_path / "set")
    config = quick_config("detect", tile=128, size=64, epochs=1, batch=2)
    run = train_model(data, config, tmp_path / "run")
    model = load_file(run.model)
    assert model.spec.preprocess.tile == 128
    assert model.spec.preprocess.size == (64, 64)
    assert isinstance(model.prepare(np.zeros((240, 320, 3), np.uint8)), Tiles)
    rows = (run.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
    values = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert float(values["AP50"]) == pytest.approx(run.metrics["AP50"], abs=0.01)


def test_sizes_of_objects_are_kept_for_the_choice_of_tiles(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "set", count=12)
    rows = data.labels.select("image", "x1", "y1", "x2", "y2").rows()
    sizes = data.images.select("width", "height").rows()
    sides = [max(x2 - x1, y2 - y1) / max(sizes[image]) for image, x1, y1, x2, y2 in rows]
    seen = seen_objects(data)
    assert seen is not None
    assert seen.boxes == len(rows)
    assert seen.picture == round(float(np.median([max(size) for size in sizes])))
    expected = np.quantile(sides, (0.05, 0.25, 0.5, 0.75, 0.95))
    np.testing.assert_allclose(seen.sides, expected, atol=1e-4)
    tiled = seen_objects(data, 40)
    assert tiled is not None
    assert tiled.sides[2] > seen.sides[2]
    assert max(tiled.sides) <= 1
    assert seen_objects(data.select([])) is None
