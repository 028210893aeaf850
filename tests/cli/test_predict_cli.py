"""`whatwhere predict`: what it prints, writes and ends with."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command_line import Run, sentence
from factories import CELL, picture, write_model
from whatwhere.images import read_image, write_image

COMMAND = (sys.executable, "-c", "from whatwhere.cli import entry; entry()")
KEYS = {"image", "width", "height", "labels", "objects", "model", "ms"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with three pictures and a tiny model of each kind."""
    monkeypatch.chdir(tmp_path)
    write_image("photos/1.png", picture((1, 1, 0)))
    double = picture((0, 0, 1), (3, 3, 2)).repeat(2, axis=0).repeat(2, axis=1)
    write_image("photos/2.png", double)
    write_image("photos/deep/3 é.jpg", picture())
    for kind in ("classify", "multilabel", "detect", "both"):
        write_model(Path(f"{kind}.onnx"), kind)
    return tmp_path


def test_json_lines(run: Run, here: Path) -> None:
    outcome = run("predict", "photos", "--model", "both.onnx", "--json")
    assert outcome.status == 0
    assert outcome.err == ""
    first, second, third = outcome.rows
    assert all(set(row) == KEYS for row in outcome.rows)
    names = ["1.png", "2.png", "3 é.jpg"]
    assert [Path(row["image"]).name for row in outcome.rows] == names
    assert [row["name"] for row in first["objects"]] == ["red"]
    assert first["objects"][0]["box"] == [CELL, CELL, 2 * CELL, 2 * CELL]
    assert first["labels"][0]["name"] == "reddish"
    assert (second["width"], second["height"]) == (128, 128)
    assert third["objects"] == []


def test_a_table(run: Run, here: Path) -> None:
    outcome = run("predict", "photos/1.png", "photos/deep", "--model", "detect.onnx")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith("photos/1.png  64 x 64, ")
    assert lines[1].split() == ["where", "red", "100", "%", "16", "16", "32", "32"]
    assert "nothing above the threshold" in outcome.out
    assert run("predict", "photos/1.png", "--model", "classify.onnx").out.count("%") == 2


def test_an_unreadable_picture(run: Run, here: Path) -> None:
    Path("photos/0.png").write_bytes(b"no picture")
    outcome = run("predict", "photos", "--model", "detect.onnx", "--json")
    assert outcome.status == 1
    assert outcome.err == ""
    assert set(outcome.rows[0]) == {"image", "error"}
    assert len(outcome.rows) == 4
    outcome = run("predict", "photos", "--model", "detect.onnx", "--save", "out")
    assert outcome.status == 1
    assert "photos/0.png" not in outcome.out
    assert outcome.err.startswith("whatwhere: photos/0.png")
    assert len(list(Path("out").rglob("*.*g"))) == 3


def test_threshold_and_top(run: Run, here: Path) -> None:
    def count(kind: str, *options: str) -> tuple[int, int]:
        (row,) = run("predict", "photos/1.png", "--model", f"{kind}.onnx", "--json", *options).rows
        return len(row["labels"]), len(row["objects"])

    assert count("both") == (2, 1)
    assert count("both", "--threshold", "0") == (2, 16)
    assert count("classify", "--top", "1") == (1, 0)
    assert count("classify", "--top", "3") == (3, 0)
    assert count("multilabel", "--threshold", "0") == (3, 0)
    assert count("multilabel", "--threshold", "0", "--top", "2") == (2, 0)


def test_top_holds_for_the_pair(run: Run, here: Path) -> None:
    from whatwhere.cli import predict as command
    from whatwhere.runtime import load
    from whatwhere.runtime.cascade import Pair

    detector, classifier = load("detect.onnx"), load("classify.onnx")
    fits = {name: frozenset({"red"}) for name in classifier.spec.names}
    pair = Pair(detector, classifier, fits)  # type: ignore[arg-type]
    three = command._with_top(pair, 3).predict(picture((1, 1, 0)), threshold=0)
    assert len(three.label_names) == 3


def test_annotated_pictures(run: Run, here: Path) -> None:
    outcome = run("predict", "photos", "--model", "detect.onnx", "--save", "out")
    assert outcome.status == 0
    assert "annotated pictures: out" in outcome.err
    saved = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.*g")}
    assert saved == {"1.png", "2.png", "deep/3 é.jpg"}
    # 64 x 64 is enlarged fourfold; the red cell is still red inside, its outline is not.
    drawn = read_image("out/1.png")
    assert drawn.shape == (256, 256, 3)
    assert tuple(drawn[96, 96]) == (255, 0, 0)
    before = {path: path.read_bytes() for path in Path("out").rglob("*.*g")}
    assert run("predict", ".", "--model", "detect.onnx", "--save", "out").status == 0
    assert set(before) < set(Path("out").rglob("*.*g"))
    assert not list(Path("out").rglob("out"))


def test_a_source_is_never_overwritten(run: Run, here: Path) -> None:
    whole = Path("photos/1.png").read_bytes()
    for source in ("photos", "photos/1.png", "photos/deep"):
        outcome = run("predict", source, "--model", "detect.onnx", "--save", "photos")
        sentence(outcome, "choose another folder")
    sentence(run("predict", "photos/*.png", "--model", "detect.onnx", "--save", "photos"), "photos")
    assert Path("photos/1.png").read_bytes() == whole


