"""Random changes to samples: boxes stay on their objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from train_data import COLOURS, grey
from whatwhere.train.augment import Sample, affine, blank, crop, mirror, mosaic, place, recolour
from whatwhere.train.recipes import recipe

CONFIG = recipe("detect")


def sample(
    size: tuple[int, int] = (90, 120),
    box: tuple[int, int, int, int] = (20, 10, 70, 60),
    colour: str = "red",
    known: NDArray[np.bool_] | None = None,
) -> Sample:
    """A grey picture with one filled rectangle."""
    image = grey(np.random.default_rng(0), *size)
    image[box[1] : box[3], box[0] : box[2]] = COLOURS[colour]
    class_id = list(COLOURS).index(colour)
    return Sample(
        image, np.array([box], np.float32), np.array([class_id]), np.array([False]), known
    )


def extent(image: NDArray[np.uint8], class_id: int) -> NDArray[np.float32] | None:
    """Where the pixels of a class's colour are, x1 y1 x2 y2; None where there are none."""
    channel = image.astype(np.int16)
    others = [c for c in range(3) if c != class_id]
    mask = channel[..., class_id] - channel[..., others].max(-1) > 75
    if not mask.any():
        return None
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float32)


def check(made: Sample, tolerance: float = 1.5) -> int:
    """Each box lies around the pixels of its colour; gives how many were found."""
    for class_id, box, ignore in zip(made.classes, made.boxes, made.ignore, strict=True):
        if ignore and (box[2:] - box[:2]).min() <= 8:
            continue  # perhaps enlarged to a detector's cell
        found = extent(made.image, int(class_id))
        if found is None:
            assert (box[2:] - box[:2]).min() < 4, f"no pixels of {class_id} at {box}"
            continue
        np.testing.assert_allclose(found, box, atol=tolerance)
    height, width = made.image.shape[:2]
    assert (made.boxes >= 0).all()
    assert (made.boxes <= [width, height, width, height]).all()
    return len(made.boxes)


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.4, 2.5),
    st.floats(0.4, 2.5),
    st.floats(-60, 60),
    st.floats(-60, 60),
)
def test_place_moves_boxes_with_pixels(sx: float, sy: float, ox: float, oy: float) -> None:
    made = place(sample(), blank((80, 110)), (sx, sy), (ox, oy))
    check(made, tolerance=max(1.5, 0.75 * max(sx, sy)))


def test_place_at_scale_one_copies_the_pixels() -> None:
    given_sample = sample()
    made = place(given_sample, blank((90, 120)), (1.0, 1.0), (0.0, 0.0))
    assert np.array_equal(made.image, given_sample.image)
    assert np.array_equal(made.boxes, given_sample.boxes)
    moved = place(given_sample, blank((90, 120)), (1.0, 1.0), (7.0, -4.0))
    assert np.array_equal(moved.image[:86, 7:], given_sample.image[4:, :113])


