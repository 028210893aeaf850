"""Calibrating models whose scores are wrong in a known way, and using what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import whatwhere as ww
from calibrated_photos import TRUE_TEMPERATURE, photos
from factories import NAMES, model_bytes, spec_of
from whatwhere.data import Dataset
from whatwhere.errors import ModelError, UsageError
from whatwhere.metrics.conformal import check_coverage
from whatwhere.metrics.judged import detection_error, judge
from whatwhere.metrics.multilabel import score_table
from whatwhere.metrics.operating import Goal, counts_at
from whatwhere.metrics.recalibrate import answer_numbers, apply_maps, row_numbers
from whatwhere.runtime import load_file, read_spec
from whatwhere.specs import AnswerSpec, DataSummary


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Dataset, Dataset]]:
    """For each task pictures to calibrate on, and others."""
    place = tmp_path_factory.mktemp("calibrate")
    return {
        kind: (photos(place / kind / "a", 300, 1, kind), photos(place / kind / "b", 300, 2, kind))
        for kind in ("classify", "multilabel", "detect")
    }


@pytest.fixture
def model(tmp_path: Path) -> Any:
    def write(kind: str, **changes: Any) -> Path:
        path = tmp_path / f"{kind}.onnx"
        path.write_bytes(model_bytes(kind, spec=spec_of(kind, **changes)))
        return path

    return write


def rows_of(file: Path, data: Dataset) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    result = ww.evaluate(file, data)
    truth = [NAMES.index(data.names[k]) for k in data.labels["class_id"].to_list()]
    return score_table(result.predictions, NAMES), np.array(truth)


# Single-label.


def test_a_temperature_is_found_and_helps_on_other_pictures(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, other = sets["classify"]
    file = model("classify")
    out = file.with_name("out.onnx")
    found = ww.calibrate(file, own, out=out)
    assert found.main.method == "temperature"
    assert found.spec.temperature == pytest.approx(TRUE_TEMPERATURE, rel=0.25)
    assert read_spec(out) == found.spec
    before, truth = rows_of(file, other)
    after, _ = rows_of(out, other)
    old, new = row_numbers(before, truth), row_numbers(after, truth)
    for name in ("ece", "log_loss", "brier"):
        assert new[name] < old[name], name  # type: ignore[operator]
        # The numbers that were promised, from folds, are near those on other pictures.
        assert found.main.after[name] == pytest.approx(new[name], abs=0.1)
    assert old["ece"] > 0.1 > new["ece"]  # type: ignore[operator]
    # A temperature changes no answer.
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()


@pytest.mark.parametrize("kind", ["lac", "aps"])
def test_sets_cover_other_pictures_as_promised(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any, kind: Any
) -> None:
    own, other = sets["classify"]
    file = model("classify")
    found = ww.calibrate(file, own, conformal=0.85, sets=kind, out=file)
    rule = found.spec.conformal
    assert rule is not None
    result = ww.evaluate(file, other)
    truth = [other.names[k] for k in other.labels["class_id"].to_list()]
    hits = [
        name in (one.label_set or ()) for one, name in zip(result.predictions, truth, strict=True)
    ]
    rows, places = rows_of(file, other)
    check = check_coverage(rule.build(), rows, places, NAMES)
    assert check.holds
    # The runtime gives the sets that the metrics' rule gives.
    assert check.coverage == pytest.approx(np.mean(hits))
    assert any("promised 85.0%" in note for note in result.notes)
    about = found.main.conformal
    assert about is not None
    assert about["interval"][0] <= 0.87
    assert about["holds"]


def test_not_sure_keeps_the_risk_that_was_asked_for(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, other = sets["classify"]
    file = model("classify")
    found = ww.calibrate(file, own, abstain=0.2, out=file)
    about = found.main.abstain
    assert about is not None
    assert about["risk_without"] > 0.25
    assert 0.1 < about["coverage"] < 0.9
    answers = list(load_file(file).stream(other.paths))
    truth = [other.names[k] for k in other.labels["class_id"].to_list()]
    said = [
        one.label_names[0] == name
        for one, name in zip(answers, truth, strict=True)
        if not one.unsure  # type: ignore[union-attr]
    ]
    assert len(said) / len(truth) == pytest.approx(about["coverage"], abs=0.12)
    assert 1 - np.mean(said) < 0.28
    result = ww.evaluate(file, other)
    assert any("'not sure'" in note for note in result.notes)
    # With a confidence that it also holds on new pictures, fewer are answered.
    strict = ww.calibrate(file, own, abstain=0.25, confidence=0.9, scores=False)
    loose = ww.calibrate(file, own, abstain=0.25, scores=False)
    assert strict.spec.abstain is not None
    assert loose.spec.abstain is not None
    assert strict.spec.abstain > loose.spec.abstain
    hopeless = ww.calibrate(file, own, abstain=1e-4, confidence=0.99)
    assert hopeless.spec.abstain is None
    assert "no score keeps the share of wrong answers at 0.0001" in hopeless.failed[0]


def test_a_precision_for_each_class_makes_answers_of_that_class_not_sure(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, _ = sets["classify"]
    file = model("classify")
    found = ww.calibrate(file, own, goal="precision=0.8", out=file)
    assert set(found.spec.thresholds) == set(NAMES)
    answers = list(load_file(file).stream(own.paths))
    truth = [own.names[k] for k in own.labels["class_id"].to_list()]
    for name in NAMES:
        right = [
            truth[row] == name
            for row, one in enumerate(answers)
            if one.label_names[:1] == (name,)  # type: ignore[union-attr]
        ]
        assert np.mean(right) >= 0.8


# A score for each class.


def test_maps_for_labels_help_on_other_pictures_and_keep_the_order(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, other = sets["multilabel"]
    file = model("multilabel")
    out = file.with_name("out.onnx")
    found = ww.calibrate(file, own, out=out)
    assert found.main.method in ("platt", "isotonic")
    old, new = ww.evaluate(file, other), ww.evaluate(out, other)
    assert new["mAP"] == pytest.approx(old["mAP"], abs=1e-9)
    numbers = []
    for result in (old, new):
        judged = judge("multilabel", other, result.predictions)
        numbers.append(answer_numbers(judged.score, judged.true))
    assert numbers[0]["ece"] > 2 * numbers[1]["ece"]  # type: ignore[operator]
    assert numbers[0]["log_loss"] > numbers[1]["log_loss"]  # type: ignore[operator]
    judged = judge("multilabel", other, old.predictions)
    read = apply_maps(judged.names, dict(found.spec.maps), judged.class_id, judged.score)
    after = judge("multilabel", other, new.predictions)
    assert np.abs(read - after.score).max() < 1e-6


def test_boxes_are_calibrated_and_the_same_ones_are_scored(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, other = sets["detect"]
    file = model("detect")
    out = file.with_name("out.onnx")
    found = ww.calibrate(file, own, out=out)
    old, new = ww.evaluate(file, other), ww.evaluate(out, other)
    assert new["AP"] == old["AP"]
    errors = []
    for result in (old, new):
        errors.append(detection_error(judge("detect", other, result.predictions))["score"].d_ece)
    assert errors[0] > 2 * errors[1]  # type: ignore[operator]
    assert found.main.before["d_ece"] > 2 * found.main.after["d_ece"]  # type: ignore[operator]


@pytest.mark.parametrize("scores", [True, False])
@pytest.mark.parametrize("per_class", [True, False])
def test_the_boxes_of_predict_are_those_that_thresholds_were_chosen_on(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any, scores: bool, per_class: bool
) -> None:
    own, other = sets["detect"]
    file = model("detect")
    goal = "precision=0.5"
    found = ww.calibrate(file, own, goal=goal, scores=scores, per_class=per_class, out=file)
    assert found.failed == ()
    said = judge("detect", own, list(load_file(file).stream(own.paths)))  # type: ignore[arg-type]
    points = {name: counts_at(one, 0.0) for name, one in said.by_class().items()}
    if per_class:
        assert min(point.precision or 0 for point in points.values()) >= 0.5
    else:
        assert len({np.float32(one) for one in found.spec.thresholds.values()}) == 1
        right, all_said = (
            sum(k)
            for k in zip(*((p.right, p.right + p.wrong) for p in points.values()), strict=True)
        )
        assert right / all_said >= 0.5
    # What was counted in folds is what other pictures give, but for chance.
    fresh = judge("detect", other, list(load_file(file).stream(other.paths)))  # type: ignore[arg-type]
    for name, one in fresh.by_class().items():
        expected, there = found.main.points[name], counts_at(one, 0.0)
        for first, second in (
            (expected.precision_interval, there.precision_interval),
            (expected.recall_interval, there.recall_interval),
        ):
            assert first is not None
            assert second is not None
            assert max(first[0], second[0]) <= min(first[1], second[1])


def test_without_a_goal_calibration_keeps_what_predict_says(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, other = sets["detect"]
    file = model("detect", thresholds={"red": 0.3})
    before = list(load_file(file).stream(other.paths))
    ww.calibrate(file, own, goal=None, out=file)
    after = list(load_file(file).stream(other.paths))
    for one, two in zip(before, after, strict=True):
        pairs = [
            set(zip(found.object_names, map(tuple, found.boxes.tolist()), strict=True))  # type: ignore[union-attr]
            for found in (one, two)
        ]
        assert pairs[0] == pairs[1]
    assert any(
        one.object_scores.tolist() != two.object_scores.tolist()  # type: ignore[union-attr]
        for one, two in zip(before, after, strict=True)
    )


def test_calibrating_twice_is_calibrating_once(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, _ = sets["detect"]
    file = model("detect")
    once = ww.calibrate(file, own, out=file)
    twice = ww.calibrate(file, own, out=file)
    assert "calibrated on these very pictures before" in twice.notes[-1]
    assert twice.spec.thresholds == pytest.approx(once.spec.thresholds, abs=1e-6)
    # Nothing is better than what is there: it stays.
    assert twice.main.method == "kept" or twice.spec.maps == once.spec.maps
    assert twice.main.before["log_loss"] <= once.main.after["log_loss"] + 1e-9  # type: ignore[operator]


def test_both_heads_of_a_detector(sets: dict[str, tuple[Dataset, Dataset]], model: Any) -> None:
    own, _ = sets["detect"]
    file = model("both", label_names=NAMES, label_task="multilabel")
    found = ww.calibrate(file, own, out=file)
    assert found.labels is not None
    assert found.labels.task == "multilabel"
    spec = read_spec(file)
    assert set(spec.label_answers.thresholds) | set(spec.thresholds) == set(NAMES)
    assert found.to_dict()["labels"]["classes"].keys() == set(NAMES)


# What cannot be had.


def test_a_goal_out_of_reach_is_said_and_not_written(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, _ = sets["detect"]
    file = model("detect")
    goal = Goal("precision", 0.95, confidence=0.95)
    found = ww.calibrate(file, own, goal=goal, scores=False, out=file)
    lost = [name for name, point in found.main.points.items() if not point.reached]
    assert lost
    assert found.failed[0].startswith("precision 0.95 cannot be reached for ")
    for name in lost:
        assert name in found.failed[0]
        assert name not in read_spec(file).thresholds
        assert found.main.points[name].threshold == 0.5
    near = ww.calibrate(file, own, goal=goal, scores=False, nearest=True)
    assert "the nearest one is taken" in near.failed[0]
    assert set(near.spec.thresholds) == set(NAMES)


def test_too_few_pictures_for_a_set_are_said(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, _ = sets["classify"]
    found = ww.calibrate(model("classify"), own.select(range(40)), conformal=0.99)
    assert found.spec.conformal is None
    assert "need at least 99 pictures, not 40" in found.failed[0]


def test_old_choices_go_with_the_scores_they_were_made_on(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, _ = sets["classify"]
    file = model("classify", abstain=0.7, thresholds={"red": 0.8})
    found = ww.calibrate(file, own)
    assert (found.spec.abstain, found.spec.thresholds) == (None, {})
    assert "dropped (thresholds of classes, the score of 'not sure')" in found.main.notes[-1]
    kept = ww.calibrate(file, own, scores=False)
    assert (kept.spec.abstain, kept.spec.thresholds) == (0.7, {"red": 0.8})


def test_pictures_that_the_model_was_trained_on_are_noticed(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any
) -> None:
    own, other = sets["classify"]
    summary = DataSummary(digest=own.digest(), images=300, labels=300)
    file = model("classify", data=summary)
    assert "trained on these very pictures" in ww.calibrate(file, own).notes[-1]
    assert ww.calibrate(file, other, out=file).notes == ()
    assert any("chosen on these very pictures" in note for note in ww.evaluate(file, other).notes)


def test_unreadable_pictures_are_left_out(tmp_path: Path, model: Any) -> None:
    data = photos(tmp_path / "pictures", 60, 5, "classify")
    (tmp_path / "pictures" / "0003.png").write_bytes(b"nothing")
    found = ww.calibrate(model("classify"), data)
    assert found.unreadable == ("0003.png",)
    assert found.main.images == 59


def test_groups_stay_in_one_fold(sets: dict[str, tuple[Dataset, Dataset]], model: Any) -> None:
    own, _ = sets["multilabel"]
    images = own.images.with_columns(group=np.repeat(["one", "two"], 150))
    grouped = own._like(images, own.labels)
    found = ww.calibrate(model("multilabel"), grouped)
    assert found.main.after != ww.calibrate(model("multilabel"), own).main.after
    alone = own._like(images.with_columns(group=np.repeat("one", 300)), own.labels)
    with pytest.raises(UsageError, match="cannot be split into folds"):
        ww.calibrate(model("multilabel"), alone)


def test_what_does_not_fit_is_refused(
    sets: dict[str, tuple[Dataset, Dataset]], model: Any, tmp_path: Path
) -> None:
    boxes, labels = sets["detect"][0], sets["classify"][0]
    for options, words in (
        ({"abstain": 0.1}, "single-label"),
        ({"conformal": 0.9}, "single-label"),
        ({"goal": "speed=3"}, "precision=0.9"),
        ({"conformal": 1.5}, "between 0 and 1"),
    ):
        with pytest.raises(UsageError, match=words):
            ww.calibrate(model("detect"), boxes, **options)
    with pytest.raises(UsageError, match="ask for abstaining, too"):
        ww.calibrate(model("classify"), labels, confidence=0.9)
    with pytest.raises(UsageError, match="the same thing"):
        ww.calibrate(model("classify"), labels, goal="f1", per_class=False, abstain=0.1)
    with pytest.raises(UsageError, match="gives boxes"):
        ww.calibrate(model("detect"), labels)
    with pytest.raises(UsageError, match="by itself"):
        ww.calibrate("default", boxes)
    with pytest.raises(UsageError, match="at least 2"):
        ww.calibrate(model("classify"), labels.select([0]))
    with pytest.raises(UsageError, match="give the path"):
        ww.calibrate(load_file(model("detect")), boxes, out=tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="no model"):
        ww.calibrate(tmp_path / "absent.onnx", boxes)
    assert AnswerSpec().hesitates is False
