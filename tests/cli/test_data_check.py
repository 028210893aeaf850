"""`whatwhere data check`: findings by kind, depths, repaired copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Run, sentence
from whatwhere.data import read


def _damage(shelves: Path) -> None:
    """A missing, a damaged and a copied picture, and a box of zero size."""
    pictures = shelves / "JPEGImages"
    (pictures / "train00.jpg").unlink()
    whole = (pictures / "train01.jpg").read_bytes()
    middle = len(whole) // 2
    (pictures / "train01.jpg").write_bytes(whole[:middle] + b"\xff\xd9")
    (pictures / "test00.jpg").write_bytes((pictures / "train02.jpg").read_bytes())
    path = shelves / "Annotations" / "val00.xml"
    text = path.read_text("utf-8")
    start = text.index("<xmin>") + 6
    value = text[start : text.index("</xmin>")]
    end = text.index("<xmax>") + 6
    path.write_text(text[:end] + value + text[text.index("</xmax>") :], "utf-8")


def kinds(run: Run, *arguments: object) -> dict[str, str]:
    rows = run("data", "check", *arguments, "--json").rows
    return {row["kind"]: row["severity"] for row in rows}


def test_findings_as_json_have_these_keys(run: Run, shelves: Path) -> None:
    _damage(shelves)
    outcome = run("data", "check", shelves, "--json")
    assert outcome.status == 1
    for row in outcome.rows:
        assert list(row) == [
            *("kind", "message", "where", "severity", "action", "boxes"),
            *("file", "line", "record", "do"),
        ]
        assert row["do"]
    (row,) = [row for row in outcome.rows if row["kind"] == "damaged-image"]
    assert row["file"] == "JPEGImages/train01.jpg"


def test_depths_show_more_and_more(run: Run, shelves: Path) -> None:
    _damage(shelves)
    labels = kinds(run, shelves, "--depth", "labels")
    headers = kinds(run, shelves, "--depth", "headers")
    pixels = kinds(run, shelves)
    assert "zero-size-box" in labels
    assert "leaked-image" in headers.keys() - labels.keys()
    assert "damaged-image" in pixels.keys() - headers.keys()
    assert not [kind for kind in kinds(run, shelves, "--no-near") if "near-dup" in kind]
    sentence(run("data", "check", shelves, "--depth", "deep"), "deep", "headers")


def test_findings_as_text_are_grouped_by_kind(run: Run, shelves: Path) -> None:
    for number in range(5):
        (shelves / "JPEGImages" / f"train0{number}.jpg").write_bytes(b"")
    outcome = run("data", "check", shelves)
    assert outcome.status == 1
    lines = outcome.out.splitlines()
    assert lines[0].startswith("error: unreadable-image: 5  [get the picture again")
    assert sum("is empty" in line for line in lines) == 3
    assert "  ... and 2 more: --all shows them" in lines
    assert "5 errors" in lines[-1]
    every = run("data", "check", shelves, "--all").out
    assert every.count("is empty") == 5
    assert "more:" not in every


@pytest.mark.parametrize("to", ["", "coco", "yolo"])
def test_a_repaired_copy(to: str, run: Run, shelves: Path, tmp_path: Path) -> None:
    _damage(shelves)
    before = {path: path.read_bytes() for path in shelves.rglob("*") if path.is_file()}
    options = ["--to", to] if to else []
    outcome = run("data", "check", shelves, "--fix", tmp_path / "good", *options)
    assert outcome.status == 0, outcome.err
    assert {path: path.read_bytes() for path in shelves.rglob("*") if path.is_file()} == before
    copy = read(tmp_path / "good")
    assert copy.format == (to or "voc")
    assert len(copy) == len(read(shelves)) - 3
    assert copy.splits["test"] == 4
    again = run("data", "check", tmp_path / "good", "--json")
    assert again.status == 0, again.out
    assert not [row for row in again.rows if row["kind"] in ("leaked-image", "damaged-image")]
    text = (tmp_path / "good.quarantine.jsonl").read_text("utf-8")
    records = {row["kind"]: row for row in map(json.loads, text.splitlines())}
    assert records["missing-image"]["file"].endswith("train00.jpg")
    assert records["damaged-image"]["action"] == "picture left out"
    assert records["leaked-image"]["file"] == "JPEGImages/train02.jpg"
    assert records["zero-size-box"]["file"] == "Annotations/val00.xml"


def test_a_repaired_copy_as_json(run: Run, shelves: Path, tmp_path: Path) -> None:
    _damage(shelves)
    outcome = run("data", "check", shelves, "--fix", tmp_path / "good", "--json")
    *findings, done = outcome.rows
    assert all("severity" in row for row in findings)
    assert done["path"] == str(tmp_path / "good")
    assert done["quarantine"] == str(tmp_path / "good.quarantine.jsonl")
    lines = (tmp_path / "good.quarantine.jsonl").read_text("utf-8").splitlines()
    assert done["quarantined"] == len(lines) > 3
    assert done["images"] == len(read(tmp_path / "good"))


def test_class_names_are_merged_if_asked(run: Run, shelves: Path, tmp_path: Path) -> None:
    path = shelves / "Annotations" / "train00.xml"
    text = path.read_text("utf-8")
    name = text[text.index("<name>") + 6 : text.index("</name>")]
    path.write_text(text.replace(f"<name>{name}<", f"<name>{name.upper()}<", 1), "utf-8")
    assert kinds(run, shelves)["similar-class"] == "warning"
    outcome = run("data", "check", shelves, "--fix", tmp_path / "good", "--merge-names")
    assert outcome.status == 0
    assert "1 x class renamed" in outcome.out
    assert name.upper() not in read(tmp_path / "good").names


def test_usage_errors(run: Run, shelves: Path, tmp_path: Path) -> None:
    sentence(run("data", "check", shelves, "--merge-names"), "--fix")
    sentence(run("data", "check", shelves, "--to", "coco"), "--fix")
    sentence(run("data", "check", shelves, "--fix", shelves), "has content")
    for other in ("folders", "vco"):
        outcome = run("data", "check", shelves, "--fix", tmp_path / "good", "--to", other)
        sentence(outcome, other, "--to one of", "voc")
    (tmp_path / "good.quarantine.jsonl").write_text("mine", "utf-8")
    outcome = run("data", "check", shelves, "--fix", tmp_path / "good")
    sentence(outcome, "good.quarantine.jsonl", "exists already")
    assert not (tmp_path / "good").exists()
    assert (tmp_path / "good.quarantine.jsonl").read_text("utf-8") == "mine"
