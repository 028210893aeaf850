"""`whatwhere data convert --as`, and how much it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Run, sentence
from whatwhere.data import read


def test_convert_to_crops(run: Run, shelves: Path, tmp_path: Path) -> None:
    outcome = run(
        "data", "convert", shelves, tmp_path / "out", "--to", "folders", "--as", "crops",
        "--margin", 0.1,
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    whole, crops = read(shelves), read(tmp_path / "out")
    assert crops.stats()["classes"] == whole.stats()["classes"]
    assert len(crops) == whole.labels.height
    assert "Pascal VOC" in outcome.err


def test_convert_to_one_class_a_picture(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run("data", "convert", shelves, out, "--to", "folders", "--as", "classify")
    sentence(outcome, "has", "classes", "not one")
    run("data", "filter", shelves, tmp_path / "one", "--where", "labels == 1")
    outcome = run("data", "convert", tmp_path / "one", out, "--to", "folders", "--as", "classify")
    assert outcome.status == 0, outcome.err
    assert read(out).task == "classify"


def test_unknown_views_are_refused(run: Run, shelves: Path, tmp_path: Path) -> None:
    outcome = run("data", "convert", shelves, tmp_path / "out", "--to", "coco", "--as", "crop")
    sentence(outcome, "crop", "multilabel, classify, crops")


@pytest.mark.parametrize("count", [1, 20])
def test_many_findings_are_a_line(count: int, run: Run, shelves: Path, tmp_path: Path) -> None:
    for path in sorted((shelves / "JPEGImages").iterdir())[:count]:
        path.unlink()
    outcome = run("data", "convert", shelves, tmp_path / "out", "--to", "coco")
    grouped = "x missing-image, such as" in outcome.out
    assert len(outcome.out.splitlines()) < 12
    assert grouped == (count > 3)


def test_a_margin_belongs_to_crops(run: Run, shelves: Path, tmp_path: Path) -> None:
    sentence(
        run("data", "convert", shelves, tmp_path / "out", "--to", "coco", "--margin", 1), "crops"
    )


def test_a_folder_stays_when_nothing_is_written(run: Run, shelves: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = ("data", "convert", shelves, tmp_path / "empty", "--to", "coco", "--pictures")
    sentence(run(*words, "foo"), "copy, link")
    assert (tmp_path / "empty").is_dir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    sentence(
        run("data", "convert", shelves, tmp_path / "link", "--to", "coco"), "cannot be replaced"
    )


def test_an_unknown_format_lists_those_that_can_be_written(
    run: Run, shelves: Path, tmp_path: Path
) -> None:
    outcome = run("data", "convert", shelves, tmp_path / "out", "--to", "such")
    sentence(outcome, "coco, ")
    assert "text_boxes" not in outcome.err
