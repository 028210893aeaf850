"""Large pictures in tiles: the same answers, whole boxes, each object once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from factories import CELL, SIZE, model_bytes, picture, spec_of
from whatwhere.errors import ModelError
from whatwhere.runtime import load_file
from whatwhere.runtime.decode import lowest_score
from whatwhere.runtime.tiling import Preparation, Tiles, predict, starts, tile_shape
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec
from whatwhere.types import Prediction


def tiled(tile: int = SIZE, overlap: float = 0.25, **changes: Any) -> ModelSpec:
    preprocess = PreprocessSpec(size=(SIZE, SIZE), pad=0, tile=tile, tile_overlap=overlap)
    return spec_of("detect", preprocess=preprocess, **changes)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(8, 700), st.floats(0, 0.9))
def test_tiles_cover_a_side_and_overlap(length: int, tile: int, overlap: float) -> None:
    found = starts(length, tile, overlap)
    assert found[0] == 0
    assert found == sorted(set(found))
    if length <= tile:
        assert found == [0]
        return
    assert found[-1] == length - tile
    shared = tile - np.diff(found)
    assert (shared >= min(tile - 1, overlap * tile) - 1e-6).all()
    assert len(found) <= (length - tile) / max(1, tile * (1 - overlap) - 1) + 2


def test_a_tile_has_the_shape_of_the_input() -> None:
    assert tile_shape(640, (320, 320)) == (640, 640)
    assert tile_shape(640, (160, 320)) == (320, 640)
    assert tile_shape(640, (320, 160)) == (640, 320)


@pytest.mark.parametrize("size", [(SIZE, SIZE), (40, SIZE), (SIZE, 48), (30, 20)])
def test_a_picture_no_larger_than_a_tile_is_answered_as_without_tiles(
    size: tuple[int, int],
) -> None:
    image = picture((0, 3, 1), (1, 0, 2))[: size[0], : size[1]]
    with_tiles = load_file(model_bytes("detect", spec=tiled()))
    without = load_file(model_bytes("detect"))
    canvas, geometry = with_tiles.prepare(image)
    expected_canvas, expected_geometry = without.prepare(image)
    assert np.array_equal(canvas, expected_canvas)
    assert geometry == expected_geometry
    assert _rows(with_tiles.predict(image)) == _rows(without.predict(image))
    assert len(with_tiles.predict(image).object_names)


def _rows(answer: Prediction) -> list[Any]:
    assert answer.boxes is not None
    return [answer.object_names, answer.object_scores.tolist(), answer.boxes.tolist()]


def test_small_objects_are_found_in_tiles_where_they_are() -> None:
    """160 x 112 pixels: a cell of 16 is too small for a model that sees 64 x 64 of it all."""
    model = load_file(model_bytes("detect", spec=tiled(overlap=0.0)))
    image = np.zeros((112, 176, 3), np.uint8)
    # Tiles start at 0, 56, 112 and at 0, 48; the model finds cells of its own grid only.
    for y, x, channel in ((16, 16, 0), (64, 72, 1), (80, 144, 2)):
        image[y : y + CELL, x : x + CELL, channel] = 255
    answer = model.predict(image)
    assert sorted(answer.object_names) == ["blue", "green", "red"]
    found = dict(zip(answer.object_names, answer.boxes.tolist(), strict=True))  # type: ignore[union-attr]
    assert found["red"] == [16, 16, 32, 32]
    assert found["green"] == [72, 64, 88, 80]
    assert found["blue"] == [144, 80, 160, 96]
    assert (answer.height, answer.width) == (112, 176)


class Seeing:
    """A model that gives the bounding box of each colour in its canvas, however it is cut."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        self.batches.append(len(images))
        boxes = np.zeros((len(images), 3, 4), np.float32)
        scores = np.zeros((len(images), 3, 3), np.float32)
        for i, image in enumerate(images):
            for channel in range(3):
                ys, xs = np.nonzero(image[..., channel] > 127)
                if len(ys) and min(np.ptp(ys), np.ptp(xs)) >= 1:
                    boxes[i, channel] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
                    scores[i, channel, channel] = 0.9
        return {"boxes": boxes, "scores": scores}


def seen(image: NDArray[np.uint8], spec: ModelSpec, **options: Any) -> Prediction:
    prepared = Preparation(spec.preprocess)(image)
    return predict(Seeing(), [prepared], spec, **options)[0]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 299), st.integers(0, 219), st.integers(6, 26), st.integers(6, 26), st.booleans()
)
def test_an_object_is_found_once_wherever_it_lies(
    x: int, y: int, width: int, height: int, end_to_end: bool
) -> None:
    """Tiles of 128 pixels that share 32: at a border, across it, or in two tiles whole."""
    x, y = min(x, 300 - width), min(y, 220 - height)
    image = np.zeros((220, 300, 3), np.uint8)
    image[y : y + height, x : x + width, 1] = 255
    post = PostprocessSpec(score_threshold=0.5, end_to_end=end_to_end)
    answer = seen(image, tiled(128, postprocess=post))
    assert answer.object_names == ("green",)
    assert answer.boxes is not None
    # A tile is shown at half its size.
    np.testing.assert_allclose(answer.boxes[0], [x, y, x + width, y + height], atol=2.1)


