"""Explanations drawn over pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from whatwhere.errors import UsageError
from whatwhere.images import write_image
from whatwhere.outputs.heat import draw_explanation, heated
from whatwhere.runtime.explain import Explanation
from whatwhere.types import Boxes


def made(values: np.ndarray, box: Boxes | None = None, image: str | None = None) -> Explanation:
    height, width = values.shape
    return Explanation(
        image=image,
        width=width,
        height=height,
        kind="label" if box is None else "object",
        name="cat",
        score=0.9,
        box=box,
        values=values.astype(np.float32),
        method="occlusion",
        model="m",
    )


def test_colour_is_where_the_map_is_high() -> None:
    image = np.full((300, 400, 3), 100, np.uint8)
    values = np.zeros((300, 400))
    values[40:80, 300:340] = 0.3
    values[200:240, 40:80] = -5
    drawn = draw_explanation(made(values), image).image.astype(int)
    assert drawn.shape == (300, 400, 3)
    spread = drawn.max(axis=2) - drawn.min(axis=2)
    # The caption lies in the lower left corner, and is grey.
    assert (spread[45:75, 305:335] > 40).all()
    assert spread[45:75, 100:250].max() == 0
    assert spread[200:240, 100:400].max() == 0
    assert (drawn[100, 200] < 100).all()


def test_a_map_of_nothing_only_dulls() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    dull = heated(image, np.zeros((20, 30)))
    assert dull.dtype == np.uint8
    assert dull.mean() < image.mean()
    assert dull.std(axis=2).mean() < image.std(axis=2).mean()


def test_the_answer_is_drawn_too(tmp_path: Path) -> None:
    image = np.full((300, 300, 3), 128, np.uint8)
    write_image(tmp_path / "a.png", image)
    box = np.array([50, 60, 250, 260], np.float32)
    item = made(np.zeros((300, 300)), box, str(tmp_path / "a.png"))
    drawn = draw_explanation(item).image.astype(int)
    edge = drawn[160, 50:56]
    assert (edge.max(axis=1) - edge.min(axis=1)).max() > 60


def test_another_picture_is_refused() -> None:
    item = made(np.zeros((30, 40)))
    with pytest.raises(UsageError, match="40x30 pixels, but this one has 30x40"):
        draw_explanation(item, np.zeros((40, 30, 3), np.uint8))
    with pytest.raises(UsageError, match="does not say where"):
        draw_explanation(item)
