"""Sheets that show what the network gets and says: what is on them, when they are drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from train_data import NAMES, boxes_set, classes_folder, quick_config
from whatwhere.data import Dataset, read
from whatwhere.images import read_image
from whatwhere.outputs.labels import many_colours
from whatwhere.train.batch import Batch, BoxTargets
from whatwhere.train.samples import Samples
from whatwhere.train.watchers.answers import Answers, choose_pictures
from whatwhere.train.watchers.curves import Curves
from whatwhere.train.watchers.previews import Previews, sample_sheet
from whatwhere.types import Prediction, Task

RED = many_colours(["red"])["red"]


def pixels(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(-1).sum())


def box_batch(ignore: bool, count: int = 1) -> Batch:
    """Grey pictures of 64 x 64 pixels with one box each."""
    return Batch(
        torch.full((count, 64, 64, 3), 120, dtype=torch.uint8),
        BoxTargets(
            torch.tensor([[8.0, 8.0, 56.0, 56.0], [0.0, 0.0, 0.0, 0.0]]).expand(count, 2, 4),
            torch.zeros(count, 2, dtype=torch.int64),
            torch.tensor([True, False]).expand(count, 2),
            torch.tensor([ignore, False]).expand(count, 2),
        ),
        rows=tuple(range(count)),
    )


def test_ignored_regions_are_dashed_and_padding_is_not_drawn() -> None:
    plain, dashed = (
        pixels(sample_sheet(box_batch(ignore), NAMES, ["a.png"], "x"), RED)
        for ignore in (False, True)
    )
    assert 100 < dashed < 0.9 * plain


def test_a_sheet_is_of_bounded_size() -> None:
    few = sample_sheet(box_batch(False, 12), NAMES, ["a.png"] * 12, "x")
    many = sample_sheet(box_batch(False, 64), NAMES, ["a.png"] * 64, "x")
    assert few.shape == many.shape
    assert few.shape[0] < 1300
    assert few.shape[1] < 1400


def test_the_samples_are_the_batch_itself() -> None:
    """No step of drawing changes what is shown: no second resize, no other colours."""
    batch = box_batch(False)
    batch.images[:] = torch.tensor([200, 10, 60], dtype=torch.uint8)
    sheet = sample_sheet(batch, NAMES, ["a.png"], "x")
    assert pixels(sheet, (200, 10, 60)) > 0.5 * 320 * 320


@pytest.mark.parametrize(
    ("task", "kinds"), [("detect", {"mixed", "plain"}), ("classify", {"plain"})]
)
def test_what_is_drawn_of_a_run(task: Task, kinds: set[str], tmp_path: Path) -> None:
    if task == "detect":
        data = boxes_set(tmp_path / "data", 8)
    else:
        data = read(classes_folder(tmp_path / "data"))
    training, validation = data.split_named("train"), data.split_named("val")
    config = replace(quick_config(task), previews=2, height=32, width=32)
    samples = Samples(training, (32, 32), config)
    batch = next(iter(samples.epoch(0, 1, True)))
    folder = tmp_path / "run"
    (folder / "previews").mkdir(parents=True)
    (folder / "previews" / "predictions-99.png").write_bytes(b"of an earlier try")
    before = batch.images.clone()

    watcher = Previews(samples, 0.35)
    watcher.started(config, folder, batch, NAMES)
    empty = np.zeros((0, 4), np.float32) if task == "detect" else None
    answers = [Prediction(96, 64, boxes=empty) for _ in range(len(validation))]
    for epoch in (1, 2, 3, 4):
        watcher.validated(epoch, validation, answers)
    watcher.finished(folder)

    # The first, each second one, and the last.
    expected = {f"samples-{kind}.png" for kind in kinds}
    expected |= {f"predictions-{epoch}.png" for epoch in (1, 3, 4)}
    assert {path.name for path in (folder / "previews").iterdir()} == expected
    for path in (folder / "previews").iterdir():
        assert read_image(path).shape[1] > 150
    assert torch.equal(batch.images, before)


def test_no_previews(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 8)
    config = replace(quick_config("detect"), previews=0, height=32, width=32)
    samples = Samples(data, (32, 32), config)
    watcher = Previews(samples, 0.35)
    watcher.started(config, tmp_path / "run", next(iter(samples.epoch(0, 1, True))), NAMES)
    watcher.validated(1, data, [])
    watcher.finished(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_are_spread_over_the_classes(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 40, splits=False)
    rows = choose_pictures(data, 8)
    assert rows == sorted(set(rows)) == choose_pictures(data, 8)
    assert len(rows) == 8
    shown = {int(number) for row in rows for number in data.targets(row).class_ids}
    assert shown == {0, 1, 2}
    # An empty picture shows what is found where nothing is; the smallest object is hard.
    assert 0 in rows
    boxes = data.labels.with_columns(
        ((data.labels["x2"] - data.labels["x1"]) * (data.labels["y2"] - data.labels["y1"])).alias(
            "size"
        )
    )
    assert int(boxes.sort("size")["image"][0]) in rows


def test_a_rare_class_is_shown(tmp_path: Path) -> None:
    paths = boxes_set(tmp_path / "data", 1, splits=False).paths
    images = {"path": [paths[0]] * 100, "width": [96] * 100, "height": [64] * 100}
    classes = [0] * 99 + [1]
    classes[57] = 2
    data = Dataset(images, {"image": list(range(100)), "class_id": classes}, NAMES)
    assert {57, 99} <= set(choose_pictures(data, 8))


def test_fewer_pictures_than_places(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 3, splits=False)
    assert choose_pictures(data, 8) == [0, 1, 2]


def test_unreadable_pictures_are_passed_over(tmp_path: Path) -> None:
    data = boxes_set(tmp_path / "data", 3, splits=False)
    Path(data.paths[1]).write_bytes(b"")
    assert Answers.choose(data, "detect", 0.35).rows == (0, 2)


def test_answers_stand_right_of_the_labels(tmp_path: Path) -> None:
    """One answer above the threshold is drawn in the right half, one below it is not."""
    # Four times as large on the sheet, so that lines keep their colour.
    data = boxes_set(tmp_path / "data", 1, size=(80, 80), splits=False)
    answers = Answers.choose(data, "detect", 0.35)
    blue = many_colours(data.names)["blue"]

    def halves(score: float) -> tuple[int, int]:
        box = np.array([[10, 10, 70, 70]], np.float32)
        said = Prediction(
            80,
            80,
            object_names=("blue",),
            object_scores=np.array([score], np.float32),
            boxes=box,
        )
        sheet = answers.sheet([said], "x")
        # The legend below would count, too.
        top = sheet[40:360]
        return pixels(top[:, :332], blue), pixels(top[:, 332:], blue)

    # The picture has no labels.
    assert halves(0.9)[0] == 0
    assert halves(0.9)[1] > 300
    assert halves(0.2) == (0, 0)


def test_mistakes_have_red_frames(tmp_path: Path) -> None:
    data = read(classes_folder(tmp_path / "data", {"red": 1, "green": 1}, splits=("train",)))
    answers = Answers.choose(data, "classify", 0.0)
    said = [
        Prediction(40, 40, label_names=("green",), label_scores=np.ones(1, np.float32))
        for _ in answers.rows
    ]
    sheet = answers.sheet(said, "x")
    for colour in ((255, 64, 64), (24, 190, 90)):
        # A border of 4 pixels around a picture of 160.
        assert pixels(sheet, colour) == pytest.approx(4 * 4 * 156, rel=0.02)


def test_curves_go_on_after_an_interruption(tmp_path: Path) -> None:
    """Rows of an earlier sitting are read; an epoch that is done again is there once."""
    config, batch = quick_config("detect"), box_batch(False)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,3\n2,2.5\n3,9\n", "utf-8")
    (tmp_path / "last.ckpt").write_bytes(b"")
    watcher = Curves()
    watcher.started(config, tmp_path, batch, NAMES)
    watcher.epoch({"epoch": 3, "loss": 2.0})
    watcher.finished(tmp_path)
    assert [(row["epoch"], row["loss"]) for row in watcher._rows] == [(1, 3), (2, 2.5), (3, 2)]
    assert read_image(tmp_path / "curves.png").shape[1] == 480


def test_a_new_run_forgets_an_old_table(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,3\n", "utf-8")
    watcher = Curves()
    watcher.started(quick_config("detect"), tmp_path, box_batch(False), NAMES)
    watcher.finished(tmp_path)
    assert not (tmp_path / "curves.png").exists()
