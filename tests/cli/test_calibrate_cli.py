"""The command `calibrate`: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calibrated_photos import photos
from command_line import Run, sentence
from factories import NAMES, model_bytes, spec_of
from whatwhere.runtime import read_spec


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with models and labelled pictures."""
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "data", 80, 3, "classify").write(tmp_path / "folders", format="folders")
    photos(tmp_path / "boxes", 60, 3, "detect")
    for kind in ("classify", "detect"):
        (tmp_path / f"{kind}.onnx").write_bytes(model_bytes(kind, spec=spec_of(kind)))
    return tmp_path


def test_a_table_is_printed_and_nothing_is_written(run: Run, place: Path) -> None:
    before = (place / "classify.onnx").read_bytes()
    outcome = run("calibrate", "classify.onnx", "folders", "--abstain", "risk=0.2")
    assert outcome.status == 0
    assert "tiny-classify on " in outcome.out
    for words in ("temperature", "before", "after", "log_loss", "not sure: "):
        assert words in outcome.out
    assert "nothing is written: add  --out FILE  or  --in-place" in outcome.err
    assert (place / "classify.onnx").read_bytes() == before


def test_the_file_that_is_written_is_used(run: Run, place: Path) -> None:
    outcome = run(
        *("calibrate", "classify.onnx", "folders", "--conformal", "aps=0.8"),
        *("--abstain", "risk=0.2", "--out", "new.onnx", "--json"),
    )
    assert outcome.status == 0
    (row,) = outcome.rows
    assert set(row) >= {
        *("task", "images", "method", "before", "after", "answers", "classes", "per_1000"),
        *("abstain", "conformal", "risk_coverage", "failed", "notes", "model", "data", "split"),
        *("out", "unreadable"),
    }
    assert (row["images"], row["method"], row["out"]) == (80, "temperature", "new.onnx")
    assert len(row["risk_coverage"]) == 100
    spec = read_spec(place / "new.onnx")
    assert row["answers"] == spec.answers.model_dump(mode="json")
    pictures = sorted(str(path) for path in (place / "folders").rglob("*.png"))
    found = run("predict", *pictures, "--model", "new.onnx", "--json").rows
    unsure = [one for one in found if one["unsure"]]
    assert 0 < len(unsure) < 80
    assert all(one["labels"] == [] for one in unsure)
    assert all(set(one["label_set"]) <= set(NAMES) for one in found)
    assert "not sure" in run("predict", unsure[0]["image"], "--model", "new.onnx").out
    shown = run("predict", unsure[0]["image"], "--model", "new.onnx", "--threshold", "0", "--json")
    assert shown.rows[0]["labels"]
    # Saved answers are read again as they were.
    (place / "answers.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))
    scored = run("evaluate", "--predictions", "answers.jsonl", "--data", "folders", "--json")
    assert scored.status == 0
    lines = run("models", "show", "new.onnx").out
    for words in ("temperature ", "not sure below ", "sets of classes ", "calibrated on "):
        assert words in lines


def test_in_place_and_what_is_out_of_reach(run: Run, place: Path) -> None:
    data = ("detect.onnx", "boxes/labels.json", "--images", "boxes")
    outcome = run("calibrate", *data, "--for", "cost=1,2", "--in-place")
    assert outcome.status == 0
    assert "written: detect.onnx" in outcome.err
    assert "wrong and missed in 1,000 pictures" in " ".join(outcome.out.split())
    spec = read_spec(place / "detect.onnx")
    assert set(spec.maps) == set(spec.thresholds) == set(NAMES)
    risk = ("--abstain", "risk=0.0001", "--confidence", "0.99")
    outcome = run("calibrate", "classify.onnx", "folders", *risk, "--json")
    (row,) = outcome.rows
    assert outcome.status == 1
    assert "no score keeps the share of wrong answers at 0.0001" in row["failed"][0]
    assert f"not reached: {row['failed'][0]}" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "a.onnx", "--in-place"), "two places"),
        (("--abstain", "0"), "write risk=0.05"),
        (("--abstain", "chance=0.1"), "write risk=0.05"),
        (("--conformal", "two"), "write lac=0.05 or aps=0.05"),
        (("--for", "recall"), "precision=0.9"),
        (("--split", "nowhere"), "nowhere"),
        (("--confidence", "0.9"), "ask for abstaining"),
    ],
)
def test_mistakes_are_one_sentence(
    run: Run, place: Path, options: tuple[str, ...], words: str
) -> None:
    sentence(run("calibrate", "classify.onnx", "folders", *options), words)


def test_models_that_cannot_be_written(run: Run, place: Path) -> None:
    sentence(run("calibrate", "imagenet-lite0", "folders", "--in-place"), "comes with the package")
    sentence(run("calibrate", "absent.onnx", "folders"), "absent.onnx")
