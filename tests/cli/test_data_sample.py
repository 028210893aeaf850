"""`whatwhere data sample`."""

from __future__ import annotations

from pathlib import Path

from command_line import Run, sentence
from whatwhere.data import read


def test_sample_by_count_and_by_share(run: Run, shelves: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run("data", "sample", shelves, tmp_path / name, "--count", 5).status == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert (len(one), one.splits) == (5, {"train": 3, "val": 1, "test": 1})
    assert one.digest() == two.digest()
    assert all(one.stats()["classes"].values())
    outcome = run("data", "sample", shelves, tmp_path / "x", "--share", 0.25, "--seed", 3, "--json")
    assert outcome.rows[0]["images"] == 5


def test_sample_says_what_is_wrong(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sentence(run("data", "sample", shelves, out), "one of them")
    sentence(run("data", "sample", shelves, out, "--count", 21), "21", "20 pictures")
    sentence(run("data", "sample", shelves, out, "--share", 2), "share")
    assert not out.exists()
