"""The two tables of a data set, and the step that every reader ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from whatwhere.data.findings import KEPT_OUT, Finding

IMAGE_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "path": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "split": pl.String,
    "group": pl.String,
    "id": pl.Int64,
    "labelled": pl.List(pl.String),
    "complete": pl.List(pl.String),
    "extra": pl.String,
}
"""Columns of `Dataset.images`.

- path: absolute; `file!/offset+length/name` for a picture inside a file (`images.members`).
- width, height: pixels after EXIF turning; null if not known.
- split: "train", "val", "test" or another name; null for none.
- group: what must not be divided: a video, a patient, a tile's parent picture.
- id: the format's own number of the picture (COCO's image id).
- labelled: classes that were looked for at all; a class that is here and has no label is
  verified to be absent. Null means all classes of the data set.
- complete: classes of which every object in the picture is labelled; null means as labelled.
- extra: a JSON object of what else the format says of the picture, by format name.
"""

LABEL_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "image": pl.UInt32,
    "class_id": pl.Int32,
    "x1": pl.Float32,
    "y1": pl.Float32,
    "x2": pl.Float32,
    "y2": pl.Float32,
    "ignore": pl.Boolean,
    "difficult": pl.Boolean,
    "truncated": pl.Boolean,
    "occluded": pl.Boolean,
    "iscrowd": pl.Boolean,
    "area": pl.Float64,
    "score": pl.Float32,
    "source": pl.String,
    "track": pl.String,
    "segmentation": pl.String,
    "keypoints": pl.String,
    "attributes": pl.String,
    "extra": pl.String,
    "record": pl.String,
}
"""Columns of `Dataset.labels`; null means that the format does not say.

- image: row number in `images`; class_id: position in `names`.
- x1, y1, x2, y2: continuous pixels, origin top left, after EXIF turning; null without a box.
- ignore: neither a miss nor, if it is found, a mistake. True for everything below that
  a format's own rules leave out (VOC difficult, COCO crowds, KITTI DontCare).
- difficult: hard to recognise (VOC). truncated: reaches over the picture's edge.
- occluded: partly hidden behind something.
- iscrowd: one box around several objects (COCO iscrowd, Open Images IsGroupOf,
  Cityscapes groups).
- area: the object's own, in square pixels, where it differs from the box's (COCO).
- score: confidence 0..1; source: "human", "model" or "verified" (a model's, seen by a human).
- track: the same object in other pictures of the group.
- segmentation: JSON as in COCO: outlines [[x, y, ...], ...] or run lengths {counts, size}.
- keypoints: JSON as in COCO: [x, y, visibility, ...].
- attributes: a JSON object of what people added to a label: {"colour": "red"}.
- extra: a JSON object of what else the format says, by format name: {"kitti": {...}}.
- record: where it stands: `file:line` or `file#id`.
"""

SCHEMA_VERSION = 2
"""Version of the two tables; 2 added occluded, track, the JSON columns and extra."""

FLAGS = ("ignore", "difficult", "truncated", "occluded", "iscrowd")

BOX = ("x1", "y1", "x2", "y2")

# Annotation tools round; less than half a pixel over the edge is not worth a report.
_OVERHANG = 0.5


def table(
    rows: Mapping[str, Sequence[Any]] | pl.DataFrame,
    columns: Mapping[str, pl.DataType | type[pl.DataType]],
) -> pl.DataFrame:
    """A frame with exactly these columns: cast, missing ones null (`ignore` false)."""
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, strict=False)
    if not frame.columns:
        return pl.DataFrame(schema=dict(columns))
    frame = frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in columns.items()
    )
    if "ignore" in columns:
        frame = frame.with_columns(pl.col("ignore").fill_null(False))
    return frame


def tidy_boxes(labels: pl.DataFrame, images: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Keep boxes out that have no area or lie outside; clip those that reach outside.

    Args:
        labels: rows with boxes, in float64 as they were written if possible.
        images: the pictures; where the size is null, only what is left of or above 0 is cut.

    Returns:
        The remaining rows, sorted by picture, and one finding for each changed row.
    """
    if labels.height == 0:
        return labels, []
    sizes = images.select("width", "height").with_row_index("image")
    # Texts can be long and are not needed to find the few faults among millions of boxes.
    boxes = labels.select(
        pl.col("image").cast(pl.UInt32), *(pl.col(name).cast(pl.Float64) for name in BOX)
    ).join(sizes.cast({"image": pl.UInt32}), on="image", how="left", maintain_order="left")
    x1, y1, x2, y2 = (pl.col(name) for name in BOX)
    width, height = pl.col("width").cast(pl.Float64), pl.col("height").cast(pl.Float64)
    finite = pl.all_horizontal(value.is_finite().fill_null(False) for value in (x1, y1, x2, y2))
    inside = pl.all_horizontal(
        (x2 > 0).fill_null(True),
        (y2 > 0).fill_null(True),
        (x1 < width).fill_null(True),
        (y1 < height).fill_null(True),
    )
    over = pl.max_horizontal(-x1, -y1, x2 - width, y2 - height)
    fault = boxes.select(
        pl.when(~finite)
        .then(pl.lit("bad-box"))
        .when((x2 < x1) | (y2 < y1))
        .then(pl.lit("inverted-box"))
        .when((x2 == x1) | (y2 == y1))
        .then(pl.lit("zero-size-box"))
        .when(~inside)
        .then(pl.lit("outside-box"))
        .when(over > _OVERHANG)
        .then(pl.lit("clipped-box"))
        .otherwise(None)
        .alias("fault")
    ).to_series()
    # Where the size is not known, only the edges at 0 are.
    kept = labels.with_columns(
        boxes["image"],
        *boxes.select(
            pl.col(name).clip(
                0, pl.col("width" if name[0] == "x" else "height").fill_null(2**31 - 1)
            )
            for name in BOX
        ),
    )
    if fault.null_count() == len(fault):
        return kept, []
    faulty = labels.with_columns(boxes["width"], boxes["height"], fault)
    findings = [
        _box_finding(row) for row in faulty.filter(fault.is_not_null()).iter_rows(named=True)
    ]
    return kept.filter(fault.is_null() | (fault == "clipped-box")), findings


_BOX_MESSAGES = {
    "bad-box": "the box has a coordinate that is missing or not a number",
    "inverted-box": "the box ends before it begins",
    "zero-size-box": "the box has zero size",
    "outside-box": "the box lies outside its picture",
    "clipped-box": "the box reaches outside its picture",
}


def _box_finding(row: Mapping[str, Any]) -> Finding:
    kind = row["fault"]
    box = ", ".join("?" if row[name] is None else f"{row[name]:g}" for name in BOX)
    size = "" if row["width"] is None else f" in {row['width']}x{row['height']} pixels"
    clipped = kind == "clipped-box"
    return Finding(
        kind,
        f"{_BOX_MESSAGES[kind]} (x1, y1, x2, y2 = {box}{size})",
        row["record"] or f"picture {row['image']}",
        "warning" if clipped else "error",
        "clipped" if clipped else KEPT_OUT,
        0 if clipped else 1,
    )
