"""`whatwhere train --list`, and the documents that show the same."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from command_line import Run, sentence
from whatwhere.train.config import TrainConfig, settings_table
from whatwhere.train.models import model_names, models_table

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_lists(run: Run) -> None:
    outcome = run("train", "--list", "models", "--json")
    rows = outcome.rows
    assert [row["name"] for row in rows] == model_names()
    assert all(row["title"] and row["tasks"] for row in rows)
    outcome = run("train", "--list", "settings", "--json")
    rows = outcome.rows
    assert [row["name"] for row in rows] == [field.name for field in fields(TrainConfig)]
    rate = next(row for row in rows if row["name"] == "rate")
    assert rate["allowed"] == "above 0"
    outcome = run("train", "--list", "models")
    assert "yolo-s" in outcome.out
    assert "frozen" in run("train", "--list", "settings").out


def test_a_list_that_there_is_not(run: Run) -> None:
    sentence(run("train", "--list", "names"), "models or settings")


@pytest.mark.parametrize("kind", ["models", "settings"])
def test_the_document_shows_all(kind: str) -> None:
    """The tables in docs/ are those of the code, line by line."""
    rows = {"models": models_table, "settings": settings_table}[kind]()
    text = (DOCS / "train-settings.md").read_text(encoding="utf-8")
    for row in rows:
        cells = [f"`{row['name']}`", *list(row.values())[1:]]
        assert "| " + " | ".join(cells) + " |" in text, row["name"]
