"""`whatwhere data`: check, stats, convert, split."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Run, sentence
from whatwhere.data import read


def test_stats_as_json_has_the_keys_that_others_rely_on(run: Run, shelves: Path) -> None:
    outcome = run("data", "stats", shelves, "--json")
    assert outcome.status == 0
    (stats,) = outcome.rows
    assert list(stats) == ["images", "labels", "boxes", "classes", "splits"]
    assert stats["images"] == 20
    assert stats["labels"] == stats["boxes"] == sum(stats["classes"].values()) > 0
    assert stats["splits"] == {"train": 12, "val": 4, "test": 4}


def test_stats_as_table(run: Run, shelves: Path) -> None:
    outcome = run("data", "stats", shelves)
    assert outcome.status == 0
    for word in ("detect", "kept out", "train", "bottle", "20"):
        assert word in outcome.out
    assert "Pascal VOC" in outcome.err


def test_check(run: Run, shelves: Path) -> None:
    outcome = run("data", "check", shelves)
    assert outcome.status == 0
    assert "20 pictures" in outcome.out
    assert "0 errors" in outcome.out
    (shelves / "JPEGImages" / "train00.jpg").write_bytes(b"")
    outcome = run("data", "check", shelves)
    assert outcome.status == 1
    assert "JPEGImages/train00.jpg" in outcome.out
    rows = run("data", "check", shelves, "--json").rows
    (row,) = [row for row in rows if row["severity"] == "error"]
    assert row["kind"] == "unreadable-image"


@pytest.mark.parametrize("to", ["coco", "yolo", "voc"])
def test_convert(to: str, run: Run, shelves: Path, tmp_path: Path) -> None:
    outcome = run("data", "convert", shelves, tmp_path / "out", "--to", to)
    assert outcome.status == 0, outcome.err
    before, after = read(shelves), read(tmp_path / "out")
    assert after.format == to
    assert after.splits == before.splits
    assert after.stats()["classes"] == before.stats()["classes"]


def test_convert_as_json(run: Run, shelves: Path, tmp_path: Path) -> None:
    outcome = run("data", "convert", shelves, tmp_path / "out", "--to", "coco", "--json")
    (row,) = outcome.rows
    assert row["path"] == str(tmp_path / "out")
    assert (row["format"], row["images"], row["findings"]) == ("coco", 20, [])


def test_split(run: Run, shelves: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        outcome = run("data", "split", shelves, tmp_path / name, "--fractions", "0.5,0.25,0.25")
        assert outcome.status == 0, outcome.err
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one.splits == {"train": 10, "val": 5, "test": 5}
    assert one.digest() == two.digest()
    run("data", "split", shelves, tmp_path / "other", "--seed", 1, "--to", "coco", "--json")
    other = read(tmp_path / "other")
    assert other.format == "coco"
    assert other.splits == {"train": 16, "val": 2, "test": 2}


def test_split_in_two(run: Run, shelves: Path, tmp_path: Path) -> None:
    run("data", "split", shelves, tmp_path / "out", "--fractions", "0.8,0,0.2")
    assert read(tmp_path / "out").splits == {"train": 16, "test": 4}


def test_usage_errors(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sentence(run("data", "stats", tmp_path / "nowhere"), "nowhere", "does not exist")
    sentence(run("data", "convert", shelves, out, "--to", "folders"), "class folders")
    sentence(run("data", "convert", shelves, shelves, "--to", "coco"), "has content")
    sentence(run("data", "convert", shelves, out, "--to", "vco"), "vco", "voc")
    for fractions in ("half", "0.5", "1,1,1", "1,2,3,4", "-1,2"):
        sentence(run("data", "split", shelves, out, "--fractions", fractions), "raction")
    sentence(run("data", "split", shelves, out, "--group", "colour"), "colour", "folder")
    assert not out.exists()


def test_the_commands_are_light_until_they_run() -> None:
    code = "import sys, whatwhere.cli.data; print('polars' in sys.modules, 'cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_bccd(run: Run, shared: Path) -> None:
    (stats,) = run("data", "stats", shared / "bccd", "--json").rows
    assert stats == {
        "images": 364,
        "labels": 4886,
        "boxes": 4886,
        "classes": {"Platelets": 361, "RBC": 4153, "WBC": 372},
        "splits": {"train": 205, "val": 87, "test": 72},
    }
    outcome = run("data", "check", shared / "bccd", "--json")
    assert outcome.status == 1
    errors = [row["kind"] for row in outcome.rows if row["severity"] == "error"]
    assert errors == ["zero-size-box"] * 2