def test_place_knows_where_pixel_centres_are() -> None:
    """A ramp of 8 a pixel, four times as large: 2 a pixel, from centre to centre."""
    ramp = (8 * np.arange(24, dtype=np.uint8))[None, :, None].repeat(24, 0).repeat(3, 2)
    empty = Sample(ramp, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    made = place(empty, blank((96, 96)), (4.0, 4.0), (0.0, 0.0)).image[48, 8:88, 0]
    np.testing.assert_allclose(made, 2 * np.arange(8, 88) - 3, atol=1)


def test_what_is_left_of_an_object_decides_what_it_is() -> None:
    """Much of it: an example. A rest: neither example nor background. Nothing: gone."""
    box = (20, 10, 70, 60)
    shifts = {0.0: [False], -40.0: [False], -60.0: [True], -80.0: []}
    for shift, ignored in shifts.items():
        made = place(sample(box=box), blank((90, 120)), (1.0, 1.0), (shift, 0.0))
        assert made.ignore.tolist() == ignored, shift
    region = replace(sample(box=box), ignore=np.array([True]))
    assert place(region, blank((90, 120)), (1.0, 1.0), (0.0, 0.0)).ignore.tolist() == [True]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=6),
    st.floats(0.02, 3),
    st.floats(-150, 150),
    st.floats(-150, 150),
)
def test_nothing_that_is_seen_is_lost(
    shares: list[tuple[float, ...]], scale: float, ox: float, oy: float
) -> None:
    """Each object becomes an example or a region to ignore, unless nothing of it is seen."""
    corners = np.sort(np.array(shares).reshape(-1, 2, 2), 1) * [120, 90]
    boxes = corners.reshape(-1, 4).astype(np.float32)
    ids = np.arange(len(boxes))
    given_sample = Sample(sample().image, boxes, ids, ids < 0)
    size = (80, 110)
    made = place(given_sample, blank(size), (scale, scale), (ox, oy))
    assert (made.boxes >= 0).all()
    assert (made.boxes <= [110, 80, 110, 80]).all()
    assert made.boxes.dtype == np.float32
    # The pixel grid may move a box by a pixel, or by the rounding of the picture's size.
    moved = boxes * scale + np.array([ox, oy] * 2, np.float32)
    seen = np.clip(moved, 0, [110, 80, 110, 80])
    sides = (seen[:, 2:] - seen[:, :2]).min(1)
    assert set(ids[sides > 1.5]) <= set(made.classes)
    example = set(made.classes[~made.ignore])
    assert not example & set(ids[sides < 0.4])


def test_an_object_too_small_for_an_example_is_no_background() -> None:
    """4 x 4 pixels at a fifth of the size: 0.8 pixels, in a region as large as a cell."""
    made = place(sample(box=(60, 40, 64, 44)), blank((80, 110)), (0.2, 0.2), (10.0, 10.0))
    assert made.ignore.tolist() == [True]
    np.testing.assert_allclose(made.boxes[0], [18.4, 14.4, 26.4, 22.4], atol=0.2)
    twice = place(sample(box=(60, 40, 64, 44)), blank((80, 110)), (0.5, 0.5), (10.0, 10.0))
    assert twice.ignore.tolist() == [False]


def test_shrinking_much_averages_all_pixels() -> None:
    """A chessboard of single pixels is grey from afar; with every fourth pixel it would not."""
    board = np.indices((96, 96)).sum(0) % 2 * 255
    picture = np.stack([board] * 3, 2).astype(np.uint8)
    none = np.zeros(0, np.int64)
    plain = Sample(picture, np.zeros((0, 4), np.float32), none, none.astype(bool))
    made = place(plain, blank((24, 24)), (0.25, 0.25), (0.0, 0.0))
    assert 100 < made.image.min() <= made.image.max() < 155


@pytest.mark.parametrize("size", [(96, 96), (64, 128), (160, 96)])
def test_affine(size: tuple[int, int]) -> None:
    found = 0
    for seed in range(40):
        made = affine(sample(), size, CONFIG, np.random.default_rng(seed))
        assert made.image.shape == (*size, 3)
        found += check(made, tolerance=2)
    assert found >= 35


def test_without_zoom_affine_shows_the_whole_picture() -> None:
    made = affine(sample(), (90, 240), replace(CONFIG, zoom=1.0), np.random.default_rng(0))
    np.testing.assert_allclose(made.boxes[0, 2:] - made.boxes[0, :2], [50, 50], atol=1e-3)


def test_mosaic() -> None:
    colours = ("red", "green", "blue", "red")
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        parts = [sample(colour=colour) for colour in colours]
        # One picture without objects, so that each colour occurs once.
        parts[3] = Sample(
            grey(rng, 50, 50),
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, bool),
        )
        made = mosaic(parts, (128, 160), CONFIG, rng)
        assert made.image.shape == (128, 160, 3)
        found += check(made, tolerance=2)
    assert found >= 60


