"""The command `whatwhere train`."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Run, sentence
from train_data import TINY, TINY_RESNET, classes_folder

QUICK = ("--epochs", 2, "--batch", 4, "--size", 32, "--set", "pretrained=false")
CLASSIFY = (*QUICK, "--backbone", TINY_RESNET)
DETECT = (*QUICK, "--backbone", TINY, "--set", "width_head=16")


def test_a_folder_of_classes(run: Run, tmp_path: Path) -> None:
    data = classes_folder(tmp_path / "data")
    out = tmp_path / "runs" / "colours"
    outcome = run("train", data, "--out", out, *CLASSIFY)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("accuracy ")
    assert "on the validation pictures, after" in lines[0]
    assert lines[1] == f"model   {out / 'model.onnx'}"
    assert lines[2] == f"report  {out / 'report.html'}"
    assert lines[3] == f"next    whatwhere evaluate {out}"
    notes = outcome.err.splitlines()
    assert notes[0].startswith("classify: 12 pictures to train on, 4 to validate, 2 classes")
    assert notes[1].startswith("2 of 2 classes have fewer than 10 labels to learn from")
    assert notes[2].startswith("epoch 1/2: accuracy ")
    assert "differs from torch by at most scores" in notes[-1]
    # The run can be used as it stands.
    answer = run("predict", data / "val" / "red" / "0.png", "--model", out, "--json")
    assert answer.status == 0, answer.err
    assert {label["name"] for label in answer.rows[0]["labels"]} <= {"red", "green"}
    result = run("evaluate", out, "--json")
    assert result.status == 0, result.err
    with (out / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_json(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    unused = ("--set", "queries=9", "--set", "dropout=0.1")
    outcome = run("train", shelves, "--out", out, "--json", "--seed", 3, *DETECT, *unused)
    assert outcome.status == 0, outcome.err
    said = "yolo-s does not use dropout, queries: leave out what has no effect"
    assert said in outcome.err.splitlines()
    (row,) = outcome.rows
    assert row["run"] == str(out)
    assert row["model"] == str(out / "model.onnx")
    assert row["epochs"] == 2
    assert 1 <= row["best_epoch"] <= 2
    assert 0 <= row["metrics"]["AP"] <= row["metrics"]["AP50"] <= 1
    assert row["parity"]["boxes"] <= 0.01
    assert row["parity"]["scores"] <= 1e-4
    settings = json.loads((out / "config.json").read_text("utf-8"))
    assert settings["seed"] == 3
    assert settings["width_head"] == 16
    # A second run may not take its place, and the first one can be gone on with.
    sentence(run("train", shelves, "--out", out, *DETECT), "--resume", str(out))
    again = run("train", "--resume", out, "--json")
    assert again.status == 0, again.err
    assert again.rows[0]["metrics"] == row["metrics"]


def test_multilabel_from_boxes(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = run("train", shelves, "--task", "multilabel", "--out", out, *CLASSIFY)
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("mAP ")
    answer = run("predict", next(shelves.rglob("*.jpg")), "--model", out, "--json")
    assert answer.status == 0, answer.err
    result = run("evaluate", out, "--data", shelves, "--split", "test", "--json")
    assert result.status == 0, result.err


def test_findings_in_the_data_are_told(run: Run, shelves: Path, tmp_path: Path) -> None:
    picture = sorted((shelves / "JPEGImages").glob("train*"))[3]
    picture.write_bytes(b"")
    outcome = run("train", shelves, "--out", tmp_path / "run", "--epochs", 1, *DETECT[2:])
    assert outcome.status == 0, outcome.err
    assert picture.name in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("data", "--resume")),
        (("DATA", "--resume", "RUN"), ("data", "--resume")),
        (("--resume", "RUN"), ("RUN", "no run to resume")),
        (("--resume", "RUN", "--epochs", "3"), ("--epochs", "--resume")),
        (("--resume", "RUN", "--set", "rate=1"), ("--set", "--resume")),
        (("--resume", "RUN", "--seed", "1"), ("--seed", "--resume")),
        (("RUN",), ("RUN",)),
        (("DATA", "--epochs", "1", "--budget", "1m"), ("epochs", "budget")),
        (("DATA", "--epochs", "1", "--backbone", "resnet81"), ("resnet81", "did you mean")),
        (("DATA", "--epochs", "1", "--task", "guess"), ("guess", "multilabel")),
        (("DATA", "--epochs", "1", "--format", "vco"), ("vco",)),
        (("DATA", "--epochs", "1", "--device", "tpu"), ("tpu", "cuda")),
        (("DATA", "--epochs", "1", "--size", "50"), ("size", "64")),
        (("DATA", "--epochs", "1", "--set", "zoom"), ("name=value", "zoom")),
        (("DATA", "--epochs", "1", "--set", "clip=0"), ("clip", "above 0")),
        (("DATA", "--epochs", "0"), ("epochs",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_misuse(
    arguments: tuple[str, ...], words: tuple[str, ...], run: Run, shelves: Path, tmp_path: Path
) -> None:
    places = {"DATA": str(shelves), "RUN": str(tmp_path / "nowhere")}
    out = () if "--resume" in arguments else ("--out", tmp_path / "out")
    outcome = run("train", *(places.get(word, word) for word in arguments), *out)
    sentence(outcome, *(places.get(word, word) for word in words))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    sentence(run("train", tmp_path / "data", "--out", tmp_path / "out"), str(tmp_path / "data"))
    assert not (tmp_path / "out").exists()


def test_the_help_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from whatwhere.cli import main; sys.exit(main(['train', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in ("--task", "--budget", "--resume", "--set", "--json"):
        assert option in done.stdout


def test_pictures_apart_from_their_labels(run: Run, shelves: Path, tmp_path: Path) -> None:
    labels, pictures = tmp_path / "labels", tmp_path / "pictures"
    assert run("data", "convert", shelves, labels, "--to", "coco").status == 0
    (labels / "images").rename(pictures)
    out = tmp_path / "run"
    outcome = run("train", labels, "--images", pictures, "--out", out, "--json", *DETECT)
    assert outcome.status == 0, outcome.err
    assert json.loads((out / "config.json").read_text("utf-8"))["images"] == str(pictures)
    # The run knows where both are.
    assert run("evaluate", out, "--json").status == 0
    sentence(run("train", labels, "--images", tmp_path / "nowhere"), "nowhere", "not a folder")
