"""One strong change: each operation against Pillow's or what its name says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageOps

from whatwhere.train.distort import OPERATIONS, distort

PICTURE = np.random.default_rng(3).integers(30, 220, (24, 36, 3)).astype(np.uint8)
FIXED = ("autocontrast", "equalize")


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (24, 36, 3)])
def test_every_operation_gives_a_picture_of_the_same_size(
    name: str, shape: tuple[int, int, int]
) -> None:
    image = PICTURE[: shape[0], : shape[1]].copy()
    before = image.copy()
    for strength in (-1.0, -0.4, 0.4, 1.0):
        made = OPERATIONS[name](image, strength)
        assert made.shape == shape
        assert made.dtype == np.uint8
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in FIXED])
def test_no_strength_is_no_change(name: str) -> None:
    made = OPERATIONS[name](PICTURE, 0.0).astype(int)
    assert np.abs(made - PICTURE).max() <= 1


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "identity"])
def test_full_strength_is_a_change(name: str) -> None:
    made = OPERATIONS[name](PICTURE, -1.0).astype(int)
    assert np.abs(made - PICTURE).mean() > 3


PILLOW: dict[str, Callable[[Pillow.Image, float], Pillow.Image]] = {
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + 0.99 * s),
    "saturation": lambda image, s: ImageEnhance.Color(image).enhance(1 + 0.99 * s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + 0.99 * s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + 0.99 * s),
    "posterize": lambda image, s: ImageOps.posterize(image, 8 - round(6 * abs(s))),
    "solarize": lambda image, s: ImageOps.solarize(image, round(255 * (1 - abs(s)))),
    "autocontrast": lambda image, s: ImageOps.autocontrast(image),
}


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize("strength", [-0.8, 0.5])
def test_colours_are_as_pillow_makes_them(name: str, strength: float) -> None:
    image = Pillow.fromarray(PICTURE)
    theirs = inner(np.asarray(PILLOW[name](image, strength)))
    ours = inner(OPERATIONS[name](PICTURE, strength))
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 2


def test_equal_levels() -> None:
    made = OPERATIONS["equalize"]((255 * np.sqrt(PICTURE / 255)).astype(np.uint8), 1.0)
    for channel in range(3):
        assert np.quantile(made[..., channel], [0.25, 0.5, 0.75]) == pytest.approx(
            [64, 128, 191], abs=6
        )


def inner(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the border, which Pillow's filters leave alone."""
    return image[1:-1, 1:-1]


def test_rotation_turns_about_the_middle() -> None:
    image = np.full((25, 25, 3), 114, np.uint8)
    image[12, 20] = 255
    made = OPERATIONS["rotate"](image, 90 / 135)
    assert tuple(np.argwhere(made[..., 0] > 200)[0]) == (20, 12)


def test_moving_and_shearing_go_where_they_say() -> None:
    image = np.full((28, 56, 3), 114, np.uint8)
    image[20, 30] = 255
    assert tuple(np.argwhere(OPERATIONS["move x"](image, 0.5)[..., 0] > 200)[0]) == (20, 34)
    assert tuple(np.argwhere(OPERATIONS["move y"](image, -0.5)[..., 0] > 200)[0]) == (18, 30)
    sheared = OPERATIONS["shear x"](image, 1.0)[20, :, 0].astype(float) - 114
    place = (sheared * np.arange(56)).sum() / sheared.sum()
    assert place == pytest.approx(30 + 0.99 * (20 - 13.5), abs=0.1)


def test_chance_and_repeatability() -> None:
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    assert distort(PICTURE, 0.0, rng) is PICTURE
    assert rng.bit_generator.state == state
    made = [distort(PICTURE, 0.5, np.random.default_rng(seed)) for seed in range(200)]
    again = [distort(PICTURE, 0.5, np.random.default_rng(seed)) for seed in range(200)]
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    changed = sum(not np.array_equal(image, PICTURE) for image in made)
    # Half of them, of which an operation in 14 is none.
    assert 70 < changed < 115
