"""Learning from another model: which of its answers become targets, and that runs use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from factories import CELL, SIZE, picture, spec_of, write_model
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
from whatwhere.images import read_image, write_image
from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.config import TrainConfig
from whatwhere.train.network import Step, build
from whatwhere.train.prepare import check_same_data
from whatwhere.train.run import resume_run
from whatwhere.train.samples import Samples
from whatwhere.train.teacher import (
    Teacher,
    attach,
    make_teacher,
    match_names,
    read_mapping,
    settled,
    unlabelled_pictures,
    with_unlabelled,
)
from whatwhere.types import box_iou


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teachers that see a cell of one colour, or the mean colour of the whole."""
    folder = tmp_path_factory.mktemp("teachers")
    write_model(folder / "detect.onnx", "detect")
    write_model(folder / "classify.onnx", "classify")
    write_model(folder / "multilabel.onnx", "multilabel")
    write_model(folder / "other.onnx", "detect", spec=spec_of("detect", names=("a", "b", "GREEN")))
    return folder


def config(models: Path, task: Any = "detect", **changes: Any) -> TrainConfig:
    teacher = str(models / f"{changes.pop('kind', task)}.onnx")
    return quick_config(task, **({"teacher": teacher, "cache": 8} | changes))


def nothing(count: int = 1, known: list[list[bool]] | None = None) -> BoxTargets:
    return BoxTargets(
        torch.zeros(count, 0, 4),
        torch.zeros(count, 0, dtype=torch.int64),
        torch.zeros(count, 0, dtype=torch.bool),
        torch.zeros(count, 0, dtype=torch.bool),
        None if known is None else torch.tensor(known),
    )


def test_a_detector_answers_on_the_view(models: Path) -> None:
    teacher = Teacher(config(models), NAMES)
    view = picture((1, 2, 1), (3, 0, 0), height=SIZE, width=SIZE)
    batch = teacher(Batch(torch.from_numpy(view)[None], boxes=nothing(1, [[False] * 3])))
    targets = batch.boxes
    assert targets is not None
    assert targets.soft is not None
    assert targets.boxes[0].tolist() == [
        [2 * CELL, CELL, 3 * CELL, 2 * CELL],
        [0, 3 * CELL, CELL, 4 * CELL],
    ]
    assert targets.classes.tolist() == [[1, 0]]
    assert targets.soft[0].tolist() == [[0, 1, 0], [1, 0, 0]]
    # On a view of twice the width, boxes lie in the view's pixels.
    wide = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
    wide[:32, 32:64, 2] = 255
    (boxes, _) = teacher._objects(wide)
    assert boxes.tolist() == [[32, 0, 64, 32]]


def test_names_are_the_contract(models: Path, tmp_path: Path) -> None:
    assert match_names(("Dog", "cat", "bus"), ("cat", "dog"), {}) == ([0, 1], [1, 0])
    assert match_names(("sofa", "cat"), ("couch",), {"Sofa": "Couch"}) == ([0], [0])
    with pytest.raises(UsageError, match="the teacher has no class 'sofa'"):
        match_names(("cat",), ("couch",), {"sofa": "couch"})
    with pytest.raises(UsageError, match="the data has no class 'couch'"):
        match_names(("sofa",), ("cat",), {"sofa": "couch"})
    teacher = Teacher(config(models, kind="other"), NAMES)
    assert teacher.taught.tolist() == [False, True, False]
    assert teacher.note.endswith("1 of 3 classes; it does not know red, blue")
    assert teacher._objects(picture((0, 0, 2)))[1].tolist() == [[0, 1, 0]]
    with pytest.raises(UsageError, match=r"no class name in common .* teacher_names"):
        Teacher(config(models), ("dog", "cat"))
    file = tmp_path / "names.txt"
    file.write_text("# theirs = ours\nred = dog\n\nblue=dog\n", "utf-8")
    renamed = Teacher(config(models, teacher_names=str(file)), ("cat", "dog"))
    # Two of its classes are one of ours: the better score counts.
    assert renamed._objects(picture((0, 0, 2)))[1].tolist() == [[0, 1]]
    for text in ("red dog", "red =", "red = a\nred = b"):
        file.write_text(text, "utf-8")
        with pytest.raises(UsageError, match=r"names\.txt:\d is not a new"):
            read_mapping(file)
    with pytest.raises(UsageError, match="cannot be read as teacher_names"):
        read_mapping(tmp_path / "none.txt")


