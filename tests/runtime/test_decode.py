"""Decoding: softmax, sigmoid, suppression against plain references, thresholds, damage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from factories import NAMES, spec_of
from whatwhere.errors import ModelError
from whatwhere.runtime import decode as module
from whatwhere.runtime import suppress
from whatwhere.runtime.decode import decode, nms, sigmoid, softmax
from whatwhere.specs import ModelSpec, PostprocessSpec, PreprocessSpec
from whatwhere.transforms import Geometry
from whatwhere.types import Boxes, box_iou

SAME = Geometry((64, 64), (1.0, 1.0), (0.0, 0.0))


def plain_nms(
    boxes: Boxes, scores: NDArray[Any], ids: NDArray[Any], iou: float, limit: int | None
) -> list[int]:
    """Greedy suppression as the textbook has it."""
    kept: list[int] = []
    for candidate in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        rivals = [row for row in kept if ids[row] == ids[candidate]]
        if all(box_iou(boxes[[row]], boxes[[candidate]])[0, 0] <= iou for row in rivals):
            kept.append(candidate)
    return kept[:limit]


def some_boxes(
    seed: int, count: int, *, classes: int = 3, whole: bool = False
) -> tuple[Boxes, NDArray[np.float32], NDArray[np.int64]]:
    """Crowded random boxes with many equal scores."""
    random = np.random.default_rng(seed)
    start = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([start, start + random.uniform(5, 50, (count, 2))], axis=1)
    if whole:
        boxes = np.round(boxes)
    scores = np.round(random.random(count), 2).astype(np.float32)
    return boxes.astype(np.float32), scores, random.integers(0, classes, count)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    iou=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    limit=st.sampled_from([None, 1, 7]),
)
def test_suppression_is_greedy(seed: int, count: int, iou: float, limit: int | None) -> None:
    boxes, scores, ids = some_boxes(seed, count)
    expected = plain_nms(boxes, scores, ids, iou, limit)
    assert nms(boxes, scores, ids, iou, limit).tolist() == expected


@pytest.mark.parametrize("block", [1, 7, 64])
def test_suppression_does_not_depend_on_its_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, scores, ids = some_boxes(5, 300, classes=2)
    whole = nms(boxes, scores, ids, 0.4).tolist()
    monkeypatch.setattr(suppress, "_BLOCK", block)
    assert nms(boxes, scores, ids, 0.4).tolist() == whole
    assert nms(boxes, scores, ids, 0.4, 20).tolist() == whole[:20]


def test_suppression_equals_torchvision() -> None:
    torch = pytest.importorskip("torch")
    from torchvision.ops import batched_nms

    for seed in range(5):
        # Whole pixels, for which torchvision's shifting of classes rounds nothing.
        boxes, scores, ids = some_boxes(seed, 900, classes=5, whole=True)
        scores = np.random.default_rng(seed).permutation(900).astype(np.float32) / 900
        theirs = batched_nms(
            torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(ids), 0.45
        )
        assert nms(boxes, scores, ids, 0.45).tolist() == theirs.tolist()


def test_a_chain_of_overlaps_is_resolved_in_order() -> None:
    # Each overlaps its neighbours only: the greedy answer is every second one.
    left = np.arange(40, dtype=np.float32) * 4
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    scores = np.linspace(0.9, 0.1, 40, dtype=np.float32)
    kept = nms(boxes, scores, np.zeros(40, np.int64), 0.3)
    assert kept.tolist() == list(range(0, 40, 2))


def test_equal_scores_keep_their_order() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [0, 0, 9, 9]], np.float32)
    kept = nms(boxes, np.full(3, 0.5, np.float32), np.zeros(3, np.int64), 0.5)
    assert kept.tolist() == [0, 1]


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8), st.floats(0.1, 10))
def test_softmax_and_sigmoid_are_probabilities(values: list[float], temperature: float) -> None:
    logits = np.array(values)
    shares = softmax(logits, temperature)
    assert shares.sum() == pytest.approx(1)
    odds = sigmoid(logits, temperature)
    assert ((odds >= 0) & (odds <= 1)).all()
    assert odds + sigmoid(-logits, temperature) == pytest.approx(np.ones(len(values)))


# Labels of the whole picture.


def test_classify_gives_the_best_labels_whatever_their_score() -> None:
    (found,) = decode({"logits": np.array([[0.1, 0.3, 0.2]])}, [SAME], spec_of("classify"))
    assert found.label_names == ("green", "blue")
    assert found.boxes is None
    assert found.label_scores == pytest.approx(softmax([0.3, 0.2, 0.1])[:2])
    assert (found.width, found.height, found.model) == (64, 64, "tiny-classify")


def test_a_threshold_holds_for_classify_when_it_is_asked_for() -> None:
    outputs = {"logits": np.array([[4.0, 0, 0], [0.0, 0, 0]])}
    sure, unsure = decode(outputs, [SAME] * 2, spec_of("classify"), threshold=0.5)
    assert sure.label_names == ("red",)
    assert unsure.label_names == ()


def test_multilabel_gives_all_labels_above_their_thresholds() -> None:
    spec = spec_of("multilabel", thresholds={"green": 0.9})
    outputs = {"logits": np.array([[0.5, 2.0, 1.0], [-1.0, 3.0, -1.0]])}
    first, second = decode(outputs, [SAME] * 2, spec, images=["a", None])
    assert first.label_names == ("blue", "red")
    assert second.label_names == ("green",)
    assert (first.image, second.image) == ("a", None)
    (low,) = decode({"logits": np.array([[-1.0, -2.0, -3.0]])}, [SAME], spec, threshold=0.1)
    assert low.label_names == ("red", "green")


@pytest.mark.parametrize("kind", ["classify", "multilabel"])
def test_evaluation_gives_every_label(kind: str) -> None:
    outputs = {"logits": np.array([[-50.0, 60.0, 50.0]])}
    (found,) = decode(outputs, [SAME], spec_of(kind), evaluation=True, threshold=0.9)
    assert found.label_names == ("green", "blue", "red")


def test_order_is_that_of_the_logits_where_float32_cannot_tell() -> None:
    outputs = {"logits": np.array([[40.0, 50.0, 45.0]], np.float32)}
    (found,) = decode(outputs, [SAME], spec_of("multilabel"), evaluation=True)
    assert found.label_scores.tolist() == [1, 1, 1]
    assert found.label_names == ("green", "blue", "red")


def test_temperature_softens() -> None:
    outputs = {"logits": np.array([[4.0, 0.0, 0.0]])}
    (found,) = decode(outputs, [SAME], spec_of("classify", temperature=2.0))
    assert found.label_scores[0] == pytest.approx(softmax([2.0, 0, 0])[0])


# Objects.


def detected(
    boxes: Any,
    scores: Any,
    spec: ModelSpec | None = None,
    geometry: Geometry = SAME,
    **options: Any,
) -> Any:
    outputs = {
        "boxes": np.array([boxes], np.float32).reshape(1, -1, 4),
        "scores": np.array([scores], np.float32).reshape(1, -1, len(NAMES)),
    }
    return decode(outputs, [geometry], spec or spec_of("detect"), **options)[0]


def test_boxes_come_back_in_picture_pixels() -> None:
    # 200 x 100 picture in a 64 x 64 input: scale 0.32, 16 rows of border above.
    geometry = Geometry((100, 200), (0.32, 0.32), (0.0, 16.0))
    found = detected([[16, 20, 32, 60]], [[0.2, 0.9, 0.1]], geometry=geometry)
    assert found.object_names == ("green",)
    assert found.boxes.tolist() == [[50, 12.5, 100, 100]]
    assert (found.width, found.height) == (200, 100)


def test_a_box_in_the_border_is_no_object() -> None:
    geometry = Geometry((100, 200), (0.32, 0.32), (0.0, 16.0))
    found = detected([[0, 0, 64, 16], [0, 16, 64, 48]], [[1, 0, 0]] * 2, geometry=geometry)
    assert found.boxes.tolist() == [[0, 0, 200, 100]]


def test_an_anchor_gives_one_box_but_all_its_classes_in_evaluation() -> None:
    rows = [[0.6, 0.7, 0.0005]]
    assert detected([[0, 0, 9, 9]], rows).object_names == ("green",)
    assert detected([[0, 0, 9, 9]], rows, evaluation=True).object_names == ("green", "red")


def test_thresholds_of_classes_and_of_the_call() -> None:
    spec = spec_of("detect", thresholds={"green": 0.8})
    boxes, rows = [[0, 0, 9, 9], [20, 20, 30, 30]], [[0.6, 0.7, 0], [0, 0, 0.5]]
    # Green is best, but does not reach its own threshold; the second best does not step in.
    assert detected(boxes, rows, spec).object_names == ("blue",)
    assert detected(boxes, rows, spec, threshold=0.65).object_names == ("green",)


def test_objects_come_best_first_and_not_more_than_asked_for() -> None:
    spec = spec_of("detect", postprocess=PostprocessSpec(max_detections=3))
    corners = [[10 * k, 0, 10 * k + 8, 8] for k in range(6)]
    rows = [[0.3 + 0.1 * k, 0, 0] for k in range(6)]
    found = detected(corners, rows, spec)
    assert found.object_scores == pytest.approx([0.8, 0.7, 0.6])


def test_an_end_to_end_model_is_not_suppressed() -> None:
    rows = [[0.7, 0, 0], [0.9, 0, 0]]
    boxes = [[0, 0, 9, 9]] * 2
    assert len(detected(boxes, rows)) == 1
    spec = spec_of("detect", postprocess=PostprocessSpec(end_to_end=True))
    assert detected(boxes, rows, spec).object_scores == pytest.approx([0.9, 0.7])


def test_temperature_changes_scores_of_objects() -> None:
    found = detected([[0, 0, 9, 9]], [[0.9, 0, 0]], spec_of("detect", temperature=2.0))
    assert found.object_scores == pytest.approx([sigmoid(np.log(9.0), 2.0)])


def test_no_anchor_or_nothing_above_the_threshold() -> None:
    for boxes, rows in ([], []), ([[0, 0, 9, 9]], [[0.1, 0.1, 0.1]]):
        found = detected(boxes, rows)
        assert found.boxes.shape == (0, 4)
        assert len(found) == 0


def test_a_model_with_both_heads_answers_both() -> None:
    outputs = {
        "logits": np.array([[1.0, 5.0, 1.0]]),
        "boxes": np.array([[[0, 0, 9, 9]]], np.float32),
        "scores": np.array([[[0.9, 0, 0]]], np.float32),
    }
    (found,) = decode(outputs, [SAME], spec_of("both"))
    assert found.label_names[0] == "greenish"
    assert found.object_names == ("red",)


def test_a_crowd_of_candidates_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    names = tuple(f"class {k}" for k in range(20))
    spec = ModelSpec(
        name="crowd", task="detect", names=names, preprocess=PreprocessSpec(size=(640, 640))
    )
    start = random.uniform(0, 600, (1, 500, 2))
    outputs = {
        "boxes": np.concatenate([start, start + 30], axis=2).astype(np.float32),
        "scores": random.random((1, 500, 20)).astype(np.float32),
    }
    geometry = Geometry((640, 640), (1, 1), (0, 0))
    (whole,) = decode(outputs, [geometry], spec, evaluation=True)
    monkeypatch.setattr(module, "MAX_CANDIDATES", 900)
    (part,) = decode(outputs, [geometry], spec, evaluation=True)
    assert len(whole) == len(part) == 300
    assert part.boxes is not None
    assert whole.boxes is not None
    assert np.array_equal(part.boxes, whole.boxes)


# Models that do not do what their spec says.

GOOD = {"boxes": np.zeros((1, 2, 4)), "scores": np.full((1, 2, 3), 0.5)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": np.full((1, 2, 3), np.nan)}, "'scores' has values that are not finite"),
        ({"scores": np.full((1, 2, 3), np.inf)}, "'scores' has values that are not finite"),
        ({"boxes": np.full((1, 2, 4), np.inf)}, "'boxes' has values that are not finite"),
        ({"scores": np.full((1, 2, 3), -4.0)}, "after the sigmoid"),
        ({"scores": np.full((1, 2, 4), 0.5)}, "1 x 2 x 4, but its spec needs 1 x 2 x 3"),
        ({"scores": np.full((1, 3, 3), 0.5)}, "1 x 3 x 3"),
        ({"boxes": np.zeros((2, 2, 4))}, "2 x 2 x 4"),
        ({"boxes": np.zeros((2, 4))}, "but its spec needs 1 x any x 4"),
    ],
)
def test_wrong_outputs_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        decode(GOOD | change, [SAME], spec_of("detect"))


def test_missing_and_broken_logits_are_named() -> None:
    with pytest.raises(ModelError, match=r"no output 'logits' \(it has boxes, scores\)"):
        decode(GOOD, [SAME], spec_of("classify"))
    with pytest.raises(ModelError, match="'logits' has values that are not finite"):
        decode({"logits": np.array([[1, np.nan, 0]])}, [SAME], spec_of("classify"))
