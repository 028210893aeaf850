"""The conditions that people write: what they mean, and what is refused, with its position."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatwhere.data.expressions import MOST_CHARACTERS, Column, parse
from whatwhere.errors import UsageError

COLUMNS = {
    "width": Column("number", "image"),
    "split": Column("text", "image", ("train", "val")),
    "name": Column("text", "label", ("car", "bus", "cat")),
    "score": Column("number", "label"),
    "area": Column("number", "label"),
    "truncated": Column("bool", "label"),
    "path": Column("text", "image"),
}
TABLE = pl.DataFrame(
    {
        "width": [100, 600, 600, 700],
        "split": ["train", "train", None, "val"],
        "name": ["car", "bus", "cat", "car"],
        "score": [0.5, None, 0.25, 1.0],
        "area": [10.0, 0.0, 30.0, 40.0],
        "truncated": [True, False, None, False],
        "path": ["a/x.JPG", "a/y.png", "b/z.png", "b/käse.png"],
    }
)


def rows(text: str) -> list[int]:
    """The rows of the table for which it holds."""
    frame = TABLE.with_row_index("row")
    for condition in parse(text, COLUMNS):
        frame = frame.filter(condition.expr)
    return frame["row"].to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width > 500", [1, 2, 3]),
        ("500 < width <= 600", [1, 2]),
        ('width > 500 and name in ("car", "bus") and not truncated', [1, 3]),
        ('name == "cat" or width == 100', [0, 2]),
        ('name not in ["cat"]', [0, 1, 3]),
        ("truncated", [0]),
        ("not truncated", [1, 2, 3]),
        ("truncated == False", [1, 2, 3]),
        ("truncated is None", [2]),
        # What is not known does not hold, whichever way it is asked.
        ("score > 0.4", [0, 3]),
        ("not score > 0.4", [2]),
        ("score != 0.5", [2, 3]),
        ("score is None", [1]),
        ("score is not None", [0, 2, 3]),
        ("score is None or score > 0.9", [1, 3]),
        ('split != "train"', [3]),
        ("width / area > 11", [2, 3]),
        ("width % 200 == 100", [0, 3]),
        ("width // 250 == 2", [1, 2, 3]),
        ("-width < -600", [3]),
        ("width in (100, 700.0)", [0, 3]),
        ("width in (-1, +100)", [0]),
        ("width in ()", []),
        ("score in (0.25,)", [2]),
        ("abs(width - 650) <= 50", [1, 2, 3]),
        ("max(width, 650) == 650", [0, 1, 2]),
        ("min(score, 0.3) == 0.3", [0, 3]),
        ('path.endswith(".png")', [1, 2, 3]),
        ('path.lower().endswith(".jpg")', [0]),
        ('path.contains("käse") and width > 1', [3]),
        ('path.startswith("a/")', [0, 1]),
        ("True", [0, 1, 2, 3]),
        ("  width > 650  ", [3]),
    ],
)
def test_what_it_means(text: str, expected: list[int]) -> None:
    assert rows(text) == expected


def test_the_outermost_and_is_divided_by_table() -> None:
    found = parse("width > 5 and (truncated or width < 9) and split is None", COLUMNS)
    assert [sorted(one.tables) for one in found] == [["image"], ["image", "label"], ["image"]]


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("widht > 5", 1, "did you mean width?"),
        ("width > 5 and xyzzy", 15, "there are width, split"),
        ('name == "cra"', 9, "did you mean cat, car?"),
        ('width > 1 and name in ("car", "buss")', 31, "did you mean bus"),
        ('"käse" == 5', 1, "a text cannot be compared with a number"),
        ('path == "käse" and widht', 20, "widht"),
        ("width", 1, "a condition is needed"),
        ("width + 1", 1, "a condition is needed"),
        ('width > "5"', 1, "a number cannot be compared with a text"),
        ('name > "a"', 1, "use  ==  or  !="),
        ("name + 1 > 2", 1, "a number is needed"),
        ("score == None", 10, "is None"),
        ("score is 5", 10, "only for None"),
        ("width & 5 > 2", 1, "not allowed"),
        ("width ** 2 > 5", 1, "only + - * /"),
        ("~truncated", 1, "write  not"),
        ('name in "car"', 9, "a list in brackets"),
        ('name in ("car", 5)', 17, "only a text"),
        ("width in (width,)", 11, "only a number"),
        ("width > 99999999999999999999", 9, "too large"),
        ("width > 1e999", 9, "too large"),
        ("width > 5j", 9, "not a number"),
        ('__import__("os").system("x") == 1', 1, ""),
        ("().__class__", 1, "a dot is not allowed"),
        ("path.__class__ == 1", 1, "a dot"),
        ('path.format("x") == "y"', 1, "a text has only"),
        ("path.endswith(path)", 15, "in quotes"),
        ("width.lower()", 1, "a number has no .lower"),
        ("open('x')", 1, "only abs"),
        ("abs(width, 5) > 1", 1, "only abs"),
        ("max(*width) > 1", 1, "plain values"),
        ("[x for x in path] == 1", 1, "a loop"),
        ("(lambda: 1)() == 1", 1, ""),
        ("width if truncated else area", 1, "if"),
        ("(width := 5) > 1", 2, ":="),
        ('f"{width}" == "5"', 1, "not allowed"),
        ("path[0] == 'a'", 1, "[...]"),
        ("5in path", 5, "a list in brackets"),
        ("b'x' == path", 1, "not a number or a text"),
    ],
)
def test_what_is_refused_and_where(text: str, place: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, COLUMNS)
    assert f"character {place}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "width >", "(width", "width > 5\nand 1", "a b", "x" * 5000, "width = 5", "\0"],
)
def test_what_is_no_expression_at_all(text: str) -> None:
    with pytest.raises(UsageError, match="expression"):
        parse(text, COLUMNS)


def test_depth_is_bounded() -> None:
    for text in ("(" * 300 + "width" + ")" * 300 + "> 1", "not " * 200 + "truncated"):
        with pytest.raises(UsageError):
            parse(text, COLUMNS)
    assert MOST_CHARACTERS < 10_000


_WORDS = ["width", "name", "score", "truncated", '"car"', "5", "(", ")", ",", "and", "or", "not"]
_WORDS += ["in", "is", "None", "<", "==", "+", "/", "%", "-", "abs", ".lower()", "split", "[", "]"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=9).map(" ".join) | st.text(max_size=20))
def test_anything_is_understood_or_refused(text: str) -> None:
    try:
        conditions = parse(text, COLUMNS)
    except UsageError:
        return
    for condition in conditions:
        assert TABLE.select(condition.expr.alias("x")).schema["x"] == pl.Boolean
