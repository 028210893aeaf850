"""The command `evaluate`: what it prints, what it chooses by itself, how it ends."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colour_model import write_model
from command_line import sentence
from whatwhere.images import write_image

Run = Callable[..., "object"]
COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write_data(folder: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Class folders of plain pictures, two a class and split; one test picture lies."""
    for split in splits:
        for name, colour in COLOURS.items():
            for row in range(2):
                shown = COLOURS["red"] if (split, name, row) == ("test", "blue", 1) else colour
                image = np.full((12, 12, 3), shown, dtype=np.uint8)
                place = folder / split / name / f"{row}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                write_image(place, image)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a model and data in it."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.onnx")
    write_data(tmp_path / "data")
    return tmp_path


def test_the_table_shows_numbers_and_classes_and_says_the_split(run: Run, place: Path) -> None:
    outcome = run("evaluate", "model.onnx", "data", "--quick")
    assert outcome.status == 0
    assert "colours on data, split test: 6 pictures, classify" in outcome.out
    assert "0.8333" in outcome.out
    for name in ("accuracy", "top5", "precision", "recall", "f1", "red", "green", "blue"):
        assert name in outcome.out
    split, note = outcome.err.splitlines()
    assert split == "split: test (6 of 18 pictures)"
    # The pictures of one colour are the same file in every split.
    assert note.startswith("note: 6 pictures of the split test are in other splits, too")


def test_json_is_one_object_with_the_promised_keys(run: Run, place: Path) -> None:
    outcome = run("evaluate", "model.onnx", "--data", "data", "--split", "test", "--json")
    assert outcome.status == 0
    assert outcome.err == ""
    (row,) = outcome.rows
    assert (row["task"], row["images"]) == ("classify", 6)
    assert row["accuracy"] == pytest.approx(5 / 6)
    assert set(row) >= {"top5", "precision", "recall", "f1", "per_class", "notes"}
    assert row["per_class"]["blue"]["recall"] == 0.5


def test_the_split_is_test_else_val_else_all(run: Run, place: Path) -> None:
    write_data(place / "two", ("train", "val"))
    write_data(place / "one", ("train",))
    outcome = run("evaluate", "model.onnx", "two", "--json")
    assert (outcome.rows[0]["split"], outcome.rows[0]["images"]) == ("val", 6)
    assert "split: val" in outcome.err
    outcome = run("evaluate", "model.onnx", "one", "--json")
    assert (outcome.rows[0]["split"], outcome.rows[0]["images"]) == (None, 6)
    assert "split: all 6 pictures" in outcome.err
    outcome = run("evaluate", "model.onnx", "data", "--split", "all", "--json")
    assert outcome.rows[0]["images"] == 18


def test_the_newest_run_is_taken_on_its_own_data(run: Run, place: Path) -> None:
    for age, name in enumerate(("new", "old")):
        model = write_model(place / "runs" / name / "model.onnx")
        os.utime(model, (1e9 - age, 1e9 - age))
        settings = {"data": str(place / "data"), "format": "folders"}
        (model.parent / "config.json").write_text(json.dumps(settings))
    (place / "runs" / "unfinished").mkdir()
    outcome = run("evaluate", "--split", "test", "--json")
    assert outcome.status == 0
    assert outcome.rows[0]["accuracy"] == pytest.approx(5 / 6)
    assert f"model: {Path('runs', 'new')} (the newest run)" in outcome.err
    assert f"data: {place / 'data'} (what the run was trained on)" in outcome.err
    outcome = run("evaluate", Path("runs", "old"), "--json")
    assert outcome.rows[0]["split"] == "test"


def test_what_a_run_does_not_say_is_asked_for(run: Run, place: Path) -> None:
    def fails(*arguments: object, words: str) -> None:
        outcome = run("evaluate", *arguments)
        assert outcome.status == 2
        assert outcome.out == ""
        assert words in outcome.err

    fails(words="there is no finished run")
    folder = write_model(place / "runs" / "a" / "model.onnx").parent
    fails(words="config.json does not say what data was used: name it, as DATA")
    (folder / "config.json").write_text("{")
    fails(words="does not say what data")
    (folder / "config.json").write_text('{"data": "gone"}')
    fails(words="was trained on gone, which is not there")
    fails("model.onnx", words="no data to score model.onnx on")
    fails("model.onnx", "data", "--data", "data", words="named twice")
    fails("model.onnx", "data", "--split", "tset", words="no split 'tset', only train, val, test")
    fails("model.onnx", "nowhere", words="nowhere does not exist")
    fails("nowhere.onnx", "data", words="nowhere.onnx")
    fails("model.onnx", "data", "--task", "detect", words="task")
    fails("model.onnx", "data", "--backend", "magic", words="magic")


def test_unreadable_pictures_end_in_status_1(run: Run, place: Path) -> None:
    (place / "data" / "test" / "red" / "0.png").write_bytes(b"\x89PNG broken")
    outcome = run("evaluate", "model.onnx", "data", "--json")
    assert outcome.status == 1
    assert len(outcome.rows[0]["unreadable"]) == 1
    assert outcome.rows[0]["accuracy"] == pytest.approx(4 / 6)
    outcome = run("evaluate", "model.onnx", "data")
    assert outcome.status == 1
    assert "note: 1 of 6 pictures cannot be read" in outcome.err


