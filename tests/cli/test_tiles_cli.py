"""`--tile`, `--merge` and `--suppress` in predict and evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whatwhere as ww
from command_line import Run
from factories import spec_of, write_model
from whatwhere.images import write_image
from whatwhere.specs import SeenObjects

SPOTS = ((16, 16, 0), (64, 72, 1), (80, 144, 2))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture of 176 x 112 pixels with three spots, as a COCO data set, and a model of 64."""
    monkeypatch.chdir(tmp_path)
    image = np.zeros((112, 176, 3), np.uint8)
    for y, x, channel in SPOTS:
        image[y : y + 16, x : x + 16, channel] = 255
    write_image("data/a.png", image)
    boxes = [
        {"id": n, "image_id": 1, "category_id": channel, "bbox": [x, y, 16, 16], "area": 256}
        for n, (y, x, channel) in enumerate(SPOTS, 1)
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 176, "height": 112}],
        "annotations": [row | {"iscrowd": 0} for row in boxes],
        "categories": [{"id": n, "name": name} for n, name in enumerate(("red", "green", "blue"))],
    }
    Path("data/labels.json").write_text(json.dumps(document))
    write_model(tmp_path / "model.onnx", "detect")
    return tmp_path


TILES = ("--tile", "64", "--tile-overlap", "0")


def test_tiles_find_what_is_small(run: Run, here: Path) -> None:
    plain = run("predict", "data/a.png", "--model", "model.onnx", "--json")
    tiled = run("predict", "data/a.png", "--model", "model.onnx", "--json", *TILES)
    assert len(plain.rows[0]["objects"]) < 3
    assert sorted(row["name"] for row in tiled.rows[0]["objects"]) == ["blue", "green", "red"]
    for merge in ("nms", "nmm", "greedy-nmm"):
        more = ("--merge", merge, *(("--merge-metric", "iou") if merge != "nms" else ()))
        merged = run("predict", "data/a.png", "--model", "model.onnx", "--json", *TILES, *more)
        assert len(merged.rows[0]["objects"]) >= 3
    wanted = ww.load("model.onnx").with_tiles(64, overlap=0.0).predict("data/a.png")
    assert tiled.rows[0]["objects"] == wanted.to_dict()["objects"]


def test_evaluation_takes_them_too(run: Run, here: Path) -> None:
    def score(*options: str) -> Any:
        more = ("--quick", "--json", *options)
        return json.loads(run("evaluate", "model.onnx", "data/labels.json", *more).out)["AP50"]

    assert score(*TILES) == pytest.approx(1.0)
    assert score() < 0.9
    assert score(*TILES, "--suppress", "soft") == pytest.approx(1.0)


def test_auto_says_what_it_chose(run: Run, here: Path) -> None:
    auto = run("predict", "data/a.png", "--model", "model.onnx", "--json", "--tile", "auto")
    assert "tiles: 64 pixels, its input" in auto.err
    seen = SeenObjects(picture=500, sides=(0.1, 0.1, 0.2, 0.2, 0.3), boxes=5)
    write_model(here / "seen.onnx", "detect", spec=spec_of("detect", objects=seen))
    auto = run("predict", "data/a.png", "--model", "seen.onnx", "--json", "--tile", "auto")
    assert "tiles: 500 pixels, as large as its training pictures" in auto.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tile", "big"), "--tile must be a number of pixels or auto"),
        (("--tile", "8"), "at least 32"),
        (("--merge", "nmm"), "add  --tile auto"),
        (("--tile-overlap", "0.3"), "add  --tile auto"),
        (("--tile", "64", "--merge", "mean"), "choose one of nms, nmm, greedy-nmm"),
        (("--suppress", "hard"), "choose one of nms, soft, soft-linear, wbf"),
        (("--suppress-iou", "3"), "must be in 0..1"),
        (("--tile", "64", "--model", "imagenet-lite0"), "tiles are for detectors"),
    ],
)
def test_wrong_options(options: tuple[str, ...], message: str, run: Run, here: Path) -> None:
    outcome = run("predict", "data/a.png", "--model", "model.onnx", *options)
    assert outcome.status == 2
    assert message in outcome.err


def test_saved_predictions_are_as_they_are(run: Run, here: Path) -> None:
    Path("p.jsonl").write_text("{}\n")
    more = ("--predictions", "p.jsonl", "--data", "data/labels.json", "--tile", "64")
    outcome = run("evaluate", *more)
    assert outcome.status == 2
    assert "leave --tile, --merge and --suppress out" in outcome.err
