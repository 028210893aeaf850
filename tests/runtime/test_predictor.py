"""Predicting one picture and many: order, batches, failures as values, bounded reading."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import CELL, NAMES, model_bytes, picture, write_model
from whatwhere.errors import ImageError, UsageError
from whatwhere.images import encode_image, write_image
from whatwhere.runtime import Failure, Predictor, PredictorBase, load_file
from whatwhere.types import Image, Prediction


@pytest.fixture(scope="module")
def model() -> Predictor:
    """The tiny detector with both heads."""
    return load_file(model_bytes("both"))


def colours(count: int) -> list[Image]:
    """Pictures whose only object is red, green, blue, red, ..."""
    return [picture((1, 1, number % 3)) for number in range(count)]


def test_one_picture_in_every_form(model: Predictor, tmp_path: Path) -> None:
    image = picture((0, 3, 1), (2, 0, 2))
    path = tmp_path / "ä b.png"
    write_image(path, image)
    for source, name in (
        (image, None),
        (path.read_bytes(), None),
        (path, str(path)),
        (str(path), str(path)),
    ):
        answer = model.predict(source)
        assert isinstance(answer, Prediction)
        assert answer.image == name
        assert answer.object_names == ("green", "blue")
        assert answer.boxes is not None
        assert answer.boxes.tolist() == [
            [3 * CELL, 0, 4 * CELL, CELL],
            [0, 2 * CELL, CELL, 3 * CELL],
        ]
        assert len(answer.label_names) == 2
        assert answer.model == "tiny-both"
        assert answer.ms is not None
        assert answer.ms > 0


def test_boxes_are_in_pixels_of_the_original(model: Predictor) -> None:
    small = picture((1, 1, 0))
    large = np.repeat(np.repeat(small[: 2 * CELL], 3, axis=0), 3, axis=1)
    answer = model.predict(large)
    assert (answer.height, answer.width) == (6 * CELL, 12 * CELL)
    assert answer.boxes is not None
    assert answer.boxes.tolist() == [[3 * CELL, 3 * CELL, 6 * CELL, 6 * CELL]]


def test_many_pictures_give_an_iterator_in_order(model: Predictor) -> None:
    answers = model.predict(colours(10))
    assert isinstance(answers, Iterator)
    assert [answer.names[0] for answer in answers] == [NAMES[k % 3] for k in range(10)]
    stacked = np.stack(colours(4))
    assert [answer.names[0] for answer in model.predict(stacked)] == [*NAMES, "red"]
    assert list(model.predict([])) == []


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("readers", [1, 4])
def test_batches_do_not_change_answers(model: Predictor, batch: int, readers: int) -> None:
    images = colours(7)
    rows = list(model.stream(images, batch=batch, readers=readers))
    for image, row in zip(images, rows, strict=True):
        alone = model.predict(image)
        assert isinstance(row, Prediction)
        assert row.object_names == alone.object_names
        assert np.array_equal(row.label_scores, alone.label_scores)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_failures_are_values_in_their_place(model: Predictor, batch: int, tmp_path: Path) -> None:
    good = encode_image(picture((1, 1, 0)), ".png")
    (tmp_path / "bad.png").write_bytes(good[:40])
    gone = str(tmp_path / "gone.jpg")
    sources: list[Any] = [good, str(tmp_path / "bad.png"), good, gone, 7, np.zeros((4, 4)), good]
    rows = list(model.stream(sources, batch=batch))
    kinds = [type(row) for row in rows]
    assert kinds == [Prediction, Failure, Prediction, Failure, Failure, Failure, Prediction]
    failures = [row for row in rows if isinstance(row, Failure)]
    assert failures[0].to_dict()["image"] == str(tmp_path / "bad.png")
    assert "bad.png" in str(failures[0].error)
    assert "gone.jpg" in str(failures[1].to_dict()["error"])
    assert failures[2].image is None
    assert "cannot be a int" in str(failures[2].error)
    assert "must be RGB, uint8" in str(failures[3].error)


def test_predict_raises_where_stream_gives_a_failure(model: Predictor, tmp_path: Path) -> None:
    gone = tmp_path / "gone.jpg"
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        model.predict(gone)
    answers = model.predict([picture((1, 1, 2)), gone])
    assert next(answers).names == ("blue",)
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        next(answers)


def test_an_endless_source_is_used_lazily(model: Predictor) -> None:
    before = set(threading.enumerate())
    taken = itertools.count()
    image = picture((1, 1, 0))

    def endless() -> Iterator[Image]:
        while True:
            next(taken)
            yield image

    stream = model.stream(endless(), batch=4, readers=2)
    for _ in range(20):
        assert isinstance(next(stream), Prediction)
    stream.close()
    # 20 answers, at most two batches a thread ahead, and the one that is being taken.
    assert next(taken) <= 20 + 2 * 2 * 4 + 4
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_a_source_that_fails_passes_its_error_on(model: Predictor) -> None:
    def broken() -> Iterator[Image]:
        yield picture((1, 1, 0))
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(model.stream(broken()))


def test_pictures_above_the_limit_are_refused(model: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, picture((1, 1, 0)))
    with pytest.raises(ImageError, match="64x64"):
        model.predict(path, max_pixels=64 * 64 - 1)
    (row,) = model.stream([path], max_pixels=64 * 64 - 1)
    assert isinstance(row, Failure)


def test_predict_images_and_evaluation(model: Predictor) -> None:
    images = colours(3)
    rows = model.predict_images(images, names=["a", None, "c"])
    assert [row.image for row in rows] == ["a", None, "c"]
    assert [row.object_names for row in rows] == [("red",), ("green",), ("blue",)]
    everything = model.predict_images(images, evaluation=True)
    assert all(len(row.label_names) == 3 for row in everything)
    assert model.predict_images([]) == []


def test_thresholds(model: Predictor) -> None:
    image = picture((1, 1, 0))
    image[0:CELL, 0:CELL, 1] = 77
    assert model.predict(image).object_names == ("red",)
    assert model.predict(image, threshold=0.25).object_names == ("red", "green")
    assert model.predict(image, threshold=1.0).object_names == ("red",)


def test_more_or_fewer_labels() -> None:
    model = load_file(model_bytes("classify"))
    assert len(model.predict(picture()).label_names) == 2
    assert len(model.with_top(1).predict(picture()).label_names) == 1
    assert len(model.with_top(9).predict(picture()).label_names) == 3


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_out_of_range(model: Predictor, threshold: float) -> None:
    for call in (model.predict, model.stream):
        with pytest.raises(UsageError, match="threshold"):
            call([picture()] if call == model.stream else picture(), threshold=threshold)


def test_options_out_of_range(model: Predictor) -> None:
    with pytest.raises(UsageError, match="batch"):
        model.stream([], batch=0)
    with pytest.raises(UsageError, match="readers"):
        model.stream([], readers=0)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
def test_arrays_that_are_no_pictures(image: Any, model: Predictor) -> None:
    with pytest.raises(UsageError, match="an array must be RGB"):
        model.predict(image)
    with pytest.raises(UsageError, match="an array must be RGB"):
        model.predict_images([image])


class Counting(PredictorBase):
    """Says how many calls of `infer` ran at once, and how it was loaded for them."""

    def __init__(self, threads: int = 2, lanes: int = 1) -> None:
        super().__init__("counting", batch=2)
        self._threads = threads
        self.loaded_for = lanes
        self.loaded: list[Counting] = []
        self.trials: list[bool] = []
        self.batches: list[int] = []
        self.running, self.most = 0, 0
        self.lock = threading.Lock()

    @property
    def threads(self) -> int:
        return self._threads

    def in_lanes(self, lanes: int, *, trial: bool = False) -> Counting:
        self.trials.append(trial)
        self.loaded.append(Counting(self._threads, lanes))
        return self.loaded[-1]

    def prepare(self, image: Image) -> Image:
        return image

    def infer(
        self,
        prepared: Sequence[Image],
        *,
        names: Sequence[str | None],
        threshold: float | None = None,
        evaluation: bool = False,
    ) -> list[Prediction]:
        with self.lock:
            self.batches.append(len(prepared))
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.002)
        with self.lock:
            self.running -= 1
        return [Prediction(image.shape[1], image.shape[0]) for image in prepared]


def test_few_pictures_need_no_further_loading() -> None:
    model = Counting()
    assert len(list(model.stream(colours(5)))) == 5
    assert sorted(model.batches) == [1, 2, 2]
    assert not model.loaded


def test_many_pictures_run_in_as_many_lanes_as_the_model_has_threads() -> None:
    model = Counting(threads=3)
    assert len(list(model.stream([picture()] * 60, readers=6))) == 60
    (lanes,) = model.loaded
    assert lanes.loaded_for == 3
    assert sum(model.batches) + sum(lanes.batches) == 60
    assert max(model.most, lanes.most) <= 3


def test_one_thread_means_one_lane() -> None:
    model = Counting(threads=1)
    assert len(list(model.stream([picture()] * 30))) == 30
    assert model.most == 1
    assert [lanes.loaded_for for lanes in model.loaded] == [1]


def test_very_many_pictures_are_worth_a_trial() -> None:
    model = Counting()
    assert len(list(model.stream([picture()] * 100))) == 100
    assert model.trials == [False]
    assert len(list(model.stream([picture()] * 200))) == 200
    assert model.trials == [False, False, True]


def test_a_watcher_sees_what_can_be_read(tmp_path: Path) -> None:
    seen: dict[int, tuple[int, ...]] = {}
    sources = [picture(), tmp_path / "none.png", picture()]
    rows = list(Counting().stream(sources, watch=lambda place, x: seen.update({place: x.shape})))
    assert isinstance(rows[1], Failure)
    assert seen == {0: (64, 64, 3), 2: (64, 64, 3)}


def test_evaluation_in_a_stream(model: Predictor) -> None:
    (row,) = model.stream(colours(1), evaluation=True)
    assert isinstance(row, Prediction)
    assert len(row.label_names) == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", "classify")
    code = (
        "import itertools, numpy as np\n"
        "from whatwhere.runtime import load\n"
        f"model = load({str(model)!r})\n"
        "image = np.zeros((64, 64, 3), np.uint8)\n"
        "try:\n"
        "    for number, _ in enumerate(model.stream(itertools.repeat(image))):\n"
        "        if number == 3: print('running', flush=True)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert out == "stopped\n"
    assert err == ""
    assert process.returncode == 0
