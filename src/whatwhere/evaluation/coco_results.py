"""COCO results against COCO annotations, in the float64 numbers of the two files.

`Dataset` holds boxes as float32 corners; a box that was written as left, top, width and
height in decimals can end one bit beside an IoU threshold on that way. So this path reads
both files as they are, and gives pycocotools' numbers to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.data.formats._coco_tables import loaded_boxes
from whatwhere.errors import UsageError
from whatwhere.evaluation.coco_records import Told, boxes_of
from whatwhere.evaluation.deferred import Deferred
from whatwhere.evaluation.gathered import equal_rows, twice_note
from whatwhere.evaluation.matching import data_notes
from whatwhere.evaluation.result import Boxes, Result
from whatwhere.evaluation.units import Reading, class_words, unit_notes
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes, coco_scores
from whatwhere.metrics.detection import as_result
from whatwhere.metrics.ordering import places
from whatwhere.metrics.pairing import COCO_LIMIT, best_boxes
from whatwhere.types import Prediction

_MOST_ROWS = 1 << 20
"""Boxes that are held before those that COCO does not score are dropped: 56 MB."""


def score_coco_results(
    path: Path, blocks: Iterable[FoundBoxes | Sequence[Any]], data: Dataset
) -> Result:
    """Scores of a COCO results file on the pictures of a data set that was read from COCO.

    Args:
        blocks: the records of the file, some at a time, parsed or as columns; of more than a
            million, only the best 100 of each picture and class are kept, since COCO scores no
            others.

    Raises:
        DataError: a record is damaged; the message names it.
        UsageError: the data set is not COCO's, or no record belongs to it.
    """
    truth, names, row_of = _truth(data, path)
    ids = np.array(sorted(row_of), dtype=np.int64)
    rows = np.array([row_of[image] for image in ids.tolist()], dtype=np.int64)
    sizes = data.images.select("width", "height").to_numpy().astype(np.float64).reshape(-1, 2)[rows]
    found, told = _found(path, blocks, data, ids, sizes, list(names))
    if told.records and not len(found.image):
        raise _nothing_known(told, names, path, data)
    if not len(truth.image):
        raise UsageError(f"{data.source} has no label to compare with: give labelled pictures")
    boxes = _numbered(names, truth, found, ids, rows)
    notes = [*_unit_notes(path, boxes, sizes), *told.notes(), *_twice(found)]
    numbers = as_result(coco_scores(ids, names, truth, found), names, truth, curves=True)
    per_class, curves = numbers.pop("per_class"), numbers.pop("curves")
    counts = [(name, row["boxes"]) for name, row in per_class.items()]
    return Result(
        task="detect",
        images=len(row_of),
        metrics=numbers,
        per_class=per_class,
        notes=(*notes, *data_notes(data, counts)),
        source=str(data.source),
        curves=curves,
        data=data,
        predictions=Deferred(
            len(data), lambda: _predictions(boxes.found, names, rows, sizes, data)
        ),
        boxes=boxes,
    )


def _numbered(
    names: Mapping[int, str],
    truth: TrueBoxes,
    found: FoundBoxes,
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> Boxes:
    """The boxes with numbers from 0 in place of COCO's picture ids."""

    def placed(boxes: Any) -> Any:
        return replace(boxes, image=np.searchsorted(ids, boxes.image))

    return Boxes(names, placed(truth), placed(found), rows)


def _nothing_known(told: Told, names: Mapping[int, str], path: Path, data: Dataset) -> UsageError:
    """Why no record of a file belongs to the data set."""
    if told.outside == told.records:
        return UsageError(
            f"no record of {path} belongs to {data.source}: none of its image_id ({told.images}) is"
            " one of the data; give the data set that was predicted"
        )
    known = ", ".join(f"{number} ({name})" for number, name in list(names.items())[:5])
    return UsageError(
        f"no record of {path} belongs to {data.source}: its category_id are {told.classes}, those"
        f" of the data {known}; number the classes as the data does"
    )


def _unit_notes(path: Path, boxes: Boxes, sizes: NDArray[np.float64]) -> list[str]:
    def corners(xywh: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)

    truth, found = boxes.truth, boxes.found
    reading = Reading(
        found.image,
        found.class_id,
        found.score,
        corners(found.xywh),
        truth.image,
        truth.class_id,
        corners(truth.xywh),
        sizes,
        order="xywh",
    )
    return unit_notes(reading, str(path), class_words(boxes.names))


def _twice(found: FoundBoxes) -> Iterator[str]:
    count = equal_rows(found.image, found.class_id, found.score, *found.xywh.T)
    if count:
        yield twice_note(count)


