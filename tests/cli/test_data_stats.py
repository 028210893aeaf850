"""`whatwhere data stats`: the terminal, --full, --html."""

from __future__ import annotations

from pathlib import Path

from command_line import Run, sentence
from whatwhere.data import read


def test_full_has_more_and_the_short_form_does_not(run: Run, shelves: Path) -> None:
    (short,) = run("data", "stats", shelves, "--json").rows
    assert list(short) == ["images", "labels", "boxes", "classes", "splits"]
    (full,) = run("data", "stats", shelves, "--json", "--full").rows
    assert {key: full[key] for key in short} == short
    assert full["by_split"][0]["anchors"]


def test_the_terminal_has_the_essentials_in_100_columns(run: Run, shelves: Path) -> None:
    outcome = run("data", "stats", shelves)
    assert outcome.status == 0
    for word in ("detect", "train", "val", "bottle", "median", "anchors", "sizes differ", "█"):
        assert word in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100
    plain = run("data", "stats", shelves.parent / "animals")
    assert "anchors" not in plain.out
    assert "classify" in plain.out


def test_long_names_and_many_classes_fit(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "set"
    for number in range(60):
        folder = source / f"{number:02} {'long [red] name ' * 12}"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"")
    outcome = run("data", "stats", source)
    assert outcome.status == 0
    assert "and 20 more" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_one_split(run: Run, shelves: Path) -> None:
    (row,) = run("data", "stats", shelves, "--split", "val", "--json").rows
    assert row["images"] == 4
    sentence(run("data", "stats", shelves, "--split", "vla"), "vla", "val")


def test_the_page_is_written(run: Run, shelves: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    outcome = run("data", "stats", shelves, "--html", page, "--samples", 1, "--json")
    assert outcome.status == 0, outcome.err
    assert len(outcome.rows) == 1
    text = page.read_text("utf-8")
    assert "Samples of each class" in text
    assert str(page) in outcome.err
    without = tmp_path / "bare.html"
    run("data", "stats", shelves, "--html", without, "--samples", 0)
    assert "Samples of each class" not in without.read_text("utf-8")
    assert read(shelves).names[0] in text
