"""`whatwhere explain`: what it prints, writes and ends with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from command_line import Run, sentence
from factories import CELL, NAMES, picture, write_model
from whatwhere.images import read_image, write_image

KEYS = {
    "image",
    "width",
    "height",
    "kind",
    "name",
    "score",
    "box",
    "method",
    "peak",
    "highest",
    "inside",
    "model",
    "drawing",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with two pictures and a tiny model of each kind."""
    monkeypatch.chdir(tmp_path)
    write_image("photos/1.png", picture((1, 1, 0)))
    write_image("photos/2.png", picture((0, 0, 1), (3, 3, 2)))
    for kind in ("classify", "detect"):
        write_model(Path(f"{kind}.onnx"), kind)
    return tmp_path


def test_json_lines(run: Run, here: Path) -> None:
    outcome = run("explain", "detect.onnx", "photos", "--json", "--most", "2")
    assert outcome.status == 0
    assert outcome.err == ""
    assert [row["name"] for row in outcome.rows] == ["red", "green", "blue"]
    first = outcome.rows[0]
    assert set(first) == KEYS
    assert first["box"] == [CELL, CELL, 2 * CELL, 2 * CELL]
    assert first["drawing"] is None
    assert all(CELL <= side <= 2 * CELL for side in first["peak"])
    assert not Path("explained").exists()


def test_drawings(run: Run, here: Path) -> None:
    outcome = run("explain", "detect.onnx", "photos", "--most", "2")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert len(lines) == 3
    assert "red 1.00" in lines[0]
    assert lines[0].endswith(str(Path("explained/1.png")))
    drawings = sorted(path.name for path in Path("explained").iterdir())
    assert drawings == ["1.png", "2-2.png", "2.png"]
    # Pictures of 64 pixels are enlarged fourfold.
    assert read_image("explained/1.png").shape == (256, 256, 3)
    again = run("explain", "detect.onnx", "photos/1.png", "--json", "--out", "there")
    assert Path(again.rows[0]["drawing"]).is_file()


def test_rise_and_a_class(run: Run, here: Path) -> None:
    options = ("--method", "rise", "--masks", "60", "--seed", "2", "--json", "--class", "red")
    (row,) = run("explain", "classify.onnx", "photos/1.png", *options).rows
    assert (row["method"], row["name"], row["kind"]) == ("rise", "red", "label")
    (same,) = run("explain", "classify.onnx", "photos/1.png", *options).rows
    assert row == same


def test_a_miss_can_be_asked_about(run: Run, here: Path) -> None:
    asked = ("--class", "red", "--box", "32,32,48,48", "--json")
    (row,) = run("explain", "detect.onnx", "photos/1.png", *asked).rows
    assert row["score"] == 0
    assert row["peak"] is None


def test_what_cannot_be_explained_goes_on(run: Run, here: Path) -> None:
    Path("photos/0.png").write_bytes(b"no picture")
    outcome = run("explain", "detect.onnx", "photos", "--class", "red", "--json")
    assert outcome.status == 1
    bad, good, none = outcome.rows
    assert set(bad) == set(none) == {"image", "error"}
    assert "does not find red" in none["error"]
    assert good["name"] == "red"
    words = run("explain", "detect.onnx", "photos", "--class", "red")
    assert words.status == 1
    assert len(words.out.splitlines()) == 1
    assert words.err.count("whatwhere: ") == 2


def test_a_check(run: Run, here: Path) -> None:
    rows = []
    for number in range(6):
        write_image(f"data/{number}.png", picture((number % 4, number // 2, number % 3)))
        box = [CELL * (number // 2), CELL * (number % 4), CELL, CELL]
        rows.append({"id": number, "image_id": number, "category_id": number % 3, "bbox": box})
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(6)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": rows,
    }
    Path("data/labels.json").write_text(json.dumps(document), encoding="utf-8")
    arguments = ("explain", "detect.onnx", "--check", "data/labels.json", "--pictures")
    outcome = run(*arguments, "6", "--json")
    assert outcome.status == 0, outcome
    (found,) = outcome.rows
    assert found["good"] is True
    assert found["images"] == 6
    assert found["pointing"]["value"] == 1
    assert found["deletion_gain"]["low"] > 0
    table = run(*arguments, "6")
    assert "better than chance" in table.out
    assert "insertion_gain" in table.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("detect.onnx",), "no picture was named"),
        (("detect.onnx", "photos", "--method", "lime"), "unknown method 'lime'"),
        (("detect.onnx", "photos", "--method", "hirescam"), "not the folder of a finished run"),
        (("detect.onnx", "photos", "--class", "pink"), "unknown class 'pink'"),
        (("detect.onnx", "photos", "--box", "1,2,3,4"), "add  --class NAME"),
        (("detect.onnx", "photos", "--class", "red", "--box", "1,2"), "X1,Y1,X2,Y2"),
        (("detect.onnx", "photos", "--class", "red", "--box", "1,2,1,9"), "is empty"),
        (("detect.onnx", "photos", "--out", "photos"), "choose another folder"),
        (("none.onnx", "photos"), "no model 'none.onnx'"),
        (("detect.onnx", "photos", "--check", "photos"), "draws its own pictures"),
        (("detect.onnx", "--check", "gone"), "gone"),
    ],
)
def test_wrong_calls(options: tuple[str, ...], words: str, run: Run, here: Path) -> None:
    if "hirescam" in options:
        pytest.importorskip("torch")
    sentence(run("explain", *options), words)


def test_without_torch_gradients_say_what_to_install(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("whatwhere.train")]:
        monkeypatch.delitem(sys.modules, name)
    outcome = run("explain", "detect.onnx", "photos", "--method", "gradcam")
    sentence(outcome, "pip install 'whatwhere[train]'")


def test_json_is_one_object_a_line(run: Run, here: Path) -> None:
    outcome = run("explain", "classify.onnx", "photos", "--json")
    assert [json.loads(line)["kind"] for line in outcome.out.splitlines()] == ["label", "label"]