def _found(
    path: Path,
    blocks: Iterable[FoundBoxes | Sequence[Any]],
    data: Dataset,
    images: NDArray[np.int64],
    sizes: NDArray[np.float64],
    classes: Sequence[int],
) -> tuple[FoundBoxes, Told]:
    """The boxes of known pictures and classes, and what is to be said about the others.

    Args:
        images: int64 (M,), ids of the pictures, ascending.
        sizes: float64 (M, 2), their widths and heights; NaN where not known.
        classes: ids of the classes.
    """
    nothing = np.zeros(0, dtype=np.int64)
    parts = [FoundBoxes(nothing, nothing, np.zeros((0, 4)), np.zeros(0))]
    told = Told(data, sizes)
    wanted = np.unique(np.array(classes, dtype=np.int64))
    rows = kept = 0
    for records in blocks:
        block = records if isinstance(records, FoundBoxes) else boxes_of(path, records, told)
        known = places(block.class_id, wanted)[1]
        inside = told.add(block, images, known)
        parts.append(block.only(inside & known))
        rows += len(parts[-1].image)
        if rows > max(_MOST_ROWS, 2 * kept):
            whole = _joined(parts)
            parts = [whole.only(best_boxes(whole, COCO_LIMIT))]
            told.beyond += rows - len(parts[0].image)
            rows = kept = len(parts[0].image)
    return _joined(parts), told


def _joined(parts: Sequence[FoundBoxes]) -> FoundBoxes:
    return FoundBoxes(
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.class_id for part in parts]),
        np.concatenate([part.xywh for part in parts]),
        np.concatenate([part.score for part in parts]),
    )


def _truth(data: Dataset, path: Path) -> tuple[TrueBoxes, dict[int, str], dict[int, int]]:
    """Labelled boxes, class names by id, and row of the data set by picture id."""
    files = annotation_files(data)
    if len(files) != 1:
        reason = "several annotation files" if files else "no COCO annotation file"
        raise UsageError(
            f"{path} names pictures by COCO's ids, but {data.source} has {reason}: give the one"
            " JSON file with  --data, or the lines of 'whatwhere predict --json'"
        )
    frame = loaded_boxes(files[0])
    ids = data.images["id"].to_list()
    row_of = {image_id: row for row, image_id in enumerate(ids) if image_id is not None}
    names = dict(zip(data.category_ids, data.names, strict=True))
    # Records that cannot be understood were reported when the data set was read.
    frame = frame.filter(
        pl.col("image_id").is_in(list(row_of))
        & pl.col("category_id").is_in(list(names))
        & pl.all_horizontal(pl.col(name).is_finite() for name in "xywh")
    )
    xywh = frame.select("x", "y", "w", "h").to_numpy().astype(np.float64).reshape(-1, 4)
    area = frame["area"].fill_null(float("nan")).to_numpy()
    return (
        TrueBoxes(
            frame["image_id"].to_numpy().astype(np.int64),
            frame["category_id"].to_numpy().astype(np.int64),
            xywh,
            np.where(np.isfinite(area), area, xywh[:, 2] * xywh[:, 3]),
            frame["iscrowd"].fill_null(False).to_numpy().astype(bool),
        ),
        names,
        row_of,
    )


def annotation_files(data: Dataset) -> list[Path]:
    """The COCO annotation files of a data set; empty for other formats."""
    if data.format != "coco":
        return []
    source = Path(data.source)
    if source.is_file():
        return [source]
    records = data.labels["record"].drop_nulls().unique().to_list()
    return [Path(data.root, name) for name in sorted({r.rpartition("#")[0] for r in records})]


def _predictions(
    found: FoundBoxes,
    names: Mapping[int, str],
    rows: NDArray[np.int64],
    sizes: NDArray[np.float64],
    data: Dataset,
) -> tuple[Prediction, ...]:
    """The boxes by picture, in the order of the data set, for drawing.

    Args:
        found: with pictures numbered from 0, in the order of `rows` and `sizes`.
        rows: int64 (M,), row of the data of each picture.
        sizes: float64 (M, 2), their widths and heights; NaN where not known.
    """
    row = rows[found.image]
    order = np.lexsort((-found.score, row))
    bounds = np.searchsorted(row[order], np.arange(len(data) + 1))
    ids = np.array(sorted(names), dtype=np.int64)
    words = [names[number] for number in ids.tolist()]
    place = np.searchsorted(ids, found.class_id[order])
    left_top = found.xywh[order, :2]
    boxes = np.concatenate([left_top, left_top + found.xywh[order, 2:]], 1).astype(np.float32)
    scores = found.score[order].astype(np.float32)
    size = np.zeros((len(data), 2), dtype=np.int64)
    size[rows] = np.nan_to_num(sizes)
    predictions = []
    for at, (name, (width, height)) in enumerate(zip(data.paths, size.tolist(), strict=True)):
        mine = slice(bounds[at], bounds[at + 1])
        predictions.append(
            Prediction(
                width=width,
                height=height,
                image=name,
                object_names=tuple([words[one] for one in place[mine].tolist()]),
                object_scores=scores[mine],
                boxes=boxes[mine],
            )
        )
    return tuple(predictions)
