"""Rows of Open Images' tables as labels."""

from __future__ import annotations

import polars as pl

from whatwhere.data.formats._open_images_write import BOX_SOURCES, IMAGE_SOURCES, SOURCES
from whatwhere.types import Task


def positive() -> pl.Expr:
    """Rows that say that a class is there."""
    value = pl.col("Confidence").cast(pl.Float64, strict=False)
    return value.fill_null(1.0) > 0


def label_columns(frame: pl.DataFrame, task: Task) -> pl.DataFrame:
    """The rows as labels."""
    raw = pl.col("Source").str.strip_chars()
    source = raw.str.to_lowercase().replace_strict(SOURCES, default=None, return_dtype=pl.String)
    written = BOX_SOURCES if task == "detect" else IMAGE_SOURCES
    usual = source.replace_strict(written, default=None, return_dtype=pl.String)
    number = pl.col("Confidence").cast(pl.Float64, strict=False)
    # "1" stands in every row of people; a score has a point, or a machine gave it.
    said = (pl.col("Confidence").str.strip_chars() != "1") | (source == "model")
    odd = raw.is_not_null() & (raw != "") & (raw != usual).fill_null(True)
    parts = [
        pl.when(odd).then(pl.concat_str(pl.lit('"Source": "'), _escaped(raw), pl.lit('"'))),
        *(
            pl.when(pl.col(name).is_not_null() & (pl.col(name) != 0)).then(
                pl.concat_str(pl.lit(f'"{name}": '), pl.col(name).cast(pl.String))
            )
            for name in ("IsDepiction", "IsInside")
        ),
    ]
    inner = pl.concat_str(parts, separator=", ", ignore_nulls=True)
    crowd = _known_flag("IsGroupOf")
    return frame.with_columns(
        _known_flag("IsOccluded").alias("occluded"),
        _known_flag("IsTruncated").alias("truncated"),
        crowd.alias("iscrowd"),
        crowd.fill_null(False).alias("ignore"),
        source.alias("source"),
        pl.when(said.fill_null(False) & (number >= 0) & (number <= 1)).then(number).alias("score"),
        pl.when(inner != "")
        .then(pl.concat_str(pl.lit('{"open_images": {'), inner, pl.lit("}}")))
        .alias("extra"),
        pl.concat_str(pl.col("file").cast(pl.String), "line", separator=":").alias("record"),
    )


def _escaped(text: pl.Expr) -> pl.Expr:
    """Inside quotes of JSON; control characters have no place in a word of a table."""
    text = text.str.replace_all("\\", "\\\\", literal=True).str.replace_all(
        '"', '\\"', literal=True
    )
    return text.str.replace_all(r"[\x00-\x1f]", " ")


def _known_flag(name: str) -> pl.Expr:
    """True, False, or null for -1 and an empty field."""
    return pl.when(pl.col(name) >= 0).then(pl.col(name) == 1)
