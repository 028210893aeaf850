"""Explanations of planted models: what they look at is known, so the maps can be checked."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from factories import CELL, NAMES, SIZE, model_bytes, picture, spec_of
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import write_image
from whatwhere.runtime import Predictor, load_file
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.explain import Explanation, explain
from whatwhere.runtime.masking import Method, Occlusion, Rise
from whatwhere.runtime.onnxfile import Port
from whatwhere.runtime.subjects import find_subjects
from whatwhere.specs import PreprocessSpec

WAYS: tuple[Method, ...] = (Occlusion(), Rise(masks=400, seed=3))


class Looker:
    """A classifier that looks at the brightness of one part of its input, and nothing else.

    Args:
        part: x1, y1, x2, y2 in input pixels; brightness there speaks for "red" and against "blue".
    """

    name: ClassVar[str] = "looker"
    inputs = (Port("images", "uint8", (None, SIZE, SIZE, 3)),)
    outputs = (Port("logits", "float32", (None, 3)),)

    def __init__(self, part: tuple[int, int, int, int]) -> None:
        self.part = part
        self.passes = 0

    def __call__(self, images: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        x1, y1, x2, y2 = self.part
        self.passes += len(images)
        seen = images[:, y1:y2, x1:x2].mean(axis=(1, 2, 3)) / 255
        logits = np.stack([4 * seen, 0 * seen + 2, -4 * seen], axis=1)
        return {"logits": logits.astype(np.float32)}


def looker(part: tuple[int, int, int, int], kind: str = "classify", **options: Any) -> Predictor:
    fields: dict[str, Any] = {"size": (SIZE, SIZE), "pad": 0} | options
    return Predictor(spec_of(kind, preprocess=PreprocessSpec(**fields)), Looker(part))


def light(height: int, width: int, part: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Dull noise, with a bright part."""
    image = np.random.default_rng(0).integers(60, 90, (height, width, 3), np.uint8)
    x1, y1, x2, y2 = part
    image[y1:y2, x1:x2] += 150
    return image


def share(found: Explanation, part: tuple[int, int, int, int]) -> float:
    """How much of the heat lies in a part of the picture."""
    x1, y1, x2, y2 = part
    return float(found.heat[y1:y2, x1:x2].sum() / found.heat.sum())


def holds(part: tuple[int, int, int, int], place: tuple[float, float] | None) -> bool:
    return place is not None and part[0] <= place[0] <= part[2] and part[1] <= place[1] <= part[3]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("part", [(4, 8, 20, 24), (40, 40, 60, 56), (0, 44, 20, 64)])
def test_a_planted_part_is_found(way: Method, part: tuple[int, int, int, int]) -> None:
    (found,) = explain(looker(part), light(SIZE, SIZE, part), name="red", method=way)
    assert holds(part, found.peak)
    x1, y1, x2, y2 = part
    # Hidden places are no smaller than two cells, and masks are smooth.
    margin = 10
    near = (max(0, x1 - margin), max(0, y1 - margin), x2 + margin, y2 + margin)
    assert share(found, near) > (0.99 if way.name == "occlusion" else 0.75)
    assert found.values.shape == (SIZE, SIZE)
    assert found.inside is None


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_what_speaks_against_an_answer_is_below_0(way: Method) -> None:
    part = (8, 8, 32, 32)
    (found,) = explain(looker(part), light(SIZE, SIZE, part), name="blue", method=way)
    assert found.values[20, 20] < 0
    assert not holds((4, 4, 36, 36), found.peak)
    (other,) = explain(looker(part), light(SIZE, SIZE, part), name="red", method=way)
    assert other.values[20, 20] > 0.01


def test_the_unit_of_occlusion_is_the_score() -> None:
    """Where one patch hides all that the model looks at, the map gives what that costs."""
    part = (24, 24, 32, 32)
    engine = looker(part, "multilabel")
    image = light(SIZE, SIZE, part)
    (found,) = explain(engine, image, name="red", method=Occlusion(cells=4))
    mean = np.rint(image.mean(axis=(0, 1))).mean() / 255
    seen = image[24:32, 24:32].mean() / 255
    cost = 1 / (1 + np.exp(-4 * seen)) - 1 / (1 + np.exp(-4 * mean))
    # Cell (1, 1) is 16..32, and each of its four patches hides all of it. Along each axis, pixel
    # 24 is 1 part in 32 on the way to the next cell, of which half of the patches do.
    assert found.values[24, 24] == pytest.approx(cost * (63 / 64) ** 2, abs=1e-4)


