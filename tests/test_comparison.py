"""Two results on the same pictures: equal, different, and not comparable."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.evaluation import Result
from whatwhere.evaluation.comparison import compare
from whatwhere.evaluation.gates import judge_gates, parse_gate
from whatwhere.evaluation.matching import Head, match
from whatwhere.evaluation.run import finish
from whatwhere.metrics import METRICS
from whatwhere.types import Prediction, Task

NAMES = ("cat", "dog", "owl", "yak")
TASKS: tuple[Task, ...] = ("classify", "multilabel", "detect")


def pictures(task: Task, images: int = 60, seed: int = 0) -> Dataset:
    """One to three things a picture, one where a picture has one class."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"image": [], "class_id": []}
    box = ("x1", "y1", "x2", "y2")
    for image in range(images):
        for place in range(1 if task == "classify" else int(rng.integers(1, 4))):
            rows["image"].append(image)
            rows["class_id"].append(int(rng.integers(4)))
            if task == "detect":
                left, top = 100 * place + rng.uniform(0, 10), rng.uniform(0, 10)
                size = rng.uniform(30, 80, 2)
                corners = (left, top, left + size[0], top + size[1])
                for name, value in zip(box, corners, strict=True):
                    rows.setdefault(name, []).append(float(value))
    table = {"path": [f"/there/{image}.jpg" for image in range(images)]}
    data = Dataset(table, rows, NAMES, task=task, source="there", root="/there")
    return data if task != "multilabel" else data.as_multilabel()


def answers(data: Dataset, *, poor: float = 0.0, dull: str = "", seed: int = 0) -> list[Prediction]:
    """Good answers; a share `poor` of them, and all about the class `dull`, are useless.

    What is useless is drawn after everything else, so the others stay as they are.
    """
    rng = np.random.default_rng(seed)
    made = []
    for row in range(len(data)):
        shown = data.targets(row)
        noise = rng.random(4) * 0.6
        jitter = rng.normal(0, 2, (len(shown.class_ids), 4))
        scores = noise + np.isin(np.arange(4), shown.class_ids) * 0.4
        spoilt = rng.random() < poor
        if spoilt:
            scores = np.roll(scores, 1)
        if dull:
            scores[NAMES.index(dull)] = 0.001
        if data.task != "detect":
            order = np.argsort(-scores)
            made.append(
                Prediction(
                    300,
                    100,
                    image=data.paths[row],
                    label_names=tuple(NAMES[k] for k in order),
                    label_scores=scores[order].astype(np.float32),
                )
            )
            continue
        assert shown.boxes is not None
        names = [NAMES[(k + spoilt) % 4] for k in shown.class_ids]
        keep = [place for place, name in enumerate(names) if name != dull]
        value = np.array([scores[k] for k in shown.class_ids])[keep].astype(np.float32)
        order = np.argsort(-value)
        made.append(
            Prediction(
                300,
                100,
                image=data.paths[row],
                object_names=tuple(names[keep[k]] for k in order),
                object_scores=value[order],
                boxes=(shown.boxes + jitter).astype(np.float32)[keep][order],
            )
        )
    return made


def result(data: Dataset, predictions: list[Prediction], **about: Any) -> Result:
    way = match([Head(data.task, NAMES)], data, "made")
    return finish(way, data, predictions, notes=[], **about)


@pytest.mark.parametrize("task", TASKS)
def test_a_system_and_itself_are_equal(task: Task) -> None:
    data = pictures(task)
    one = result(data, answers(data), model="a")
    same = compare(one, result(data, answers(data), model="b"), samples=50)
    assert list(same) == [metric.name for metric in METRICS[task]]
    for each in (*same.values(), *(v for row in same.per_class.values() for v in row.values())):
        assert (each.value, each.p) in {(0.0, 1.0), (None, None)}
        assert each.adjusted in (None, 1.0)
        assert each.low in (None, 0.0)
    assert same.changes == ()
    assert same.verdict == "a and b are equal in every number"


