"""A teacher's saved predictions: they move with the pictures and become soft targets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train_data import NAMES, Dying, KilledError, Notes, boxes_set, quick_config, same_runs
from whatwhere.data import Dataset
from whatwhere.errors import DataError, TrainError, UsageError
from whatwhere.train.answers import SavedAnswers, make_answers
from whatwhere.train.augment import Sample, affine, mirror, mosaic
from whatwhere.train.config import TrainConfig
from whatwhere.train.mixing import mixup_objects
from whatwhere.train.prepare import check_same_data
from whatwhere.train.run import resume_run
from whatwhere.train.samples import Samples
from whatwhere.train.teacher import attach, file_digest

Line = Sequence[tuple[str, float, Sequence[float]]]


def save(file: Path, paths: Sequence[str], lines: Sequence[Line]) -> Path:
    """A file as `predict --json` writes it."""
    text = ""
    for path, line in zip(paths, lines, strict=True):
        objects = [{"name": name, "score": score, "box": box} for name, score, box in line]
        text += json.dumps({"image": path, "objects": objects}) + "\n"
    file.write_text(text, encoding="utf-8")
    return file


def partly(tmp_path: Path, complete: Sequence[Sequence[str]]) -> Dataset:
    """Pictures of 96 x 64 px, an object in the left half; what people looked for is given."""
    whole = boxes_set(tmp_path / "set", len(complete) + 1, splits=False)
    whole = whole.select(range(1, len(whole)))
    images = {"path": list(whole.paths), "complete": [list(one) for one in complete]}
    first = whole.labels.group_by("image", maintain_order=True).first()
    labels = {name: first[name].to_list() for name in ("image", "class_id", "x1", "y1", "x2", "y2")}
    return Dataset(images, labels, whole.names, task="detect")


def settings(file: Path, **changes: Any) -> TrainConfig:
    plain = {"mosaic": 0.0, "colour": 0.0, "zoom": 1.0, "flip": 0.0, "cache": 8, "size": 64}
    made: TrainConfig = quick_config("detect", **({"teacher": str(file)} | plain | changes))
    return made


def taught(data: Dataset, config: TrainConfig, *, soft: bool = True) -> Any:
    answers = SavedAnswers(config, data, soft=soft)
    samples = Samples(data, (64, 64), config)
    samples.answers = answers.objects
    attach(answers, samples, len(data))
    return samples.batch(np.arange(len(data)), 0, 0, False).boxes


def test_answers_become_soft_objects_beside_what_people_said(tmp_path: Path) -> None:
    data = partly(tmp_path, [[NAMES[0]], []])
    targets = data.targets(0)
    assert targets.boxes is not None
    own = targets.boxes[0].tolist()
    far = [72.0, 40.0, 93.0, 61.0]
    lines: list[Line] = [
        # People looked for the first class; the second box is theirs already.
        [(NAMES[0], 0.9, far), (NAMES[1], 0.8, own), (NAMES[1], 0.6, far)],
        [(NAMES[0], 0.7, far)],
    ]
    file = save(tmp_path / "said.jsonl", data.paths, lines)
    boxes = taught(data, settings(file, teacher_weight=0.5))
    assert boxes.said is None
    ours, theirs = boxes.soft[0, 0], boxes.soft[0, 1]
    assert ours.tolist() == [float(name == int(targets.class_ids[0])) for name in range(3)]
    assert theirs.tolist() == pytest.approx([0, 0.6, 0])
    assert boxes.valid.sum(1).tolist() == [2, 2]
    assert boxes.counts[:, 1].tolist() == [0.5, 0.5]
    assert boxes.counts[:, 0].tolist() == [1, 1]
    # Nothing was said about the third class, so its absence is known to nobody.
    assert boxes.trust.tolist() == [[1, 0.5, 0], [0.5, 0.5, 0]]
    assert boxes.known.tolist() == [[True, True, False], [True, True, False]]
    x1, y1, x2, y2 = boxes.boxes[0, 1].tolist()
    assert (x1, x2, y2 - y1) == pytest.approx((48, 62, 14), abs=1.0)
    hard = taught(data, settings(file), soft=False)
    assert hard.soft is None
    assert not hard.ignore.any()
    file = save(tmp_path / "faint.jsonl", data.paths, [[(NAMES[1], 0.3, far)], []])
    hard = taught(data, settings(file), soft=False)
    assert hard.ignore[0].tolist() == [False, True]


def test_scores_stay_with_their_objects_in_every_augmentation() -> None:
    """Each object's score tells its class, so a mix-up of rows would show."""
    rng = np.random.default_rng(5)

    def sample(count: int) -> Sample:
        corners = rng.uniform(0, 40, (count, 2)).astype(np.float32)
        classes = rng.integers(0, 50, count)
        return Sample(
            rng.integers(0, 255, (48, 64, 3)).astype(np.uint8),
            np.concatenate([corners, corners + rng.uniform(2, 20, (count, 1))], 1).astype(
                np.float32
            ),
            classes,
            np.zeros(count, bool),
            said=np.where(classes % 5 == 0, np.nan, classes / 64).astype(np.float32),
        )

    config = quick_config("detect", zoom=2.0, flip=0.5)
    for _ in range(20):
        one = mirror(affine(sample(7), (64, 64), config, rng), config, rng)
        four = mosaic([sample(n) for n in (3, 0, 5, 4)], (64, 64), config, rng)
        for made in (one, four, mixup_objects(one, four, rng)):
            assert made.said is not None
            assert len(made.said) == len(made.classes) == len(made.boxes) == len(made.ignore)
            by_people = made.classes % 5 == 0
            assert np.isnan(made.said[by_people]).all()
            assert (made.said[~by_people] * 64 == made.classes[~by_people]).all()


