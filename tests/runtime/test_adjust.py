"""Tiles and suppression for models that were made without."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from factories import SIZE, model_bytes, spec_of
from whatwhere.errors import UsageError
from whatwhere.runtime import Predictor, load_file
from whatwhere.runtime.adjust import choose_tile
from whatwhere.runtime.backends import Backend
from whatwhere.runtime.cascade import Pair
from whatwhere.runtime.tiling import Preparation, Tiles, predict
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec, SeenObjects
from whatwhere.types import Prediction


def detector(**changes: Any) -> Predictor:
    made = load_file(model_bytes("detect", spec=spec_of("detect", **changes)))
    made.seen, made.drift = "seen", "drift"
    return made


def test_any_detector_sees_tiles() -> None:
    model = detector()
    image = np.zeros((112, 176, 3), np.uint8)
    # Tiles of 64 start at 0, 56, 112 and at 0, 48; the model knows cells of 16 of its own grid.
    for y, x, channel in ((16, 16, 0), (64, 72, 1), (80, 144, 2)):
        image[y : y + 16, x : x + 16, channel] = 255
    tiled = model.with_tiles(64, overlap=0.0)
    answer = tiled.predict(image)
    assert sorted(answer.object_names) == ["blue", "green", "red"]
    assert len(model.predict(image)) < 3
    assert tiled.backend is model.backend
    assert (tiled.seen, tiled.drift) == ("seen", "drift")
    assert tiled.with_tiles(0).spec.preprocess.tile == 0
    assert model.spec.preprocess.tile == 0


def test_a_pair_gives_tiles_to_its_detector() -> None:
    classifier = load_file(model_bytes("classify"))
    pair = Pair(detector(), classifier, dict.fromkeys(classifier.spec.names, frozenset()))
    changed = pair.with_tiles(64, merge="nmm").with_suppression("soft")
    assert changed.detector.spec.preprocess.tile == 64
    assert changed.spec.postprocess.merge == "nmm"
    assert changed.spec.postprocess.suppress == "soft"
    assert changed.classifier is classifier


def test_tiles_are_chosen_by_what_was_seen() -> None:
    plain = spec_of("detect")
    assert choose_tile(plain)[:2] == (SIZE, 0.2)
    assert "does not say" in choose_tile(plain).reason
    seen = SeenObjects(picture=1280, sides=(0.02, 0.05, 0.1, 0.2, 0.27), boxes=9)
    assert choose_tile(spec_of("detect", objects=seen))[:2] == (1280, 0.27)
    wide = seen.model_copy(update={"sides": (0.1, 0.3, 0.5, 0.8, 1.0), "picture": 20})
    assert choose_tile(spec_of("detect", objects=wide))[:2] == (32, 0.5)
    before = PreprocessSpec(size=(SIZE, SIZE), tile=300, tile_overlap=0.35)
    trained = spec_of("detect", objects=seen, preprocess=before)
    assert choose_tile(trained)[:2] == (300, 0.35)
    model = detector(objects=seen).with_tiles("auto")
    assert (model.spec.preprocess.tile, model.spec.preprocess.tile_overlap) == (1280, 0.27)
    assert detector(objects=seen).with_tiles(overlap=0.4).spec.preprocess.tile_overlap == 0.4
    again = ModelSpec.from_metadata(model.spec.to_metadata(), "m.onnx")
    assert again.objects == seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 31}, "at least 32"),
        ({"tile": -64}, "at least 32"),
        ({"tile": "large"}, "not 'large'"),
        ({"tile": True}, "not True"),
        ({"tile": 64, "overlap": 0.95}, "0..0.9"),
        ({"tile": 64, "merge": "mean"}, "choose one of nms, nmm, greedy-nmm"),
        ({"tile": 64, "metric": "giou"}, "choose one of iou, ios"),
        ({"tile": 64, "merge_overlap": 0.0}, "above 0"),
    ],
)
def test_wrong_tiles_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detector().with_tiles(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suppress": "hard"}, "choose one of nms, soft"),
        ({"iou": 1.5}, "0..1"),
        ({"sigma": 0.0}, "above 0"),
    ],
)
def test_wrong_suppression_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detector().with_suppression(**options)


def test_only_detectors_have_boxes_and_only_some_are_left_to_suppress() -> None:
    classifier = load_file(model_bytes("classify"))
    with pytest.raises(UsageError, match="tiles are for detectors"):
        classifier.with_tiles(64)
    with pytest.raises(UsageError, match="finds no objects"):
        classifier.with_suppression("soft")
    final = detector(postprocess=PostprocessSpec(end_to_end=True))
    with pytest.raises(UsageError, match="are final"):
        final.with_suppression("soft")
    # In tiles also a model with final boxes needs suppression.
    assert final.with_tiles(64).with_suppression("wbf").spec.postprocess.suppress == "wbf"
    changed = detector().with_suppression("soft", iou=0.4, sigma=0.3).spec.postprocess
    assert (changed.suppress, changed.nms_iou, changed.soft_sigma) == ("soft", 0.4, 0.3)


class Seeing:
    """Gives the rectangle around each colour in its canvas, however it is cut, sometimes twice."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.batches: list[int] = []

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        self.threads.add(threading.get_ident())
        self.batches.append(len(images))
        boxes = np.zeros((len(images), 6, 4), np.float32)
        scores = np.zeros((len(images), 6, 3), np.float32)
        for i, image in enumerate(images):
            for channel in range(3):
                ys, xs = np.nonzero(image[..., channel] > 127)
                if len(ys) and min(np.ptp(ys), np.ptp(xs)) >= 1:
                    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)
                    boxes[i, channel], boxes[i, channel + 3] = box, box + 1
                    share = len(ys) / images[0, ..., 0].size
                    scores[i, [channel, channel + 3], channel] = 0.6 + 0.3 * share, 0.55
        return {"boxes": boxes, "scores": scores}