@pytest.mark.parametrize("options", [("--out", "a.csv"), ("--format", "csv", "--out", "a.txt")])
def test_csv_in_a_file(options: tuple[str, ...], run: Run, here: Path) -> None:
    outcome = run("predict", "photos", "--model", "detect.onnx", *options)
    assert outcome.status == 0
    assert outcome.out == ""
    assert f"results: {options[-1]}" in outcome.err
    with Path(options[-1]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["red", "green", "blue", ""]


def test_formats_on_stdout(run: Run, here: Path) -> None:
    arguments = ("predict", "photos/1.png", "--model", "detect.onnx")
    assert run(*arguments, "--format", "csv").out.startswith("image,width,height,name")
    document = json.loads(run(*arguments, "--format", "coco").out)
    assert document["annotations"][0]["bbox"] == [16, 16, 16, 16]
    assert run(*arguments, "--format", "jsonl").rows[0]["objects"][0]["name"] == "red"
    both = run(*arguments, "--json", "--out", "a.jsonl")
    assert both.out == Path("a.jsonl").read_text(encoding="utf-8")


def test_coco_results_with_the_ids_of_a_data_set(run: Run, here: Path) -> None:
    document = {
        "images": [{"id": 5, "file_name": "1.png"}],
        "categories": [{"id": 3 * k, "name": name} for k, name in enumerate(("blue", "red"), 1)],
    }
    Path("ids.json").write_text(json.dumps(document), encoding="utf-8")
    arguments = ("predict", "photos/1.png", "--model", "detect.onnx", "--ids", "ids.json")
    sentence(run(*arguments), "--format coco")
    sentence(run(*arguments, "--format", "coco", "--out", "r.json"), "green", "ids.json")
    assert not Path("r.json").exists()
    document["categories"] = [*document["categories"], {"id": 1, "name": "green"}]
    Path("ids.json").write_text(json.dumps(document), encoding="utf-8")
    assert run(*arguments, "--format", "coco", "--out", "r.json").status == 0
    (row,) = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert (row["image_id"], row["category_id"]) == (5, 6)


def test_an_old_result_stays_when_a_new_one_fails(run: Run, here: Path) -> None:
    Path("r.json").write_text("old", encoding="utf-8")
    Path("ids.json").write_text(json.dumps({"images": [], "categories": []}), encoding="utf-8")
    options = ("--format", "coco", "--out", "r.json", "--ids", "ids.json")
    sentence(run("predict", "photos", "--model", "detect.onnx", *options), "ids.json")
    assert Path("r.json").read_text(encoding="utf-8") == "old"
    assert not [path for path in here.iterdir() if path.name.startswith(".r")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "xml"), "choose one of jsonl, csv, coco"),
        (("--out", "a.json"), "--format jsonl or csv or coco"),
        (("--json", "--format", "csv"), "add  --out FILE"),
        (("--format", "coco", "--model", "classify.onnx"), "finds none"),
        (("--threshold", "1.5"), "threshold must be in 0..1"),
        (("--backend", "tpu"), "unknown backend 'tpu'"),
        (("--model", "gone.onnx"), "no model 'gone.onnx'"),
        (("--model", "photos"), "has no model.onnx"),
        (("--model", "photos/1.png"), "photos/1.png"),
        (("--top", "0"), "--top"),
        (("--batch", "0"), "--batch"),
        (("--threads", "0"), "--threads"),
        (("--max-pixels", "0"), "--max-pixels"),
        (("--save", "classify.onnx"), "is not a folder"),
    ],
)
def test_wrong_options(options: tuple[str, ...], words: str, run: Run, here: Path) -> None:
    model = () if "--model" in options else ("--model", "detect.onnx")
    sentence(run("predict", "photos", *model, *options), words)


@pytest.mark.parametrize("backend", ["auto", "onnxruntime", "openvino"])
def test_backends_agree(backend: str, run: Run, here: Path) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    arguments = ("predict", "photos", "--model", "both.onnx", "--json", "--threads", "1")
    expected = run(*arguments).rows
    rows = run(*arguments, "--backend", backend, "--batch", "2").rows
    for row, other in zip(rows, expected, strict=True):
        assert row["objects"] == other["objects"]
        scores = [[label["score"] for label in one["labels"]] for one in (row, other)]
        assert np.allclose(*scores, atol=1e-5)


def test_a_missing_backend_says_what_installs_it(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    outcome = run("predict", "photos", "--model", "both.onnx", "--backend", "openvino")
    sentence(outcome, "whatwhere[openvino]")


def test_a_picture_is_read_once_also_where_it_is_drawn(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whatwhere.outputs import results

    def write(self: results.JsonLines, item: object) -> None:
        Path("photos/1.png").unlink()

    monkeypatch.setattr(results.JsonLines, "write", write)
    outcome = run("predict", "photos/1.png", "--model", "both.onnx", "--json", "--save", "out")
    assert outcome.status == 0
    assert [path.name for path in Path("out").iterdir()] == ["1.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_name_that_is_no_text(here: Path) -> None:
    name = os.fsdecode(b"photos/\xff\xfe.png")
    shutil.copy("photos/1.png", name)
    for options in (("--json",), (), ("--format", "csv"), ("--save", "out")):
        done = subprocess.run(
            [*COMMAND, "predict", name, "--model", "detect.onnx", *options],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"red" in done.stdout
    assert len(list(Path("out").iterdir())) == 1


def test_predicting_loads_nothing_heavy(here: Path) -> None:
    code = (
        "import sys\nfrom whatwhere.cli import main\n"
        "status = main(['predict', 'photos', '--model', 'both.onnx', '--json'])\n"
        "heavy = {'torch', 'polars', 'openvino', 'rich.table', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
