"""`evaluate` on pictures that the model was trained on, and on splits that share pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from colour_model import write_model
from whatwhere.data import read
from whatwhere.data.sketches import SEEN, Sketches, sketch
from whatwhere.evaluation import evaluate
from whatwhere.images import read_image, write_image
from whatwhere.images.appearance import tiny
from whatwhere.runtime import read_spec
from whatwhere.runtime.onnxwrite import with_metadata
from whatwhere.specs import SEEN_KEY, SPEC_KEY, DataSummary

Run = Callable[..., "object"]
TINT = {"red": (1.0, 0.3, 0.3), "green": (0.3, 1.0, 0.3), "blue": (0.3, 0.3, 1.0)}


def scene(seed: int, name: str) -> np.ndarray:
    """A picture with something to see, of the colour of its class."""
    rng = np.random.default_rng(seed)
    grid = rng.uniform(40, 255, (9, 11)).astype(np.float32)
    grey = cv2.resize(grid, (88, 72), interpolation=cv2.INTER_CUBIC)
    tinted = np.clip(grey[..., None] * np.array(TINT[name]), 0, 255)
    return np.asarray(tinted, np.uint8)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model trained on `data/train`; two of the six test pictures are near copies of it.

    One of them is of the wrong class, so that the model is right about five of six.
    """
    monkeypatch.chdir(tmp_path)
    rows = [("train", name, number) for name in TINT for number in range(4)]
    rows += [("test", name, number) for name in TINT for number in range(2)]
    for seed, (split, name, number) in enumerate(rows):
        file = tmp_path / "data" / split / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_image(file, scene(seed, name))
    for source, target in (("red/0", "red/0"), ("green/1", "blue/1")):
        image = read_image(tmp_path / "data" / "train" / f"{source}.png")
        smaller = cv2.resize(image, (60, 50), interpolation=cv2.INTER_AREA)
        write_image(tmp_path / "data" / "test" / f"{target}.png", np.asarray(smaller, np.uint8))
    remember(write_model(tmp_path / "run" / "model.onnx"), tmp_path / "data")
    return tmp_path


def remember(model: Path, data: Path, most: int = 100) -> Sketches:
    """Put fingerprints of the training pictures beside a model and into it, as training does."""
    train = read(data).split_named("train")
    bits = sketch(np.stack([tiny(read_image(path)) for path in train.paths]))
    seen = Sketches(bits, len(train), train.digest(), tuple(train.paths))
    spec = read_spec(model).model_copy(
        update={"data": DataSummary(digest=train.digest(), images=len(train), labels=len(train))}
    )
    entries = {SPEC_KEY: spec.model_dump_json(), SEEN_KEY: seen.to_text(most)}
    model.write_bytes(with_metadata(model.read_bytes(), entries, str(model)))
    (model.parent / SEEN).write_bytes(seen.to_file())
    return seen


def test_leaks_are_counted_named_and_the_number_without_them_given(run: Run, place: Path) -> None:
    outcome = run("evaluate", "run", "data", "--split", "test", "--quick", "--json")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    leaks = row["leaks"]
    assert (leaks["images"], leaks["leaked"], leaks["trained"], leaks["compared"]) == (6, 2, 12, 12)
    found = {pair["image"]: Path(pair["twin"]).parts[-3:] for pair in leaks["pairs"]}
    assert found == {
        "test/red/0.png": ("train", "red", "0.png"),
        "test/blue/1.png": ("train", "green", "1.png"),
    }
    assert row["accuracy"] == pytest.approx(5 / 6)
    assert leaks["without"]["accuracy"] == 1.0
    assert row["images"] == 6
    assert "2 of 6 pictures are nearly the same as pictures that the model was" in row["notes"][0]


def test_the_text_says_it(run: Run, place: Path) -> None:
    outcome = run("evaluate", "run", "data", "--split", "test", "--quick")
    assert "without them f1 is 1.0000 in place of 0." in outcome.err or (
        "without them accuracy is 1.0000 in place of 0.8333" in outcome.err
    )


def test_leaks_are_left_out_on_request(run: Run, place: Path) -> None:
    outcome = run("evaluate", "run", "data", "--split", "test", "--json", "--without-leaks")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert (row["images"], row["accuracy"]) == (4, 1.0)
    assert (row["leaks"]["leaked"], row["leaks"]["left_out"]) == (2, True)
    assert row["leaks"]["without"] is None
    assert "they are left out" in row["notes"][0]


def test_the_training_pictures_themselves(run: Run, place: Path) -> None:
    outcome = run("evaluate", "run", "data", "--split", "train", "--quick", "--json")
    (row,) = outcome.rows
    assert row["leaks"]["leaked"] == 12
    assert "how well it remembers, not how good it is" in row["notes"][0]
    outcome = run("evaluate", "run", "data", "--split", "train", "--without-leaks")
    assert outcome.status == 2
    assert "was trained on all 12 pictures" in outcome.err