@pytest.mark.parametrize("task", TASKS)
def test_a_planted_difference_is_found(task: Task) -> None:
    data = pictures(task)
    one = result(data, answers(data), model="good")
    two = result(data, answers(data, poor=0.4), model="poor")
    found = compare(one, two, samples=200)
    main = next(iter(found.values()))
    assert main.first == pytest.approx(one[next(iter(one))], abs=1e-12)
    assert main.second == pytest.approx(two[next(iter(two))], abs=1e-12)
    assert main.high < 0
    assert main.p < 0.05
    assert found.verdict.startswith("poor is worse than good: ")
    worse, better = found.worse, found.better
    assert len(worse) > 5 > len(better)
    assert worse[0].worse_by == max(one.worse_by for one in found.changes)
    back = compare(two, one, samples=200)
    assert back.verdict.startswith("good is better than poor: ")
    assert {one.row for one in back.better} == {one.row for one in worse}
    as_dict = json.loads(json.dumps(found.to_dict()))
    assert as_dict["pictures"]["worse"] == len(worse)
    assert sum(as_dict["pictures"].values()) == as_dict["images"] == 60
    assert as_dict["worse"][0]["image"] == f"{worse[0].row}.jpg"


@pytest.mark.parametrize("task", TASKS)
def test_the_class_that_suffers_is_named(task: Task) -> None:
    data = pictures(task, images=120)
    one, two = result(data, answers(data)), result(data, answers(data, dull="owl"))
    found = compare(one, two, samples=200)
    # Owls that are taken for cats lower the precision of cats, too, but not their recall.
    name = "recall" if task == "classify" else "AP"
    rows = {of: row[name] for of, row in found.per_class.items()}
    small = {of for of, each in rows.items() if each.adjusted <= 0.05 and each.value < 0}
    assert small == {"owl"}
    assert (found.first, found.second) == ("saved predictions (A)", "saved predictions (B)")


def test_alike_systems_are_seldom_told_apart() -> None:
    wrong = 0
    for seed in range(20):
        data = pictures("classify", images=60, seed=seed)
        one = result(data, answers(data, poor=0.2, seed=2 * seed))
        two = result(data, answers(data, poor=0.2, seed=2 * seed + 1))
        wrong += compare(one, two, samples=60)["accuracy"].p <= 0.05
    # One is expected; more than five come up once in some thousand times.
    assert wrong <= 5


def test_slices_are_compared_and_corrected_together() -> None:
    data = pictures("detect", images=80)
    good, poor = answers(data), answers(data, poor=0.8)
    dark = list(range(0, 40))
    mixed = [*poor[:40], *good[40:]]
    slices = {"dark": dark, "light": range(40, 80), "all": range(80), "none": []}
    found = compare(result(data, good), result(data, mixed), samples=150, slices=slices)
    assert list(found.slices) == ["dark", "light", "all"]
    assert found.slices["dark"].adjusted <= 0.05
    assert (found.slices["light"].value, found.slices["light"].adjusted) == (0, 1)
    assert found.slices["all"].value == pytest.approx(found["AP"].value)
    assert found.slices["dark"].units == 40
    assert found.slices["dark"].value < found["AP"].value


@pytest.mark.parametrize("task", TASKS)
def test_parts_of_the_data_are_compared_by_themselves(task: Task) -> None:
    """The second system is poor on the pictures of one camera."""
    plain = pictures(task, images=80)
    images = plain.images.with_columns(
        extra=pl.Series([json.dumps({"camera": "old" if row < 40 else "new"}) for row in range(80)])
    )
    data = Dataset(images, plain.labels, NAMES, task=task)
    good, poor = answers(data), answers(data, poor=0.9)
    found = compare(
        result(data, good, threshold=0.1),
        result(data, [*poor[:40], *good[40:]], threshold=0.1),
        samples=150,
    )
    main = "accuracy" if task == "classify" else "f1"
    old, new = (found.parts[f"camera: {name}"][main] for name in ("old", "new"))
    assert old.value < -0.1
    assert old.adjusted <= 0.05
    assert (new.value, new.adjusted, new.units) == (0, 1, 40)
    assert not any(name.startswith("class: ") for name in found.parts)
    assert found.to_dict()["parts"]["camera: old"]["number"] == main
    ordered = list(found.sorted_parts.values())
    many = [one.value for one in ordered if one.units >= 30 and one.value is not None]
    assert many == sorted(many) == [one.value for one in ordered[: len(many)]]
    assert compare(result(data, good), result(data, good), samples=5, parts=False).parts == {}


def test_groups_count_as_one() -> None:
    plain = pictures("classify", images=40)
    videos = [f"video {row // 4}" for row in range(40)]
    images = plain.images.with_columns(group=pl.Series(videos))
    data = Dataset(images, plain.labels, NAMES, task="classify")
    one, two = result(data, answers(data)), result(data, answers(data, poor=0.5))
    # The column that readers fill counts without being named.
    grouped = compare(one, two, samples=100)
    single = compare(one, two, samples=100, groups="none")
    assert single["accuracy"].value == grouped["accuracy"].value
    assert (single["accuracy"].units, grouped["accuracy"].units) == (40, 10)
    assert any("10 pictures or groups" in note for note in grouped.notes)
    with pytest.raises(UsageError, match="no column 'patient'"):
        compare(one, two, groups="patient")


