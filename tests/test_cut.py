"""Thresholds that differ by class: what is drawn and counted is what the model would answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from planted import wrong_boxes
from whatwhere.data import Dataset
from whatwhere.evaluation.result import Result
from whatwhere.metrics import score
from whatwhere.metrics.changes import changes
from whatwhere.metrics.confusion import confusion
from whatwhere.metrics.detection import found_boxes, true_boxes
from whatwhere.metrics.mistakes import mistakes
from whatwhere.metrics.pairing import pair_boxes
from whatwhere.metrics.single import single_mistakes
from whatwhere.metrics.slices import slices
from whatwhere.metrics.tally import tally
from whatwhere.metrics.thresholds import operating_report
from whatwhere.metrics.tightness import iou_distribution
from whatwhere.types import Cut, Prediction, limit_of, limits, score_words

Count = Callable[[Sequence[Prediction], float], object]


@pytest.fixture(scope="module")
def scored() -> tuple[Dataset, list[Prediction]]:
    data, predictions, _ = wrong_boxes(0, images=40)
    return data, predictions


@pytest.fixture
def own(scored: tuple[Dataset, list[Prediction]]) -> Cut:
    names = list(scored[0].names)
    return Cut(0.35, {names[0]: 0.6, names[1]: 0.1, names[2]: 0.45})


def kept(predictions: Sequence[Prediction], threshold: Cut) -> list[Prediction]:
    """Without the boxes that their class's threshold leaves out, one at a time."""
    made = []
    for one in predictions:
        rows = [
            row
            for row, name in enumerate(one.object_names)
            if one.object_scores[row] >= np.float32(threshold.own.get(name, 0.35))
        ]
        assert one.boxes is not None
        made.append(
            replace(
                one,
                object_names=tuple(one.object_names[row] for row in rows),
                object_scores=one.object_scores[rows],
                boxes=one.boxes[rows],
                object_labels=(),
            )
        )
    return made


def test_a_cut_is_a_number_and_knows_classes() -> None:
    cut = Cut(0.25, {"cat": 0.7})
    assert cut == 0.25
    assert f"{cut:g}" == "0.25"
    assert limit_of(cut, "dog") == limit_of(0.25, "cat") == 0.25
    assert limit_of(cut, "cat") == float(np.float32(0.7))
    # A score that was chosen as the threshold reaches it, although scores are float32.
    assert np.float32(0.7) >= limit_of(cut, "cat")
    assert limits(cut, ["dog", "cat"]).tolist() == [0.25, float(np.float32(0.7))]
    again = copy.copy(cut)
    assert (again, again.own) == (0.25, {"cat": 0.7})
    assert score_words(0.25) == "score 0.25"
    assert score_words(cut) == "the model's own score of each class (0.7)"
    assert score_words(Cut(0.2, {"a": 0.3, "b": 0.512})).endswith("(0.3 to 0.512)")


def test_every_count_is_that_of_the_boxes_which_the_model_would_give(
    scored: tuple[Dataset, list[Prediction]], own: Cut
) -> None:
    data, predictions = scored
    names = dict(enumerate(data.names))
    truth = true_boxes(data)

    def places(said: Sequence[Prediction], at: float) -> object:
        found = found_boxes(said, data.names)
        mixed = confusion(names, truth, found, threshold=at, limit=10_000)
        return mixed.matrix.tolist()

    def tight(said: Sequence[Prediction], at: float) -> object:
        found = found_boxes(said, data.names)
        return iou_distribution(names, truth, pair_boxes(truth, found, [0.5]), threshold=at)

    def tallied(said: Sequence[Prediction], at: float) -> object:
        made = tally("detect", data, said, threshold=at)
        return made.real.right.tolist(), made.said.image.tolist(), made.partner.tolist()

    def galleries(said: Sequence[Prediction], at: float) -> object:
        found = single_mistakes("detect", data, said, threshold=at, limit=None)
        return {
            kind: [(one.image, one.truth, one.said, one.box) for one in ones]
            for kind, ones in found.items()
        }

    def pictures(said: Sequence[Prediction], at: float) -> object:
        return [
            mistakes("detect", data.targets(row), one, data.names, at)
            for row, one in enumerate(said)
        ]

    ways: list[Count] = [places, tight, tallied, galleries, pictures]
    for way in ways:
        counted = way(predictions, own)
        assert counted == way(kept(predictions, own), 0.0), way
        assert counted != way(predictions, 0.35), way


def test_the_table_at_each_classs_own_threshold(
    scored: tuple[Dataset, list[Prediction]], own: Cut
) -> None:
    data, predictions = scored
    names = dict(enumerate(data.names))
    pairs = pair_boxes(true_boxes(data), found_boxes(predictions, data.names), [0.5])
    report = operating_report(names, pairs, len(data), threshold=own)
    for name, row in report["per_class"].items():
        assert row["at"]["threshold"] == pytest.approx(own.own.get(name, 0.35))
        alone = operating_report(names, pairs, len(data), threshold=limit_of(own, name))
        assert row == alone["per_class"][name]
    at = report["all"]["at"]
    assert at["threshold"] is None
    for key in ("true", "false", "missed"):
        assert at[key] == sum(row["at"][key] for row in report["per_class"].values())
    assert at["precision"] == pytest.approx(at["true"] / (at["true"] + at["false"]))
    assert at["recall"] == pytest.approx(at["true"] / (at["true"] + at["missed"]))


def test_parts_and_changes_use_it(scored: tuple[Dataset, list[Prediction]], own: Cut) -> None:
    data, predictions = scored
    said = kept(predictions, own)
    one = slices("detect", data, predictions, threshold=own, samples=5)
    two = slices("detect", data, said, threshold=0.0, samples=5)
    assert [part.to_dict() for part in one.parts] == [part.to_dict() for part in two.parts]
    assert not changes("detect", data, predictions, said, thresholds=(own, 0.0))


def test_details_and_report_are_of_the_models_own_thresholds(
    scored: tuple[Dataset, list[Prediction]], own: Cut, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from whatwhere.outputs.report import write_report

    data, predictions = scored
    numbers = score("detect", data, predictions)
    per_class = numbers.pop("per_class")
    result = Result(
        "detect",
        len(data),
        numbers,
        per_class,
        threshold=own,
        data=data,
        predictions=tuple(predictions),
    ).with_details(samples=0)
    assert result.details is not None
    assert result.details.tables["operating"]["all"]["at"]["threshold"] is None
    page = write_report(result, tmp_path_factory.mktemp("report") / "r.html").read_text("utf-8")
    assert "Boxes of the model&#x27;s own score of their class or more" in page or (
        "Boxes of the model's own score of their class or more" in page
    )
    assert "own score of each class (0.1 to 0.6)" in page