def merged(image: NDArray[np.uint8], merge: Any, **more: Any) -> Prediction:
    post = PostprocessSpec(score_threshold=0.5, merge=merge, **more)
    before = PreprocessSpec(size=(SIZE, SIZE), pad=0, tile=128, tile_overlap=0.25)
    spec = spec_of("detect", preprocess=before, postprocess=post)
    return predict(Seeing(), [Preparation(before)(image)], spec)[0]


@pytest.mark.parametrize("merge", ["nmm", "greedy-nmm"])
@pytest.mark.parametrize("end_to_end", [False, True])
def test_parts_of_an_object_become_one(merge: str, end_to_end: bool) -> None:
    """From an object in one tile to one over nine: the whole picture ties the parts."""
    for place, side in ((5, 20), (100, 30), (60, 90), (20, 250)):
        image = np.zeros((300, 300, 3), np.uint8)
        image[place : place + side, place : place + side, 2] = 255
        image[280:296, 4:20, 0] = 255
        answer = merged(image, merge, end_to_end=end_to_end)
        assert sorted(answer.object_names) == ["blue", "red"], (place, side)
        assert answer.boxes is not None
        found = answer.boxes[answer.object_names.index("blue")]
        np.testing.assert_allclose(found, [place] * 2 + [place + side] * 2, atol=8)


def test_by_iou_parts_stay_parts() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[20:270, 20:270, 2] = 255
    assert len(merged(image, "nmm", merge_metric="iou")) > 1
    image = np.zeros((300, 300, 3), np.uint8)
    image[100:130, 100:130, 2] = 255
    assert len(merged(image, "nmm", merge_metric="iou")) == 1


def test_merged_boxes_keep_their_classes_apart_and_their_number_is_limited() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[40:80, 40:80] = 255
    assert sorted(merged(image, "nmm").object_names) == ["blue", "green", "red"]
    # Ten canvases may give ten times as many as one.
    assert len(merged(image, "nms", max_detections=1)) > 1
    image = np.zeros((300, 300, 3), np.uint8)
    image[40:80, 40:80, 0] = image[200:220, 200:220, 2] = 255
    assert sorted(merged(image, "nmm", max_detections=1).object_names) == ["blue", "red"]


def test_tiles_go_through_several_threads_in_their_order() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((700, 900, 3), np.uint8)
    for x, y, channel in rng.integers((0, 0, 0), (870, 670, 3), (25, 3)).tolist():
        image[y : y + 20, x : x + 20, channel] = 255
    before = PreprocessSpec(size=(SIZE, SIZE), pad=0, tile=128, tile_overlap=0.25)
    spec = spec_of("detect", preprocess=before)
    prepared = Preparation(before)(image)
    assert isinstance(prepared, Tiles)
    run = Seeing()
    for merge in ("nms", "nmm"):
        changed = spec.postprocess.model_copy(update={"merge": merge})
        spec = spec.model_copy(update={"postprocess": changed})
        one = predict(Seeing(), [prepared], spec, at_once=100)[0]
        several = predict(run, [prepared], spec, at_once=1, threads=3)[0]
        assert one.to_dict() == several.to_dict()
    assert set(run.batches) == {1}
    assert len(run.batches) == 2 * len(prepared)


class Counting:
    """A backend that counts how often it is loaded for lanes."""

    def __init__(self, inner: Backend) -> None:
        self.inner, self.laned, self.threads = inner, [], 4
        self.inputs, self.outputs, self.name = inner.inputs, inner.outputs, inner.name

    def with_lanes(self, lanes: int, *, trial: bool = False) -> Counting:
        self.laned.append((lanes, trial))
        return self

    def __call__(self, images: Any, more: Any = None) -> Any:
        return self.inner(images, more)


@pytest.mark.parametrize(("side", "expected"), [(100, []), (300, []), (500, [(4, True)])])
def test_one_large_picture_gets_lanes_of_its_own(
    side: int, expected: list[tuple[int, bool]]
) -> None:
    backend: Any = Counting(load_file(model_bytes("detect")).backend)
    model = Predictor(spec_of("detect"), backend).with_tiles(64, overlap=0.0)
    image = np.zeros((side, side, 3), np.uint8)
    image[16:32, 16:32, 1] = 255
    for _ in range(2):
        assert model.predict(image).object_names == ("green",)
    assert backend.laned == expected
    # Of many pictures each has a lane, and its tiles one after the other.
    lane = model.in_lanes(4)
    lane.predict(image)
    assert backend.laned == [*expected, (4, False)]
