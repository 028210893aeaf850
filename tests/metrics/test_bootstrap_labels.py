"""Numbers of labels of weighted pictures, equal to the plain numbers on copied pictures."""

import numpy as np
import pytest

from whatwhere.metrics.bootstrap import draws, intervals
from whatwhere.metrics.bootstrap_labels import LabelNumbers, MeanNumbers, TableNumbers
from whatwhere.metrics.classification import classification_scores
from whatwhere.metrics.multilabel import multilabel_scores

NAMES = ("a", "b", "c", "d")


def flat(result: dict, names: tuple[str, ...], shares: tuple[str, ...]) -> np.ndarray:
    per_class = result.pop("per_class")
    result.pop("confusion", None)
    values = [*result.values(), *(row[share] for row in per_class for share in shares)]
    return np.array([np.nan if value is None else value for value in values])


def weights_of(images: int, samples: int) -> np.ndarray:
    once = np.ones((1, images), dtype=np.int32)
    return np.concatenate([once, *draws(np.arange(images), images, samples, seed=0)])


@pytest.mark.parametrize("classes", [3, 4])
def test_one_class_a_picture(classes: int) -> None:
    """With 4 classes the last is never right, so undefined, but is sometimes said."""
    rng = np.random.default_rng(0)
    names = NAMES[:classes]
    image = np.sort(rng.permutation(40)[:35])
    truth = rng.choice(3, 35, p=(0.8, 0.15, 0.05))
    ranked = np.stack([rng.permutation(classes) for _ in range(35)])
    ranked[rng.random((35, classes)) < 0.2] = -1
    numbers = LabelNumbers(40, names, image, truth, ranked)
    weights = weights_of(40, 20)
    for row, often in zip(numbers(weights), weights, strict=True):
        copies = np.repeat(np.arange(35), often[image])
        want = classification_scores(truth[copies], ranked[copies], classes)
        shares = ("precision", "recall", "f1")
        np.testing.assert_allclose(row, flat(want, names, shares), rtol=0, atol=1e-12)
    result = intervals(numbers, samples=50)
    assert result["accuracy", None].units == 35
    assert result["recall", "b"].units == (truth == 1).sum()


@pytest.mark.parametrize("levels", [None, 4])
def test_any_number_of_classes(levels: int | None) -> None:
    rng = np.random.default_rng(1)
    truth = rng.random((30, 4)) < (0.6, 0.2, 0.05, 0.0)
    scores = rng.random((30, 4)) * 0.5 + truth * 0.3
    if levels is not None:
        scores = np.floor(scores * levels) / levels
    known = rng.random((30, 4)) < 0.9
    numbers = TableNumbers(NAMES, truth, scores, known)
    weights = weights_of(30, 20)
    for row, often in zip(numbers(weights), weights, strict=True):
        copies = np.repeat(np.arange(30), often)
        want = multilabel_scores(truth[copies], scores[copies], known[copies])
        shares = ("AP", "precision", "recall", "f1")
        np.testing.assert_allclose(row, flat(want, NAMES, shares), rtol=0, atol=1e-12)
    result = intervals(numbers, samples=50)
    assert result["AP", "a"].units == (truth & known)[:, 0].sum()
    assert result["AP", "d"].value is None


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    truth, scores = rng.random((25, 3)) < 0.3, rng.random((25, 3))
    numbers = TableNumbers(NAMES[:3], truth, scores, np.ones_like(truth))
    weights = weights_of(25, 30)
    whole = numbers(weights)
    monkeypatch.setattr("whatwhere.metrics.bootstrap_labels._CELLS", 1)
    np.testing.assert_array_equal(whole, numbers(weights))


def test_means_leave_out_pictures_without_the_number() -> None:
    values = np.array([[1.0, np.nan], [2.0, 4.0], [np.nan, np.nan]])
    numbers = MeanNumbers((("loss", None), ("depth", None)), values)
    got = numbers(np.array([[1, 1, 1], [3, 1, 0], [2, 0, 5]], dtype=np.int32))
    np.testing.assert_allclose(got, [[1.5, 4], [1.25, 4], [1, np.nan]])
    assert numbers.support(np.arange(3)).tolist() == [2, 1]


def test_no_rows_is_undefined() -> None:
    none = np.zeros(0, dtype=np.int64)
    numbers = LabelNumbers(3, NAMES, none, none, np.zeros((0, 5), dtype=np.int64))
    assert np.isnan(numbers(np.ones((2, 3), dtype=np.int32))).all()
    assert not numbers.support(np.arange(3)).any()