def test_a_mosaic_knows_what_all_its_parts_know() -> None:
    known = [None, np.array([True, True, False]), None, np.array([True, False, True])]
    parts = [sample(known=value) for value in known]
    made = mosaic(parts, (64, 64), CONFIG, np.random.default_rng(0))
    assert made.known is not None
    assert made.known.tolist() == [True, False, False]
    whole = mosaic([sample()] * 4, (64, 64), CONFIG, np.random.default_rng(0))
    assert whole.known is None


@pytest.mark.parametrize(("flip", "vertical"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_mirror(flip: float, vertical: float) -> None:
    config = replace(CONFIG, flip=float(flip), vertical_flip=float(vertical))
    plain = sample()
    made = mirror(plain, config, np.random.default_rng(0))
    assert check(made, tolerance=0) == 1
    steps = (-1 if vertical else 1, -1 if flip else 1)
    assert np.array_equal(made.image, plain.image[:: steps[0], :: steps[1]])
    assert made.image.flags.c_contiguous


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]), st.floats(0, 60), st.floats(0, 40))
def test_mirroring_twice_changes_nothing(flips: tuple[float, float], x: float, y: float) -> None:
    config = replace(CONFIG, flip=flips[0], vertical_flip=flips[1])
    plain = replace(sample(), boxes=np.array([[x, y, x + 30, y + 20]], np.float32))
    once = mirror(plain, config, np.random.default_rng(0))
    twice = mirror(once, config, np.random.default_rng(0))
    assert np.array_equal(twice.image, plain.image)
    np.testing.assert_allclose(twice.boxes, plain.boxes, atol=1e-4)
    assert not np.array_equal(once.image, plain.image)


def test_mirror_keeps_empty_samples() -> None:
    empty = place(sample(), blank((32, 32)), (1.0, 1.0), (500.0, 500.0))
    assert empty.boxes.shape == (0, 4)
    config = replace(CONFIG, flip=1.0, vertical_flip=1.0)
    made = mirror(empty, config, np.random.default_rng(0))
    assert made.boxes.shape == (0, 4)
    assert made.boxes.dtype == np.float32


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 1000))
def test_crop_of_any_picture(height: int, width: int, seed: int) -> None:
    image = grey(np.random.default_rng(seed), height, width)
    made = crop(image, (32, 48), CONFIG, np.random.default_rng(seed))
    assert made.shape == (32, 48, 3)
    assert made.dtype == np.uint8
    # Pixels are taken and averaged, never invented.
    assert image.min() <= made.min() <= made.max() <= image.max()


def test_crop_takes_at_least_its_share() -> None:
    """The column's number is its colour, so the part can be read off the result."""
    image = np.arange(200, dtype=np.uint8)[None, :, None].repeat(200, 0).repeat(3, 2)
    config = replace(CONFIG, zoom=1.25)
    for seed in range(30):
        made = crop(image, (200, 200), config, np.random.default_rng(seed))
        width = int(made.max()) - int(made.min())
        assert width >= 200 * 0.8 * np.sqrt(3 / 4) - 6


def test_recolour_changes_colours_within_its_strength() -> None:
    image = np.full((4, 4, 3), 128, np.uint8)
    assert recolour(image, 0.0, np.random.default_rng(0)) is image
    seen = [recolour(image, 0.2, np.random.default_rng(seed)) for seed in range(50)]
    means = np.array([made.mean() for made in seen])
    assert means.std() > 3
    assert 85 < means.min() < means.max() < 170
    assert all(made.dtype == np.uint8 and made.shape == (4, 4, 3) for made in seen)
    assert (image == 128).all(), "the cached picture must not change"


def test_equal_generators_give_equal_samples() -> None:
    for change in (affine, mosaic):
        source = sample() if change is affine else [sample()] * 4
        one, two, other = (
            change(source, (64, 64), CONFIG, np.random.default_rng(seed))  # type: ignore[arg-type]
            for seed in (1, 1, 2)
        )
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.boxes, two.boxes)
        assert not np.array_equal(one.image, other.image)