def test_a_report_is_written(run: Run, place: Path) -> None:
    outcome = run("evaluate", "model.onnx", "data", "--report", "report.html")
    assert outcome.status == 0
    assert "report: report.html" in outcome.err
    text = (place / "report.html").read_text("utf-8")
    assert "Confusion matrix" in text
    assert "colours" in text


def test_saved_predictions(run: Run, place: Path) -> None:
    lines = [
        {"image": f"data/test/{name}/{row}.png", "labels": [{"name": name, "score": 0.9}]}
        for name in COLOURS
        for row in range(2)
    ]
    (place / "answers.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ("evaluate", "--predictions", "answers.jsonl")
    outcome = run(*arguments, "--data", "data", "--split", "test", "--json")
    assert outcome.status == 0
    assert outcome.rows[0]["accuracy"] == 1
    assert outcome.rows[0]["model"] is None
    assert run(*arguments, "data", "--split", "test", "--json").rows == outcome.rows
    whole = run(*arguments, "--data", "data", "--json").rows[0]
    assert (whole["images"], whole["accuracy"]) == (18, pytest.approx(1 / 3))
    assert "12 of 18 pictures have no line" in whole["notes"][0]


def test_saved_predictions_need_data_and_no_model(run: Run, place: Path) -> None:
    (place / "answers.jsonl").write_text('{"image": "data/test/red/0.png"}\nnot json\n')
    for arguments, words in (
        ((), "add  --data PATH"),
        (("model.onnx", "--data", "data"), "leave the model out"),
        (("--data", "data"), "answers.jsonl:2 is not a JSON object"),
    ):
        outcome = run("evaluate", "--predictions", "answers.jsonl", *arguments)
        assert outcome.status == 2
        assert words in outcome.err
    outcome = run("evaluate", "--predictions", "none.jsonl", "--data", "data")
    assert outcome.status == 2
    assert "none.jsonl does not exist" in outcome.err


def test_golden_coco_numbers(run: Run, shared: Path) -> None:
    folder = shared / "coco_eval"
    outcome = run(
        "evaluate",
        "--predictions",
        folder / "instances_val2014_fakebbox100_results.json",
        "--data",
        folder / "sampled_gts_bbox_area.json",
        "--json",
    )
    assert outcome.status == 0
    (row,) = outcome.rows
    assert (row["task"], row["images"]) == ("detect", 100)
    assert round(row["AP"], 4) == 0.5036
    assert round(row["ARl"], 4) == 0.5537


def test_only_what_a_run_held_out(place: Path, run: Run) -> None:
    write_data(place / "all", ("train",))
    for folder in (place / "all" / "train").iterdir():
        folder.rename(place / "all" / folder.name)
    (place / "all" / "train").rmdir()
    folder = write_model(place / "runs" / "one" / "model.onnx").parent
    (folder / "config.json").write_text(json.dumps({"data": str(place / "all"), "format": None}))
    (folder / "validation.txt").write_text("red/0.png\nblue/1.png\n")
    outcome = run("evaluate", "runs/one", "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["images"] == 2
    assert "only the 2 pictures of 6 that the run did not train on" in outcome.err
    everything = run("evaluate", "runs/one", "--json", "--split", "all")
    assert json.loads(everything.out)["images"] == 6


def test_a_list_of_held_out_pictures_that_are_gone(place: Path, run: Run) -> None:
    write_data(place / "all", ("train",))
    folder = write_model(place / "runs" / "one" / "model.onnx").parent
    settings = {"data": str(place / "all" / "train"), "format": None}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "validation.txt").write_text("red/99.png\n")
    outcome = run("evaluate", "runs/one", "--json")
    assert json.loads(outcome.out)["images"] == 6


def test_a_list_of_likely_label_errors(run: Run, place: Path) -> None:
    outcome = run("evaluate", "model.onnx", "data", "--relabel", "again/relabel.json", "--json")
    assert outcome.status == 0, outcome.err
    assert "relabel: again/relabel.json, " in outcome.err
    assert json.loads((place / "again" / "relabel.json").read_text("utf-8"))


def test_how_intervals_are_made(run: Run, place: Path) -> None:
    without = run("evaluate", "model.onnx", "data", "--json", "--samples", "0").rows[0]
    assert without["intervals"] == {}
    assert without["further"]["balanced_accuracy"] is not None
    quick = run("evaluate", "model.onnx", "data", "--json", "--quick").rows[0]
    assert "further" not in quick
    assert quick["accuracy"] == without["accuracy"]
    sentence(run("evaluate", "model.onnx", "data", "--quick", "--groups", "group"), "--quick")
    sentence(run("evaluate", "model.onnx", "data", "--groups", "film"), "no column 'film'")
    sentence(run("evaluate", "model.onnx", "data", "--protocol", "voc"), "protocols are for boxes")
