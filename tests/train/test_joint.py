"""One model, two answers: what teaches each head, and that a run trains and scores both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from factories import spec_of, write_model
from train_data import (
    NAMES,
    Dying,
    KilledError,
    Notes,
    boxes_set,
    classes_folder,
    metric_rows,
    quick_config,
    same_runs,
)
from whatwhere.data import Dataset, read
from whatwhere.errors import TrainError, UsageError
from whatwhere.evaluation import evaluate
from whatwhere.runtime import load
from whatwhere.train.batch import NO_CLASS, Batch, BoxTargets
from whatwhere.train.config import TrainConfig
from whatwhere.train.joint import JointSamples, two_heads
from whatwhere.train.models.joint import Joint
from whatwhere.train.network import Step, build
from whatwhere.train.prepare import split_data
from whatwhere.train.run import export_run, resume_run, train_model

SIZE = (64, 64)


def joint(**changes: Any) -> TrainConfig:
    return quick_config("detect", **({"model": "joint", "size": 64, "cache": 8} | changes))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return boxes_set(tmp_path_factory.mktemp("boxes"), 8)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"red": 5, "green": 4, "blue": 4}
    return classes_folder(tmp_path_factory.mktemp("scenes"), counts)


def with_bare(data: Dataset, names: tuple[str, ...], chosen: list[list[int]]) -> Dataset:
    """The set with further classes, of which each picture has labels without a box."""
    rows: dict[str, list[Any]] = {
        key: data.labels[key].to_list() for key in ("image", "class_id", "x1", "y1", "x2", "y2")
    }
    for image, ids in enumerate(chosen):
        for number in ids:
            for key, value in (("image", image), ("class_id", len(data.names) + number)):
                rows[key].append(value)
            for key in ("x1", "y1", "x2", "y2"):
                rows[key].append(None)
    made = Dataset(data.images, rows, (*data.names, *names), root=data.root, task="detect")
    assert made.task == "detect"
    return made


def heads(config: TrainConfig, data: Dataset) -> Any:
    training, validation = split_data(data, config)
    return two_heads(config, data, training, validation, split_data)


def targets(
    classes: list[list[int]], ignore: list[list[bool]], known: list[list[bool]] | None = None
) -> BoxTargets:
    shape = torch.tensor(classes)
    return BoxTargets(
        torch.tensor([0.0, 0.0, 9.0, 9.0]).expand(*shape.shape, 4),
        shape.clamp(min=0),
        shape >= 0,
        torch.tensor(ignore),
        None if known is None else torch.tensor(known),
    )


def test_boxes_say_which_classes_a_picture_shows() -> None:
    net = build(joint(height=64, width=64, label_names=("blue", "night", "red")), NAMES)
    assert isinstance(net, Joint)
    found = targets(
        [[0, 0, 2], [2, 1, -1], [-1, -1, -1]], [[False, True, True]] + [[False] * 3] * 2
    )
    present, known = net.by_boxes(found)
    # "night" has no boxes; the only box of blue in the first picture is to be ignored.
    assert present.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert known.tolist() == [[False, False, True], [True, False, True], [True, False, True]]
    partly = targets([[0], [-1]], [[False], [False]], [[False, True, False], [False, False, True]])
    present, known = net.by_boxes(partly)
    # A class that nobody looked for is unknown, unless a box of it is there all the same.
    assert known.tolist() == [[False, False, True], [True, False, False]]


def test_a_set_of_boxes_teaches_both_heads(boxes: Dataset) -> None:
    made = heads(joint(), boxes)
    assert made.config.label_names == NAMES
    assert made.config.label_task == "multilabel"
    assert made.labels.training is None
    assert made.labels.validation.task == "multilabel"
    assert len(made.labels.validation) == len(made.validation)
    some = heads(joint(label_names=("red",)), boxes)
    assert some.labels.validation.names.id("red") == 0
    with pytest.raises(UsageError, match="unknown class 'rad': did you mean red"):
        heads(joint(label_names=("rad",)), boxes)
    with pytest.raises(UsageError, match="leave label_task out, or give label_data"):
        heads(joint(label_task="classify"), boxes)


def test_classes_without_boxes_are_the_second_heads(boxes: Dataset) -> None:
    several = with_bare(boxes, ("indoor", "wet"), [[0], [0, 1], [], [1], [0], [], [1], [0]])
    made = heads(joint(), several)
    assert made.config.label_names == ("indoor", "wet")
    assert (made.config.label_task, made.labels.task) == ("multilabel", "multilabel")
    assert tuple(made.whole.names) == tuple(made.training.names) == NAMES
    assert len(made.labels.training) == len(made.training) == 6
    one = with_bare(boxes, ("day", "night"), [[i % 2] for i in range(8)])
    assert heads(joint(), one).config.label_task == "classify"
    assert heads(joint(label_task="multilabel"), one).config.label_task == "multilabel"
    with pytest.raises(UsageError, match="classes"):
        heads(joint(label_task="classify"), several)
    nothing = with_bare(boxes, ("day", "night"), [[0]] * 6 + [[], []])
    with pytest.raises(TrainError, match="validation pictures with 0 labels"):
        heads(joint(), nothing)


def test_each_step_has_both_kinds_in_a_fixed_share(boxes: Dataset, scenes: Path) -> None:
    config = joint(label_data=str(scenes), batch=8, mosaic=0.0)
    made = heads(config, boxes)
    assert made.config.label_names == ("blue", "green", "red")
    samples = made.labels.samples(made.training, SIZE, made.config)
    assert isinstance(samples, JointSamples)
    assert len(samples) == 8
    batches = list(samples.epoch(0, 3, False))
    for batch in batches:
        assert batch.classes is not None
        assert batch.boxes is not None
        assert batch.boxes.known is not None
        labelled = batch.classes != NO_CLASS
        assert labelled.sum() == 2
        # Evenly spread, and nothing is said of the boxes of those pictures.
        assert labelled.tolist() == [False, False, True, False, False, False, True, False]
        assert not batch.boxes.known[labelled].any()
        assert not batch.boxes.valid[labelled].any()
        assert batch.boxes.known[~labelled].all()
        for row, path, whole in zip(batch.rows, samples.files(batch.rows), labelled, strict=True):
            assert (str(scenes) in path) == bool(whole) == (row >= len(made.training))
    again = list(samples.epoch(0, 3, False))
    assert all(torch.equal(a.images, b.images) for a, b in zip(batches, again, strict=True))
    # Two processes together see what one sees.
    parts = [list(samples.epoch(0, 3, False, pictures=8, rank=rank, ranks=2)) for rank in (0, 1)]
    for whole_step, one, other in zip(batches, *parts, strict=True):
        assert sorted(one.rows + other.rows) == sorted(whole_step.rows)
        assert len(one.rows) == len(other.rows) == 4


def test_a_step_has_both_kinds_in_each_process_and_labels_of_whole_pictures_need_no_tiles(
    boxes: Dataset, scenes: Path
) -> None:
    made = heads(joint(label_data=str(scenes), batch=0, tile=64), boxes)
    samples = made.labels.samples(made.training, SIZE, made.config)
    for ranks, pictures in ((1, 1), (2, 2), (2, 4)):
        for rank in range(ranks):
            (batch,) = samples.epoch(0, 1, False, pictures=pictures, rank=rank, ranks=ranks)
            assert batch.classes is not None
            assert (batch.classes == NO_CLASS).tolist() == [True, False]


def test_a_picture_teaches_only_its_own_head(boxes: Dataset, scenes: Path) -> None:
    made = heads(joint(label_data=str(scenes), batch=8), boxes)
    config = replace(made.config, height=64, width=64)
    net = build(config, NAMES)
    samples = made.labels.samples(made.training, SIZE, config)
    (batch,) = samples.epoch(0, 1, False)
    assert batch.boxes is not None

    def gradients(batch: Batch) -> tuple[float, float]:
        net.zero_grad()
        loss, parts = Step(net).train()(batch)
        assert torch.isfinite(loss)
        assert set(parts) == {"class_loss", "box_loss", "side_loss", "label_loss"}
        loss.backward()
        assert isinstance(net, Joint)
        values = [layer.weight.grad for layer in (net.classify, net.label)]
        return tuple(0.0 if g is None else float(g.abs().sum()) for g in values)  # type: ignore[return-value]

    nothing = torch.full_like(batch.classes, NO_CLASS)  # type: ignore[arg-type]
    boxes_only = Batch(batch.images, boxes=batch.boxes, classes=nothing)
    detector, label = gradients(boxes_only)
    assert detector > 0
    assert label == 0
    unknown = BoxTargets(
        batch.boxes.boxes,
        batch.boxes.classes,
        torch.zeros_like(batch.boxes.valid),
        batch.boxes.ignore,
        torch.zeros(len(batch.images), len(NAMES), dtype=torch.bool),
    )
    detector, label = gradients(Batch(batch.images, boxes=unknown, classes=batch.classes))
    assert detector == 0
    assert label > 0


def test_small_steps_and_shared_pictures(boxes: Dataset, scenes: Path) -> None:
    made = heads(joint(label_data=str(scenes), batch=1), boxes)
    with pytest.raises(UsageError, match="cannot teach both heads"):
        made.labels.samples(made.training, SIZE, made.config)
    # What the detector is scored on does not come to the body by another way.
    training, validation = split_data(boxes, made.config)
    labels = read(scenes)
    paths = {"path": [*validation.paths, labels.paths[0], labels.paths[2]]}
    shared = Dataset(paths, {"image": [], "class_id": []}, NAMES, task="detect")
    kept = two_heads(made.config, boxes, training, shared, split_data).labels.training
    assert len(kept) == len(made.labels.training) - 2
    assert not {labels.paths[0], labels.paths[2]} & set(kept.paths)


def test_a_run_with_two_sets(boxes: Dataset, scenes: Path, tmp_path: Path) -> None:
    config = joint(label_data=str(scenes), epochs=2, metric="label_accuracy")
    notes = Notes()
    run = train_model(boxes, config, tmp_path / "whole", listener=notes)
    assert any("second head: classify, 3 classes, taught by 13 pictures" in t for t in notes.said)
    assert {"AP", "AP50", "label_accuracy"} <= set(run.metrics)
    assert set(run.parity) == {"boxes", "scores", "labels"}
    (row, *_) = metric_rows(run.folder)
    assert {"AP", "label_accuracy", "label_loss", "box_loss"} <= set(row)
    spec = load(run.folder).spec
    assert (spec.task, spec.names) == ("detect", NAMES)
    assert (spec.label_task, spec.label_names) == ("classify", ("blue", "green", "red"))
    assert "label_accuracy" in spec.metrics
    answer = load(run.folder).predict(boxes.paths[1])
    assert answer.boxes is not None
    assert answer.label_names
    settings = json.loads((run.folder / "config.json").read_text("utf-8"))
    assert settings["label_names"] == ["blue", "green", "red"]
    assert len(settings["label_digest"]) > 8

    changed = settings | {"label_digest": "0"}
    (run.folder / "config.json").write_text(json.dumps(changed), "utf-8")
    with pytest.raises(TrainError, match="pictures of the second head, or their labels, of"):
        export_run(run.folder, tmp_path / "again.onnx", data=boxes)


def test_evaluate_gives_both_answers(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "set", size=(64, 64))
    path = tmp_path / "model.onnx"
    write_model(path, "both", spec=spec_of("both", label_names=NAMES, label_task="multilabel"))
    result = evaluate(str(path), data, split="val")
    assert result.task == "detect"
    assert result.labels is not None
    alone = evaluate(str(path), data, split="val", task="multilabel")
    assert (alone.task, alone.labels) == ("multilabel", None)
    assert result.labels["mAP"] == alone["mAP"]
    assert result.to_dict()["labels"]["mAP"] == alone["mAP"]
    # Classes without boxes are scored by the second head, the others by the detector.
    scenes = with_bare(data, ("day", "night"), [[i % 2] for i in range(8)])
    names = ("day", "night", "dusk")
    write_model(path, "both", spec=spec_of("both", label_names=names))
    both = evaluate(str(path), scenes, split="val")
    assert both.labels is not None
    assert set(both.per_class) == set(NAMES)
    assert set(both.labels.per_class) == {"day", "night"}
    assert both.labels.task == "classify"
    # Data that say nothing about its classes, or not one of them for each picture.
    assert evaluate(str(path), data, split="val").labels is None
    several = with_bare(data, ("day", "night"), [[0, 1]] * 8)
    assert evaluate(str(path), several, split="val").labels is None


def test_a_run_on_boxes_alone(boxes: Dataset, tmp_path: Path, fit: Callable[..., Any]) -> None:
    fit(boxes, joint(), tmp_path / "run")
    (row,) = metric_rows(tmp_path / "run")
    assert {"AP", "label_mAP", "label_loss"} <= set(row)
    settings = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert settings["label_names"] == list(NAMES)
    assert "label_digest" not in settings


def test_a_stopped_run_ends_the_same(
    boxes: Dataset, scenes: Path, tmp_path: Path, fit: Callable[..., Any]
) -> None:
    config = joint(label_data=str(scenes), epochs=2)
    fit(boxes, config, tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(boxes, config, tmp_path / "cut", listener=Dying(3))
    resume_run(tmp_path / "cut", data=boxes)
    assert same_runs(tmp_path / "whole", tmp_path / "cut")
