"""The pair of detector and classifier, with two models whose answers can be foreseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from whatwhere.errors import ImageError, ModelError, UsageError
from whatwhere.runtime import Failure, Predictor
from whatwhere.runtime.backends import Port
from whatwhere.runtime.cascade import CROPS, Pair, choose_name, crop_box
from whatwhere.specs import ModelSpec, PreprocessSpec
from whatwhere.types import Image, Label, Prediction, as_boxes

SIZE = 64
COLOURS = {"ruby": (255, 0, 0), "emerald": (0, 255, 0), "sapphire": (0, 0, 255)}
FITS = {
    "ruby": frozenset({"stone", "person"}),
    "emerald": frozenset({"stone"}),
    "sapphire": frozenset({"stone", "gem"}),
    "landscape": frozenset[str](),
}


class Spots:
    """Finds the box of all saturated pixels; kind "stone", or "person" where they are red."""

    name: ClassVar[str] = "spots"
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    threads = 1

    def __init__(self, kinds: int = 3) -> None:
        self.kinds = kinds

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Spots:
        return self

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        boxes = np.zeros((len(images), 2, 4), np.float32)
        scores = np.zeros((len(images), 2, self.kinds), np.float32)
        for index, image in enumerate(images):
            for half in (0, 1):
                part = image[:, half * SIZE // 2 : (half + 1) * SIZE // 2].astype(int)
                ys, xs = np.nonzero(part.max(axis=2) - part.min(axis=2) > 200)
                if not len(xs):
                    continue
                left = half * SIZE // 2
                corners = [xs.min() + left, ys.min(), xs.max() + left + 1, ys.max() + 1]
                boxes[index, half] = corners
                scores[index, half, 0] = 0.9 - 0.1 * half
        return {"boxes": boxes, "scores": scores}


class Colours:
    """Odds of three times each pure colour's share of the pixels, against all other pixels."""

    name: ClassVar[str] = "colours"
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()

    threads = 1

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Colours:
        return self

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        self.batches.append(len(images))
        pixels = images.reshape(len(images), -1, 3).astype(int)
        shares = [
            3 * (np.abs(pixels - np.array(colour)).max(axis=2) < 60).mean(axis=1)
            for colour in COLOURS.values()
        ]
        rest = 1 - np.sum(shares, axis=0) / 3
        return {"logits": np.log(np.stack([*shares, rest], axis=1) + 1e-9).astype(np.float32)}


def _detector(**changes: Any) -> Predictor:
    spec = ModelSpec(
        name="spots",
        task="detect",
        names=("stone", "gem", "person"),
        preprocess=PreprocessSpec(size=(SIZE, SIZE), fit="letterbox"),
    )
    return Predictor(spec.model_copy(update=changes), Spots())


def _classifier(**changes: Any) -> Predictor:
    spec = ModelSpec(
        name="colours",
        task="classify",
        names=tuple(FITS),
        preprocess=PreprocessSpec(size=(32, 32), fit="crop"),
    )
    return Predictor(spec.model_copy(update=changes), Colours())


@pytest.fixture
def pair() -> Pair:
    return Pair(_detector(), _classifier(), FITS)


