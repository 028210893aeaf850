"""Two samples in one: pixels and targets by the same shares."""

from __future__ import annotations

import numpy as np
import pytest

from whatwhere.train.augment import Sample
from whatwhere.train.mixing import cutmix_labels, mixup_labels, mixup_objects, whole_targets


def whole(
    level: int,
    classes: list[int],
    ignore: list[bool] | None = None,
    known: list[bool] | None = None,
) -> Sample:
    """A picture of one grey level with labels of the whole."""
    return Sample(
        np.full((24, 32, 3), level, np.uint8),
        np.zeros((0, 4), np.float32),
        np.array(classes, np.int64),
        np.array(ignore or [False] * len(classes), bool),
        None if known is None else np.array(known),
    )


def objects(level: int, count: int) -> Sample:
    boxes = np.tile(np.array([[1, 2, 11, 12]], np.float32), (count, 1))
    ids = np.arange(count)
    return Sample(np.full((24, 32, 3), level, np.uint8), boxes, ids, ids == 1)


@pytest.mark.parametrize("mix", [mixup_labels, cutmix_labels])
def test_targets_are_the_share_of_the_pixels(mix: object) -> None:
    shares = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        made = mix(whole(0, [0]), whole(200, [2]), "classify", 3, rng)  # type: ignore[operator]
        assert made.present is not None
        assert made.present.dtype == np.float32
        assert made.present.sum() == pytest.approx(1)
        assert made.present[1] == 0
        assert float(made.image.mean()) / 200 == pytest.approx(float(made.present[2]), abs=0.01)
        shares.append(float(made.present[2]))
    assert min(shares) < 0.1
    assert max(shares) > 0.7, "cutmix cuts its rectangle at the border"


def test_cutmix_keeps_pixels_whole() -> None:
    for seed in range(20):
        first = whole(0, [0])
        rng = np.random.default_rng(seed)
        made = cutmix_labels(first, whole(200, [1]), "classify", 2, rng)
        assert set(np.unique(made.image)) <= {0, 200}
        ys, xs = np.nonzero(made.image[..., 0])
        if len(ys):  # one rectangle
            assert len(ys) == (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
        assert not first.image.any(), "the given picture must not change"


def test_a_picture_of_the_same_class_stays_certain() -> None:
    rng = np.random.default_rng(0)
    made = mixup_labels(whole(0, [1]), whole(9, [1]), "classify", 2, rng)
    assert made.present is not None
    np.testing.assert_allclose(made.present, [0, 1], atol=1e-6)


def test_a_picture_without_a_class_is_not_mixed() -> None:
    rng = np.random.default_rng(0)
    for one, two in ((whole(0, []), whole(9, [1])), (whole(0, [0]), whole(9, [1], [True]))):
        assert mixup_labels(one, two, "classify", 2, rng) is one


def test_many_labels_are_weighed_class_by_class() -> None:
    one = whole(0, [0, 1])
    two = whole(200, [1, 2], [False, True], known=[True, True, True, False])
    made = mixup_labels(one, two, "multilabel", 4, np.random.default_rng(3))
    assert made.present is not None
    assert made.known is not None
    share = float(made.image.mean()) / 200
    np.testing.assert_allclose(made.present, [1 - share, 1, 0, 0], atol=0.01)
    # Class 2 is to be ignored in one picture, class 3 was not looked for in it.
    assert made.known.tolist() == [True, True, False, False]
    assert whole_targets(made, "multilabel", 4)[0] is made.present


def test_blended_pictures_have_the_objects_of_both() -> None:
    shares = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        made = mixup_objects(objects(0, 2), objects(200, 3), rng)
        assert made.classes.tolist() == [0, 1, 0, 1, 2]
        assert made.ignore.tolist() == [False, True, False, True, False]
        assert made.boxes.shape == (5, 4)
        assert made.boxes.dtype == np.float32
        shares.append(float(made.image.mean()) / 200)
    assert 0.4 < np.mean(shares) < 0.6
    assert np.std(shares) < 0.2


def test_a_blend_knows_what_both_know() -> None:
    one, two = objects(0, 1), objects(9, 0)
    rng = np.random.default_rng(0)
    assert mixup_objects(one, two, rng).known is None
    part = Sample(two.image, two.boxes, two.classes, two.ignore, np.array([True, False]))
    made = mixup_objects(one, part, rng)
    assert made.known is not None
    assert made.known.tolist() == [True, False]
