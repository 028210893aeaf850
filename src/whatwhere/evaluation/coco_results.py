"""COCO results against COCO annotations, in the float64 numbers of the two files.

`Dataset` holds boxes as float32 corners; a box that was written as left, top, width and
height in decimals can end one bit beside an IoU threshold on that way. So this path reads
both files as they are, and gives pycocotools' numbers to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import DataError, UsageError
from whatwhere.evaluation.matching import data_notes, some
from whatwhere.evaluation.result import Boxes, Result
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes, coco_scores
from whatwhere.metrics.detection import as_result
from whatwhere.metrics.pairing import COCO_LIMIT, best_boxes
from whatwhere.types import Prediction

_MOST_ROWS = 1 << 20
"""Boxes that are held before those that COCO does not score are dropped: 56 MB."""


def score_coco_results(path: Path, blocks: Iterable[Sequence[Any]], data: Dataset) -> Result:
    """Scores of a COCO results file on the pictures of a data set that was read from COCO.

    Args:
        blocks: the records of the file, some at a time; of more than a million, only the best
            100 of each picture and class are kept, since COCO scores no others.

    Raises:
        DataError: a record is damaged; the message names it.
        UsageError: the data set is not COCO's, or no record belongs to it.
    """
    truth, names, row_of = _truth(data, path)
    ids = np.fromiter(row_of, dtype=np.int64, count=len(row_of))
    found, notes = _found(path, blocks, ids, list(names))
    if not len(found.image):
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
        predictions=_predictions(found, names, row_of, data),
        boxes=_numbered(names, truth, found, row_of),
    )


def _numbered(
    names: Mapping[int, str], truth: TrueBoxes, found: FoundBoxes, row_of: Mapping[int, int]
) -> Boxes:
    """The boxes with numbers from 0 in place of COCO's picture ids."""
    ids = np.array(sorted(row_of), dtype=np.int64)
    rows = np.array([row_of[image] for image in ids.tolist()], dtype=np.int64)

    def placed(boxes: Any) -> Any:
        return replace(boxes, image=np.searchsorted(ids, boxes.image))

    return Boxes(names, placed(truth), placed(found), rows)


def _found(
    path: Path, blocks: Iterable[Sequence[Any]], images: NDArray[np.int64], classes: Sequence[int]
) -> tuple[FoundBoxes, list[str]]:
    """The boxes of known pictures and classes, and sentences on the others."""
    parts = [_arrays(path, [], 0)]
    told = _Told()
    rows = kept = 0
    for records in blocks:
        block = _arrays(path, records, told.records)
        inside, known = np.isin(block.image, images), np.isin(block.class_id, classes)
        told.add(block, inside, known)
        parts.append(block.only(inside & known))
        rows += len(parts[-1].image)
        if rows > max(_MOST_ROWS, 2 * kept):
            whole = _joined(parts)
            parts = [whole.only(best_boxes(whole, COCO_LIMIT))]
            told.beyond += rows - len(parts[0].image)
            rows = kept = len(parts[0].image)
    return _joined(parts), list(told.notes())


def _joined(parts: Sequence[FoundBoxes]) -> FoundBoxes:
    return FoundBoxes(
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.class_id for part in parts]),
        np.concatenate([part.xywh for part in parts]),
        np.concatenate([part.score for part in parts]),
    )


def _arrays(path: Path, records: Sequence[Any], before: int) -> FoundBoxes:
    """Records as arrays; `before` records stand before them in the file."""
    try:
        image = np.array([record["image_id"] for record in records])
        class_id = np.array([record["category_id"] for record in records])
        xywh = np.array([record["bbox"] for record in records], dtype=np.float64).reshape(-1, 4)
        score = np.array([record["score"] for record in records], dtype=np.float64)
        sound = all(ids.dtype.kind == "i" or not ids.size for ids in (image, class_id))
    except (KeyError, TypeError, ValueError, OverflowError):
        sound = False
    if not sound or not (np.isfinite(xywh).all() and np.isfinite(score).all()):
        raise _first_fault(path, records, before)
    return FoundBoxes(image.astype(np.int64), class_id.astype(np.int64), xywh, score)


def _first_fault(path: Path, records: Sequence[Any], before: int) -> DataError:
    """Which record it was: looked for one by one, since there hardly ever is any."""
    for number, record in enumerate(records, before + 1):
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


class _Told:
    """What is to be said about the records that went by."""

    def __init__(self) -> None:
        self.records = self.outside = self.unknown = self.bad = self.first_bad = self.beyond = 0
        self.images: set[int] = set()
        self.classes: set[int] = set()
        self.low, self.high = np.inf, -np.inf

    def add(self, block: FoundBoxes, inside: NDArray[np.bool_], known: NDArray[np.bool_]) -> None:
        """Counts one block."""
        self.outside += int((~inside).sum())
        self.images.update(np.unique(block.image[~inside]).tolist())
        self.unknown += int((~known).sum())
        self.classes.update(np.unique(block.class_id[~known]).tolist())
        bad = np.flatnonzero((block.xywh[:, 2:] <= 0).any(axis=1))
        if len(bad) and not self.bad:
            self.first_bad = self.records + int(bad[0]) + 1
        self.bad += len(bad)
        self.low = min(self.low, float(block.score.min(initial=np.inf)))
        self.high = max(self.high, float(block.score.max(initial=-np.inf)))
        self.records += len(block.image)

    def notes(self) -> Iterator[str]:
        """One sentence on each thing that is odd."""
        if self.outside:
            yield (
                f"{self.outside} boxes belong to {len(self.images)} pictures that are not in the"
                f" data and are left out: image_id {some(set(map(str, self.images)))}"
            )
        if self.unknown:
            yield (
                f"{self.unknown} boxes are of classes that the data does not have and are left"
                f" out: category_id {some(set(map(str, self.classes)))}"
            )
        if self.bad:
            yield (
                f"{self.bad} boxes have no width or height, or are inverted (first: record"
                f" {self.first_bad}); they are scored as they are"
            )
        if self.low < 0 or self.high > 1:
            yield (
                f"scores go from {self.low:.3g} to {self.high:.3g}, not 0 to 1; only their order"
                " counts"
            )
        if self.beyond:
            yield (
                f"{self.beyond} boxes beyond the best {COCO_LIMIT} of their picture and class were"
                " passed over while reading; COCO does not score them"
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
