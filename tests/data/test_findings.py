"""Findings: their place in parts, and advice for every kind that the source knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import whatwhere.data
from whatwhere.data import Finding
from whatwhere.data.advice import ADVICE, GENERAL

SOURCE = Path(whatwhere.data.__file__).parent

# Words with a hyphen that are arguments of calls and no kinds.
OTHERS = {"utf-8", "utf-8-sig", "utf-16", "us-ascii"}


def kinds() -> dict[str, str]:
    """Every kind that is written as an argument of a call, or as a key or value of a table."""
    found: dict[str, str] = {}
    for path in SOURCE.rglob("*.py"):
        if path.name == "advice.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            words: list[ast.expr | None] = []
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("Finding", "find", "finding", "picture", "label", "whole", "lit"):
                    words = [*node.args[:2], *(one.value for one in node.keywords)]
            for word in words:
                text = word.value if isinstance(word, ast.Constant) else None
                if isinstance(text, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", text):
                    found[text] = path.name
    return {kind: file for kind, file in found.items() if kind not in OTHERS}


def test_there_is_advice_for_every_kind() -> None:
    known = kinds()
    assert {"zero-size-box", "damaged-image", "two-splits"} <= known.keys()
    missing = {kind: file for kind, file in known.items() if kind not in ADVICE}
    assert not missing, "say in data/advice.py what to do about these kinds"


def test_advice_is_one_short_sentence_without_a_full_stop() -> None:
    for kind, text in ADVICE.items():
        assert text[0].islower(), kind
        assert not text.endswith((".", " ")), kind
        assert len(text) < 140, kind


@pytest.mark.parametrize(
    ("where", "file", "line", "record"),
    [
        ("a/b.xml:12", "a/b.xml", 12, None),
        ("a.json#17", "a.json", None, "17"),
        ("a:b.json#1:7", "a:b.json", None, "1:7"),
        ("images/a.jpg", "images/a.jpg", None, None),
        ("C:/data/a.jpg", "C:/data/a.jpg", None, None),
        ("odd:name.txt:3", "odd:name.txt", 3, None),
        ("", "", None, None),
        ("#3", "#3", None, None),
        (":3", ":3", None, None),
    ],
)
def test_where_in_parts(where: str, file: str, line: int | None, record: str | None) -> None:
    finding = Finding("bad-record", "it is bad", where)
    assert finding.place == (file, line, record)
    row = finding.to_dict()
    assert (row["file"], row["line"], row["record"]) == (file, line, record)
    assert row["do"] == ADVICE["bad-record"]


def test_an_unknown_kind_has_general_advice() -> None:
    assert Finding("odd-thing", "it is odd", "a").do == GENERAL