def test_a_teacher_must_fit_the_task(models: Path) -> None:
    with pytest.raises(UsageError, match="for classify and cannot teach one for detect"):
        Teacher(config(models, "detect", kind="classify"), NAMES)
    with pytest.raises(UsageError, match="for detect and cannot teach one for classify"):
        Teacher(config(models, "classify", kind="detect"), NAMES)
    with pytest.raises(UsageError, match="have 1 class name in common"):
        Teacher(config(models, "classify", kind="classify"), ("red", "dog"))
    with pytest.raises(UsageError, match="model joint learns from no teacher"):
        make_teacher(config(models, model="joint"), NAMES)
    with pytest.raises(UsageError, match="add a teacher"):
        quick_config("detect", unlabelled="photos")


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("classify", "classify"),
        ("multilabel", "multilabel"),
        ("multilabel", "detect"),
        ("multilabel", "classify"),
    ],
)
def test_a_classifier_answers_on_the_view(models: Path, task: Any, kind: str) -> None:
    teacher = Teacher(config(models, task, kind=kind), ("blue", "dog", "red", "green"))
    view = picture((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0))
    soft = teacher(Batch(torch.from_numpy(view)[None])).soft
    assert soft is not None
    assert soft.shape == (1, 4)
    assert soft.dtype == torch.float32
    # It knows no dog, and red is what it sees.
    assert soft[0, 1] == -1
    assert soft[0, 2] == soft[0, [0, 2, 3]].max()
    if task == "classify":
        assert float(soft[0, [0, 2, 3]].sum()) == pytest.approx(1)
    if kind == "classify" and task == "classify":
        # Mean red 63.75, so logits 3.98 and -1.99, at temperature 2.
        wanted = torch.tensor([-1.9922, 3.9844, -1.9922]).div(2).softmax(0)
        torch.testing.assert_close(soft[0, [0, 2, 3]], wanted, atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that nobody labelled, each with a cell that the teacher sees."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        cell = (i % 4, i % 3, i % 3)
        write_image(folder / f"{i}.png", picture(cell))
    return folder


def test_pictures_without_labels(models: Path, photos: Path, tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "set", 6, splits=False)
    training, validation = data.select(range(4)), data.select([4, 5])
    write_image(photos / "same.png", picture((2, 2, 2)))
    twin = photos / "twin.png"
    twin.write_bytes(Path(validation.paths[0]).read_bytes())
    settings = config(models, unlabelled=str(photos), size=64)
    extra = unlabelled_pictures(settings, training, validation)
    twin.unlink()
    (photos / "same.png").unlink()
    assert len(extra) == 13
    assert str(twin) not in set(extra.paths)
    whole = with_unlabelled(training, extra.select(range(12)))
    assert len(whole) == 16
    assert list(whole.paths)[:4] == list(training.paths)
    samples = Samples(whole, (64, 64), replace(settings, mosaic=0.0, colour=0.0))
    said = attach(Teacher(settings, NAMES), samples, len(training))
    assert said.endswith("3 of 3 classes; 12 pictures without labels, 50% of each epoch")
    order = samples.order(0)
    assert 6 <= int((order < 4).sum()) <= 10
    batch = samples.batch(np.arange(4, 16), 0, 0, False)
    targets = batch.boxes
    assert targets is not None
    assert targets.trust is not None
    # Everything that is said of them is the teacher's; labelled ones keep what people said.
    assert (targets.trust == 1).all()
    assert targets.valid.any(1).all()
    ours = samples.batch(np.arange(4), 0, 0, False).boxes
    plain = Samples(training, (64, 64), replace(settings, mosaic=0.0, colour=0.0))
    before = plain.batch(np.arange(4), 0, 0, False).boxes
    assert ours is not None
    assert before is not None
    assert torch.equal(ours.valid[:, : before.valid.shape[1]], before.valid)
    assert int(ours.valid.sum()) == int(before.valid.sum())
    only = tmp_path / "only"
    only.mkdir()
    (only / "a.png").write_bytes(Path(training.paths[0]).read_bytes())
    with pytest.raises(TrainError, match=r"all 1 pictures of .* are in the data set"):
        unlabelled_pictures(replace(settings, unlabelled=str(only)), training, validation)


def test_a_run_with_a_teacher_resumes_exactly(
    models: Path, photos: Path, tmp_path: Path, fit: Callable[..., Any]
) -> None:
    data = boxes_set(tmp_path / "set", 6)
    settings = config(models, unlabelled=str(photos), size=64, epochs=2)
    notes = Notes()
    fit(data, settings, tmp_path / "whole", listener=notes)
    assert any("12 pictures without labels" in text for text in notes.said)
    with pytest.raises(KilledError):
        fit(data, settings, tmp_path / "cut", listener=Dying(7))
    resume_run(tmp_path / "cut", data=data)
    assert same_runs(tmp_path / "whole", tmp_path / "cut")
    values = json.loads((tmp_path / "whole" / "config.json").read_text("utf-8"))
    assert len(values["teacher_digest"]) == len(values["unlabelled_digest"]) == 64
    assert Path(values["teacher"]).is_absolute()
    assert settled(settings).portable()["teacher"] == "detect.onnx"
    with pytest.raises(TrainError, match="the teacher's file, beside the data"):
        check_same_data(tmp_path, values, values | {"teacher_digest": "0"})


def test_a_classifier_learns_from_a_teacher_alone(
    models: Path, tmp_path: Path, fit: Callable[..., Any]
) -> None:
    """All labels are wrong but say nothing: what it learns, it has from the teacher."""
    counts = {"red": 6, "green": 6, "blue": 6}
    folder = classes_folder(tmp_path / "colours", counts)
    data = read(folder)
    unknown = Dataset(
        {"path": list(data.paths), "labelled": [[] for _ in data.paths]},
        {"image": [], "class_id": []},
        data.names,
        task="classify",
    )
    settings = config(models, "classify", height=32, width=32, teacher_temperature=4.0)
    net = build(settings, tuple(data.names))
    samples = Samples(unknown, (32, 32), settings)
    attach(Teacher(settings, tuple(data.names)), samples, 0)
    step = Step(net).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for epoch in range(8):
        for batch in samples.epoch(epoch, 4, False):
            assert batch.soft is not None
            loss, parts = step(batch)
            assert set(parts) == {"loss", "teacher_loss"}
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    test = Samples(data, (32, 32), replace(settings, zoom=1.0, colour=0.0))
    answer = test.batch(np.arange(len(data)), 0, 0, False)
    assert answer.classes is not None
    with torch.no_grad():
        right = net(answer.images)["logits"].argmax(1) == answer.classes
    assert right.float().mean() > 0.9
    fit(data, replace(settings, epochs=1), tmp_path / "run")
    assert "teacher_loss" in metric_rows(tmp_path / "run")[0]


def test_a_detector_learns_from_a_teacher_alone(models: Path, tmp_path: Path) -> None:
    """Pictures of which nothing is known, whose objects the teacher sees."""
    random = np.random.default_rng(0)
    # Red or blue: colours that even an untrained network tells apart.
    places = [(int(random.integers(16)), 2 * int(random.integers(2))) for _ in range(56)]
    paths = [str(tmp_path / f"{i}.png") for i in range(len(places))]
    for path, (cell, colour) in zip(paths, places, strict=True):
        write_image(Path(path), picture((cell // 4, cell % 4, colour)))
    bare: dict[str, list[Any]] = {"image": [], "class_id": []}
    nobody: list[list[str]] = [[] for _ in range(40)]
    data = Dataset(
        {"path": paths[:40], "labelled": nobody, "complete": nobody}, bare, NAMES, task="detect"
    )
    settings = config(
        models, height=SIZE, width=SIZE, batch=8, width_head=32, mosaic=0.0, colour=0.0, zoom=1.0
    )
    net = build(settings, NAMES)
    samples = Samples(data, (SIZE, SIZE), settings)
    attach(Teacher(settings, NAMES), samples, 0)
    step = Step(net).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for epoch in range(16):
        for batch in samples.epoch(epoch, 5, False):
            loss, _ = step(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    right = 0
    for path, (cell, colour) in zip(paths[40:], places[40:], strict=True):
        with torch.no_grad():
            answer = net(torch.from_numpy(read_image(path))[None])
        scores = answer["scores"][0]
        best = int(scores.amax(1).argmax())
        wanted = np.array([cell % 4, cell // 4, cell % 4 + 1, cell // 4 + 1], np.float32) * CELL
        fits = box_iou(answer["boxes"][0, best].numpy()[None], wanted[None])[0, 0] > 0.5
        right += fits and int(scores[best].argmax()) == colour
    assert right >= 14, right
