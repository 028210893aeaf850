"""Running a model over a data set: matching by name, faults in data, what fits what."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import whatwhere as ww
from whatwhere.errors import UsageError
from whatwhere.images import write_image
from whatwhere.runtime import Predictor
from whatwhere.runtime.cascade import Pair
from whatwhere.specs import ModelSpec, PreprocessSpec
from whatwhere.types import Task

SIDE = 32
TRUTH: tuple[tuple[str, tuple[int, int, int, int]], ...] = (
    ("cat", (2, 2, 20, 20)),
    ("dog", (5, 5, 30, 25)),
    ("cat", (10, 4, 28, 30)),
    ("owl", (1, 8, 16, 31)),
)


class Table:
    """A backend that looks its answer up: the red value of a picture is its row."""

    name: ClassVar[str] = "table"
    inputs = outputs = ()
    threads = 1

    def __init__(self, **answers: Any) -> None:
        self.answers = {name: np.asarray(rows, np.float32) for name, rows in answers.items()}
        self.sizes: list[int] = []

    def with_lanes(self, lanes: int, *, trial: bool = False) -> "Table":
        return self

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.sizes.append(len(images))
        rows = images[:, 0, 0, 0].astype(int) // 10
        return {name: values[rows] for name, values in self.answers.items()}


def predictor(task: Task, names: Sequence[str], backend: Table, **spec: Any) -> Predictor:
    preprocess = PreprocessSpec(size=(SIDE, SIDE), fit="stretch")
    settings: dict[str, Any] = {"name": "table", "task": task, "names": tuple(names)}
    return Predictor(ModelSpec(**settings, preprocess=preprocess, **spec), backend)


def detector(names: Sequence[str] = ("owl", "dog", "cat"), **spec: Any) -> Predictor:
    """Finds every box of `TRUTH` whose class it knows; ids in another order than the data's."""
    scores = np.zeros((len(TRUTH), 1, len(names)))
    for row, (name, _) in enumerate(TRUTH):
        if name in names:
            scores[row, 0, list(names).index(name)] = 0.9 - 0.1 * row
    return predictor(
        "detect", names, Table(boxes=[[box] for _, box in TRUTH], scores=scores), **spec
    )


def classifier(names: Sequence[str] = ("owl", "dog", "cat"), task: Task = "classify") -> Predictor:
    logits = np.full((len(TRUTH), len(names)), -6.0)
    for row, (name, _) in enumerate(TRUTH):
        if name in names:
            logits[row, list(names).index(name)] = 6 - row
    return predictor(task, names, Table(logits=logits))


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = []
    for row in range(len(TRUTH)):
        image = np.full((SIDE, SIDE, 3), row * 10, dtype=np.uint8)
        write_image(tmp_path / f"{row}.png", image)
        paths.append(str(tmp_path / f"{row}.png"))
    return paths


def dataset(paths: list[str], task: Task = "detect", **changes: Any) -> ww.Dataset:
    names = ["cat", "dog", "owl"]
    columns: dict[str, Any] = {
        "image": list(range(len(TRUTH))),
        "class_id": [names.index(name) for name, _ in TRUTH],
    }
    if task == "detect":
        for place, key in enumerate(("x1", "y1", "x2", "y2")):
            columns[key] = [box[place] for _, box in TRUTH]
    images = {"path": paths, "split": ["train", "train", "test", "test"]}
    settings = {"task": task, "source": "animals"} | changes
    return ww.Dataset(images, columns, names, **settings)


def test_classes_are_matched_by_name_whatever_their_ids(pictures: list[str]) -> None:
    result = ww.evaluate(detector(), dataset(pictures))
    assert result["AP"] == pytest.approx(1)
    assert result.per_class["owl"]["AP"] == pytest.approx(1)
    assert (result.task, result.images, result.notes) == ("detect", 4, ())


