"""What only one format knows: another format keeps it, or says that it does not."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from data_samples import detection
from whatwhere.data import read
from whatwhere.data.formats import formats, writable

KNOWN = pl.lit(json.dumps({"alien": {"legs": 3}})).alias("extra")


@pytest.mark.parametrize(("table", "column"), [("labels", "extra"), ("images", "image_extra")])
@pytest.mark.parametrize("name", writable("detect"))
def test_what_another_format_knows_comes_back_or_is_reported(
    name: str, table: str, column: str, tmp_path: Path
) -> None:
    before = detection(tmp_path)
    frames = {one: getattr(before, one) for one in ("images", "labels")}
    frames[table] = frames[table].with_columns(KNOWN)
    written = before._like(**frames).write(tmp_path / "copy", name)
    reported = [one for one in written if one.kind == "lost-column" and "extra" in one.message]
    after = getattr(read(tmp_path / "copy", format=name), table)["extra"].drop_nulls()
    kept = [text for text in after if json.loads(text).get("alien") == {"legs": 3}]
    if column not in formats()[name].HOLDS or reported:
        assert len(reported) == 1
        assert f"{frames[table].height} {'labels' if table == 'labels' else 'pictures'}" in str(
            reported[0]
        )
        assert not kept
    else:
        assert len(kept) == frames[table].height
