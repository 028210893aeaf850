"""What should be trained: facts from labels, costs, and the recommendation an expert would give."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whatwhere as ww
from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation.advice import Trial, Trials
from whatwhere.evaluation.advisor import advise
from whatwhere.evaluation.labelling import labelling_costs
from whatwhere.evaluation.latency import shipped_latency
from whatwhere.evaluation.needs import needs
from whatwhere.metrics.paired import Difference

Row = tuple[int, int, tuple[float, float, float, float]]


def located(rows: list[Row], images: int, *, ignore: Any = (), **columns: Any) -> Dataset:
    table: dict[str, Any] = {
        "image": [image for image, _, _ in rows],
        "class_id": [class_id for _, class_id, _ in rows],
        "ignore": [place in ignore for place in range(len(rows))],
    }
    for place, key in enumerate(("x1", "y1", "x2", "y2")):
        table[key] = [box[place] for _, _, box in rows]
    frame = {
        "path": [f"{row}.jpg" for row in range(images)],
        "width": [100] * images,
        "height": [100] * images,
    }
    return Dataset(frame | columns, table, ("cat", "dog", "owl"), task="detect", source="made")


def labelled(classes: list[list[int]], task: Any) -> Dataset:
    rows = [(image, k) for image, shown in enumerate(classes) for k in shown]
    frame = {"path": [f"{row}.jpg" for row in range(len(classes))]}
    table = {"image": [image for image, _ in rows], "class_id": [k for _, k in rows]}
    return Dataset(frame, table, ("cat", "dog", "owl"), task=task, source="made")


WHOLE, LARGE, SMALL = (5, 5, 95, 95), (0, 0, 50, 50), (60, 60, 65, 65)


def test_facts_are_counted() -> None:
    rows: list[Row] = [
        (0, 0, LARGE),
        (0, 0, (0, 0, 50, 40)),  # overlaps the first by 0.8
        (0, 1, (40, 40, 60, 60)),  # touches the first
        (1, 1, SMALL),
        (2, 2, LARGE),  # to be ignored
    ]
    facts = needs(located(rows, 4, ignore=(4,)))
    assert (facts.images, facts.labels, facts.boxes, facts.classes) == (4, 4, 4, 2)
    assert (facts.empty, facts.one_class, facts.several_classes) == (0.5, 0.25, 0.25)
    assert facts.classes_per_image == 0.75
    assert (facts.objects_per_image, facts.most_objects, facts.one_object) == (1, 3, 0.25)
    assert facts.repeated == 0.25
    assert facts.side == pytest.approx(np.median([0.5, 0.2**0.5, 0.2, 0.05]))
    assert facts.small == 0.25
    assert facts.covered == pytest.approx(np.median([0.25, 0.0025]))
    assert (facts.close, facts.touching) == (0.5, 0.75)
    assert (facts.rare, facts.least, facts.always) == (2, 1, ())
    assert json.loads(json.dumps(facts.to_dict()))["always"] == []


def test_sizes_of_unknown_pictures_are_left_out() -> None:
    facts = needs(located([(0, 0, LARGE), (1, 0, SMALL)], 2, width=[100, None]))
    assert facts.side == 0.5
    nothing = needs(located([(0, 0, LARGE)], 1, width=[None]))
    assert (nothing.side, nothing.small, nothing.covered) == (None, None, None)
    assert nothing.objects_per_image == 1


def test_costs_are_sums_of_what_was_assumed() -> None:
    data = located([(0, 0, LARGE), (0, 0, SMALL), (0, 1, SMALL), (1, 2, LARGE)], 3)
    costs = labelling_costs(data, seconds_per_label=2, seconds_per_box=9)
    assert costs["classify"].hours * 3600 == pytest.approx(2 * 3)
    assert costs["multilabel"].hours * 3600 == pytest.approx(2 * (2 + 1 + 1))
    assert costs["detect"].hours * 3600 == pytest.approx(9 * 4 + 2)
    assert costs["detect"].seconds == pytest.approx(38 / 3)
    assert not costs["detect"].at_least
    plain = labelling_costs(data.as_multilabel(), seconds_per_label=2, seconds_per_box=9)
    assert plain["detect"].at_least
    assert plain["detect"].hours * 3600 == pytest.approx(9 * 3 + 2)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="seconds per box must be more than 0"):
            labelling_costs(data, seconds_per_box=wrong)


def crowd() -> Dataset:
    """Many of one class in all pictures, another in half of them."""
    rows: list[Row] = []
    for image in range(30):
        rows += [(image, 0, (x, 0, x + 9, 30)) for x in range(0, 60, 10)]
        rows += [(image, 1, (0, 50, 20, 70))] if image % 2 else []
    return located(rows, 30)


def portraits() -> Dataset:
    return located([(image, image % 3, WHOLE) for image in range(60)], 60)


def far() -> Dataset:
    return located([(image, image % 3, SMALL) for image in range(60)], 60)


def mixed() -> Dataset:
    rows: list[Row] = [(image, image % 3, LARGE) for image in range(60)]
    rows += [(image, (image + 1) % 3, (50, 50, 90, 90)) for image in range(0, 60, 2)]
    return located(rows, 60)


@pytest.mark.parametrize(
    ("data", "need", "task", "clear", "words"),
    [
        (crowd(), None, "detect", True, "show some class more than once (6.5 objects a picture"),
        (crowd(), "what", "multilabel", False, "only which classes is asked"),
        (portraits(), None, "classify", True, "one object that covers 81 % of it"),
        (portraits(), "where", "detect", True, "only boxes say where they are"),
        (far(), None, "detect", True, "objects are small, 5 % of the picture's side"),
        (far(), "what", "detect", False, "would see them in 11"),
        (mixed(), None, "detect", False, "an object is 50 % of its picture's side"),
        (mixed(), "what", "multilabel", True, "50 % of the pictures show several classes"),
        (mixed(), "count", "detect", True, "only boxes say how many there are"),
        (labelled([[0], [1], [2]] * 20, "classify"), None, "classify", True, "exactly one class"),
        (labelled([[0, 1], [1], []] * 20, "multilabel"), None, "multilabel", True, "and 33 % none"),
        (labelled([[0], [1], [2]] * 20, "multilabel"), None, "classify", True, "100 %"),
        (labelled([[0], [1]] * 20, "classify"), "where", "detect", True, "draw boxes first"),
    ],
)
def test_the_recommendation(data: Dataset, need: Any, task: str, clear: bool, words: str) -> None:
    advice = advise(data, need=need, measure=False)
    assert (advice.task, advice.clear) == (task, clear)
    assert words in advice.sentence
    assert set(advice.ways) == {"classify", "multilabel", "detect"}
    made = json.loads(json.dumps(advice.to_dict()))
    assert made["recommended"] == task
    assert made["ways"]["detect"]["latency"] is None
    assert ("trials" in made) is False


def test_what_must_be_mended_is_said() -> None:
    twins: list[Row] = [(image, 0, LARGE) for image in range(30)]
    twins += [(0, 0, (0, 0, 50, 45)), (1, 1, SMALL)]
    complete = [["cat"], *[None] * 29]
    rare, close, part = advise(located(twins, 30, complete=complete), measure=False).warnings
    assert rare.startswith("1 of 2 classes are in fewer than 20 pictures (the rarest in 1)")
    assert close.startswith("6.2 % of the boxes overlap another of their class")
    assert part.startswith("1 pictures are partly labelled")
    assert advise(portraits(), measure=False).warnings == ()


def trials(value: float, p: float, ap: float | None = 0.1) -> Trials:
    def one(task: Any, what: float, ms: float) -> Trial:
        return Trial(task, f"{task}-s", f"runs/{task}", what, {"AP": ap}, ms, 60.0)

    gap = Difference(
        0.5, 0.5 + value, value, value - 0.1, value + 0.1, p, "permutation", 0.95, 0.05, 20, 1.0
    )
    return Trials((one("multilabel", 0.5, 5.0), one("detect", 0.5 + value, 20.0)), gap, 20)


@pytest.mark.parametrize(
    ("need", "value", "p", "task", "words"),
    [
        ("what", 0.3, 0.001, "detect", "detection is better even at that"),
        ("what", -0.3, 0.001, "multilabel", "boxes do not help at that"),
        ("what", 0.3, 0.4, "multilabel", "no difference is shown"),
        (None, -0.3, 0.001, "detect", "detection is worse at that alone"),
        ("where", -0.3, 0.001, "detect", "detection is worse at that alone"),
    ],
)
def test_what_training_showed_counts(
    need: Any, value: float, p: float, task: str, words: str
) -> None:
    advice = advise(mixed(), need=need, trials=trials(value, p), measure=False)
    assert advice.task == task
    assert any(words in reason for reason in advice.reasons)
    made = advice.to_dict()["trials"]
    assert [one["task"] for one in made["models"]] == ["multilabel", "detect"]
    assert made["what_mAP"]["difference"] == value


@pytest.mark.parametrize(
    ("ap", "need", "warned"),
    [(0.03, None, True), (0.1, None, False), (None, None, False), (0.03, "what", False)],
)
def test_a_detector_that_hardly_learnt_is_named(ap: float | None, need: Any, warned: bool) -> None:
    advice = advise(mixed(), need=need, trials=trials(-0.3, 0.001, ap), measure=False)
    said = "the detector that was trained here reached AP 0.030 only, in 60 s"
    assert any(note.startswith(said) for note in advice.warnings) is warned


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="unknown need 'why': use one of what, count, where"):
        advise(mixed(), need="why", measure=False)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="made has no label to go by"):
        advise(labelled([[], []], "multilabel"), measure=False)
    with pytest.raises(UsageError, match="no label to go by"):
        advise(located([(0, 0, LARGE)], 1, ignore=(0,)), measure=False)


def test_latency_is_that_of_shipped_models() -> None:
    timed = shipped_latency(64, 64)
    assert set(timed) == {"classify", "multilabel", "detect"}
    assert timed["detect"].model == "objects-lite"
    assert all(one.ms > 0 and min(one.size) > 100 for one in timed.values())
    advice = advise(portraits())
    assert advice.to_dict()["ways"]["detect"]["latency"]["model"] == "objects-lite"
    assert any("on this machine" in text for text in advice.assumptions)


@pytest.mark.parametrize(
    ("name", "task", "clear", "figure"),
    [
        ("bccd", "detect", True, "13.4 objects a picture"),
        ("voc2012_mini", "detect", False, "2.35 objects a picture"),
        ("cifar10_folders", "classify", True, "100 % of the pictures show exactly one class"),
    ],
)
def test_on_real_data_it_says_what_an_expert_would(
    shared: Path, name: str, task: str, clear: bool, figure: str
) -> None:
    advice = advise(ww.read(shared / name), measure=False)
    assert (advice.task, advice.clear) == (task, clear)
    assert figure in advice.sentence
    if name == "bccd":
        # Red and white cells are in nearly every picture: that they are there says nothing.
        assert advice.needs.always == ("RBC", "WBC")
    if name == "voc2012_mini":
        assert advice.otherwise.startswith("multilabel serves if only which classes")
        assert "19 of 20 classes are in fewer than 20 pictures" in advice.warnings[0]
    if name == "cifar10_folders":
        assert advice.ways["detect"].labelling.at_least