@pytest.mark.parametrize("batch", [1, 2, 3, 50])
def test_batches_change_nothing(pictures: list[str], batch: int) -> None:
    model = detector()
    done: list[tuple[int, int]] = []
    data = dataset(pictures)
    result = ww.evaluate(model, data, batch=batch, progress=lambda *now: done.append(now))
    assert dict(result) == dict(ww.evaluate(detector(), data))
    assert [Path(str(one.image)).name for one in result.predictions] == [
        "0.png",
        "1.png",
        "2.png",
        "3.png",
    ]
    assert done[-1] == (4, 4)
    assert max(model.backend.sizes) == min(batch, 4)  # type: ignore[attr-defined]


def test_only_the_named_split_is_used(pictures: list[str]) -> None:
    result = ww.evaluate(detector(), dataset(pictures), split="test")
    assert (result.images, result.split) == (2, "test")
    assert result.per_class["dog"]["AP"] is None
    assert result.notes == ("no label counts of dog: undefined, and no share in any mean",)
    with pytest.raises(UsageError, match="no split 'val', only train, test"):
        ww.evaluate(detector(), dataset(pictures), split="val")


def test_a_class_that_the_model_does_not_know_is_said_and_not_scored(pictures: list[str]) -> None:
    result = ww.evaluate(detector(("dog", "cat")), dataset(pictures))
    assert result["AP"] == pytest.approx(1)
    assert list(result.per_class) == ["cat", "dog"]
    assert result.notes == (
        "1 of 3 classes of the data are unknown to the model; they and their 1 labels are not"
        " scored: owl",
    )


def test_a_class_that_the_data_does_not_have_is_said_and_not_scored(pictures: list[str]) -> None:
    result = ww.evaluate(detector(("owl", "yak", "dog", "cat")), dataset(pictures))
    assert result["AP"] == pytest.approx(1)
    assert result.notes == (
        "1 of 4 classes of the model are unknown to the data; what it says about them is not"
        " scored: yak",
    )


def test_without_a_common_class_the_message_names_both_sides(pictures: list[str]) -> None:
    with pytest.raises(UsageError, match=r"no class name in common.*knows yak.*data cat, dog, owl"):
        ww.evaluate(detector(("yak",)), dataset(pictures))


