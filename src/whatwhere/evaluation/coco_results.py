"""COCO results against COCO annotations, in the float64 numbers of the two files.

`Dataset` holds boxes as float32 corners; a box that was written as left, top, width and
height in decimals can end one bit beside an IoU threshold on that way. So this path reads
both files as they are, and gives pycocotools' numbers to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import DataError, UsageError
from whatwhere.evaluation.matching import data_notes, some
from whatwhere.evaluation.result import Result
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes, coco_scores
from whatwhere.metrics.detection import as_result
from whatwhere.types import Prediction


def score_coco_results(path: Path, records: Any, data: Dataset) -> Result:
    """Scores of a COCO results file on the pictures of a data set that was read from COCO.

    Raises:
        DataError: a record is damaged; the message names it.
        UsageError: the data set is not COCO's, or no record belongs to it.
    """
    found = _found(path, records)
    truth, names, row_of = _truth(data, path)
    ids = np.fromiter(row_of, dtype=np.int64, count=len(row_of))
    inside = np.isin(found.image, ids)
    known = np.isin(found.class_id, list(names))
    notes = list(_notes(found, inside, known))
    if not (inside & known).any():
        raise UsageError(
            f"no record of {path} belongs to {data.source}: give the data set that was predicted"
        )
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
        predictions=_predictions(found.only(inside & known), names, row_of, data),
    )


def _found(path: Path, records: Any) -> FoundBoxes:
    if not isinstance(records, list):
        raise DataError(f"{path} is not a list of COCO results")
    try:
        image = np.array([record["image_id"] for record in records])
        class_id = np.array([record["category_id"] for record in records])
        xywh = np.array([record["bbox"] for record in records], dtype=np.float64).reshape(-1, 4)
        score = np.array([record["score"] for record in records], dtype=np.float64)
        sound = all(ids.dtype.kind == "i" or not ids.size for ids in (image, class_id))
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound or not (np.isfinite(xywh).all() and np.isfinite(score).all()):
        raise _first_fault(path, records)
    return FoundBoxes(image.astype(np.int64), class_id.astype(np.int64), xywh, score)


def _first_fault(path: Path, records: Sequence[Any]) -> DataError:
    """Which record it was: looked for one by one, since there hardly ever is any."""
    for number, record in enumerate(records, 1):
        where = f"{path}: record {number}"
        if not isinstance(record, dict):
            return DataError(f"{where} is not an object with image_id, category_id, bbox, score")
        for key in ("image_id", "category_id"):
            value = record.get(key)
            if not isinstance(value, int) or isinstance(value, bool):
                return DataError(f"{where} has the {key} {value!r}: give a whole number")
        box = record.get("bbox")
        if not _is_box(box):
            return DataError(f"{where} has the bbox {box!r}: give left, top, width and height")
        if not _finite(record.get("score")):
            return DataError(f"{where} has the score {record.get('score')!r}: give a finite number")
    return DataError(f"{path} is not a list of COCO results: numbers are too large")


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_finite, value))


def _finite(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and bool(np.isfinite(value))


def _notes(found: FoundBoxes, inside: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[str]:
    notes = []
    if not inside.all():
        ids = {str(value) for value in np.unique(found.image[~inside]).tolist()}
        notes.append(
            f"{int((~inside).sum())} boxes belong to {len(ids)} pictures that are not in the data"
            f" and are left out: image_id {some(ids)}"
        )
    if not known.all():
        ids = {str(value) for value in np.unique(found.class_id[~known]).tolist()}
        notes.append(
            f"{int((~known).sum())} boxes are of classes that the data does not have and are left"
            f" out: category_id {some(ids)}"
        )
    bad = np.flatnonzero((found.xywh[:, 2:] <= 0).any(axis=1))
    if len(bad):
        notes.append(
            f"{len(bad)} boxes have no width or height, or are inverted (first: record"
            f" {bad[0] + 1}); they are scored as they are"
        )
    if len(found.score) and (found.score.min() < 0 or found.score.max() > 1):
        low, high = float(found.score.min()), float(found.score.max())
        notes.append(f"scores go from {low:.3g} to {high:.3g}, not 0 to 1; only their order counts")
    return notes


def _truth(data: Dataset, path: Path) -> tuple[TrueBoxes, dict[int, str], dict[int, int]]:
    """Labelled boxes, class names by id, and row of the data set by picture id."""
    files = annotation_files(data)
    if len(files) != 1:
        reason = "several annotation files" if files else "no COCO annotation file"
        raise UsageError(
            f"{path} names pictures by COCO's ids, but {data.source} has {reason}: give the one"
            " JSON file with  --data, or the lines of 'whatwhere predict --json'"
        )
    dataset = _load(files[0])
    ids = data.images["id"].to_list()
    row_of = {image_id: row for row, image_id in enumerate(ids) if image_id is not None}
    names = dict(zip(data.category_ids, data.names, strict=True))
    # Records that cannot be understood were reported when the data set was read.
    rows = [
        row
        for row in dataset["annotations"]
        if isinstance(row, dict)
        and row.get("image_id") in row_of
        and row.get("category_id") in names
        and _is_box(row.get("bbox"))
    ]
    xywh = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    box_area = (xywh[:, 2] * xywh[:, 3]).tolist()
    truth = TrueBoxes(
        np.array([row["image_id"] for row in rows], dtype=np.int64),
        np.array([row["category_id"] for row in rows], dtype=np.int64),
        xywh,
        np.array(
            [
                row["area"] if _finite(row.get("area")) else area
                for row, area in zip(rows, box_area, strict=True)
            ],
            dtype=np.float64,
        ),
        np.array([bool(row.get("iscrowd", 0)) for row in rows], dtype=bool),
    )
    return truth, names, row_of


def annotation_files(data: Dataset) -> list[Path]:
    """The COCO annotation files of a data set; empty for other formats."""
    if data.format != "coco":
        return []
    source = Path(data.source)
    if source.is_file():
        return [source]
    records = data.labels["record"].drop_nulls().unique().to_list()
    return [Path(data.root, name) for name in sorted({r.rpartition("#")[0] for r in records})]


def _load(file: Path) -> Mapping[str, Any]:
    dataset: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    return dataset


def _predictions(
    found: FoundBoxes, names: Mapping[int, str], row_of: Mapping[int, int], data: Dataset
) -> tuple[Prediction, ...]:
    """The boxes by picture, in the order of the data set, for drawing."""
    rows = np.array([row_of[int(image)] for image in found.image], dtype=np.int64)
    order = np.lexsort((-found.score, rows))
    bounds = np.searchsorted(rows[order], np.arange(len(data) + 1))
    predictions = []
    for row, name in enumerate(data.paths):
        mine = order[bounds[row] : bounds[row + 1]]
        left_top, size = found.xywh[mine, :2], found.xywh[mine, 2:]
        predictions.append(
            Prediction(
                width=0,
                height=0,
                image=name,
                object_names=tuple(names[int(class_id)] for class_id in found.class_id[mine]),
                object_scores=found.score[mine].astype(np.float32),
                boxes=np.concatenate([left_top, left_top + size], axis=1).astype(np.float32),
            )
        )
    return tuple(predictions)
