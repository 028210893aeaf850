"""The table of paths behaves as a list of strings."""

from __future__ import annotations

import pickle
import sys

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatwhere.data import Dataset
from whatwhere.data import paths as paths_module
from whatwhere.data.paths import PathTable

# Polars holds Unicode; a lone half of a pair of surrogates is none.
_TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20)


@given(_TEXTS)
def test_it_is_the_list(texts: list[str]) -> None:
    for table in (PathTable.of(texts), PathTable.of(pl.Series(texts, dtype=pl.String))):
        assert len(table) == len(texts)
        assert list(table) == texts
        assert [table[i] for i in range(len(texts))] == texts
        assert [table[i - len(texts)] for i in range(len(texts))] == texts
        assert table == texts
        assert texts == table
        assert table != [*texts, "x"]
        assert table == PathTable.of(texts)
        assert table[1:5:2] == texts[1:5:2]
        assert sorted(table) == sorted(texts)
        # As it goes to a process that is not forked.
        assert pickle.loads(pickle.dumps(table)) == texts  # noqa: S301 - our own bytes
        assert list(reversed(table)) == texts[::-1]
        assert all(text in table for text in texts)


@given(_TEXTS, st.integers(1, 4))
def test_blocks_do_not_show(texts: list[str], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths_module, "_BLOCK", size)
        assert list(PathTable.of(texts)) == texts


@pytest.mark.parametrize("place", [3, -4, 10**12])
def test_places_that_are_not_there(place: int) -> None:
    with pytest.raises(IndexError, match="of 3"):
        PathTable.of(["a", "b", "c"])[place]


def test_tables_that_differ_where_strings_end() -> None:
    assert PathTable.of(["ab", "c"]) != PathTable.of(["a", "bc"])
    assert PathTable.of(["a"]) != ("a",)
    assert repr(PathTable.of("abcd")) == "PathTable(['a', 'b', 'c', ...], 4 paths)"


def test_a_data_set_has_one() -> None:
    names = [f"/data/{number:08}.jpg" for number in range(1000)]
    paths = Dataset({"path": names}, {"image": [0], "class_id": [0]}, ["a"]).paths
    assert paths == names
    # A list of as many strings is several times as large.
    assert paths.nbytes < 0.5 * (sys.getsizeof(names) + sum(map(sys.getsizeof, names)))


def test_null_is_an_empty_path() -> None:
    assert PathTable.of(pl.Series(["a", None, "b"])) == ["a", "", "b"]