def test_the_map_lies_over_the_picture_as_it_was_given() -> None:
    """Letterboxed at half the size, the top of the picture is row 16 of the input."""
    part = (40, 20, 56, 36)
    engine = looker((part[0], part[1], part[2], part[3]))
    there = (2 * part[0], 2 * (part[1] - 16), 2 * part[2], 2 * (part[3] - 16))
    (found,) = explain(engine, light(64, 128, there), name="red")
    assert found.values.shape == (64, 128)
    assert holds(there, found.peak)
    assert share(found, (60, 0, 128, 56)) > 0.99


def test_what_the_model_does_not_see_has_no_heat() -> None:
    part = (4, 24, 20, 40)
    engine = looker(part, fit="crop")
    (found,) = explain(engine, light(64, 192, (68, 24, 84, 40)), name="red")
    assert holds((68, 24, 84, 40), found.peak)
    assert not found.values[:, :63].any()
    assert not found.values[:, 129:].any()


def test_the_best_answers_are_explained() -> None:
    engine = looker((0, 0, 8, 8))
    image = light(SIZE, SIZE, (0, 0, 64, 64))
    found = explain(engine, image, most=2)
    assert [item.name for item in found] == ["red", "green"]
    assert found[0].score > found[1].score
    assert explain(engine, image)[0].name == "red"


@pytest.fixture(scope="module")
def detector() -> Predictor:
    return load_file(model_bytes("detect"))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_object_rests_on_its_own_place(way: Method, detector: Predictor) -> None:
    image = picture((0, 1, 0), (2, 2, 1), (3, 0, 0))
    found = explain(detector, image, name="red", most=5, method=way)
    assert [item.box.tolist() for item in found if item.box is not None] == [
        [CELL, 0, 2 * CELL, CELL],
        [0, 3 * CELL, CELL, 4 * CELL],
    ]
    for item in found:
        assert item.box is not None
        assert holds(tuple(item.box.tolist()), item.peak)  # type: ignore[arg-type]
        assert item.inside is not None
        # Of what was looked at, the box is 0.08.
        assert item.inside > (0.6 if way.name == "occlusion" else 0.4)
        assert item.to_dict()["box"] == item.box.tolist()


def test_an_object_that_is_not_there_can_be_asked_about(detector: Predictor) -> None:
    image = picture((1, 1, 0))
    place = [2 * CELL, 2 * CELL, 3 * CELL, 3 * CELL]
    (found,) = explain(detector, image, name="red", box=place)
    assert found.score < 0.01
    assert found.peak is None
    assert not found.heat.any()
    assert found.inside is None
    (there,) = explain(detector, image, name="red", box=[CELL, CELL, 2 * CELL, 2 * CELL])
    assert there.score == pytest.approx(1.0, abs=1e-3)
    assert holds((CELL, CELL, 2 * CELL, 2 * CELL), there.peak)


def test_nothing_found_is_nothing_explained(detector: Predictor) -> None:
    assert explain(detector, picture()) == []
    assert explain(detector, picture((1, 1, 0)), name="blue") == []
    assert len(explain(detector, picture((1, 1, 0)), threshold=0, most=100)) == 16


def test_a_second_head_answers_where_there_is_no_object() -> None:
    both = load_file(model_bytes("both"))
    (label,) = explain(both, picture())
    assert (label.kind, label.box) == ("label", None)
    (thing,) = explain(both, picture((1, 1, 0)))
    assert (thing.kind, thing.name) == ("object", "red")
    (reddish,) = explain(both, picture((1, 1, 0)), name="reddish")
    assert holds((CELL - 4, CELL - 4, 2 * CELL + 4, 2 * CELL + 4), reddish.peak)


def test_a_pair_asks_the_model_that_knows_the_name(detector: Predictor) -> None:
    part = (0, 0, 16, 16)
    names = ("robin", "rose", "sea")
    classifier = Predictor(spec_of("classify", names=names), Looker(part))
    fits = {name: frozenset({"red"}) for name in names}
    pair = Pair(detector, classifier, fits)
    image = picture((0, 0, 0), (2, 2, 1))
    assert explain(pair, image, name="green")[0].model == "tiny-detect"
    (robin,) = explain(pair, image, name="robin")
    assert (robin.kind, robin.model) == ("label", "tiny-classify")
    assert holds((0, 0, 16, 16), robin.peak)
    assert explain(pair, picture())[0].kind == "label"


def test_an_object_in_a_tile() -> None:
    """Of a large picture in tiles, the tile that finds the object is asked."""
    spec = spec_of("detect", preprocess=PreprocessSpec(size=(SIZE, SIZE), pad=0, tile=SIZE))
    engine = load_file(model_bytes("detect", spec=spec))
    image = np.zeros((3 * SIZE, 3 * SIZE, 3), np.uint8)
    image[2 * SIZE + 32 : 2 * SIZE + 48, SIZE : SIZE + 16, 1] = 255
    found = explain(engine, image, most=8)
    assert found
    (item,) = [item for item in found if item.box is not None and item.box[1] == 2 * SIZE + 32]
    assert item.box is not None
    assert holds(tuple(item.box.tolist()), item.peak)  # type: ignore[arg-type]
    assert not item.values[:SIZE].any()


