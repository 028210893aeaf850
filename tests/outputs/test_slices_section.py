"""The table of parts: worst first, names escaped, undefined numbers as a dash."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import polars as pl

from planted import wrong_classes
from whatwhere.data import Dataset
from whatwhere.metrics.slices import slices
from whatwhere.outputs.slices import slices_html


class Rows(HTMLParser):
    """The cells of each row of a table."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_table_has_the_whole_and_then_the_parts_in_their_order() -> None:
    data, answers, _ = wrong_classes(0, count=300, share=0.0)
    groups = ["<script>", "b", "c"] * 100
    images = data.images.with_columns(pl.Series("group", groups))
    data = Dataset(images, data.labels, data.names, task="classify")
    found = slices("classify", data, answers, samples=50, level=0.9)
    page = slices_html(found)
    assert "<script>" not in page
    assert "90% interval" in page
    rows = Rows(page).rows[1:]
    assert rows[0][0] == "the whole"
    assert [row[0] for row in rows[1:]] == [one.attribute for one in found.parts]
    group = next(row for row in rows if row[1].startswith("<script>"))
    assert group[2:4] == ["100", "100"]
    some = slices_html(found, count=2)
    assert len(Rows(some).rows) == 4
    assert f"{len(found.parts) - 2} better parts are not shown" in some


def test_what_is_undefined_is_a_dash_and_nothing_is_no_section() -> None:
    data, answers, _ = wrong_classes(0, count=40, share=0.0)
    found = slices("classify", data, answers, samples=5)
    assert slices_html(replace(found, parts=())) == ""
    first = found.parts[0]
    unknown = replace(first.numbers["f1"], value=None, low=None, high=None)
    odd = replace(first, numbers={**first.numbers, "f1": unknown}, gap=None, worse=True)
    row = Rows(slices_html(replace(found, parts=(odd,)))).rows[-1]
    assert row[-3:] == ["–", "–", ""]
    assert row[1].endswith(" worse")
    assert np.isfinite(found.whole.numbers["accuracy"].value or np.nan)
