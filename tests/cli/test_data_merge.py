"""`whatwhere data merge`."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run, sentence
from whatwhere.data import read


def parts(run: Run, shelves: Path, folder: Path) -> list[Path]:
    """A set of some classes in VOC and one of the others, of the same pictures, in COCO."""
    run("data", "filter", shelves, folder / "a", "--classes", "tin", "--keep-empty")
    run("data", "filter", shelves, folder / "b", "--without", "tin", "--keep-empty", "--to", "coco")
    return [folder / "a", folder / "b"]


def test_parts_make_the_whole_again(run: Run, shelves: Path, tmp_path: Path) -> None:
    sources = parts(run, shelves, tmp_path)
    outcome = run("data", "merge", *sources, tmp_path / "out", "--to", "coco", "--json")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert row["images"] == 20
    assert {finding["kind"] for finding in row["findings"]} == {"duplicate-image"}
    whole, again = read(shelves), read(tmp_path / "out")
    assert again.stats()["classes"] == whole.stats()["classes"]
    assert again.splits == whole.splits


def test_contradictions_give_status_1(run: Run, shelves: Path, tmp_path: Path) -> None:
    run("data", "rename", shelves, tmp_path / "b", "--map", "tin=box", "--map", "box=tin")
    outcome = run("data", "merge", shelves, tmp_path / "b", tmp_path / "out")
    assert outcome.status == 1
    assert "x contradicting-labels" in outcome.out
    assert "duplicate-image" not in outcome.out
    assert "20 of its pictures" in outcome.out
    assert read(tmp_path / "out").stats() == read(shelves).stats()


def test_merge_as_multilabel(run: Run, shelves: Path, tmp_path: Path) -> None:
    animals = shelves.parent / "animals"
    out = tmp_path / "out"
    sentence(run("data", "merge", shelves, animals, out), "--as multilabel")
    sentence(run("data", "merge", shelves, animals, out, "--as", "crops"), "crops")
    sentence(run("data", "merge", out), "SRC")
    assert not out.exists()
    outcome = run(
        "data", "merge", shelves, animals, out, "--as", "multilabel", "--to", "parquet", "--prefix"
    )
    assert outcome.status == 0, outcome.err
    assert len(read(out)) == 40
    labelled = {json.dumps(names) for names in read(out).images["labelled"].to_list()}
    assert labelled == {'["bottle", "box", "tin"]', '["cat", "dog"]'}