def _picture(left: str | None = None, right: str | None = None, size: int = 128) -> Image:
    """A grey square picture with a coloured square in the middle of one or both halves."""
    image: Image = np.full((size, size, 3), 120, np.uint8)
    middle, side = size // 2, size // 4
    for name, x in ((left, size // 4), (right, 3 * size // 4)):
        if name is not None:
            start = x - side // 2
            image[middle - side // 2 : middle + side // 2, start : start + side] = COLOURS[name]
    return image


def test_a_picture_gets_labels_objects_and_names_of_objects(pair: Pair) -> None:
    answer = pair.predict(_picture("ruby", "sapphire"))
    assert answer.label_names[0] == "landscape"
    # Each square is 1/16 of the picture.
    assert answer.label_scores[0] == pytest.approx(14 / (14 + 3 + 3), abs=0.02)
    assert answer.object_names == ("stone", "stone")
    assert [row[0].name for row in answer.object_labels] == ["ruby", "sapphire"]
    np.testing.assert_allclose(answer.boxes, [[16, 48, 48, 80], [80, 48, 112, 80]], atol=2)
    assert answer.model == "spots+colours"
    assert answer.ms is not None
    assert answer.to_dict()["objects"][0]["labels"][0]["name"] == "ruby"


def test_the_name_is_that_of_the_crop_and_not_of_the_neighbour(pair: Pair) -> None:
    left = pair.predict(_picture("emerald", "ruby")).object_labels
    right = pair.predict(_picture("ruby", "emerald")).object_labels
    assert [row[0].name for row in left] == ["emerald", "ruby"]
    assert [row[0].name for row in right] == ["ruby", "emerald"]


def test_a_picture_without_objects_still_gets_labels(pair: Pair) -> None:
    answer = pair.predict(_picture())
    assert answer.boxes is not None
    assert answer.boxes.shape == (0, 4)
    assert answer.object_labels == ()
    assert answer.label_names[0] == "landscape"


def test_many_pictures_at_once_are_the_same_as_one_by_one(pair: Pair) -> None:
    pictures = [_picture("ruby"), _picture(), _picture("emerald", "sapphire"), _picture("ruby")]
    together = pair.predict_images(pictures, names=list("abcd"))
    for name, picture, answer in zip("abcd", pictures, together, strict=True):
        alone = pair.predict(picture)
        assert answer.image == name
        assert answer.label_names == alone.label_names
        assert answer.object_labels == alone.object_labels
        np.testing.assert_array_equal(answer.boxes, alone.boxes)


def test_all_crops_of_a_batch_go_through_the_classifier_together() -> None:
    classifier = _classifier()
    pair = Pair(_detector(), classifier, FITS)
    pair.predict_images([_picture("ruby", "emerald")] * 5)
    assert classifier.backend.batches == [5, 10]  # type: ignore[attr-defined]


def test_crops_are_split_into_parts_that_fit_memory() -> None:
    classifier = _classifier()
    pair = Pair(_detector(), classifier, FITS)
    count = CROPS // 2 + 5
    answers = pair.predict_images([_picture("ruby", "emerald")] * count)
    assert classifier.backend.batches == [count, CROPS, 10]  # type: ignore[attr-defined]
    assert {row[0].name for answer in answers for row in answer.object_labels} == {
        "ruby",
        "emerald",
    }


def test_evaluation_scores_boxes_and_labels_and_names_nothing(pair: Pair) -> None:
    (answer,) = pair.predict_images([_picture("ruby")], evaluation=True)
    assert len(answer.label_names) == len(FITS)
    assert answer.object_names
    assert answer.object_labels == ()


def test_the_threshold_applies_to_both_models(pair: Pair) -> None:
    usual = pair.predict(_picture("ruby", "emerald"))
    strict = pair.predict(_picture("ruby", "emerald"), threshold=0.85)
    assert (len(usual.object_names), len(strict.object_names)) == (2, 1)
    assert (usual.label_names[0], strict.label_names) == ("landscape", ())


def test_unlikely_labels_are_left_out_unless_asked_for(pair: Pair) -> None:
    picture = _picture("ruby", size=160)
    assert pair.predict(picture).label_names == ("landscape", "ruby")
    picture[70:90, 35:45] = 120
    assert pair.predict(picture).label_names == ("landscape",)
    assert len(pair.predict(picture, threshold=0.0).label_names) == 4


def test_stream_goes_on_after_an_unreadable_picture(pair: Pair, tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    cv2.imwrite(str(good), _picture("sapphire")[..., ::-1])
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    first, failed, last = pair.stream([good, bad, good])
    assert isinstance(failed, Failure)
    assert isinstance(failed.error, ImageError)
    for answer in (first, last):
        assert isinstance(answer, Prediction)
        assert answer.image == str(good)
        assert answer.object_labels[0][0].name == "sapphire"


def test_its_spec_is_the_detectors(pair: Pair) -> None:
    assert pair.spec.name == "spots"


# Which name


def _answer(**scores: float) -> Prediction:
    rows = sorted(scores.items(), key=lambda row: -row[1])
    values = np.array([score for _, score in rows], np.float32)
    return Prediction(1, 1, label_names=tuple(name for name, _ in rows), label_scores=values)


@pytest.mark.parametrize(
    ("kind", "answer", "name"),
    [
        ("stone", _answer(emerald=0.9, landscape=0.1), "emerald"),
        # The best class does not fit; the best that does is not the whole truth.
        ("stone", _answer(landscape=0.5, emerald=0.4, ruby=0.1), None),
        ("gem", _answer(ruby=0.6, sapphire=0.4), None),
        # Together the fitting classes convince, and the best of them is good enough.
        ("stone", _answer(emerald=0.4, landscape=0.3, ruby=0.3), "emerald"),
        # Together they convince, but none stands out.
        ("stone", _answer(emerald=0.34, ruby=0.33, sapphire=0.33), None),
        # People need more.
        ("person", _answer(ruby=0.7, landscape=0.3), None),
        ("person", _answer(ruby=0.8, landscape=0.2), "ruby"),
        ("kind that no class fits", _answer(ruby=1.0), None),
    ],
)
def test_a_name_is_given_where_the_crop_convinces(
    kind: str, answer: Prediction, name: str | None
) -> None:
    found = choose_name(kind, answer, FITS)
    assert [label.name for label in found] == ([] if name is None else [name])
    if found:
        assert isinstance(found[0], Label)
        assert found[0].score == pytest.approx(dict(zip(*_rows(answer), strict=True))[name])


def _rows(answer: Prediction) -> tuple[tuple[str, ...], list[float]]:
    return answer.label_names, answer.label_scores.tolist()


# Crops


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([40, 40, 60, 60], (36, 36, 28, 28)),  # a square and its surroundings
        ([40, 45, 60, 55], (36, 36, 28, 28)),  # a flat box gets a square crop
        ([0, 40, 20, 60], (0, 36, 28, 28)),  # at the border the square moves inwards
        ([190, 90, 200, 100], (186, 86, 14, 14)),
        ([0, 0, 200, 100], (0, 0, 200, 100)),  # larger than the picture
        ([50, 0, 150, 100], (30, 0, 140, 100)),
        ([10.2, 10.2, 10.3, 10.3], (10, 10, 1, 1)),  # less than a pixel
        ([200, 100, 200, 100], (199, 99, 1, 1)),  # nothing, in the corner
    ],
)
def test_a_crop_is_a_square_inside_the_picture(
    box: list[float], expected: tuple[int, int, int, int]
) -> None:
    ys, xs = np.mgrid[0:100, 0:200].astype(np.uint8)
    picture: Image = np.stack([xs, ys, ys], axis=2)
    crop = crop_box(picture, as_boxes([box])[0], margin=0.2)
    left, top, width, height = expected
    assert crop.shape == (height, width, 3)
    assert crop[0, 0].tolist() == [left, top, top]
    assert np.shares_memory(crop, picture)


def test_crops_stay_inside_any_picture() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width = random.integers(1, 50, 2)
        corners = random.uniform(0, 1, (2, 2)) * (width, height)
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
        crop = crop_box(np.zeros((height, width, 3), np.uint8), box)
        assert min(crop.shape) >= 1


# What does not fit together


def test_two_models_of_the_wrong_task_are_refused() -> None:
    with pytest.raises(UsageError, match=r"not classify \(colours\) and classify \(colours\)"):
        Pair(_classifier(), _classifier(), FITS)
    with pytest.raises(UsageError, match=r"detect \(spots\) and detect \(spots\)"):
        Pair(_detector(), _detector(), FITS)


def test_a_table_that_lacks_classes_is_refused() -> None:
    short = {name: kinds for name, kinds in FITS.items() if name != "emerald"}
    with pytest.raises(ModelError, match=r"1 classes of colours .* 'emerald'"):
        Pair(_detector(), _classifier(), short)


def test_a_classifier_that_is_not_sure_says_so_in_a_pair_too() -> None:
    picture = _picture("ruby", "sapphire")
    usual = Pair(_detector(), _classifier(), FITS).predict(picture)
    # The whole is a landscape with 0.7; crops are more mixed.
    sure = Pair(_detector(), _classifier(abstain=0.6), FITS).predict(picture)
    assert sure.unsure is False
    assert sure.label_names == usual.label_names
    lost = Pair(_detector(), _classifier(abstain=0.99), FITS).predict(picture)
    assert (lost.unsure, lost.label_names) == (True, ())
    assert lost.object_names == usual.object_names
    assert lost.object_labels == ((), ())
    asked = Pair(_detector(), _classifier(abstain=0.99), FITS).predict(picture, threshold=0.0)
    assert asked.label_names[0] == "landscape"