def test_small_objects_get_small_cells() -> None:
    """The window of a small object is its surroundings, moved inside the picture."""
    spec = spec_of("detect")
    engine = load_file(model_bytes("detect", spec=spec))
    (subject,) = find_subjects(engine, picture((0, 3, 0)))
    x1, y1, x2, y2 = subject.window()
    assert (x1, y1, x2, y2) == (SIZE - 56, 0, SIZE, 56)
    (label,) = [one for one in find_subjects(looker((0, 0, 4, 4)), picture()) if one.name == "red"]
    assert label.window() == (0, 0, SIZE, SIZE)


def test_masks_are_the_same_for_the_same_seed() -> None:
    part = (8, 8, 24, 24)
    image = light(SIZE, SIZE, part)

    def values(seed: int) -> NDArray[np.float32]:
        return explain(looker(part), image, name="red", method=Rise(masks=50, seed=seed))[0].values

    assert np.array_equal(values(1), values(1))
    assert not np.array_equal(values(1), values(2))


def test_batches_change_nothing_and_progress_is_told() -> None:
    part = (8, 8, 24, 24)
    image = light(SIZE, SIZE, part)
    told: list[tuple[int, int]] = []
    one, many = (
        explain(
            looker(part),
            image,
            name="red",
            method=Occlusion(cells=4, batch=batch),
            progress=lambda done, total: told.append((done, total)),
        )[0]
        for batch in (1, 7)
    )
    assert np.allclose(one.values, many.values, atol=1e-6)
    assert told[-4:] == [(7, 25), (14, 25), (21, 25), (25, 25)]


def test_tiny_and_long_pictures() -> None:
    """Fewer pixels than cells, and one row of pixels."""
    for height, width in ((1, 1), (3, 2), (1, 500), (400, 3)):
        image = np.full((height, width, 3), 200, np.uint8)
        for way in (Occlusion(cells=3), Rise(masks=4)):
            (found,) = explain(looker((0, 0, 64, 64)), image, method=way)
            assert found.values.shape == (height, width)
            assert np.isfinite(found.values).all()
            assert found.to_dict()["width"] == width


def test_a_calibrated_model_is_explained_by_the_score_beneath() -> None:
    """A map of scores may be level, so that hiding anything would change nothing."""
    part = (8, 8, 24, 24)
    level = {"kind": "broken", "x": [0.2, 0.3], "y": [0.7, 0.7]}
    spec = spec_of("multilabel", maps={"red": level})
    engine = Predictor(spec, Looker(part))
    (found,) = explain(engine, light(SIZE, SIZE, part), name="red")
    assert found.score == pytest.approx(0.7, abs=1e-6)
    assert holds(part, found.peak)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "lime"}, "unknown method 'lime'"),
        ({"most": 0}, "at least 1"),
        ({"name": "rod"}, "did you mean red"),
        ({"box": [0, 0, 4, 4]}, "name a class"),
        ({"box": [4, 0, 4, 4], "name": "red"}, "is empty"),
        ({"box": [0, 0, np.nan, 4], "name": "red"}, "finite"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], words: str, detector: Predictor) -> None:
    with pytest.raises(UsageError, match=words):
        explain(detector, picture((1, 1, 0)), **options)


def test_a_box_for_a_model_without_boxes() -> None:
    with pytest.raises(UsageError, match="gives no boxes"):
        explain(looker((0, 0, 4, 4)), picture(), name="red", box=[0, 0, 4, 4])


@pytest.mark.parametrize(
    ("way", "values", "words"),
    [
        (Occlusion, {"cells": 1}, "cells must be at least 2"),
        (Rise, {"masks": 1}, "masks must be at least 2"),
        (Rise, {"batch": 0}, "batch must be at least 1"),
        (Rise, {"share": 1.0}, "share of cells"),
    ],
)
def test_settings_of_methods(way: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        way(**values)


def test_pictures_and_models_by_their_path(tmp_path: Any) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(model_bytes("classify"))
    write_image(tmp_path / "a.png", picture((1, 1, 0)))
    (found,) = explain(model, tmp_path / "a.png", name=NAMES[0])
    assert found.image == str(tmp_path / "a.png")
    with pytest.raises(ImageError, match="none"):
        explain(model, tmp_path / "none.png")
    with pytest.raises(UsageError, match="uint8"):
        explain(model, np.zeros((4, 4), np.uint8))
