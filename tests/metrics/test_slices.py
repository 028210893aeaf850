"""Numbers of parts of the data: equal to those of the part alone, planted weaknesses first."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from muddled_boxes import as_dataset, as_predictions, muddled
from planted import NAMES, wrong_boxes, wrong_classes, wrong_sets
from whatwhere.data import Dataset
from whatwhere.metrics.attributes import MOST, attributes
from whatwhere.metrics.paired import differences
from whatwhere.metrics.slices import Slice, Slices, slice_numbers, slices
from whatwhere.metrics.tally import tally
from whatwhere.types import Prediction


def part(found: Slices, attribute: str, name: str) -> Slice:
    (one,) = [each for each in found.parts if (each.attribute, each.part) == (attribute, name)]
    return one


def values(one: Slice) -> dict[str, float | None]:
    return {name: number.value for name, number in one.numbers.items()}


def with_images(data: Dataset, **columns: Any) -> Dataset:
    images = data.images.with_columns(pl.Series(name, given) for name, given in columns.items())
    return Dataset(images, data.labels, data.names, task=data.task)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_part_of_the_pictures_has_the_numbers_of_these_pictures_alone(seed: int) -> None:
    truth, found = muddled(seed, crowds=0.1)
    said = as_predictions(found, 25, NAMES[:3])
    groups = [f"video {row % 3}" for row in range(25)]
    data = with_images(as_dataset(truth, 25, NAMES[:3]), group=groups)
    whole = slices("detect", data, said, threshold=0.3, samples=20)
    for group in sorted(set(groups)):
        rows = [row for row in range(25) if groups[row] == group]
        alone = slices("detect", data.select(rows), [said[row] for row in rows], threshold=0.3,
                       samples=20).whole  # fmt: skip
        mine = part(whole, "group", group)
        assert values(mine) == pytest.approx(values(alone))
        assert (mine.pictures, mine.labels, mine.answers) == (
            alone.pictures,
            alone.labels,
            alone.answers,
        )


@pytest.mark.parametrize("seed", [1, 2])
def test_every_label_and_answer_is_in_one_part_of_an_attribute(seed: int) -> None:
    truth, found = muddled(seed, images=60)
    data, said = as_dataset(truth, 60, NAMES[:3]), as_predictions(found, 60, NAMES[:3])
    data = with_images(data, width=[640] * 60, height=[480] * 60)
    counted = tally("detect", data, said, threshold=0.2)
    result = slices("detect", data, said, threshold=0.2, samples=2)
    by_attribute: dict[str, list[Slice]] = {}
    for one in result.parts:
        by_attribute.setdefault(one.attribute, []).append(one)
    assert {"class", "size", "position", "box shape", "labels in the picture"} <= set(by_attribute)
    for ones in by_attribute.values():
        assert sum(one.labels for one in ones) == len(counted.real.image) == result.whole.labels
        assert sum(one.answers for one in ones) == len(counted.said.image)
    right = int(counted.said.right.sum())
    assert int(counted.real.right.sum()) == right
    assert values(result.whole)["precision"] == pytest.approx(right / len(counted.said.image))
    assert values(result.whole)["recall"] == pytest.approx(right / len(counted.real.image))


def test_a_right_answer_is_in_the_part_of_its_label() -> None:
    labels = {"image": [0, 0], "class_id": [0, 0], "x1": [10, 200], "y1": [10, 200],
              "x2": [41, 300], "y2": [41, 300]}  # fmt: skip
    data = Dataset({"path": ["/a"], "width": [640], "height": [480]}, labels, ["cat"])
    boxes = np.array([(10, 10, 43, 43), (600, 0, 610, 10)], np.float32)
    said = Prediction(640, 480, object_names=("cat", "cat"), boxes=boxes,
                      object_scores=np.array([0.9, 0.8], np.float32))  # fmt: skip
    found = slices("detect", data, [said], samples=5)
    # 33 x 33 pixels are medium, but what was found is 31 x 31: it is right about a small one.
    small, large = part(found, "size", "small"), part(found, "size", "large")
    assert (small.labels, small.answers) == (1, 2)
    assert values(small) == pytest.approx({"precision": 0.5, "recall": 1, "f1": 2 / 3})
    assert values(large) == {"precision": None, "recall": 0, "f1": 0}
    corner = part(found, "position", "top right")
    assert (corner.labels, corner.answers) == (0, 1)
    assert values(corner) == {"precision": 0, "recall": None, "f1": None}
    assert found.parts[-1].numbers["f1"].value is None


def test_a_planted_weakness_comes_first_and_stands_out() -> None:
    data, answers, _ = wrong_boxes(0, share=0.0)
    rng = np.random.default_rng(5)
    looks = rng.uniform(0.4, 0.8, (len(data), 3)).astype(np.float32)
    dark = np.arange(len(data)) % 4 == 0
    looks[dark, 0] = 0.1
    blind = [
        replace(one, object_scores=one.object_scores / (3 if weak else 1))
        for one, weak in zip(answers, dark, strict=True)
    ]
    found = slices("detect", data, blind, threshold=0.35, looks=looks, samples=300)
    first = found.parts[0]
    assert (first.attribute, first.pictures) == ("brightness", 38)
    assert first.part.startswith("below ")
    assert first.worse
    assert first.gap is not None
    assert first.gap < -0.2
    even = slices("detect", data, answers, threshold=0.35, looks=looks, samples=300)
    assert not any(one.worse for one in even.parts if one.attribute in ("brightness", "contrast"))


def test_classifiers_have_accuracy_in_pictures_and_f1_in_classes() -> None:
    data, answers, _ = wrong_classes(0, count=600, share=0.0)
    found = slices("classify", data, answers, samples=50,
                   looks=np.random.default_rng(0).random((600, 3)).astype(np.float32))  # fmt: skip
    right = np.array([one.label_names[0] for one in answers]) == [
        NAMES[one] for one in data.labels["class_id"]
    ]
    assert values(found.whole) == {"accuracy": pytest.approx(right.mean())}
    assert {one.main for one in found.parts if one.attribute == "contrast"} == {"accuracy"}
    cat = part(found, "class", "cat")
    mine = data.labels["class_id"].to_numpy() == 0
    said = np.array([one.label_names[0] == "cat" for one in answers])
    assert values(cat)["recall"] == pytest.approx(right[mine].mean())
    assert values(cat)["precision"] == pytest.approx(right[said].mean())
    low, value, high = (getattr(cat.numbers["f1"], end) for end in ("low", "value", "high"))
    assert low < value < high


def test_multilabel_counts_pairs_that_are_known() -> None:
    data, answers, _ = wrong_sets(0, count=300, share=0.0)
    found = slices("multilabel", data, answers, samples=10)
    counted = tally("multilabel", data, answers)
    assert found.whole.labels == data.labels.height == len(counted.real.image)
    by_class = [one for one in found.parts if one.attribute == "class"]
    assert sorted(one.part for one in by_class) == NAMES
    labelled = [["cat"]] * 300
    partly = tally("multilabel", with_images(data, labelled=labelled), answers)
    # Where only cats were looked for, other labels still count, and other answers do not.
    shown = {(a, b) for a, b in zip(counted.real.image, counted.real.class_id, strict=True)}
    assert all((a, b) in shown or b == 0
               for a, b in zip(partly.said.image, partly.said.class_id, strict=True))  # fmt: skip


def test_metadata_of_pictures_and_flags_of_labels_divide_them_too() -> None:
    truth, found = muddled(3, images=40)
    said = as_predictions(found, 40, NAMES[:3])
    extra = [
        json.dumps({"cam": {"site": ("door", "roof")[row % 2], "iso": row}, "note": f"n{row}"})
        for row in range(40)
    ]
    occluded = np.arange(len(truth.image)) % 3 == 0
    data = as_dataset(truth, 40, NAMES[:3], occluded=occluded)
    data = with_images(data, extra=extra, split=["train", "test"] * 20)
    result = slices("detect", data, said, threshold=0.2, samples=5)
    names = {one.attribute for one in result.parts}
    assert {"cam.site", "cam.iso", "occluded", "split"} <= names
    assert "note" not in names  # every picture its own
    assert [one.part for one in result.parts if one.attribute == "cam.iso"].count("below 9.75") == 1
    hidden = part(result, "occluded", "occluded")
    assert (list(hidden.numbers), hidden.main) == (["recall"], "recall")
    assert hidden.labels == occluded.sum()


def test_only_the_largest_parts_are_kept_and_the_others_counted() -> None:
    data, answers, _ = wrong_classes(1, count=400, share=0.0)
    groups = [f"g{row % 80 if row < 320 else 0}" for row in range(400)]
    data = with_images(data, group=groups)
    found = slices("classify", data, answers, samples=5)
    assert sum(one.attribute == "group" for one in found.parts) == MOST
    assert part(found, "group", "g0").pictures == 84
    assert f"{80 - MOST} parts by group with few labels are not shown" in found.notes
    assert any("pictures were not read" in note for note in found.notes)
    # Groups of four pictures each say little, so they stand behind the large one.
    order = [one.pictures >= 30 for one in found.parts]
    assert order == sorted(order, reverse=True)


def test_equal_values_make_fewer_quarters_and_one_value_makes_none() -> None:
    data, answers, _ = wrong_classes(1, count=100, share=0.0)
    looks = np.zeros((100, 3), np.float32)
    looks[60:, 1] = 1
    looks[:50, 2] = np.nan
    looks[50:, 2] = np.arange(50)
    counted = tally("classify", data, answers)
    found = {one.name: one for one in attributes("classify", data, counted, looks)}
    assert "brightness" not in found
    assert len(found["contrast"].parts) == 2
    assert len(found["sharpness"].parts) == 4
    assert (found["sharpness"].real[:50] == -1).all()


def test_two_systems_can_be_compared_part_by_part() -> None:
    data, answers, _ = wrong_boxes(4, images=60, share=0.0)
    worse = [replace(one, object_scores=one.object_scores * 0.6) for one in answers]
    pairs = zip(
        slice_numbers("detect", data, answers, threshold=0.35),
        slice_numbers("detect", data, worse, threshold=0.35),
        strict=True,
    )
    found = {}
    for one, two in pairs:
        assert one.keys == two.keys
        found |= differences(one, two, samples=200)
    same = differences(
        *(next(slice_numbers("detect", data, answers)) for _ in range(2)), samples=20
    )
    assert all(not each.value for each in same.values())
    large = found["recall", "size: medium"]
    assert large.value is not None
    assert large.value < -0.05


def test_without_labels_or_answers_nothing_is_defined() -> None:
    nothing = Prediction(9, 9, boxes=np.zeros((0, 4), np.float32))
    data = Dataset({"path": ["/a", "/b"]}, {}, ["cat"], task="detect")
    found = slices("detect", data, [nothing, nothing], samples=5)
    assert values(found.whole) == dict.fromkeys(("precision", "recall", "f1"))
    assert found.parts == ()
    assert found.to_dict()["whole"]["f1"] == {"value": None, "low": None, "high": None}
