"""`whatwhere data rename`."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import Run, sentence
from whatwhere.data import read


def test_rename_by_options(run: Run, shelves: Path, tmp_path: Path) -> None:
    outcome = run(
        "data", "rename", shelves, tmp_path / "out", "--map", "tin=can", "--map", "box=can"
    )
    assert outcome.status == 0, outcome.err
    before, after = read(shelves).stats()["classes"], read(tmp_path / "out").stats()["classes"]
    assert after == {"bottle": before["bottle"], "can": before["tin"] + before["box"]}


@pytest.mark.parametrize(
    "text",
    [
        '{"tin": "can", "box": "Schachtel"}',
        "old,new\ntin,can\n\nbox,Schachtel\n",
        "\ufefftin\tcan\nbox\tSchachtel",
    ],
)
def test_rename_by_file(text: str, run: Run, shelves: Path, tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text(text, "utf-8")
    outcome = run("data", "rename", shelves, tmp_path / "out", "--file", file, "--to", "coco")
    assert outcome.status == 0, outcome.err
    assert sorted(read(tmp_path / "out").names) == ["Schachtel", "bottle", "can"]


def test_rename_says_what_is_wrong(run: Run, shelves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sentence(run("data", "rename", shelves, out), "--map OLD=NEW")
    sentence(run("data", "rename", shelves, out, "--map", "tin"), "OLD=NEW")
    sentence(run("data", "rename", shelves, out, "--map", "tni=can"), "tni", "tin")
    file = tmp_path / "names"
    for text, words in (
        ("tin,can\nbox", "names:2"),
        ('{"tin": 5}', "'tin'"),
        ('{"tin": ', "not JSON"),
    ):
        file.write_text(text)
        sentence(run("data", "rename", shelves, out, "--file", file), words)
    file.write_bytes(b"\xff\xfe")
    sentence(run("data", "rename", shelves, out, "--file", file), "not UTF-8")
    sentence(run("data", "rename", shelves, out, "--file", tmp_path / "none"), "cannot be read")
    assert not out.exists()
