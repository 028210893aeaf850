"""`whatwhere data split`: shares, folds, kept test pictures, near duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Run, sentence
from whatwhere.data import read
from whatwhere.images import read_image, write_image


def _names(folder: Path, split: str) -> set[str]:
    return {Path(path).name for path in read(folder).split_named(split).paths}


def _twins(shelves: Path) -> None:
    """The pictures val00 to val03 become brighter copies of train00 to train03."""
    for number in range(4):
        image = read_image(shelves / "JPEGImages" / f"train0{number}.jpg")
        path = shelves / "JPEGImages" / f"val0{number}.jpg"
        write_image(path, (image * 0.8).astype("uint8") + 20)


@pytest.mark.parametrize("near", [True, False])
def test_near_duplicates_stay_together(near: bool, run: Run, shelves: Path, tmp_path: Path) -> None:
    _twins(shelves)
    options = [] if near else ["--no-near"]
    torn = 0
    for seed in range(3):
        out = tmp_path / str(seed)
        fractions = ("--fractions", "0.5,0,0.5", "--pictures", "link")
        outcome = run("data", "split", shelves, out, *fractions, "--seed", seed, *options)
        assert outcome.status == 0, outcome.err
        assert ("near duplicates" in outcome.err) == near
        train = _names(out, "train")
        torn += sum(
            (f"train0{number}.jpg" in train) != (f"val0{number}.jpg" in train)
            for number in range(4)
        )
    assert (torn == 0) == near


def test_kept_test_pictures(run: Run, shelves: Path, tmp_path: Path) -> None:
    before = _names(shelves, "test")
    outcome = run("data", "split", shelves, tmp_path / "out", "--keep-test", "--seed", 3)
    assert outcome.status == 0, outcome.err
    assert _names(tmp_path / "out", "test") == before
    assert read(tmp_path / "out").splits == {"train": 14, "val": 2, "test": 4}


def test_a_near_duplicate_of_a_kept_picture_is_told(
    run: Run, shelves: Path, tmp_path: Path
) -> None:
    image = read_image(shelves / "JPEGImages" / "test00.jpg")
    write_image(shelves / "JPEGImages" / "train05.jpg", (image * 0.8).astype("uint8"))
    outcome = run("data", "split", shelves, tmp_path / "out", "--keep-test")
    assert outcome.status == 0
    assert "warning: 1 pictures outside test are near duplicates" in outcome.err


def test_folds(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run("data", "split", shelves, out, "--folds", 4, "--pictures", "link", "--json")
    assert outcome.status == 0, outcome.err
    assert [row["path"] for row in outcome.rows] == [str(out / f"fold{n}") for n in range(4)]
    held = [_names(out / f"fold{number}", "val") for number in range(4)]
    assert sum(map(len, held)) == len(set().union(*held)) == 20
    for number in range(4):
        assert not held[number] & _names(out / f"fold{number}", "train")


def test_folds_with_kept_test(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = run("data", "split", shelves, out, "--folds", 2, "--keep-test", "--to", "yolo")
    assert outcome.status == 0, outcome.err
    for number in range(2):
        assert read(out / f"fold{number}").splits == {"train": 8, "val": 8, "test": 4}


def test_usage_errors(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    split = ("data", "split", shelves, out)
    sentence(run(*split, "--folds", 3, "--fractions", "0.5,0.5"), "exclude")
    sentence(run(*split, "--folds", 1), "folds", "1")
    sentence(run(*split, "--keep-test", "--fractions", "0.8,0.1,0.1"), "test", "kept")
    assert not out.exists()
    sentence(run("data", "split", shelves, shelves, "--folds", 3), "has content")
    # Said before pictures are looked at, which may take long.
    for words in (
        ("--fractions", "0.5,0.4", "add up to 1"),
        ("--group", "nope", "no column 'nope'"),
        ("--to", "nope", "unknown data format"),
        ("--pictures", "foo", "copy, link, reference, none"),
    ):
        outcome = run(*split, *words[:2])
        sentence(outcome, words[2])
        assert "near duplicates" not in outcome.err
        assert not out.exists()


def test_folds_without_pictures_are_refused(run: Run, shelves: Path, tmp_path: Path) -> None:
    _twins(shelves)
    out = tmp_path / "out"
    sentence(run("data", "split", shelves, out, "--folds", 20), "of 20 folds without pictures")
    assert not out.exists()


def test_an_empty_part_is_told(run: Run, shelves: Path, tmp_path: Path) -> None:
    outcome = run(
        "data", "split", shelves, tmp_path / "out", "--group", "folder", "--no-near", "--json"
    )
    assert outcome.status == 0
    assert "no picture is left for 'val'" in outcome.err
    assert "no picture is left for 'test'" in outcome.err