def test_unreadable_pictures_are_named_and_their_labels_missed(pictures: list[str]) -> None:
    whole = Path(pictures[1]).read_bytes()
    Path(pictures[1]).write_bytes(whole[: len(whole) // 2])
    Path(pictures[3]).unlink()
    result = ww.evaluate(detector(), dataset(pictures), batch=2)
    assert result.unreadable == (pictures[1], pictures[3])
    assert result.notes[0].startswith("2 of 4 pictures cannot be read; their labels count as")
    assert pictures[1] in result.notes[0]
    assert result.per_class["dog"]["AP"] == 0
    assert result.per_class["cat"]["AP"] == pytest.approx(1)
    assert result.images == 4


def test_no_readable_picture_scores_zero(pictures: list[str]) -> None:
    for path in pictures:
        Path(path).write_bytes(b"")
    result = ww.evaluate(classifier(), dataset(pictures, "classify"))
    assert result["accuracy"] == 0
    assert len(result.unreadable) == 4


def test_classification(pictures: list[str]) -> None:
    result = ww.evaluate(classifier(), dataset(pictures, "classify"))
    assert result["accuracy"] == result["f1"] == 1
    assert result.confusion == [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_pictures_of_classes_that_a_classifier_does_not_know_are_left_out(
    pictures: list[str],
) -> None:
    result = ww.evaluate(classifier(("dog", "cat")), dataset(pictures, "classify"))
    assert (result["accuracy"], result.images) == (1, 3)
    assert "owl" in result.notes[0]


def test_multilabel_model_on_boxes_and_on_single_labels(pictures: list[str]) -> None:
    model = classifier(task="multilabel")
    for task in ("detect", "classify", "multilabel"):
        result = ww.evaluate(model, dataset(pictures, task))  # type: ignore[arg-type]
        assert (result.task, result["mAP"]) == ("multilabel", 1)
        assert bool(result.notes) == (task != "multilabel")


def test_detector_on_labels_without_boxes_counts_the_best_box(pictures: list[str]) -> None:
    for task in ("multilabel", "classify"):
        result = ww.evaluate(detector(), dataset(pictures, task))  # type: ignore[arg-type]
        assert (result.task, result["mAP"]) == ("multilabel", 1)
        assert "best box" in result.notes[0]


def test_boxes_can_be_asked_for_as_labels(pictures: list[str]) -> None:
    result = ww.evaluate(detector(), dataset(pictures), task="multilabel")
    assert result.task == "multilabel"
    assert result["mAP"] == 1


def test_what_does_not_fit_says_what_would(pictures: list[str]) -> None:
    with pytest.raises(UsageError, match=r"gives one class a picture.*holds boxes.*task detect"):
        ww.evaluate(classifier(), dataset(pictures))
    with pytest.raises(UsageError, match="asked for is detect"):
        ww.evaluate(detector(), dataset(pictures, "classify"), task="detect")
    with pytest.raises(UsageError, match="unknown task 'segment': use one of classify"):
        ww.evaluate(detector(), dataset(pictures), task="segment")  # type: ignore[arg-type]


def test_a_detector_with_a_label_head_answers_both(pictures: list[str]) -> None:
    model = detector(label_names=("dog", "cat", "owl"), label_task="multilabel")
    model.backend.answers["logits"] = np.array(  # type: ignore[attr-defined]
        [[-5, 5, -5], [5, -5, -5], [-5, 5, -5], [-5, 5, -5]], np.float32
    )
    assert ww.evaluate(model, dataset(pictures))["AP"] == pytest.approx(1)
    labels = ww.evaluate(model, dataset(pictures, "multilabel"))
    # The label head takes the owl for a cat; the boxes would not.
    assert labels.per_class["owl"]["recall"] == 0
    assert labels.per_class["cat"]["recall"] == 1


def test_a_pair_runs_the_model_that_answers(pictures: list[str]) -> None:
    fits = {name: frozenset({"cat"}) for name in ("owl", "dog", "cat")}
    boxes, labels = detector(), classifier()
    pair = Pair(boxes, labels, fits)
    assert ww.evaluate(pair, dataset(pictures))["AP"] == pytest.approx(1)
    assert not labels.backend.sizes  # type: ignore[attr-defined]
    assert ww.evaluate(pair, dataset(pictures, "classify"))["accuracy"] == 1


def test_ignored_labels_and_findings_are_noted(pictures: list[str]) -> None:
    data = dataset(pictures)
    labels = data.labels.to_dict(as_series=False) | {"ignore": [False, False, True, False]}
    finding = ww.Finding("zero-size-box", "a box of zero size", "a.xml:3", "warning", "kept out")
    images = {"path": pictures}
    data = ww.Dataset(images, labels, data.names, findings=[finding], source="animals")
    notes = ww.evaluate(detector(), data).notes
    assert "1 labels are marked to be ignored" in notes[0]
    assert notes[1] == "reading the data gave 1 finding: see  whatwhere data check animals"


def test_nothing_to_score_is_refused(pictures: list[str]) -> None:
    empty = dataset(pictures).select([])
    with pytest.raises(UsageError, match="no picture"):
        ww.evaluate(detector(), empty)
    bare = ww.Dataset({"path": pictures}, {"image": [], "class_id": []}, ["cat"], source="bare")
    with pytest.raises(UsageError, match="bare has no label"):
        ww.evaluate(detector(), bare)
    with pytest.raises(UsageError, match="batch must be at least 1, not 0"):
        ww.evaluate(detector(), dataset(pictures), batch=0)


def test_result_is_a_frozen_mapping_with_a_json_form(pictures: list[str]) -> None:
    result = ww.evaluate(detector(), dataset(pictures), split="test")
    assert list(result)[:3] == ["AP", "AP50", "AP75"]
    assert len(result) == 12
    with pytest.raises(KeyError):
        result["AP99"]
    with pytest.raises(AttributeError):
        result.task = "classify"  # type: ignore[misc]
    form = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert form["task"] == "detect"
    assert form["images"] == 2
    assert form["AP50"] == result["AP50"]
    assert form["APl"] is None
    assert set(form) >= {"per_class", "model", "data", "split", "notes", "unreadable"}
