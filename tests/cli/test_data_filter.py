"""`whatwhere data filter`."""

from __future__ import annotations

from pathlib import Path

from command_line import Run, sentence
from whatwhere.data import read


def test_filter_by_class_and_size(run: Run, shelves: Path, tmp_path: Path) -> None:
    outcome = run("data", "filter", shelves, tmp_path / "out", "--classes", "tin, box", "--json")
    assert outcome.status == 0
    (row,) = outcome.rows
    whole, part = read(shelves), read(tmp_path / "out")
    expected = whole.filter(classes=["tin", "box"])
    assert row["images"] == len(part) == len(expected) < len(whole)
    assert row["format"] == part.format == "voc"
    assert part.stats()["classes"] == expected.stats()["classes"]
    assert f"of {len(whole)} pictures" in outcome.err


def test_filter_by_expression(run: Run, shelves: Path, tmp_path: Path) -> None:
    where = 'split == "train" and (name == "tin" or box_width > 30)'
    outcome = run("data", "filter", shelves, tmp_path / "out", "--where", where, "--to", "coco")
    assert outcome.status == 0, outcome.err
    part = read(tmp_path / "out")
    assert part.splits.keys() == {"train"}
    wide = part.labels["x2"] - part.labels["x1"] > 30
    tin = part.labels["class_id"] == part.names.id("tin")
    assert (wide | tin).all()


def test_filter_keeps_empty_pictures_and_ignores(run: Run, shelves: Path, tmp_path: Path) -> None:
    run("data", "filter", shelves, tmp_path / "a", "--classes", "tin", "--keep-empty")
    assert len(read(tmp_path / "a")) == 20
    options = ("--min-size", 30, "--max-size", 50, "--rest", "ignore", "--flags", "no-difficult")
    outcome = run("data", "filter", shelves, tmp_path / "b", *options, "--to", "coco")
    assert outcome.status == 0, outcome.err
    labels = read(tmp_path / "b").labels
    assert 0 < labels["ignore"].sum() < labels.height


def test_filter_says_what_is_wrong(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sentence(run("data", "filter", shelves, out, "--where", "widht > 5"), "character 1", "width?")
    sentence(run("data", "filter", shelves, out, "--classes", "tinn"), "tinn", "tin")
    sentence(run("data", "filter", shelves, out, "--split", "trian"), "trian", "train")
    sentence(run("data", "filter", shelves, out, "--flags", "no-hard"), "no-hard")
    sentence(run("data", "filter", shelves, out, "--rest", "burn"), "burn", "ignore")
    sentence(run("data", "filter", shelves, out, "--min-size", 10000), "no picture", "chosen")
    assert not out.exists()
