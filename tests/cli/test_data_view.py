"""`whatwhere data view`."""

from __future__ import annotations

from pathlib import Path

from command_line import Run, sentence
from whatwhere.data import read
from whatwhere.images import read_image


def test_view_draws_a_sheet(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "grid.png"
    outcome = run("data", "view", shelves, "--out", out, "--count", 6, "--columns", 3, "--json")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert len(row["images"]) == 6
    image = read_image(out)
    assert image.shape[:2] == (row["height"], row["width"])
    # Three places of 320 pixels with a gap of 12 around each.
    assert row["width"] == 3 * 332 + 12
    again = tmp_path / "again.png"
    run("data", "view", shelves, "--out", again, "--count", 6, "--columns", 3)
    assert again.read_bytes() == out.read_bytes()
    other = run("data", "view", shelves, "--out", again, "--count", 6, "--seed", 1, "--json")
    assert other.rows[0]["images"] != row["images"]


def test_view_chooses_by_class_and_split(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    options = ("--classes", "tin", "--split", "val", "--hard", "smallest", "--cell", 100)
    (row,) = run("data", "view", shelves, "--out", out, *options, "--json").rows
    part = read(shelves).split_named("val")
    shown = part.filter(classes=["tin"])
    assert sorted(row["images"]) == sorted(shown.relative_paths())


def test_view_goes_on_without_unreadable_pictures(run: Run, shelves: Path, tmp_path: Path) -> None:
    (shelves / "JPEGImages" / "test00.jpg").write_bytes(b"")
    outcome = run("data", "view", shelves, "--out", tmp_path / "grid.png", "--split", "test")
    assert outcome.status == 1
    assert "test00.jpg is empty" in outcome.err
    assert "3 pictures" in outcome.out


def test_view_says_what_is_wrong(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    sentence(run("data", "view", shelves), "--out")
    sentence(run("data", "view", shelves, "--out", out, "--classes", "tinn"), "tinn", "tin")
    sentence(run("data", "view", shelves, "--out", out, "--split", "vall"), "vall", "val")
    sentence(run("data", "view", shelves, "--out", out, "--hard", "hardest"), "smallest")
    sentence(run("data", "view", shelves, "--out", out, "--cell", 9), "64 to 2048")
    sentence(run("data", "view", shelves, "--out", tmp_path / "grid.pdf"), ".pdf", ".png")
    assert not out.exists()
