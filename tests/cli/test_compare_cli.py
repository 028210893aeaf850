"""`whatwhere compare`: models, runs and saved predictions; conditions that fail; the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import Run, sentence
from factories import NAMES, picture, write_model
from whatwhere.images import write_image


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with 24 pictures in class folders, a good and a poor set of answers."""
    monkeypatch.chdir(tmp_path)
    good, poor = [], []
    for row in range(24):
        channel = row % 3
        file = Path("data", NAMES[channel], f"{row}.png")
        cells = [(a, b, channel) for a in range(2) for b in range(2)]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / file, picture(*cells))
        right, wrong = NAMES[channel], NAMES[(channel + 1) % 3]
        good.append(line(file, right, 0.9))
        poor.append(line(file, wrong if row < 12 else right, 0.8))
    for name, lines in (("good", good), ("poor", poor)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    write_model(tmp_path / "model.onnx", "classify")
    return tmp_path


def line(file: Path, name: str, score: float) -> str:
    return json.dumps({"image": str(file), "labels": [{"name": name, "score": score}]})


def test_saved_predictions(run: Run, place: Path) -> None:
    outcome = run("compare", "good.jsonl", "poor.jsonl", "data", "--samples", 200)
    assert outcome.status == 0
    assert "good.jsonl (A) and poor.jsonl (B) on data: 24 pictures, classify" in outcome.out
    assert "poor.jsonl is worse than good.jsonl: accuracy -0.5000" in outcome.out
    assert "pictures: 12 worse, 0 better, 0 otherwise, 12 as before" in outcome.out
    assert outcome.out.count("  worse: ") == 5
    assert "p corrected" in outcome.out


def test_json_has_everything(run: Run, place: Path) -> None:
    outcome = run("compare", "good.jsonl", "poor.jsonl", "--data", "data", "--json")
    assert outcome.status == 0
    (row,) = outcome.rows
    assert (row["task"], row["images"], row["first"]) == ("classify", 24, "good.jsonl")
    assert row["differences"]["accuracy"]["difference"] == -0.5
    assert row["differences"]["accuracy"]["p"] < 0.01
    assert set(row["per_class"]) == set(NAMES)
    # Four pictures of a class that all got worse: one of eight ways to swap them, either way.
    red = row["per_class"]["red"]["recall"]
    assert red["adjusted"] >= red["p"] == pytest.approx(2 / 16, abs=0.04)
    assert row["pictures"] == {"better": 0, "worse": 12, "otherwise": 0, "same": 12}
    assert row["worse"][0]["before"] == 0
    assert row["gates"] == []


def test_a_model_and_itself(run: Run, place: Path) -> None:
    outcome = run("compare", "model.onnx", "model.onnx", "data", "--json", "--samples", 50)
    assert outcome.status == 0
    (row,) = outcome.rows
    assert (row["first"], row["second"]) == ("model.onnx (A)", "model.onnx (B)")
    assert row["verdict"] == "model.onnx (A) and model.onnx (B) are equal in every number"
    assert {one["difference"] for one in row["differences"].values()} == {0}
    assert "split: all 24 pictures" in outcome.err


def test_a_model_against_saved_predictions(run: Run, place: Path) -> None:
    arguments = ("compare", "model.onnx", "poor.jsonl", "data", "--samples", 50, "--json")
    (row,) = run(*arguments).rows
    assert row["differences"]["accuracy"]["first"] == 1
    assert row["differences"]["accuracy"]["second"] == 0.5


@pytest.mark.parametrize(
    ("conditions", "status", "words"),
    [
        (["accuracy < -0.01"], 1, "failed: accuracy < -0.01 (it is -0.5000)"),
        (["accuracy.high < 0"], 1, "failed"),
        (["accuracy < -0.6", "f1.p > 0.5"], 0, "passed: f1.p > 0.5"),
        (["accuracy < -0.6", "recall[red] < -0.1"], 1, "failed: recall[red] < -0.1"),
    ],
)
def test_conditions(run: Run, place: Path, conditions: list[str], status: int, words: str) -> None:
    given = [text for condition in conditions for text in ("--fail-if", condition)]
    outcome = run("compare", "good.jsonl", "poor.jsonl", "data", "--samples", 100, *given)
    assert outcome.status == status
    assert words in outcome.out
    outcome = run("compare", "good.jsonl", "poor.jsonl", "data", "--json", *given)
    assert outcome.status == status
    assert [gate["gate"] for gate in outcome.rows[0]["gates"]] == conditions


def test_wrong_use(run: Run, place: Path) -> None:
    pair = ("compare", "good.jsonl", "poor.jsonl")
    sentence(run(*pair), "no data to compare good.jsonl and poor.jsonl on")
    sentence(run(*pair, "data", "--data", "data"), "named twice")
    sentence(run(*pair, "data", "--fail-if", "accuracy"), "cannot understand the condition")
    sentence(run(*pair, "data", "--fail-if", "AP < 0"), "the number 'AP'", "use accuracy")
    sentence(run("compare", "none.jsonl", "poor.jsonl", "data"), "none.jsonl")
    sentence(
        run("compare", "none.txt", "poor.jsonl", "data", "--predictions"), "none.txt does not exist"
    )
    sentence(run(*pair, "data", "--split", "tset"), "no split 'tset'")
    sentence(run(*pair, "data", "--groups", "patient"), "no column 'patient'")


def test_runs_are_compared_on_what_neither_trained_on(run: Run, place: Path) -> None:
    names = [path.relative_to(place / "data").as_posix() for path in place.glob("data/*/*.png")]
    names.sort()
    for name, kept in (("a", names[:16]), ("b", names[8:])):
        folder = write_model(place / "runs" / name / "model.onnx", "classify").parent
        (folder / "config.json").write_text(json.dumps({"data": str(place / "data")}))
        (folder / "validation.txt").write_text("\n".join(kept) + "\n")
    outcome = run("compare", "runs/a", "runs/b", "--samples", 20, "--json")
    assert outcome.status == 0
    assert (outcome.rows[0]["images"], outcome.rows[0]["first"]) == (8, "a")
    assert "(what runs/a was trained on)" in outcome.err.replace("\\", "/")
    (place / "runs" / "b" / "validation.txt").write_text("\n".join(names[16:]) + "\n")
    sentence(run("compare", "runs/a", "runs/b"), "no picture that neither", "--split all")
    outcome = run("compare", "runs/a", "runs/b", "--split", "all", "--samples", 20, "--json")
    assert outcome.rows[0]["images"] == 24


def test_models_of_equal_file_names_are_told_apart(run: Run, place: Path) -> None:
    for name in ("one", "two"):
        write_model(place / name / "model.onnx", "classify")
    arguments = ("compare", "one/model.onnx", "two/model.onnx", "data", "--samples", 20, "--json")
    (row,) = run(*arguments).rows
    assert (row["first"], row["second"]) == ("one", "two")


def test_boxes_and_the_page(run: Run, place: Path) -> None:
    """Two colours of objects; the second system misses all red ones."""
    records: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    records["categories"] = [{"id": k, "name": name} for k, name in enumerate(NAMES)]
    lines: dict[str, list[str]] = {"full": [], "blind": []}
    for row in range(12):
        name = f"{row}.png"
        write_image(place / "boxes" / name, picture((0, 0, row % 2), (2, 2, 2)))
        records["images"].append({"id": row, "file_name": name, "width": 64, "height": 64})
        objects = [(row % 2, [0, 0, 16, 16]), (2, [32, 32, 16, 16])]
        for channel, box in objects:
            number = len(records["annotations"])
            entry = {"id": number, "image_id": row, "category_id": channel, "bbox": box}
            records["annotations"].append(entry | {"area": 256, "iscrowd": 0})
        for system, kept in (("full", objects), ("blind", objects[row % 2 == 0 :])):
            rows = [
                {"name": NAMES[k], "score": 0.9, "box": [x, y, x + w, y + h]}
                for k, (x, y, w, h) in kept
            ]
            lines[system].append(json.dumps({"image": name, "objects": rows}))
    (place / "boxes.json").write_text(json.dumps(records))
    for system, text in lines.items():
        (place / f"{system}.txt").write_text("\n".join(text))
    outcome = run(
        "compare", "full.txt", "blind.txt", "boxes.json", "--images", "boxes", "--predictions",
        "--report", "page.html", "--samples", 200,
    )  # fmt: skip
    assert outcome.status == 0
    assert "blind.txt is worse than full.txt: AP -0.3333" in outcome.out
    assert "0.png: 0 mistakes, now 1; lost red" in outcome.out
    text = (place / "page.html").read_text("utf-8")
    assert "blind.txt against full.txt" in text
    assert text.count("data:image/jpeg") == 3 * 6
    assert "no longer found: red" in text
    assert "<script" not in text
    assert np.count_nonzero([word in text for word in ("Numbers", "Classes", "Pictures")]) == 3
