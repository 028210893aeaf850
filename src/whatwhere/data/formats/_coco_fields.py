"""The typed columns of COCO's records, out of their JSON texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from whatwhere.data.findings import Finding
from whatwhere.data.formats._coco_scan import Part
from whatwhere.data.formats._coco_shapes import box_of

INTEGER, NUMBER, FLAG, TEXT, JSON = "integer", "number", "flag", "text", "json"

_TYPES: dict[str, Any] = {
    INTEGER: pl.Int64,
    NUMBER: pl.Float64,
    FLAG: pl.Boolean,
    TEXT: pl.String,
    JSON: pl.String,
}

OURS = "whatwhere"
"""Key of what no other key of COCO can hold, in records and at the top of a file."""

IMAGES = {
    "id": INTEGER,
    "file_name": TEXT,
    "width": INTEGER,
    "height": INTEGER,
    "group": TEXT,
    "labelled_classes": JSON,
    "complete_classes": JSON,
    "neg_category_ids": JSON,
    "not_exhaustive_category_ids": JSON,
    OURS: JSON,
}

ANNOTATIONS = {
    "id": INTEGER,
    "image_id": INTEGER,
    "category_id": INTEGER,
    "bbox": JSON,
    "area": NUMBER,
    "iscrowd": FLAG,
    "ignore": FLAG,
    "difficult": FLAG,
    "truncated": FLAG,
    "occluded": FLAG,
    "score": NUMBER,
    "source": TEXT,
    "track": TEXT,
    "segmentation": JSON,
    "keypoints": JSON,
    "num_keypoints": INTEGER,
    "attributes": JSON,
    OURS: JSON,
}


def typed(
    raw: pl.DataFrame, kinds: Mapping[str, str], positions: Sequence[int], where: str
) -> Part:
    """Columns of these kinds; a finding for each value that is of another kind.

    Args:
        raw: JSON texts; null where a record does not have the key.
        kinds: of each column.
        positions: of the records in their array.
        where: the array, for findings.
    """
    given = [name for name in kinds if raw[name].null_count() < raw.height]
    values = raw.with_columns(
        (_typed(name, kind) if name in given else pl.lit(None, _TYPES[kind])).alias(name)
        for name, kind in kinds.items()
    )
    filled = raw.select((pl.col(name) != "null").sum() for name in given)
    findings = []
    for name in given:
        kind = kinds[name]
        if kind == JSON or filled[name].item() == values[name].count():
            continue
        odd = ((raw[name] != "null").fill_null(False) & values[name].is_null()).arg_true()
        better = []
        for row, text in zip(odd, raw[name].gather(odd), strict=True):
            value, fault, shown = None, True, text
            try:
                read = json.loads(text)
                shown = json.dumps(read, ensure_ascii=False)
                value, fault = _value(read, kind)
            except (ValueError, TypeError, OverflowError, RecursionError):
                fault = True
            better.append(value)
            if fault:
                message = f"{name!r} is {shown[:40]}, which is of the wrong kind"
                place = f"{where}[{positions[row]}]"
                findings.append(Finding("bad-value", message, place, "warning", "left out"))
        series = pl.Series(better, dtype=_TYPES[kind])
        values = values.with_columns(values[name].scatter(odd, series))
    extra = pl.concat_str(pl.lit('{"coco": {'), pl.col("extra"), pl.lit("}}"))
    values = values.with_columns(extra.alias("extra"))
    return _with_ours(values.insert_column(0, _positions(positions))), findings


def _positions(positions: Sequence[int]) -> pl.Series:
    if isinstance(positions, range):
        column = pl.int_range(positions.start, positions.stop, dtype=pl.UInt32, eager=True)
        return column.alias("position")
    return pl.Series("position", positions, pl.UInt32)


def _typed(name: str, kind: str) -> pl.Expr:
    text = pl.col(name)
    if kind == INTEGER:
        return text.cast(pl.Int64, strict=False)
    if kind == NUMBER:
        return text.cast(pl.Float64, strict=False)
    if kind == FLAG:
        known = pl.when(text.is_in(["1", "true"])).then(True)
        return known.when(text.is_in(["0", "false"])).then(False)
    if kind == TEXT:
        plain = text.str.starts_with('"') & ~text.str.contains("\\", literal=True)
        return pl.when(plain).then(text.str.strip_prefix('"').str.strip_suffix('"'))
    return pl.when(text != "null").then(text)


def _value(value: Any, kind: str) -> tuple[Any, bool]:
    """The value as that kind, and whether it had to be left out."""
    if kind == TEXT:
        if isinstance(value, str):
            value.encode()
            return value, False
        whole = isinstance(value, int) and not isinstance(value, bool)
        return (str(value), False) if whole else (None, True)
    if not isinstance(value, (int, float, str)):
        return None, True
    if kind == NUMBER:
        return float(value), False
    number = int(value)
    if number != float(value) or not -(2**63) <= number < 2**63:
        return None, True
    return (number != 0 if kind == FLAG else number), False


def _with_ours(frame: pl.DataFrame) -> pl.DataFrame:
    """Put what other formats said of a record back beside what COCO says."""
    rows = frame[OURS].is_not_null().arg_true().to_list()
    if not rows:
        return frame
    extras = frame["extra"].to_list()
    for row in rows:
        known = json.loads(frame[OURS][row])
        own = json.loads(extras[row]) if extras[row] else {}
        others = known.get("extra") if isinstance(known, dict) else None
        if isinstance(others, dict):
            merged = {**others, **own}
        else:
            merged = {"coco": {**own.get("coco", {}), OURS: known}}
        extras[row] = json.dumps(merged, ensure_ascii=False)
    return frame.with_columns(pl.Series("extra", extras, pl.String))


def image_rows(where: str) -> Callable[[pl.DataFrame, Sequence[int]], Part]:
    """What makes columns of the records of pictures."""
    return lambda raw, positions: typed(raw, IMAGES, positions, f"{where}#images")


def label_rows(where: str, name: str) -> Callable[[pl.DataFrame, Sequence[int]], Part]:
    """What makes columns of the records of labels, with the box as x, y, w and h."""

    def rows(raw: pl.DataFrame, positions: Sequence[int]) -> Part:
        raw = raw.with_columns(
            pl.when(~pl.col(one).is_in(["[]", "{}"])).then(pl.col(one)).alias(one)
            for one in ("segmentation", "keypoints", "attributes")
        )
        frame, findings = typed(raw, ANNOTATIONS, positions, f"{where}#{name}")
        return _attributes(_keypoints(_boxes(frame))), findings

    return rows


def _boxes(frame: pl.DataFrame) -> pl.DataFrame:
    """The four numbers of each box, or around its outline; `bbox` stays where there are none."""
    parts = frame["bbox"].str.strip_prefix("[").str.strip_suffix("]").str.splitn(",", 4)
    frame = frame.hstack(parts.struct.rename_fields(list("xywh")).struct.unnest())
    four = [pl.col(name).str.strip_chars(" \t\r\n") for name in "xywh"]
    frame = frame.with_columns(one.cast(pl.Float64, strict=False) for one in four)
    good = pl.all_horizontal(pl.col(name).is_not_null() for name in "xywh")
    shown = pl.col("bbox").is_not_null() | pl.col("segmentation").is_not_null()
    odd = frame.select((shown & ~good).arg_true()).to_series().to_list()
    if odd:
        columns = {name: frame[name].to_list() for name in "xywh"}
        for row in odd:
            text, outline = frame["bbox"][row], frame["segmentation"][row]
            values = box_of(outline) if text is None else _four(text)
            for place, name in enumerate("xywh"):
                columns[name][row] = values[place] if values else None
        frame = frame.with_columns(
            pl.Series(name, values, pl.Float64) for name, values in columns.items()
        )
    return frame.with_columns(pl.when(~good).then(pl.col("bbox")).alias("bbox"))


def _four(text: str) -> list[float] | None:
    try:
        values = [float(one) for one in json.loads(text)]
    except (ValueError, TypeError, OverflowError):
        return None
    return values if len(values) == 4 else None


def _keypoints(frame: pl.DataFrame) -> pl.DataFrame:
    """A number of key points goes without saying if it can be counted."""
    if frame["num_keypoints"].null_count() == frame.height:
        return frame.drop("num_keypoints")
    seen = pl.col("keypoints").str.strip_chars("[] \t\r\n").str.split(",")
    seen = seen.list.gather_every(3, 2).list.eval(
        pl.element().str.strip_chars(" \t\r\n").cast(pl.Float64, strict=False) > 0
    )
    counted = seen.list.sum().fill_null(0)
    own = pl.when(pl.col("num_keypoints") != counted).then(
        pl.format('"num_keypoints": {}', "num_keypoints")
    )
    inner = pl.col("extra").str.strip_prefix('{"coco": {').str.strip_suffix("}}")
    inner = pl.concat_str(inner, own, separator=", ", ignore_nulls=True)
    both = pl.concat_str(pl.lit('{"coco": {'), inner, pl.lit("}}"))
    return frame.with_columns(
        pl.when(own.is_not_null()).then(both).otherwise(pl.col("extra")).alias("extra")
    ).drop("num_keypoints")


def _attributes(frame: pl.DataFrame) -> pl.DataFrame:
    """CVAT says among the attributes whether something is occluded; it stays there, too."""
    texts = frame["attributes"].drop_nulls().unique()
    said: dict[str, bool] = {}
    for text in texts.filter(texts.str.contains('"occluded"', literal=True)):
        known = json.loads(text)
        value = known.get("occluded") if isinstance(known, dict) else None
        if isinstance(value, bool):
            said[text] = value
    if not said:
        return frame
    flag = pl.col("attributes").replace_strict(said, default=None, return_dtype=pl.Boolean)
    return frame.with_columns(pl.coalesce("occluded", flag).alias("occluded"))
