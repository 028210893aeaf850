"""Score predictions that were saved before, by Whatwhere or by another program."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from whatwhere.data import Dataset, read
from whatwhere.errors import UsageError
from whatwhere.evaluation.coco_columns import result_columns
from whatwhere.evaluation.coco_results import score_coco_results
from whatwhere.evaluation.gathered import Gathered
from whatwhere.evaluation.matching import Head, match, some
from whatwhere.evaluation.result import Result
from whatwhere.evaluation.saved_coco import gather_coco
from whatwhere.evaluation.saved_csv import header_of
from whatwhere.evaluation.saved_forms import GATHER, form_of
from whatwhere.evaluation.stream import array_blocks
from whatwhere.evaluation.units import Reading, class_words, unit_notes
from whatwhere.metrics.detection import true_boxes
from whatwhere.types import Task

LOW_SCORE = 0.05
"""Saved boxes that all lie above this score were most likely cut off by a threshold."""


def evaluate_predictions(
    file: str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    *,
    split: str | None = None,
    task: Task | None = None,
    form: str | None = None,
) -> Result:
    """Scores of saved predictions.

    Args:
        file: the lines of `predict --json`; COCO results (a JSON array with `image_id`,
            `category_id`, `bbox` and `score`); a table (CSV); or a file or folder of YOLO's or
            VOC's text files. COCO results on COCO data are scored from the numbers in both
            files, in float64, so the scores equal pycocotools' to the bit.
        data: labelled pictures, or their path.
        split, task: as in `evaluate`.
        form: one of `saved_forms.FORMS`; None to read it off the content.

    Raises:
        DataError: the file is damaged, or a record has no number where one must be; the
            message names the file and the line or record.
        UsageError: nothing in the file belongs to the data set.
    """
    path = Path(file)
    dataset = data if isinstance(data, Dataset) else read(data)
    part = dataset if split is None else dataset.split_named(split)
    kind = form_of(path, part, form)
    if kind == "coco":
        if task not in (None, "detect"):
            raise UsageError(f"{path} holds boxes in COCO's form: they are scored as detect")
        if part.format == "coco":
            result = score_coco_results(path, array_blocks(path, result_columns), part)
            return result if split is None else replace(result, split=split)
    gathered = Gathered(part, str(path))
    reading = {"order": "xyxy", "scale": "pixels"}
    if kind == "coco":
        gather_coco(path, array_blocks(path), gathered)
        reading["order"] = "xywh"
    else:
        GATHER[kind](path, gathered)
    if kind == "yolo":
        reading = {"order": "cxcywh", "scale": "fractions"}
    elif kind == "csv" and (header := header_of(path, part)) is not None:
        reading["order"] = header.way
    gathered.check()
    result = _scored(gathered, task, reading, numbered=kind in ("coco", "yolo"))
    return result if split is None else replace(result, split=split)


def _scored(
    gathered: Gathered, task: Task | None, reading: dict[str, str], *, numbered: bool
) -> Result:
    # Here, since it needs the runtime, which COCO's results on COCO's data do not.
    from whatwhere.evaluation.run import finish

    data = gathered.data
    again = gathered.label_once()
    way = match(_heads(gathered), data, gathered.source, task)
    notes = [*_unit_notes(gathered, reading, numbered), *way.notes, *gathered.notes()]
    if again:
        notes.append(f"{again} labels are there twice, with the same score; they count once")
    if gathered.unreadable:
        notes.append(
            f"{len(gathered.unreadable)} pictures could not be read when they were predicted; their"
            f" labels count as missed: {some(gathered.unreadable)}"
        )
    lowest = gathered.span[way.head.part][0]
    if way.head.task != "classify" and LOW_SCORE < lowest < np.inf:
        notes.append(
            f"no score is below {lowest:.3g}: predictions look cut off by a threshold, which"
            " lowers every average precision; predict with  --threshold 0.001"
        )
    unreadable = tuple(gathered.unreadable)
    return finish(way, data, gathered.predictions(), notes=notes, unreadable=unreadable)


def _heads(gathered: Gathered) -> list[Head]:
    """What the file answers, read off its rows."""
    answers = []
    task = gathered.data.task
    if gathered.named_boxes:
        answers.append(Head("detect", None))
    if gathered.named_labels:
        answers.append(Head("classify" if task == "classify" else "multilabel", None))
    return answers or [Head(task, None)]


def _unit_notes(gathered: Gathered, reading: dict[str, str], numbered: bool) -> list[str]:
    image, class_id, score, corners = gathered.boxes()
    if not len(image) or gathered.data.task != "detect":
        return []
    truth = true_boxes(gathered.data)
    left_top, size = truth.xywh[:, :2], truth.xywh[:, 2:]
    names = dict(enumerate(gathered.data.names))
    return unit_notes(
        Reading(
            image,
            class_id,
            score,
            corners,
            truth.image,
            truth.class_id,
            np.concatenate([left_top, left_top + size], axis=1),
            gathered.sizes,
            **reading,
        ),
        gathered.source,
        class_words(names) if numbered else None,
    )
