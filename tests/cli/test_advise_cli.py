"""`whatwhere advise`: the recommendation as words and as JSON, with and without training."""

from pathlib import Path

import pytest

from command_line import Run, sentence


def test_boxes(run: Run, shelves: Path) -> None:
    outcome = run("advise", shelves, "--no-latency")
    assert outcome.status == 0
    assert "20 pictures, detect" in outcome.out
    assert "-> detect" in outcome.out
    assert "train object detection (--task detect): " in outcome.out.replace("\n", " ")
    assert f"next    whatwhere train {shelves} --task detect" in outcome.out
    assert "assumed: 3 s a label and 10 s a box" in outcome.out
    assert "note: 3 of 3 classes are in fewer than 20 pictures" in outcome.err


def test_json(run: Run, shelves: Path) -> None:
    arguments = ("advise", shelves, "--json", "--no-latency", "--seconds-per-box", 20)
    outcome = run(*arguments, "--need", "what")
    assert outcome.status == 0
    (row,) = outcome.rows
    assert (row["recommended"], row["images"]) == ("multilabel", 20)
    facts, ways = row["needs"], row["ways"]
    assert ways["detect"]["labelling"]["hours"] == pytest.approx(facts["boxes"] * 20 / 3600)
    assert ways["classify"]["labelling"]["seconds"] == 3
    assert row["assumptions"][0].startswith("3 s a label and 20 s a box")
    assert run(*arguments, "--need", "where").rows[0]["recommended"] == "detect"


def test_latency_is_shown(run: Run, shelves: Path) -> None:
    outcome = run("advise", shelves, "--json")
    way = outcome.rows[0]["ways"]["detect"]
    assert way["latency"]["model"] == "objects-lite"
    assert way["latency"]["ms"] > 0


def test_wrong_use(run: Run, shelves: Path) -> None:
    sentence(run("advise", shelves, "--need", "why"), "unknown need 'why'", "what, count, where")
    sentence(run("advise", shelves, "--budget", "2m"), "--budget is for training: add  --train")
    sentence(run("advise", shelves, "--seconds-per-label", 0), "must be more than 0")
    sentence(run("advise", "nowhere"), "nowhere does not exist")
    sentence(run("advise", shelves, "--train", "--set", "epochs"), "--set takes name=value")


def test_training_both_ways(run: Run, shelves: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    quick = {
        "backbone": "test_efficientnet",
        "pretrained": "false",
        "width_head": "16",
        "size": "32",
        "epochs": "1",
        "batch": "4",
        "precision": "32-true",
        "previews": "0",
    }
    settings = [text for pair in quick.items() for text in ("--set", "=".join(pair))]
    arguments = ("advise", shelves, "--train", "--out", tmp_path / "runs", "--no-latency")
    outcome = run(*arguments, *settings, "--json")
    assert outcome.status == 0, outcome.err
    made = outcome.rows[0]["trials"]
    assert [one["task"] for one in made["models"]] == ["multilabel", "detect"]
    assert made["images"] == 4
    assert (tmp_path / "runs" / "detect" / "model.onnx").is_file()
    assert "training multilabel" in outcome.err
