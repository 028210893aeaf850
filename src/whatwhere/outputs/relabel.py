"""Lists of labels that a person should look at: our JSON, Label Studio's tasks, CVAT's XML."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import polars as pl

from whatwhere.data import Dataset
from whatwhere.data.formats._cvat_shapes import quoted
from whatwhere.errors import UsageError
from whatwhere.images import write_atomic
from whatwhere.metrics.doubts import label_doubts
from whatwhere.metrics.multilabel import THRESHOLD
from whatwhere.metrics.single import Mistake, mistake_rows
from whatwhere.types import Prediction, Task, limit_of

if TYPE_CHECKING:
    from whatwhere.outputs.report import Reportable

Kind = Literal["json", "label_studio", "cvat"]

VERSION = 1
"""Of our JSON."""

_MOST = 500
_STUDIO = re.compile(r"label[-_ ]?studio|tasks", re.IGNORECASE)


def relabel_kind(path: str | os.PathLike[str]) -> Kind:
    """What a file of this name holds: CVAT's XML, Label Studio's tasks or our JSON.

    Raises:
        UsageError: it ends neither in .xml nor in .json.
    """
    file = Path(path)
    if file.suffix.lower() == ".xml":
        return "cvat"
    if file.suffix.lower() == ".json":
        return "label_studio" if _STUDIO.search(file.stem) else "json"
    raise UsageError(
        f"{file} is no name for a relabelling list: use .xml for CVAT, tasks.json or"
        " label_studio.json for Label Studio, another .json for our own form"
    )


def write_relabel(
    result: Reportable,
    path: str | os.PathLike[str],
    *,
    limit: int = _MOST,
    kind: Kind | None = None,
) -> int:
    """Write the likeliest label errors (see `metrics.doubts`), the most doubtful first.

    - json: an object with `format`, `version`, `data`, `model`, `task`, `classes` and `items`:
      each with `rank`, `kind`, `doubt` (0..1), `image` (from the data set's folder), `width`,
      `height`, `label` ({name, box, record}, null where one is missing), `proposal` ({name, box,
      score}, null where nothing is found) and `iou`. Boxes are x1, y1, x2, y2 in pixels.
    - label_studio: tasks for the pictures concerned, with all their labels as an annotation and
      what the model says as a prediction, whose score is the doubt, so that tasks can be
      ordered by it; `problem`, `doubt` and `rank` are in the task's data. The labelling
      configuration is written beside it as `<name>.config.xml`. Pictures are files of local
      storage whose root is the data set's folder.
    - cvat: "CVAT for images 1.1": all labels of these pictures; doubtful ones have the
      attributes `problem` and `doubt`, and proposals stand beside them with source "auto" and
      the attribute `proposal`. Pictures have their names from the data set's folder.

    Args:
        result: of `evaluate` or `evaluate_predictions`.
        path: the file; replaced if it is there.
        limit: at most so many doubts.
        kind: by default told from the name, see `relabel_kind`.

    Returns:
        The number of doubts in it.

    Raises:
        UsageError: the name says no kind, or the result has no data set.
        WhatwhereError: the disk is full.
    """
    kind = relabel_kind(path) if kind is None else kind
    data = result.data
    if data is None or len(result.predictions) != len(data):
        raise UsageError("the result has no data set to list labels of: evaluate again")
    found = label_doubts(
        result.task, data, result.predictions, classes=result.per_class, limit=limit
    )
    file = Path(path)
    if kind == "json":
        write_atomic(file, json.dumps(relabel_list(result, data, found), indent=1) + "\n")
    elif kind == "cvat":
        write_atomic(file, _cvat(result, data, found))
    else:
        tasks, config = _label_studio(result, data, found)
        write_atomic(file, json.dumps(tasks, indent=1) + "\n")
        write_atomic(file.with_suffix(".config.xml"), config)
    return len(found)


def relabel_list(result: Reportable, data: Dataset, found: Sequence[Mistake]) -> dict[str, Any]:
    """Our own form, see `write_relabel`."""
    items = []
    for one, row in zip(found, mistake_rows(found, data), strict=True):
        width, height = _size(result.predictions, one.image)
        label = {"name": row["truth"], "box": row["true_box"], "record": row["record"]}
        proposal = {"name": row["said"], "box": row["box"], "score": row["score"]}
        items.append(
            {
                "rank": one.rank,
                "kind": one.kind,
                "doubt": row["weight"],
                "image": row["image"],
                "width": width,
                "height": height,
                "label": None if one.truth is None else label,
                "proposal": None if one.said is None else proposal,
                "iou": row["iou"],
            }
        )
    return {
        "format": "whatwhere relabelling list",
        "version": VERSION,
        "data": result.source,
        "model": result.model,
        "task": result.task,
        "classes": list(data.names),
        "items": items,
    }


def _size(predictions: Sequence[Prediction], row: int) -> tuple[int, int]:
    return predictions[row].width, predictions[row].height


def _pictures(result: Reportable, data: Dataset, found: Sequence[Mistake]) -> tuple[Dataset, Any]:
    """The pictures concerned, the most doubtful first, and the doubts about each."""
    by_image: dict[int, list[Mistake]] = {}
    for one in found:
        by_image.setdefault(one.image, []).append(one)
    part = data.select(list(by_image))
    sizes = [_size(result.predictions, row) for row in by_image]
    # As they were read, since the annotations may not say it; no splits, which tools that
    # label know as folders.
    images = part.images.with_columns(
        pl.Series("width", [width for width, _ in sizes], pl.Int32),
        pl.Series("height", [height for _, height in sizes], pl.Int32),
        pl.lit(None, pl.String).alias("split"),
    )
    labels = part.labels
    whole = Dataset(images, labels, data.names, root=data.root, source=data.source, task=data.task)
    return whole, by_image


def _label_studio(
    result: Reportable, data: Dataset, found: Sequence[Mistake]
) -> tuple[list[dict[str, Any]], str]:
    truth, by_image = _pictures(result, data, found)
    rows = list(by_image)
    said = [
        row
        for place, image in enumerate(rows)
        for row in _answers(result, image, place, by_image[image], data)
    ]
    guesses = Dataset(truth.images, _columns(said), data.names, root=data.root, task=truth.task)
    tasks, config = written(truth, "label_studio", "tasks.json", "label_config.xml")
    others, _ = written(guesses, "label_studio", "tasks.json", "label_config.xml")
    names = data.relative_paths()
    done = json.loads(tasks)
    for task, other, image in zip(done, json.loads(others), rows, strict=True):
        doubts = by_image[image]
        task["data"] |= {
            "image": "/data/local-files/?d=" + quote(names[image], errors="surrogateescape"),
            "rank": doubts[0].rank,
            "doubt": round(doubts[0].weight, 4),
            "problem": "; ".join(_problem(one) for one in doubts),
        }
        for guess in other.get("predictions", []):
            guess |= {"score": round(doubts[0].weight, 4), "model_version": result.model or "saved"}
            task.setdefault("predictions", []).append(guess)
    return done, config


def _problem(one: Mistake) -> str:
    """Such as "wrong label cat: dog 0.93"."""
    words = one.kind if one.truth is None else f"{one.kind} {one.truth}"
    return words if one.said is None else f"{words}: {one.said} {one.score or 0.0:.2f}"


def _answers(
    result: Reportable, image: int, place: int, doubts: Sequence[Mistake], data: Dataset
) -> list[dict[str, Any]]:
    """What the model says of a picture, as rows of labels: all from the threshold on."""
    given = result.predictions[image]
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    if result.task == "detect" and given.boxes is not None:
        for name, score, box in zip(
            given.object_names, given.object_scores.tolist(), given.boxes.tolist(), strict=True
        ):
            if score >= limit_of(result.threshold, name) and name in data.names:
                rows[name, *_rounded(box)] = _row(place, data.names.id(name), score, box)
    elif result.task == "multilabel":
        for one in doubts:
            if one.said is not None:
                rows[(one.said,)] = _row(place, data.names.id(one.said), one.score)
        for name, score in zip(given.label_names, given.label_scores.tolist(), strict=True):
            if score >= THRESHOLD and name in data.names:
                rows[(name,)] = _row(place, data.names.id(name), score)
        return list(rows.values())
    for one in doubts:
        if one.said is not None:
            key = (one.said, *_rounded(one.box or ()))
            rows[key] = _row(place, data.names.id(one.said), one.score, one.box)
    return list(rows.values())


def _rounded(box: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(side, 2) for side in box)


def _row(
    place: int, class_id: int, score: float | None, box: Sequence[float] | None = None
) -> dict[str, Any]:
    x1, y1, x2, y2 = box or (None,) * 4
    found = {"image": place, "class_id": class_id, "x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return found | {"score": score, "source": "model"}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row.get(key) for row in rows] for key in rows[0]} if rows else {}


def _cvat(result: Reportable, data: Dataset, found: Sequence[Mistake]) -> str:
    truth, by_image = _pictures(result, data, found)
    doubt_of = {one.label: one for one in found if one.label is not None}
    # A label of several rows, as of a class in boxes, is found by its picture and name.
    named = {(one.image, one.truth): one for one in found if one.truth and one.label is None}
    rows: list[dict[str, Any]] = []
    labels = data.labels
    for place, image in enumerate(by_image):
        first, end = data.rows_of(image)
        for number, row in enumerate(labels[first:end].to_dicts(), first):
            one = doubt_of.get(number) or named.get((image, data.names[row["class_id"]]))
            attributes = json.loads(row["attributes"] or "{}") | _words(one)
            rows.append(row | {"image": place, "attributes": json.dumps(attributes)})
        for one in by_image[image]:
            if one.said is not None:
                more = {"attributes": json.dumps({"proposal": True, **_words(one)})}
                rows.append(_row(place, data.names.id(one.said), one.score, one.box) | more)
    task: Task = "detect" if truth.task == "detect" else "multilabel"
    columns = {key: [row.get(key) for row in rows] for key in labels.columns}
    marked = Dataset(truth.images, columns, data.names, root=data.root, task=task)
    text, _ = written(marked, "cvat", "annotations.xml")
    names = data.relative_paths()
    given = iter([names[image] for image in by_image])
    return re.sub(
        r"(?m)^(  <image .*?\bname=)(\"[^\"]*\"|'[^']*')",
        lambda found: found[1] + quoted(next(given)),
        text,
    )


def _words(one: Mistake | None) -> dict[str, Any]:
    return {} if one is None else {"problem": one.kind, "doubt": f"{one.weight:.4f}"}


def written(data: Dataset, format: str, file: str, other: str | None = None) -> tuple[str, str]:
    """The texts of one or two files that a writer makes."""
    with TemporaryDirectory(prefix="whatwhere-") as folder:
        place = Path(folder) / "out"
        data.write(place, format, pictures="none")
        second = "" if other is None else (place / other).read_text("utf-8")
        return (place / file).read_text("utf-8"), second