@pytest.mark.parametrize("side", [40, 100, 160, 200])
def test_an_object_larger_than_the_overlap_is_found_once_too(side: int) -> None:
    for place in (0, 13, 64, 90):
        image = np.zeros((300, 300, 3), np.uint8)
        image[place : place + side, place : place + side, 2] = 255
        answer = seen(image, tiled(128))
        assert answer.object_names == ("blue",), (side, place)
        assert answer.boxes is not None
        expected = [place, place, place + side, place + side]
        np.testing.assert_allclose(answer.boxes[0], expected, atol=5)


def test_two_objects_near_each_other_stay_two() -> None:
    image = np.zeros((220, 300, 3), np.uint8)
    image[100:116, 100:116, 0] = 255
    image[100:116, 118:134, 1] = 255
    assert sorted(seen(image, tiled(128)).object_names) == ["green", "red"]


def test_batches_of_many_sizes_keep_their_order() -> None:
    spec = tiled(128)
    images = [
        np.zeros((60, 60, 3), np.uint8),
        np.zeros((300, 300, 3), np.uint8),
        np.zeros((128, 90, 3), np.uint8),
        np.zeros((90, 500, 3), np.uint8),
    ]
    for i, image in enumerate(images):
        image[20:36, 20:40, i % 3] = 255
    run = Seeing()
    prepared = [Preparation(spec.preprocess)(image) for image in images]
    assert [isinstance(item, Tiles) for item in prepared] == [False, True, False, True]
    answers = predict(run, prepared, spec, images=["a", "b", "c", "d"], at_once=4)
    assert [answer.image for answer in answers] == ["a", "b", "c", "d"]
    assert [answer.object_names for answer in answers] == [
        ("red",), ("green",), ("blue",), ("red",),
    ]  # fmt: skip
    assert max(run.batches) <= 4
    assert isinstance(prepared[1], Tiles)
    assert prepared[1].nbytes == 300 * 300 * 3 + SIZE * SIZE * 3
    canvases = [prepared[1].canvas(i) for i in range(len(prepared[1]))]
    assert {canvas.shape for canvas in canvases} == {(SIZE, SIZE, 3)}


def test_evaluation_and_thresholds_reach_the_tiles() -> None:
    image = np.zeros((220, 300, 3), np.uint8)
    image[100:116, 100:116, 0] = 255
    spec = tiled(128)
    assert seen(image, spec, evaluation=True).object_scores.tolist() == pytest.approx([0.9])
    assert seen(image, spec, threshold=0.95).object_names == ()
    warm = spec.model_copy(update={"temperature": 3.0})
    for limit in (0.6, 0.7):
        # At the temperature 3 the score 0.9 becomes 0.675.
        assert len(seen(image, warm, threshold=limit).object_names) == (limit < 0.675)
    assert lowest_score(warm, 0.675, False) == pytest.approx(0.9, abs=0.001)
    assert lowest_score(warm, 0.0, False) == 0


def test_labels_of_the_whole_picture_come_from_the_whole_picture() -> None:
    preprocess = PreprocessSpec(size=(SIZE, SIZE), pad=0, tile=SIZE)
    spec = spec_of("both", preprocess=preprocess)
    image = np.zeros((256, 256, 3), np.uint8)
    image[64:192, 64:192, 2] = 255
    with_tiles = load_file(model_bytes("both", spec=spec)).predict(image)
    without = load_file(model_bytes("both")).predict(image)
    assert with_tiles.label_names == without.label_names
    np.testing.assert_allclose(with_tiles.label_scores, without.label_scores, rtol=1e-5)


@pytest.mark.parametrize("fault", ["missing", "shape", "nan"])
def test_a_model_that_breaks_its_word_is_named(fault: str) -> None:
    def run(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = Seeing()(images)
        if fault == "missing":
            del outputs["scores"]
        elif fault == "shape":
            outputs["scores"] = outputs["scores"][..., :2]
        else:
            outputs["scores"][0, 0, 0] = np.nan
        return outputs

    prepared = Preparation(tiled(128).preprocess)(np.zeros((300, 300, 3), np.uint8))
    with pytest.raises(ModelError, match="scores"):
        predict(run, [prepared], tiled(128))


def test_tiles_stand_in_the_spec() -> None:
    spec = tiled(640, 0.3)
    again = ModelSpec.from_metadata(spec.to_metadata(), "model.onnx")
    assert (again.preprocess.tile, again.preprocess.tile_overlap) == (640, 0.3)
    # A file written before there were tiles.
    old = spec_of("detect").model_dump_json(exclude={"preprocess": {"tile", "tile_overlap"}})
    assert "tile" not in old.replace("tiny", "")
    assert ModelSpec.model_validate_json(old).preprocess.tile == 0
    with pytest.raises(ValidationError, match="tiles are for models of task detect"):
        replace_preprocess(spec_of("classify"), tile=64)
    with pytest.raises(ValidationError):
        PreprocessSpec(size=(64, 64), tile_overlap=0.95)


def replace_preprocess(spec: ModelSpec, **changes: Any) -> ModelSpec:
    values = spec.model_dump()
    values["preprocess"] |= changes
    return ModelSpec(**values)