def test_only_common_pictures_and_classes_count() -> None:
    data = pictures("detect", images=40)
    part = data.select(range(10, 40))
    one = result(data, answers(data))
    shorter = finish(
        match([Head("detect", NAMES[:3])], part, "made"), part, answers(data)[10:], notes=[]
    )
    found = compare(one, shorter, samples=30, slices={"first": range(20), "gone": [3]})
    assert found.images == 30
    assert list(found.per_class) == ["cat", "dog", "owl"]
    assert found["AP"].value == 0
    assert found.slices["first"].units == 10
    assert "gone" not in found.slices
    assert "only the 30 pictures that both were scored on count, of 40 and 30" in found.notes
    assert "1 classes were scored in one result only: yak" in found.notes


def test_what_cannot_be_compared() -> None:
    data, other = pictures("detect"), pictures("classify")
    one = result(data, answers(data))
    with pytest.raises(UsageError, match="task detect, the second of classify"):
        compare(one, result(other, answers(other)))
    moved = Dataset(
        {"path": [f"/here/{row}.jpg" for row in range(60)]}, data.labels, NAMES, task="detect"
    )
    with pytest.raises(UsageError, match="no picture in common"):
        compare(one, result(moved, answers(data)))
    relabelled = pictures("detect", seed=1)
    with pytest.raises(UsageError, match="labels of there and there differ"):
        compare(one, result(relabelled, answers(relabelled)))
    with pytest.raises(UsageError, match="without its pictures"):
        compare(one, Result("detect", 60, one.metrics, one.per_class))


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("AP < -0.01", True),
        ("AP<-0.99", False),
        ("AP.high < 0", True),
        ("AP.low >= 0", False),
        ("AP.p <= 0.05", True),
        ("AP.second < 1e-9", False),
        ("AP[owl] < -0.5", True),
        ("AP[cat] <= -0.5", False),
        ("AP50[owl].adjusted < 0.05", True),
        ("AP{first} < -0.01", True),
        ("f1{labels in the picture: 2 to 5} < -0.01", True),
        ("AP[owl].first > 0.2", True),
    ],
)
def test_gates(text: str, failed: bool) -> None:
    data = pictures("detect", images=80)
    found = compare(
        result(data, answers(data)),
        result(data, answers(data, dull="owl")),
        samples=100,
        slices={"first": range(40)},
    )
    (said,) = judge_gates([parse_gate(text)], found)
    assert said.failed is failed
    assert said.sentence.startswith("failed" if failed else "passed")
    assert said.to_dict()["gate"] == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AP", "cannot understand the condition 'AP'"),
        ("AP = 0", "cannot understand"),
        ("AP < ", "cannot understand"),
        ("AP < little", "compares with 'little'"),
        ("AP < nan", "compares with 'nan'"),
        ("AP.middle < 0", "asks for 'middle' of a difference: use one of value, low"),
    ],
)
def test_conditions_that_cannot_be_understood(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_gate(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AP5 < 0", "the number 'AP5', which was not compared: use AP"),
        ("accuracy < 0", "the number 'accuracy'"),
        ("AP[cow] < 0", "the class 'cow', which was not compared: use"),
        ("AR1[cat] < 0", "the number of a class 'AR1'"),
        ("f1{dark} < 0", "the slice 'dark', which was not compared: use "),
        ("AP{labels in the picture: 1} < 0", "the number of a slice 'AP'"),
        ("AP.adjusted < 0.1", "corrected p of the whole"),
    ],
)
def test_conditions_on_what_was_not_compared(text: str, words: str) -> None:
    data = pictures("detect", images=20)
    found = compare(result(data, answers(data)), result(data, answers(data)), samples=10)
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        judge_gates([parse_gate(text)], found)


def test_a_gate_on_an_undefined_number_fails() -> None:
    """Else a test set that lost all its labels of a class would let everything pass."""
    data = pictures("detect", images=20)
    whole = Dataset(data.images, data.labels, (*NAMES, "emu"), task="detect")
    way = match([Head("detect", (*NAMES, "emu"))], whole, "made")
    one = finish(way, whole, answers(data), notes=[])
    (said,) = judge_gates([parse_gate("AP[emu] < -0.5")], compare(one, one, samples=10))
    assert (said.value, said.failed) == (None, True)
    assert said.sentence == "failed: AP[emu] < -0.5 (undefined: no label counts)"
