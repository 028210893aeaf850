"""Doubtful pictures as lists for labelling tools."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from command_line import Run
from factories import spec_of
from served import made_up
from whatwhere.data import read
from whatwhere.drift import measure
from whatwhere.errors import DataError, UsageError
from whatwhere.serve.monitoring.review import ReviewFolder
from whatwhere.serve.monitoring.review_export import read_review, write_review
from whatwhere.types import Prediction


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures with a red box each; the last one kept is the most doubtful."""
    place = tmp_path / "review"
    keeper = ReviewFolder(place)
    for seed in range(3):
        cells = np.random.default_rng(seed).integers(0, 255, (6, 8, 3))
        image = cells.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)
        served = made_up(image=image, request_id=f"r{seed}")
        assert served.prediction is not None
        one = measure(image, served.prediction, spec_of("detect"))
        assert keeper.offer(served, one, spec_of("detect"), 1.2 + seed / 5)
    return place


def test_our_list_has_proposals_and_no_labels(folder: Path, tmp_path: Path) -> None:
    assert write_review(folder, tmp_path / "list.json") == 3
    made = json.loads((tmp_path / "list.json").read_text())
    assert (made["format"], made["task"]) == ("whatwhere relabelling list", "detect")
    assert [item["rank"] for item in made["items"]] == [1, 2, 3]
    assert [item["doubt"] for item in made["items"]] == [0.8, 0.7, 0.6]
    first = made["items"][0]
    assert first["label"] is None
    assert first["proposal"] == {"name": "red", "box": [0.0, 0.0, 16.0, 16.0], "score": 0.75}
    assert (folder / first["image"]).is_file()


def test_label_studio_gets_answers_as_predictions(folder: Path, tmp_path: Path) -> None:
    assert write_review(folder, tmp_path / "tasks.json", limit=2) == 2
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert len(tasks) == 2
    (guess,) = tasks[0]["predictions"]
    assert (guess["score"], guess["model_version"]) == (0.8, "cells@1")
    (area,) = guess["result"]
    assert area["value"]["rectanglelabels"] == ["red"]
    assert not tasks[0].get("annotations")
    assert tasks[0]["data"]["problem"] == "surprising picture"
    name = tasks[0]["data"]["image"].removeprefix("/data/local-files/?d=")
    assert (folder / name).is_file()
    assert 'value="red"' in (tmp_path / "tasks.config.xml").read_text()


def test_cvat_reads_what_we_read_back(folder: Path, tmp_path: Path) -> None:
    assert write_review(folder, tmp_path / "list.xml") == 3
    boxes = ElementTree.parse(tmp_path / "list.xml").findall("image/box")
    assert [(box.get("label"), box.get("source")) for box in boxes] == [("red", "auto")] * 3
    again = read(tmp_path / "list.xml", "cvat", images=folder)
    assert len(again) == 3
    assert again.labels.height == 3


def test_single_label_answers_propose_their_first_label(tmp_path: Path) -> None:
    said = Prediction(
        width=64, height=48, label_names=("red", "blue"), label_scores=np.float32([0.4, 0.35])
    )
    image = np.zeros((48, 64, 3), np.uint8)
    spec = spec_of("classify")
    served = made_up(image=image, prediction=said)
    assert ReviewFolder(tmp_path / "review").offer(served, measure(image, said, spec), spec, 0.0)
    for name in ("list.json", "tasks.json", "list.xml"):
        assert write_review(tmp_path / "review", tmp_path / name) == 1
    items = json.loads((tmp_path / "list.json").read_text())["items"]
    assert [item["proposal"]["name"] for item in items] == ["red"]
    assert items[0]["kind"] == "close classes"
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["predictions"][0]["result"][0]["value"]["choices"] == ["red"]


def test_the_command_writes_it(folder: Path, tmp_path: Path, run: Run) -> None:
    outcome = run("review", folder, tmp_path / "tasks.json", "--limit", 1, "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["pictures"] == 1
    assert run("review", tmp_path, tmp_path / "list.json").status == 2
    assert run("review", folder, tmp_path / "list.txt").status == 2


def test_other_files_are_passed_over_and_damage_is_named(folder: Path) -> None:
    (folder / "notes.json").write_text('{"mine": 1}')
    assert len(read_review(folder)) == 3
    (folder / "0999-x-1.json").write_text("{")
    with pytest.raises(DataError, match=r"0999-x-1\.json is damaged"):
        read_review(folder)
    with pytest.raises(UsageError, match="holds no pictures for review"):
        read_review(folder / "none")
