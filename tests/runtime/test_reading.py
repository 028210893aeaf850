"""What a model file says about its scores is what its predictions say, for every head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import NAMES, SIZE, model_bytes, spec_of
from whatwhere.metrics.recalibrate import apply_maps
from whatwhere.runtime import load_file
from whatwhere.runtime.decode import decode
from whatwhere.runtime.reading import lowest_raw, lowest_score, object_limits, read_scores
from whatwhere.scoremaps import Broken, Platt, ScoreMap, temper
from whatwhere.specs import AnswerSpec, ConformalSpec, ModelSpec, PostprocessSpec
from whatwhere.transforms import Geometry
from whatwhere.types import Prediction

SAME = Geometry((64, 64), (1.0, 1.0), (0.0, 0.0))
DOWN = Platt(1.2, -2.0)
UP = Broken((0.0, 0.3, 1.0), (0.1, 0.8, 0.95))
MAPS: list[ScoreMap | None] = [None, DOWN, Platt(0.4, 1.5), UP, Broken((0.4, 0.6), (0.2, 0.2))]


@settings(max_examples=80, deadline=None)
@given(
    one=st.sampled_from(MAPS),
    temperature=st.sampled_from([1.0, 0.5, 3.0]),
    limit=st.floats(0, 1),
    scores=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
)
def test_a_limit_is_carried_back_exactly(
    one: ScoreMap | None, temperature: float, limit: float, scores: list[float]
) -> None:
    raw = lowest_raw(temperature, one, limit)
    # The scores next to the limit are those that rounding could get wrong.
    near = [raw, np.nextafter(np.float32(raw), np.float32(0))] if raw <= 1 else []
    values = np.array([*scores, *near], np.float32)
    answers = AnswerSpec(temperature=temperature, maps={} if one is None else {"red": one})
    read = read_scores(values, np.zeros(len(values), np.int64), NAMES, answers)
    assert ((values >= np.float32(raw)) == (read >= np.float32(limit))).all()


def test_the_runtime_reads_scores_as_the_metrics_do() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200).astype(np.float32)
    ids = rng.integers(0, 3, 200)
    maps: dict[str, ScoreMap] = {"red": DOWN, "blue": UP}
    read = read_scores(scores, ids, NAMES, AnswerSpec(maps=maps))
    assert np.array_equal(read, apply_maps(NAMES, maps, ids, scores).astype(np.float32))
    # A class without a map keeps its scores to the bit.
    assert np.array_equal(read[ids == 1], scores[ids == 1])


# Boxes.


def outputs(seed: int, boxes: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 40, (1, boxes, 2))
    return {
        "boxes": np.concatenate([start, start + rng.uniform(5, 24, (1, boxes, 2))], 2),
        "scores": rng.random((1, boxes, 3)).astype(np.float32) ** 2,
    }


def rows(found: Prediction) -> set[tuple[str, tuple[float, ...]]]:
    assert found.boxes is not None
    boxes = [tuple(box) for box in found.boxes.tolist()]
    return set(zip(found.object_names, boxes, strict=True))


@pytest.mark.parametrize("end_to_end", [False, True])
def test_calibration_changes_what_scores_say_but_not_which_boxes_are_scored(
    end_to_end: bool,
) -> None:
    post = PostprocessSpec(max_detections=50, end_to_end=end_to_end)
    bare = spec_of("detect", postprocess=post)
    spec = spec_of("detect", postprocess=post, maps={"red": DOWN, "blue": UP})
    for seed in range(5):
        (raw,) = decode(outputs(seed), [SAME], bare, evaluation=True)
        (read,) = decode(outputs(seed), [SAME], spec, evaluation=True)
        assert rows(raw) == rows(read)
        assert (np.diff(read.object_scores) <= 0).all()
        for name in NAMES:
            first = raw.object_scores[[one == name for one in raw.object_names]]
            second = read.object_scores[[one == name for one in read.object_names]]
            one = {"red": DOWN, "blue": UP}.get(name)
            expected = first if one is None else one.apply(first).astype(np.float32)
            assert np.array_equal(second, expected)
        assert raw.object_names != read.object_names


def test_thresholds_are_of_calibrated_scores_and_only_take_boxes_away() -> None:
    thresholds = {"red": 0.3, "green": 0.5, "blue": 0.86}
    maps: dict[str, ScoreMap] = {"red": DOWN, "blue": UP}
    spec = spec_of("detect", maps=maps, thresholds=thresholds)
    for seed in range(5):
        (every,) = decode(outputs(seed), [SAME], spec, threshold=0.0)
        (kept,) = decode(outputs(seed), [SAME], spec)
        names, scores = every.object_names, every.object_scores
        expected = [
            (name, float(score))
            for name, score in zip(names, scores, strict=True)
            if score >= np.float32(thresholds[name])
        ]
        assert list(zip(kept.object_names, kept.object_scores.tolist(), strict=True)) == expected
        assert rows(kept) <= rows(every)


def test_suppression_is_by_the_scores_of_the_model() -> None:
    boxes = np.array([[[0, 0, 20, 20], [1, 0, 21, 20]]], np.float32)
    scores = np.array([[[0.9, 0, 0], [0.8, 0, 0]]], np.float32)
    # A map that is level there: both boxes read the same, and the better one must win.
    spec = spec_of("detect", maps={"red": Broken((0.5, 0.7), (0.2, 0.6))}, thresholds={"red": 0.6})
    (found,) = decode({"boxes": boxes, "scores": scores}, [SAME], spec)
    assert found.object_scores == pytest.approx([0.6])
    assert found.boxes is not None
    assert found.boxes[0, 0] == 0


def test_a_class_that_cannot_reach_its_threshold_is_never_said() -> None:
    spec = spec_of("detect", maps={"red": Broken((0.0, 1.0), (0.0, 0.4))})
    assert np.isinf(object_limits(spec, None, False)[0])
    scores = np.array([[[1.0, 0, 0], [0, 0.7, 0]]], np.float32)
    boxes = np.array([[[0, 0, 9, 9], [20, 20, 29, 29]]], np.float32)
    (found,) = decode({"boxes": boxes, "scores": scores}, [SAME], spec)
    assert found.object_names == ("green",)


def test_tiles_keep_what_only_calibration_lifts_above_the_threshold() -> None:
    spec = spec_of("detect", maps=dict.fromkeys(NAMES, UP))
    # A raw 0.2 reads 0.57: more than the threshold of 0.5.
    assert lowest_score(spec, None, False) == pytest.approx(0.1714, abs=1e-3)
    image = np.zeros((128, 128, 3), np.uint8)
    image[48:64, 48:64, 0] = 51
    tiled = spec.preprocess.model_copy(update={"tile": 64})
    for preprocess in (spec.preprocess, tiled):
        changed = spec.model_copy(update={"preprocess": preprocess})
        found = load_file(model_bytes("detect", spec=changed)).predict(image)
        expected = ("red",) if preprocess is tiled else ()
        assert found.object_names == expected


# Labels.


def labelled(kind: str, logits: Any, spec: ModelSpec, **options: Any) -> Prediction:
    values = {"logits": np.array([logits])}
    if kind == "both":
        values |= {"boxes": np.zeros((1, 1, 4)), "scores": np.zeros((1, 1, 3))}
    return decode(values, [SAME], spec, **options)[0]


def test_multilabel_scores_are_mapped_ordered_anew_and_then_cut() -> None:
    spec = spec_of("multilabel", maps={"red": DOWN}, thresholds={"red": 0.5, "green": 0.7})
    plain = spec_of("multilabel", thresholds={"red": 0.5})
    logits = [1.5, 1.2, -2.0]
    assert labelled("multilabel", logits, plain).label_names == ("red", "green")
    found = labelled("multilabel", logits, spec)
    assert found.label_names == ("green",)
    every = labelled("multilabel", logits, spec, evaluation=True)
    assert every.label_names == ("green", "red", "blue")
    assert every.label_scores[1] == pytest.approx(1 / (1 + np.exp(-(1.2 * 1.5 - 2.0))))


def test_not_sure_is_no_label_and_a_flag() -> None:
    spec = spec_of("classify", abstain=0.6)
    sure = labelled("classify", [4.0, 0, 0], spec)
    assert (sure.unsure, sure.label_names) == (False, ("red", "green"))
    lost = labelled("classify", [0.5, 0, 0], spec)
    assert (lost.unsure, lost.label_names, lost.label_scores.shape) == (True, (), (0,))
    # Metrics see every label; an explicit threshold asks for what is behind the words.
    every = labelled("classify", [0.5, 0, 0], spec, evaluation=True)
    assert every.unsure is True
    assert len(every.label_names) == 3
    asked = labelled("classify", [0.5, 0, 0], spec, threshold=0.0)
    assert (asked.unsure, asked.label_names) == (False, ("red", "green"))
    assert labelled("classify", [0.5, 0, 0], spec_of("classify")).unsure is None


def test_the_threshold_of_a_class_is_for_answers_of_that_class() -> None:
    spec = spec_of("classify", thresholds={"red": 0.9})
    assert labelled("classify", [2.0, 0, 0], spec).unsure is True
    assert labelled("classify", [0, 2.0, 0], spec).label_names[0] == "green"


def test_sets_come_best_first_and_are_those_of_the_rule() -> None:
    rule = ConformalSpec(kind="lac", coverage=0.9, limit=0.8, pictures=100)
    spec = spec_of("classify", conformal=rule, temperature=2.0)
    rng = np.random.default_rng(0)
    for logits in rng.normal(0, 3, (50, 3)):
        found = labelled("classify", logits, spec)
        share = np.exp(logits / 2) / np.exp(logits / 2).sum()
        order = np.argsort(-share)
        expected = [NAMES[k] for k in order if share[k] >= 0.2 or k == order[0]]
        assert found.label_set == tuple(expected)
        whole = labelled("classify", logits, spec, evaluation=True)
        bare = labelled("classify", logits, spec_of("classify"), evaluation=True)
        again = temper(bare.label_scores[None], 2.0)[0]
        assert np.abs(again - whole.label_scores).max() < 1e-6


def test_a_second_head_has_its_own() -> None:
    answers = AnswerSpec(temperature=3.0, abstain=0.9)
    spec = spec_of("both", label_answers=answers, temperature=2.0, maps={"red": DOWN})
    found = labelled("both", [3.0, 0, 0], spec, evaluation=True)
    assert found.label_scores[0] == pytest.approx(np.e / (np.e + 2))
    assert found.unsure is True
    many = spec_of(
        "both",
        label_task="multilabel",
        label_answers=AnswerSpec(maps={"reddish": DOWN}, thresholds={"reddish": 0.1}),
    )
    found = labelled("both", [0.5, 1.0, -1.0], many)
    assert found.label_names == ("greenish", "reddish")


def test_json_says_more_only_where_the_model_does() -> None:
    keys = {"image", "width", "height", "labels", "objects", "model", "ms"}
    assert set(labelled("classify", [1.0, 0, 0], spec_of("classify")).to_dict()) == keys
    rule = ConformalSpec(kind="aps", coverage=0.5, limit=0.5, pictures=10)
    spec = spec_of("classify", conformal=rule, abstain=0.99)
    record = labelled("classify", [1.0, 0, 0], spec).to_dict()
    assert set(record) == keys | {"unsure", "label_set"}
    assert (record["unsure"], record["labels"], record["label_set"]) == (True, [], ["red"])


# The file.


def test_the_spec_comes_back_from_the_file_as_it_was() -> None:
    spec = spec_of(
        "both",
        maps={"red": DOWN, "blue": UP},
        thresholds={"red": 0.25},
        label_answers=AnswerSpec(
            temperature=1.5,
            abstain=0.5,
            conformal=ConformalSpec(kind="aps", coverage=0.95, limit=0.97, pictures=300),
        ),
    )
    model = load_file(model_bytes("both", spec=spec))
    assert model.spec == spec
    image = np.full((SIZE, SIZE, 3), (200, 30, 30), np.uint8)
    found = model.predict(image)
    assert found.unsure is not None
    assert found.label_set
    assert "maps" in ModelSpec.model_json_schema()["properties"]


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("detect", {"maps": {"pink": DOWN}}, "maps name unknown classes: pink"),
        ("detect", {"maps": {"red": {"kind": "spline"}}}, "unknown map of scores"),
        ("detect", {"maps": {"red": {"kind": "platt", "slope": -1, "shift": 0}}}, "above 0"),
        ("detect", {"maps": {"red": {"kind": "platt"}}}, "damaged"),
        ("detect", {"maps": {"red": 3}}, "must be an object"),
        ("detect", {"abstain": 0.5}, "for the task classify"),
        ("classify", {"maps": {"red": DOWN}}, "for the tasks multilabel and detect"),
        ("detect", {"label_answers": {"thresholds": {"red": 0.1}}}, "unknown classes: red"),
        ("classify", {"conformal": {"kind": "lac", "coverage": 0.9, "limit": 0.5}}, "pictures"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    kind: str, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        spec_of(kind, **change)
