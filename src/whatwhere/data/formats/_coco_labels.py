"""The records of labels in COCO, as texts, with all cores."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import polars as pl

from whatwhere.data.formats._coco_fields import ANNOTATIONS, OURS
from whatwhere.data.tables import BOX


def json_text(value: Any) -> str:
    """JSON on one line; escapes only what UTF-8 cannot hold."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, default=str)
    return text


def own_and_others(extra: str, known: Collection[str]) -> str:
    """The fields that `extra` adds to a record, as `, "key": value`."""
    said = json.loads(extra)
    if not isinstance(said, dict):
        return f", {json_text(OURS)}: {json_text({'extra': {'coco': said}})}"
    own = said.get("coco")
    own = own if isinstance(own, dict) else {}
    kept = {key: value for key, value in own.items() if key not in known or key == OURS}
    others = {key: value for key, value in said.items() if key != "coco" or not own}
    if others:
        kept[OURS] = {"extra": others}
    return ", " + json_text(kept)[1:-1] if kept else ""


def label_texts(labels: pl.DataFrame, images: pl.Series, categories: Sequence[int]) -> pl.Series:
    """One JSON object a row.

    All rows have a key that some have, but for texts: then the reader sees few shapes.

    Args:
        labels: as in `Dataset.labels`.
        images: id of each picture.
        categories: id of each class.
    """
    frame = labels.with_columns(
        images.gather(labels["image"]).alias("image_id"),
        pl.Series(categories, dtype=pl.Int64).gather(labels["class_id"]).alias("category_id"),
        pl.int_range(1, labels.height + 1).alias("number"),
    )
    frame = frame.hstack(_boxes(labels))
    parts: list[pl.Expr] = [pl.lit('{"id": '), pl.col("number").cast(pl.String)]

    def add(key: str, value: pl.Expr) -> None:
        parts.extend([pl.lit(f', "{key}": '), value])

    def given(name: str) -> bool:
        return frame[name].null_count() < frame.height

    add("image_id", pl.col("image_id").cast(pl.String))
    add("category_id", pl.col("category_id").cast(pl.String))
    numbers = [pl.col(name).cast(pl.String) for name in "xywh"]
    add("bbox", pl.concat_str(pl.lit("["), pl.concat_str(numbers, separator=", "), pl.lit("]")))
    area = pl.coalesce("area", pl.col("w") * pl.col("h"))
    add("area", pl.when(area.is_finite()).then(area).otherwise(0.0).cast(pl.String))
    add("iscrowd", pl.col("iscrowd").fill_null(False).cast(pl.Int8).cast(pl.String))
    for name in ("ignore", "difficult", "truncated", "occluded"):
        if frame[name].any():
            add(name, pl.col(name).fill_null(False).cast(pl.Int8).cast(pl.String))
    add("segmentation", pl.col("segmentation").fill_null("[]"))
    if given("keypoints"):
        add("keypoints", pl.col("keypoints").fill_null("[]"))
        add("num_keypoints", _visible(frame["keypoints"], frame["extra"]))
    if given("attributes"):
        add("attributes", pl.col("attributes").fill_null("{}"))
    if given("score"):
        add("score", pl.col("score").cast(pl.String).fill_null("null"))
    for name in ("source", "track"):
        values = frame[name]
        if name == "source":
            # A score without a source is a model's.
            own = (pl.col("source") != "model") | pl.col("score").is_null()
            values = frame.select(pl.when(own).then("source")).to_series()
        if values.null_count() < values.len():
            texts = {one: f', "{name}": {json_text(one)}' for one in values.drop_nulls().unique()}
            written = values.replace_strict(texts, default="", return_dtype=pl.String)
            parts.append(pl.lit(written))
    if given("extra"):
        known = set(ANNOTATIONS)
        if not given("keypoints"):
            known.remove("num_keypoints")
        more = [None if one is None else own_and_others(one, known) for one in frame["extra"]]
        parts.append(pl.lit(pl.Series(more, dtype=pl.String)).fill_null(""))
    parts.append(pl.lit("}"))
    return frame.select(pl.concat_str(parts).alias("text")).to_series()


def _boxes(labels: pl.DataFrame) -> pl.DataFrame:
    """x, y, w and h, float64, with few digits, from which the float32 corners follow exactly."""
    corners = labels.select(pl.col(name).cast(pl.Float32) for name in BOX)
    short = corners.select(pl.all().cast(pl.String).cast(pl.Float64))
    exact = corners.select(pl.all().cast(pl.Float64))

    def side(low: str, high: str) -> pl.Series:
        rough = (short[high] - short[low]).round(6)
        good = (short[low] + rough).cast(pl.Float32) == corners[high]
        full = exact[high] - short[low]
        return pl.select(pl.when(good).then(rough).otherwise(full)).to_series()

    return pl.DataFrame(
        {"x": short["x1"], "y": short["y1"], "w": side("x1", "x2"), "h": side("y1", "y2")}
    )


def _visible(keypoints: pl.Series, extras: pl.Series) -> pl.Expr:
    """The number of key points, as it was said or else as it is."""
    counts = []
    for text, extra in zip(keypoints, extras, strict=True):
        count = 0 if text is None else sum(1 for one in json.loads(text)[2::3] if one)
        if extra is not None and '"num_keypoints"' in extra:
            known = json.loads(extra).get("coco", {}).get("num_keypoints")
            count = known if isinstance(known, int) else count
        counts.append(count)
    return pl.lit(pl.Series(counts, dtype=pl.Int64)).cast(pl.String)
