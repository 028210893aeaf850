"""Brightness, contrast and sharpness of a picture."""

import cv2
import numpy as np
import pytest

from whatwhere.images.appearance import LOOKS, look


@pytest.fixture
def scene() -> np.ndarray:
    """Blocks of random grey, which have edges everywhere."""
    cells = np.random.default_rng(0).integers(40, 200, (24, 32), dtype=np.uint8)
    grey = cells.repeat(10, axis=0).repeat(10, axis=1)
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_brightness_and_contrast_are_shares_of_white(scene: np.ndarray) -> None:
    brightness, contrast, _ = look(scene)
    assert brightness == pytest.approx(scene.mean() / 255, abs=1e-3)
    assert contrast == pytest.approx(scene.std() / 255, abs=1e-3)
    assert len(LOOKS) == 3


def test_black_and_white_pictures_have_no_sharpness() -> None:
    assert look(np.zeros((8, 9, 3), np.uint8))[:2] == (0, 0)
    brightness, contrast, sharpness = look(np.full((1, 1, 3), 255, np.uint8))
    assert (brightness, contrast) == (1, 0)
    assert np.isnan(sharpness)


def test_blur_lowers_sharpness_step_by_step(scene: np.ndarray) -> None:
    values = [look(scene)[2]]
    for sigma in (1, 2, 4):
        values.append(look(np.asarray(cv2.GaussianBlur(scene, (0, 0), sigma)))[2])
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 4


def test_darkness_and_haze_are_no_blur(scene: np.ndarray) -> None:
    dark = (scene * 0.3).astype(np.uint8)
    hazy = (scene * 0.5 + 100).astype(np.uint8)
    for changed in (dark, hazy):
        assert look(changed)[2] == pytest.approx(look(scene)[2], rel=0.03)
    assert look(dark)[0] < look(scene)[0] < look(hazy)[0]


def test_a_large_picture_is_measured_like_a_small_one(scene: np.ndarray) -> None:
    small = cv2.resize(scene, (512, 384), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (2048, 1536), interpolation=cv2.INTER_NEAREST)
    first, second = look(np.asarray(small)), look(np.asarray(large))
    assert second[:2] == pytest.approx(first[:2], abs=0.01)
    assert second[2] == pytest.approx(first[2], rel=0.01)