def test_a_run_with_saved_answers_resumes_exactly(tmp_path: Path, fit: Callable[..., Any]) -> None:
    data = boxes_set(tmp_path / "set", 8)
    lines: list[Line] = [[(NAMES[0], 0.5, [1.0, 1.0, 20.0, 20.0])] for _ in data.paths]
    file = save(tmp_path / "said.jsonl", data.paths, lines)
    config = settings(file, epochs=2, mosaic=0.5)
    notes = Notes()
    fit(data, config, tmp_path / "whole", listener=notes)
    assert any("saved answers of a teacher, said.jsonl" in text for text in notes.said)
    with pytest.raises(KilledError):
        fit(data, config, tmp_path / "cut", listener=Dying(3))
    resume_run(tmp_path / "cut", data=data)
    assert same_runs(tmp_path / "whole", tmp_path / "cut")
    values = json.loads((tmp_path / "whole" / "config.json").read_text("utf-8"))
    file.write_text(file.read_text("utf-8").replace("0.5", "0.6"), encoding="utf-8")
    with pytest.raises(TrainError, match="the teacher's file, beside the data"):
        check_same_data(
            tmp_path, values, values | {"teacher_digest": file_digest(values["teacher"])}
        )


def test_what_cannot_teach_is_refused(tmp_path: Path) -> None:
    data = partly(tmp_path, [[], []])
    box = [1.0, 1.0, 20.0, 20.0]
    file = save(tmp_path / "said.jsonl", data.paths[:1], [[(NAMES[0], 0.5, box)]])
    with pytest.raises(UsageError, match=r"no answer for 1 of the 2 training .* \(the first"):
        make_answers(settings(file), data)
    whole = partly(tmp_path / "whole", [list(NAMES), []])
    only = save(tmp_path / "only.jsonl", whole.paths[1:], [[(NAMES[0], 0.5, [60, 40, 80, 60])]])
    assert [len(one.scores) for one in make_answers(settings(only), whole).objects] == [0, 1]
    with pytest.raises(UsageError, match="can teach a detector, and this is classify"):
        SavedAnswers(quick_config("classify", teacher=str(file)), data)
    wrong = save(tmp_path / "wrong.jsonl", data.paths, [[(NAMES[0], 50.0, box)], []])
    with pytest.raises(UsageError, match=r"scores in .* go from 50 to 50, not 0 to 1"):
        make_answers(settings(wrong), data)
    other = save(tmp_path / "other.jsonl", data.paths, [[("crimson", 0.5, box)], []])
    with pytest.raises(UsageError, match=r"no class of .*other\.jsonl is one of"):
        make_answers(settings(other), data)
    names = tmp_path / "names.txt"
    names.write_text(f"crimson = {NAMES[0]}\n", encoding="utf-8")
    renamed = make_answers(settings(other, teacher_names=str(names)), data)
    assert renamed.taught.tolist() == [True, False, False]
    assert "1 of 3 classes" in renamed.note
    assert "it says nothing about green, blue" in renamed.note
    names.write_text("crimson = scarlet\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the data have no class 'scarlet'"):
        make_answers(settings(other, teacher_names=str(names)), data)
    (tmp_path / "bad.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        make_answers(settings(tmp_path / "bad.jsonl"), data)
    with pytest.raises(UsageError, match="cannot be read"):
        file_digest(str(tmp_path / "none.jsonl"))
    with pytest.raises(UsageError, match="model joint learns from no teacher"):
        make_answers(settings(file, model="joint"), data)


def test_failed_pictures_have_no_answer(tmp_path: Path) -> None:
    data = partly(tmp_path, [[], []])
    file = save(tmp_path / "said.jsonl", data.paths, [[(NAMES[0], 0.5, [1, 1, 9, 9])], []])
    first, second = file.read_text("utf-8").splitlines()
    record = json.loads(second) | {"error": "cannot be read"}
    file.write_text(f"{first}\n{json.dumps(record)}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no answer for 1 of the 2"):
        make_answers(settings(file), data)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    data = partly(tmp_path, [[], []])
    box = [1.0, 40.0, 20.0, 60.0]
    lines: list[Line] = [
        [(NAMES[0], 0.5, [60.0, 40.0, 80.0, 60.0]), ("crimson", 0.9, box)],
        [(NAMES[0], 0.5, [30.0, 40.0, 30.0, 60.0])],
    ]
    answers = make_answers(settings(save(tmp_path / "said.jsonl", data.paths, lines)), data)
    assert [len(one.scores) for one in answers.objects] == [1, 0]
    assert "1 objects of 1 of 3 classes, 1 of them beside what people said" in answers.note
    assert "1 objects of 1 classes that the data do not have are left out (crimson)" in answers.note
    assert f"1 boxes without width or height are left out (first: {tmp_path}" in answers.note


def test_answers_and_labels_make_no_difference_where_they_agree(tmp_path: Path) -> None:
    """What people marked is taken from them alone, so equal answers change no object."""
    data = partly(tmp_path, [list(NAMES), list(NAMES)])
    lines: list[Line] = []
    for row in range(2):
        targets = data.targets(row)
        assert targets.boxes is not None
        lines.append([(NAMES[2], 0.9, [float(x) for x in targets.boxes[0]])])
    file = save(tmp_path / "said.jsonl", data.paths, lines)
    config = settings(file)
    with_answers = taught(data, config)
    plain = Samples(data, (64, 64), replace(config, teacher=""))
    before = plain.batch(np.arange(2), 0, 0, False).boxes
    assert before is not None
    assert torch.equal(with_answers.boxes, before.boxes)
    assert torch.equal(with_answers.classes, before.classes)
    assert (with_answers.soft.sum(-1) == 1).all()
