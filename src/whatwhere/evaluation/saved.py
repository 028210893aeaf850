"""Score predictions that were saved before, by Whatwhere or by another program."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from whatwhere.data import Dataset, read
from whatwhere.errors import DataError, UsageError
from whatwhere.evaluation.coco_results import score_coco_results
from whatwhere.evaluation.matching import Head, match, some
from whatwhere.evaluation.names import ByName
from whatwhere.evaluation.result import Result
from whatwhere.evaluation.run import finish
from whatwhere.evaluation.stream import array_blocks, first_character, lines
from whatwhere.types import Prediction, Task

LOW_SCORE = 0.05
"""Saved boxes that all lie above this score were most likely cut off by a threshold."""


def evaluate_predictions(
    file: str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    *,
    split: str | None = None,
    task: Task | None = None,
) -> Result:
    """Scores of a file of predictions.

    Args:
        file: the lines of `predict --json`, or a COCO results file (a JSON array with
            `image_id`, `category_id`, `bbox` and `score`). COCO results are scored from the
            numbers in both files, in float64, so the scores equal pycocotools' to the bit.
        data: labelled pictures, or their path. COCO results need a COCO data set, since
            nothing else has their ids.
        split, task: as in `evaluate`.

    Raises:
        DataError: the file is damaged, or a record has no number where one must be; the
            message names the line or record.
        UsageError: nothing in the file belongs to the data set.
    """
    path = Path(file)
    dataset = data if isinstance(data, Dataset) else read(data)
    part = dataset if split is None else dataset.split_named(split)
    if first_character(path) == "[":
        if task not in (None, "detect"):
            raise UsageError(f"{path} holds boxes in COCO's form: they are scored as detect")
        result = score_coco_results(path, array_blocks(path), part)
    else:
        result = _score_lines(path, part, task)
    return result if split is None else replace(result, split=split)


def _score_lines(path: Path, data: Dataset, task: Task | None) -> Result:
    index = ByName(data.paths)
    found: dict[int, Prediction] = {}
    outside: list[str] = []
    unreadable: list[str] = []
    for line, record in _records(path):
        prediction = _prediction(f"{path}:{line}", record)
        name = str(prediction.image)
        row = index.row(name, f"{path}:{line}")
        if row is None:
            outside.append(name)
            continue
        if row in found:
            raise DataError(f"{path}:{line} is a second answer for {name}: keep one of them")
        found[row] = prediction
        if "error" in record:
            unreadable.append(name)
    if not found:
        raise UsageError(
            f"no picture of {path} belongs to {data.source} (the first is {some(outside, 1)}):"
            " give the data set that was predicted"
        )
    nothing = np.zeros((0, 4), dtype=np.float32)
    predictions = [
        found[row] if row in found else Prediction(0, 0, image=name, boxes=nothing)
        for row, name in enumerate(data.paths)
    ]
    way = match(_heads(predictions, data), data, str(path), task)
    notes = list(way.notes)
    if outside:
        notes.append(
            f"{len(outside)} pictures of {path} are not in the data and are left out:"
            f" {some(outside)}"
        )
    silent = [name for row, name in enumerate(data.relative_paths()) if row not in found]
    if silent:
        notes.append(
            f"{len(silent)} of {len(data)} pictures have no line in {path}; their labels count"
            f" as missed: {some(silent)}"
        )
    if unreadable:
        notes.append(
            f"{len(unreadable)} pictures could not be read when they were predicted; their"
            f" labels count as missed: {some(unreadable)}"
        )
    notes.extend(_row_notes(way.head, predictions, data))
    return finish(way, data, predictions, notes=notes, unreadable=tuple(unreadable))


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{number} is not a JSON object ({error.msg}): give the lines of"
                " 'whatwhere predict --json', or a COCO results file"
            ) from error
        if not isinstance(record, dict) or not isinstance(record.get("image"), str):
            raise DataError(
                f"{path}:{number} has no 'image': give the lines of 'whatwhere predict --json',"
                " or a COCO results file"
            )
        yield number, record


def _prediction(where: str, record: Mapping[str, Any]) -> Prediction:
    labels = _rows(where, record, "labels")
    objects = _rows(where, record, "objects")
    label_scores = _scores(where, labels)
    object_scores = _scores(where, objects)
    boxes = np.zeros((len(objects), 4), dtype=np.float32)
    for place, row in enumerate(objects):
        box = row.get("box")
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            raise DataError(f"{where}: object {place + 1} has no 'box' of four finite numbers")
        boxes[place] = box
    # A hand-made file may not be sorted; rank is what every score is computed from.
    by_label = np.argsort(-label_scores, kind="stable")
    by_object = np.argsort(-object_scores, kind="stable")
    return Prediction(
        width=int(record.get("width") or 0),
        height=int(record.get("height") or 0),
        image=record["image"],
        label_names=tuple(sys.intern(str(labels[place]["name"])) for place in by_label),
        label_scores=label_scores[by_label],
        # One string a class, not one a box.
        object_names=tuple(sys.intern(str(objects[place]["name"])) for place in by_object),
        object_scores=object_scores[by_object],
        # A classifier's line has no objects; then no boxes were looked for.
        boxes=boxes[by_object] if objects or not labels else None,
        model=record.get("model"),
        unsure=record["unsure"] if isinstance(record.get("unsure"), bool) else None,
        label_set=_set(where, record),
    )


def _set(where: str, record: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = record.get("label_set")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: 'label_set' is not a list of class names")
    return tuple(sys.intern(name) for name in names)


def _rows(where: str, record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = record.get(key) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{where}: '{key}' is not a list of objects")
    for place, row in enumerate(rows, 1):
        if not isinstance(row.get("name"), str):
            raise DataError(f"{where}: entry {place} of '{key}' has no 'name'")
    return rows


def _scores(where: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    for place, row in enumerate(rows, 1):
        if not _is_number(row.get("score")):
            raise DataError(
                f"{where}: entry {place} ({row['name']}) has the score {row.get('score')!r}:"
                " give a finite number"
            )
    return np.array([row["score"] for row in rows], dtype=np.float32)


def _is_number(value: object) -> bool:
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and math.isfinite(value)  # type: ignore[arg-type]


def _heads(predictions: Sequence[Prediction], data: Dataset) -> list[Head]:
    """What the file answers, read off its rows."""
    answers = []
    if any(prediction.object_names for prediction in predictions):
        answers.append(Head("detect", None))
    if any(prediction.label_names for prediction in predictions):
        answers.append(Head("classify" if data.task == "classify" else "multilabel", None))
    return answers or [Head(data.task, None)]


def _row_notes(head: Head, predictions: Sequence[Prediction], data: Dataset) -> Iterator[str]:
    if head.part == "labels":
        names = {name for prediction in predictions for name in prediction.label_names}
        scores = [float(row.label_scores.min()) for row in predictions if len(row.label_scores)]
    else:
        names = {name for prediction in predictions for name in prediction.object_names}
        scores = [float(row.object_scores.min()) for row in predictions if len(row.object_scores)]
        found = [row.boxes for row in predictions if row.boxes is not None]
        boxes = np.concatenate([np.zeros((0, 4), np.float32), *found])
        bad = int((boxes[:, 2:] <= boxes[:, :2]).any(axis=1).sum())
        if bad:
            yield f"{bad} boxes have no width or height, or are inverted; they find nothing"
    if head.task != "classify" and scores and min(scores) > LOW_SCORE:
        yield (
            f"no score is below {min(scores):.3g}: predictions look cut off by a threshold, which"
            " lowers every average precision; predict with  --threshold 0.001"
        )
    unknown = names - set(data.names)
    if unknown:
        yield (
            f"{len(unknown)} classes of the predictions are unknown to the data; what is said"
            f" about them is not scored: {some(unknown)}"
        )
    if not names:
        yield "the file says nothing about any picture"
