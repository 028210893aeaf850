"""`whatwhere data formats`."""

from __future__ import annotations

from command_line import Run
from whatwhere.data.formats import formats


def test_every_format_is_listed(run: Run) -> None:
    rows = run("data", "formats", "--json").rows
    assert [row["name"] for row in rows] == sorted(formats())
    for row in rows:
        format = formats()[row["name"]]
        assert row["title"] == format.TITLE
        assert set(row["tasks"]) == format.TASKS
        assert row["write"] == hasattr(format, "write")
        assert set(row["keeps"]) == format.HOLDS
        assert row["looks_for"]


def test_the_table_has_the_names(run: Run) -> None:
    outcome = run("data", "formats")
    assert outcome.status == 0
    for name in formats():
        assert name in outcome.out


def test_ways_to_read_and_write_are_listed(run: Run) -> None:
    rows = {row["name"]: row for row in run("data", "formats", "--json").rows}
    assert "cvat:video" in rows["cvat"]["write_as"]
    assert "text_boxes:xyxy" in rows["text_boxes"]["read_as"]
    assert rows["coco"]["read_as"] == rows["coco"]["write_as"] == []
