"""Faulty data sets through the command line: kept out, counted, reported with file and line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import bad_pictures
from command_line import Outcome, Run, sentence


def findings(outcome: Outcome) -> list[dict[str, str]]:
    """The findings of `data check --json`, one object a line."""
    return outcome.rows  # type: ignore[return-value]


def test_a_sound_data_set_has_no_errors(run: Run, shelves: Path) -> None:
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 0, outcome.out
    assert not [row for row in findings(outcome) if row["severity"] == "error"]


def _edit(path: Path, old: str, new: str, count: int = 1) -> int:
    """Replace in a file, and give the line where it was."""
    text = path.read_text("utf-8")
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text, count=count), "utf-8")
    return 1 + text.count("\n", 0, re.search(old, text).start())  # type: ignore[union-attr]


def boxes(run: Run, folder: Path) -> int:
    return int(json.loads(run("data", "stats", folder, "--json").out)["boxes"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(r"<xmax>\d+</xmax>", "<xmax>1</xmax>", id="inverted"),
        pytest.param(r"<xmin>\d+</xmin>", "<xmin>900</xmin>", id="outside"),
        pytest.param(r"<xmin>\d+</xmin>", "<xmin>nan</xmin>", id="nan"),
        pytest.param(r"<xmin>\d+</xmin>", "<xmin>left</xmin>", id="words"),
        pytest.param(r"<xmin>\d+</xmin>", "", id="missing"),
    ],
)
def test_a_bad_box_is_kept_out_and_reported(old: str, new: str, run: Run, shelves: Path) -> None:
    before = boxes(run, shelves)
    _edit(shelves / "Annotations" / "train00.xml", old, new)
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 1
    (row,) = [row for row in findings(outcome) if "train00.xml" in row["where"]]
    # The file has one line, so this is the line of the object.
    assert "train00.xml:1" in row["where"]
    assert boxes(run, shelves) == before - 1


def test_a_box_over_the_edge_is_clipped_and_reported(run: Run, shelves: Path) -> None:
    before = boxes(run, shelves)
    _edit(shelves / "Annotations" / "train00.xml", r"<xmax>\d+</xmax>", "<xmax>900</xmax>")
    outcome = run("data", "check", shelves, "--json")
    rows = [row for row in findings(outcome) if "train00.xml" in row["where"]]
    assert [row["severity"] for row in rows] == ["warning"]
    assert boxes(run, shelves) == before


def test_labels_without_picture(run: Run, shelves: Path) -> None:
    (shelves / "JPEGImages" / "train03.jpg").unlink()
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 1
    assert any("train03" in row["message"] + row["where"] for row in findings(outcome))


def test_an_unreadable_picture_in_a_data_set(run: Run, shelves: Path) -> None:
    (shelves / "JPEGImages" / "train03.jpg").write_bytes(b"")
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 1
    assert any("train03.jpg" in row["message"] + row["where"] for row in findings(outcome))


def test_a_list_that_names_a_picture_without_labels(run: Run, shelves: Path) -> None:
    with (shelves / "ImageSets" / "Main" / "train.txt").open("a", encoding="utf-8") as file:
        file.write("nobody\n")
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 1
    assert any("nobody" in row["message"] + row["where"] for row in findings(outcome))


def _coco(folder: Path, **changes: object) -> Path:
    bad_pictures.write_all(folder / "images", {"a.png": bad_pictures.encoded(".png")})
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{**box, "area": 400}, {**box, "id": 2, "area": 400, **changes}],
    }
    (folder / "annotations.json").write_text(json.dumps(content), "utf-8")
    return folder


@pytest.mark.parametrize(
    "changes",
    [{"category_id": 7}, {"image_id": 9}, {"bbox": [5, 5, 0, 20]}, {"bbox": [5, 5]}],
    ids=["class", "picture", "size", "short"],
)
def test_a_bad_coco_record_is_kept_out_and_reported(
    changes: dict[str, object], run: Run, tmp_path: Path
) -> None:
    folder = _coco(tmp_path / "coco", **changes)
    outcome = run("data", "check", folder, "--json")
    assert outcome.status == 1
    assert any("annotations.json" in row["where"] for row in findings(outcome))
    assert boxes(run, folder) == 1


def test_damaged_annotation_files(run: Run, shelves: Path, tmp_path: Path) -> None:
    (shelves / "Annotations" / "train00.xml").write_text("<annotation><object>", "utf-8")
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 1
    assert any("train00.xml" in row["where"] for row in findings(outcome))
    folder = _coco(tmp_path / "coco")
    (folder / "annotations.json").write_text('{"images": [', "utf-8")
    sentence(run("data", "stats", folder), "annotations.json")


def test_entities_in_xml_are_not_followed(run: Run, shelves: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("hush", "utf-8")
    path = shelves / "Annotations" / "train00.xml"
    text = path.read_text("utf-8").replace("<name>", "<name>&x;", 1)
    entity = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt">]>'
    path.write_text(entity + text, "utf-8")
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 1
    assert "hush" not in outcome.out + outcome.err
    assert any("train00.xml" in row["where"] for row in findings(outcome))


def test_unknown_names(run: Run, shelves: Path) -> None:
    sentence(run("evaluate", "imagenet-lite0", "--data", shelves, "--split", "tset"), "test")
    sentence(run("data", "stats", shelves, "--format", "vco"), "voc")
    sentence(run("train", shelves, "--task", "guess"), "guess", "detect")
    sentence(run("predict", shelves, "--model", "imagenet-lite1"), "imagenet-lite0")


def test_a_model_whose_classes_are_not_those_of_the_data(run: Run, shelves: Path) -> None:
    outcome = run("evaluate", "imagenet-lite0", "--data", shelves, "--split", "test")
    assert outcome.status == 2
    assert outcome.err.startswith("whatwhere: ")