def test_a_model_file_alone_knows_them_too(run: Run, place: Path) -> None:
    shutil.copy(place / "run" / "model.onnx", place / "alone.onnx")
    (row,) = run("evaluate", "alone.onnx", "data", "--split", "test", "--quick", "--json").rows
    assert row["leaks"]["leaked"] == 2
    assert [pair["twin"] for pair in row["leaks"]["pairs"]] == [None, None]


def test_a_sample_says_that_it_is_one(run: Run, place: Path) -> None:
    remember(place / "run" / "model.onnx", place / "data", most=6)
    shutil.copy(place / "run" / "model.onnx", place / "alone.onnx")
    (row,) = run("evaluate", "alone.onnx", "data", "--split", "train", "--quick", "--json").rows
    assert (row["leaks"]["compared"], row["leaks"]["trained"]) == (6, 12)
    assert row["leaks"]["leaked"] == 6
    assert "by a sample of 6 of its 12 training pictures" in row["notes"][0]


def test_fingerprints_of_another_run_beside_the_model_do_not_count(run: Run, place: Path) -> None:
    other = Sketches(np.zeros((1, 40), np.uint8), 1, "of other data", ("x.png",))
    (place / "run" / SEEN).write_bytes(other.to_file())
    (row,) = run("evaluate", "run", "data", "--split", "test", "--quick", "--json").rows
    assert (row["leaks"]["leaked"], row["leaks"]["trained"]) == (2, 12)


def test_damaged_fingerprints_are_said_and_the_rest_is_done(run: Run, place: Path) -> None:
    (place / "run" / SEEN).write_bytes(b"nothing")
    outcome = run("evaluate", "run", "data", "--split", "test", "--quick", "--json")
    (row,) = outcome.rows
    assert row["leaks"] is None
    assert row["accuracy"] == pytest.approx(5 / 6)
    assert any("seen.npz are damaged" in note for note in row["notes"])


def test_a_model_of_before_knows_nothing(run: Run, place: Path) -> None:
    write_model(place / "old.onnx")
    (row,) = run("evaluate", "old.onnx", "data", "--split", "test", "--quick", "--json").rows
    assert row["leaks"] is None
    assert not any("trained" in note for note in row["notes"])


def test_without_fingerprints_the_digest_still_tells(place: Path) -> None:
    model = write_model(place / "old.onnx")
    train = read(place / "data").split_named("train")
    spec = read_spec(model).model_copy(
        update={"data": DataSummary(digest=train.digest(), images=12, labels=12)}
    )
    entries = {SPEC_KEY: spec.model_dump_json()}
    model.write_bytes(with_metadata(model.read_bytes(), entries, "old"))
    result = evaluate(model, train)
    assert any("trained on these very pictures" in note for note in result.notes)


def test_saved_predictions_cannot_say_what_was_trained_on(run: Run, place: Path) -> None:
    outcome = run("predict", "data/test", "--model", "run", "--json")
    (place / "said.jsonl").write_text(outcome.out, "utf-8")
    outcome = run("evaluate", "--predictions", "said.jsonl", "--data", "data", "--without-leaks")
    assert outcome.status == 2
    assert "do not say what their model was trained on" in outcome.err


def test_splits_that_share_files_and_groups(run: Run, place: Path) -> None:
    shutil.copy(place / "data/train/blue/2.png", place / "data/test/blue/copy.png")
    (row,) = run("evaluate", "run", "data", "--split", "test", "--quick", "--json").rows
    (note,) = (note for note in row["notes"] if "other splits" in note)
    assert note.startswith(
        "1 pictures of the split test are in other splits, too (such as test/blue/copy.png,"
        " which is train/blue/2.png in train)"
    )
    said = run("predict", "data/test", "--model", "run", "--json").out
    (place / "said.jsonl").write_text(said, "utf-8")
    saved = ("evaluate", "--predictions", "said.jsonl", "--data", "data", "--split", "test")
    (row,) = run(*saved, "--json", "--samples", "0").rows
    assert note in row["notes"]
    (row,) = run(*saved, "--json", "--quick").rows
    assert note not in row["notes"]


def test_the_report_shows_the_pairs(run: Run, place: Path) -> None:
    outcome = run("evaluate", "run", "data", "--split", "test", "--report", "r.html")
    assert outcome.status == 0, outcome.err
    page = (place / "r.html").read_text("utf-8")
    assert "Pictures that the model was trained on" in page
    assert "test/blue/1.png" in page
    assert json.loads((place / "r.json").read_text("utf-8"))["leaks"]["leaked"] == 2
